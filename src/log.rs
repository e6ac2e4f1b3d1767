//! The human log on standard error: one plain line an event.
//!
//! `info` is what a user always sees, `debug` what `-v` adds, each with the seconds since the program began: what shows a
//! run matches them with the wire. Warnings and errors are marked. A write that fails is ignored: there is no place left to
//! report it.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

/// Starts logging to standard error for the whole process; a second call changes nothing.
pub fn init(verbose: bool) {
    let level = if verbose { Level::DEBUG } else { Level::INFO };
    // An error says that a subscriber is already there, which is as good.
    let _ = tracing::subscriber::set_global_default(Stderr { level, begun: Instant::now() });
}

struct Stderr {
    level: Level,
    begun: Instant,
}

impl Subscriber for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = LogLine(mark(*event.metadata().level(), self.begun.elapsed()));
        event.record(&mut line);
        line.0.push('\n');
        // One write, so that lines of two threads never mix.
        let _ = std::io::stderr().write_all(line.0.as_bytes());
    }

    // Spans are not used.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The start of a line of that level, `since` the program began.
fn mark(level: Level, since: Duration) -> String {
    match level {
        Level::ERROR => "error: ".to_owned(),
        Level::WARN => "warning: ".to_owned(),
        Level::INFO => String::new(),
        Level::DEBUG | Level::TRACE => format!("  [{}.{:06}] ", since.as_secs(), since.subsec_micros()),
    }
}

struct LogLine(String);

impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_marked_and_details_have_their_time() {
        let since = Duration::from_micros(1_000_042);
        let marks = [Level::INFO, Level::WARN, Level::ERROR, Level::DEBUG].map(|level| mark(level, since));
        assert_eq!(marks, ["", "warning: ", "error: ", "  [1.000042] "]);
    }

    #[test]
    fn verbosity_decides_what_is_enabled() {
        assert!(Level::DEBUG > Level::INFO);
        assert!(Level::ERROR <= Level::INFO);
    }
}
