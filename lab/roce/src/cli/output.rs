//! Standard output whose reader may leave early.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use crate::Report;
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

/// A number of things: `1 packet`, `2 packets`.
pub(super) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Remarks on what a report has not got, or could not follow; `is_whole` is whether the capture was read to its end.
pub(super) fn remarks(name: &str, report: &Report, is_whole: bool) {
    if report.packets == 0 && is_whole {
        let kinds: Vec<String> =
            report.not_roce.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
        note(&match report.records {
            0 => format!("no RoCEv2 packet in {name}: it has no frame at all"),
            records => {
                format!("no RoCEv2 packet in {name}: {}: {}", count(records, "other frame"), kinds.join(", "))
            }
        });
    }
    if report.connections_dropped + report.requests_dropped > 0 {
        note(&format!(
            "to bound the memory, {} and {} were forgotten; what came of them later counts as new",
            count(report.connections_dropped, "connection"),
            count(report.requests_dropped, "request")
        ));
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
