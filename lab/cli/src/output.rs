//! Standard output whose reader may leave early, as `head` does.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};

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

/// Writes `text` and a line end to standard output, as [`print()`] does.
///
/// # Errors
///
/// As [`print()`].
pub fn line(text: impl fmt::Display) -> Result<()> {
    print(format_args!("{text}\n"))
}

/// Writes a remark for people to standard error, which may be gone too.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {text}");
}
