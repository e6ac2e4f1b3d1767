//! Requests that answers prove and that the capture has not got so far.
//!
//! In: ranges of PSNs that are taken for lost by the recorder. Out: the recorder's loss, unless a request of the range comes after all: it stands at another place
//! then.

use crate::broken::Spot;
use crate::checker::sink::Sink;
use crate::checker::stream::Stream;
use crate::wire::Psn;

/// Ranges of one stream that may still come; more tells the oldest.
const RANGES_MAX: usize = 16;

/// PSNs of requests that must have been there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unseen {
    /// The packet that proves them.
    at: Spot,
    first: Psn,
    /// One past the last.
    end: Psn,
    /// Those of them that did not come.
    count: u64,
}

impl Stream {
    /// Takes the requests from `first` to before `end` for lost by the recorder, as long as they do not come.
    #[cold]
    pub(super) fn lose(&mut self, at: Spot, first: Psn, end: Psn, sink: &mut Sink<'_>) {
        if self.unseen.len() >= RANGES_MAX {
            let oldest = self.unseen.remove(0);
            sink.capture.lost(oldest.at, sink.stream(sink.requester), oldest.count);
        }
        self.unseen.push(Unseen { at, first, end, count: end.distance(first).max(1) as u64 });
    }

    /// True if a request that takes the PSNs to before `end` is one of those that were taken for lost; the recorder wrote it in another order then.
    #[cold]
    pub(super) fn comes_late(&mut self, at: Spot, end: Psn, sink: &mut Sink<'_>) -> bool {
        let is_among =
            |unseen: &Unseen| at.psn.distance(unseen.first) >= 0 && at.psn.distance(unseen.end) < 0;
        let Some(place) = self.unseen.iter().position(is_among) else { return false };
        sink.capture.reordered(at, sink.stream(sink.requester));
        if let Some(unseen) = self.unseen.get_mut(place) {
            let end = if end.distance(unseen.end) > 0 { unseen.end } else { end };
            unseen.count = unseen.count.saturating_sub(end.distance(at.psn).max(1) as u64);
            if unseen.count == 0 {
                self.unseen.remove(place);
            }
        }
        true
    }

    /// Tells of all that did not come.
    #[cold]
    pub(super) fn tell_unseen(&mut self, sink: &mut Sink<'_>) {
        for unseen in std::mem::take(&mut self.unseen) {
            sink.capture.lost(unseen.at, sink.stream(sink.requester), unseen.count);
        }
    }
}
