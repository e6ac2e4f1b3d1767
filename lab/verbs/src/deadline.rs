//! The named limit that every wait has.
//!
//! A deadline is made once from a limit and handed to each step that shares it; its limit is what a time-out message
//! quotes.

use std::fmt;
use std::time::{Duration, Instant};

/// A moment after which waiting stops, with the limit it was made from.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    limit: Option<Duration>,
}

impl Deadline {
    /// Ends `limit` from now.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self { started: Instant::now(), limit: Some(limit) }
    }

    /// Never ends: for a server that waits for its next client.
    #[must_use]
    pub fn never() -> Self {
        Self { started: Instant::now(), limit: None }
    }

    /// Time left, zero once it has passed; `None` if it never ends.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.saturating_sub(self.started.elapsed()))
    }

    /// Time left in whole milliseconds, at least 1 and at most `i32::MAX`: the shape `rdma_resolve_addr` wants.
    #[must_use]
    pub fn remaining_ms(&self) -> i32 {
        match self.remaining() {
            None => i32::MAX,
            Some(left) => i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1),
        }
    }

    /// True if nothing is left.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// The limit it was made from; `None` if it never ends.
    #[must_use]
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// The time since it was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A duration in seconds, with as many decimals as it needs and at most three: `10 s`, `0.5 s`.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.3}", self.0.as_secs_f64());
        let text = text.trim_end_matches('0').trim_end_matches('.');
        write!(f, "{text} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_carry_only_the_decimals_they_need() {
        assert_eq!(Seconds(Duration::from_secs(10)).to_string(), "10 s");
        assert_eq!(Seconds(Duration::from_millis(500)).to_string(), "0.5 s");
        assert_eq!(Seconds(Duration::from_micros(1_234_567)).to_string(), "1.235 s");
        assert_eq!(Seconds(Duration::ZERO).to_string(), "0 s");
    }

    #[test]
    fn a_passed_deadline_has_nothing_left() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.passed());
        assert_eq!(deadline.remaining(), Some(Duration::ZERO));
        assert_eq!(deadline.remaining_ms(), 1);
    }

    #[test]
    fn never_does_not_pass() {
        assert!(!Deadline::never().passed());
        assert_eq!(Deadline::never().remaining(), None);
        assert_eq!(Deadline::never().remaining_ms(), i32::MAX);
    }
}
