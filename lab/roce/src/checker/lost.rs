//! Requests that the recorder seems to have lost.
//!
//! In: ranges of PSNs that answers prove. Out: the recorder's loss, unless a request of the range comes after all: it stands at another place then.

use crate::broken::Spot;
use crate::checker::sink::Sink;
use crate::checker::stream::Stream;
use crate::checker::unseen::Unseen;
use crate::wire::Psn;

/// Ranges of one stream that may still come; more tells the oldest.
const RANGES_MAX: usize = 16;

impl Stream {
    /// Takes the requests from `first` to before `end` for lost by the recorder, as long as they do not come.
    #[cold]
    pub(super) fn lose(&mut self, at: Spot, first: Psn, end: Psn, sink: &mut Sink<'_>) {
        if self.unseen.len() >= RANGES_MAX {
            let oldest = self.unseen.remove(0);
            sink.capture.lost(oldest.at, sink.stream(sink.requester), oldest.count);
        }
        self.unseen.push(Unseen::new(at, first, end));
    }

    /// True if a request that takes the PSNs to before `end` is one of those that were taken for lost; the recorder wrote it in another order then.
    #[cold]
    pub(super) fn comes_late(&mut self, at: Spot, end: Psn, sink: &mut Sink<'_>) -> bool {
        let Some(unseen) = self.unseen.iter_mut().find(|unseen| unseen.has(at.psn)) else { return false };
        unseen.take(at.psn, end);
        self.unseen.retain(|unseen| unseen.count > 0);
        sink.capture.reordered(at, sink.stream(sink.requester));
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
