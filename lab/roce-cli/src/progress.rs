//! Progress through a capture, on a terminal.
//!
//! One line on standard error, written over again, from the second second on; nothing where standard error is no terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Packets after which the clock is looked at.
const STEP: u64 = 1 << 16;
/// Time before the first line, and between two.
const EVERY: Duration = Duration::from_secs(1);

/// The line of one capture, or of several files.
pub(super) struct Progress {
    is_on_terminal: bool,
    last: Instant,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_on_terminal: io::stderr().is_terminal(), last: Instant::now(), is_shown: false }
    }

    /// The line of one capture of several, which is not shown.
    pub(super) fn silent() -> Self {
        Self { is_on_terminal: false, ..Self::new() }
    }

    /// Takes note of packet `number`, behind `offset` bytes of `total`, where that is known.
    #[inline]
    pub(super) fn at(&mut self, number: u64, offset: u64, total: Option<u64>) {
        if self.is_on_terminal && number.is_multiple_of(STEP) {
            self.show(|| text(number, offset, total));
        }
    }

    /// Takes note that `done` of `total` files are read.
    pub(super) fn files(&mut self, done: usize, total: usize) {
        if self.is_on_terminal {
            self.show(|| format!("{done} of {total} files"));
        }
    }

    #[cold]
    fn show(&mut self, text: impl FnOnce() -> String) {
        if self.last.elapsed() < EVERY {
            return;
        }
        (self.last, self.is_shown) = (Instant::now(), true);
        // The cursor goes back to the line's beginning, so that whatever is printed next writes over it.
        let _ = write!(io::stderr(), "\r\x1b[K{}\r", text());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// The line without what moves the cursor.
fn text(number: u64, offset: u64, total: Option<u64>) -> String {
    match total.filter(|total| *total >= offset && *total > 0) {
        Some(total) => {
            format!("{:>3} %, {number} packets", u128::from(offset) * 100 / u128::from(total))
        }
        None => format!("{} MB, {number} packets", offset / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_length_it_is_bytes_and_never_more_than_all() {
        assert_eq!(text(7, 50, Some(200)), " 25 %, 7 packets");
        assert_eq!(text(7, 3_500_000, None), "3 MB, 7 packets");
        // A compressed file is shorter than what is in it.
        assert_eq!(text(7, 3_500_000, Some(2_000_000)), "3 MB, 7 packets");
        assert_eq!(text(7, u64::MAX, Some(u64::MAX)), "100 %, 7 packets");
    }
}
