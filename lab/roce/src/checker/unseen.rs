//! Requests that answers prove and that the capture has not got so far.

use crate::broken::Spot;
use crate::wire::Psn;

/// PSNs of requests that must have been there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unseen {
    /// The packet that proves them.
    pub(super) at: Spot,
    first: Psn,
    /// One past the last.
    end: Psn,
    /// PSNs that did not come.
    pub(super) count: u64,
}

impl Unseen {
    /// The PSNs from `first` to before `end`.
    pub(super) fn new(at: Spot, first: Psn, end: Psn) -> Self {
        Self { at, first, end, count: end.distance(first).max(1) as u64 }
    }

    /// True if a PSN is one of them.
    pub(super) fn has(&self, psn: Psn) -> bool {
        psn.distance(self.first) >= 0 && psn.distance(self.end) < 0
    }

    /// Takes the PSNs from `psn` to before `end` out.
    pub(super) fn take(&mut self, psn: Psn, end: Psn) {
        let end = if end.distance(self.end) > 0 { self.end } else { end };
        self.count = self.count.saturating_sub(end.distance(psn).max(1) as u64);
    }
}
