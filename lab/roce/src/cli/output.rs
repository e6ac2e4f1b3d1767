//! Standard output whose reader may leave early.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use crate::cli::{Error, Filter};

/// Buffered standard output. After the reader has gone, everything is dropped in silence.
pub(super) struct Output {
    sink: BufWriter<StdoutLock<'static>>,
    is_closed: bool,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { sink: BufWriter::with_capacity(64 * 1024, io::stdout().lock()), is_closed: false }
    }

    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(super) fn text(&mut self, text: impl fmt::Display) -> Result<(), Error> {
        self.attempt(|sink| write!(sink, "{text}"))
    }

    pub(super) fn line(&mut self, text: impl fmt::Display) -> Result<(), Error> {
        self.attempt(|sink| writeln!(sink, "{text}"))
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.attempt(Write::flush)
    }

    pub(super) fn attempt(
        &mut self,
        write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
    ) -> Result<(), Error> {
        if self.is_closed {
            return Ok(());
        }
        match write(&mut self.sink) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            Err(error) => Err(Error::new(format!("failed to write to standard output: {error}"))),
        }
    }
}

/// Prints what `write` writes.
pub(super) fn print_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut output = Output::new();
    output.attempt(|sink| write(sink))?;
    output.flush()
}

/// Says so when a filter matched nothing, which is no capture without faults.
pub(super) fn note_in_vain(filter: &Filter, what: &str, name: &str) {
    if filter.is_in_vain() {
        note(&format!("the filter matches no {what} in {name}"));
    }
}

/// Writes a remark to standard error, which may be gone too.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {text}");
}

/// Writes an error to standard error.
pub(super) fn error(error: &Error) {
    let _ = writeln!(io::stderr(), "error: {error}");
}
