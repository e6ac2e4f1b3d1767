//! Standard output whose reader may leave early, as `head` does.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};

use lab::base::terminal;
use lab::{Error, Result};

/// Writes `text` to standard output; a reader that has gone is no error.
///
/// # Errors
///
/// Standard output cannot be written for another reason, such as a full disk.
pub fn print(text: impl fmt::Display) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::setup("failed to write to standard output").source(error))
        }
        _ => Ok(()),
    }
}

/// Writes `text` and a line end to standard output, as [`print()`] does; on a terminal with its lines broken between words.
///
/// # Errors
///
/// As [`print()`].
pub fn line(text: impl fmt::Display) -> Result<()> {
    match terminal::width(io::stdout()) {
        None => print(format_args!("{text}\n")),
        width => print(format_args!("{}\n", terminal::wrapped(&text.to_string(), width))),
    }
}

/// Writes a remark for people to standard error, which may be gone too.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {text}");
}
