//! State of retransmissions: requests that may come again, the run that is under way, the refusal that asks for one.

use std::collections::VecDeque;

use crate::checker::shape::Shapes;
use crate::retransmission::{RetransmissionClass, Retransmissions};
use crate::wire::Psn;

/// Atomics whose result is remembered, to compare a replay with.
const ATOMICS: usize = 16;

/// A refusal that asks for the request again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nak {
    pub(super) psn: Psn,
    /// Time before which it must not come again, of an RNR NAK.
    pub(super) rnr: Option<(u64, u64)>,
    /// True if it was reported itself, so that what follows from it is not.
    pub(super) is_reported: bool,
    /// True if the responder has what it asked for: the request itself came late, so nothing has to come again before it is answered.
    pub(super) is_filled: bool,
    /// True if an equal one came before, so that it may be a copy of that.
    pub(super) is_like_before: bool,
}

#[derive(Debug, Default)]
pub(super) struct Retry {
    pub(super) counts: Retransmissions,
    /// The class of the run that is under way, and the PSN that continues it.
    pub(super) run: Option<(RetransmissionClass, Psn)>,
    /// True if that run began with a message that was acknowledged before, after a pause: queue pairs that are used again look like that.
    pub(super) run_is_unsure: bool,
    /// The last request that was sent: its PSN and time.
    pub(super) last: Option<(Psn, u64)>,
    pub(super) shapes: Shapes,
    /// Results of the last atomics, by PSN.
    atomics: VecDeque<(Psn, u64)>,
}

impl Retry {
    /// Remembers the result of an atomic.
    pub(super) fn remember(&mut self, psn: Psn, original: u64) {
        if self.atomics.len() >= ATOMICS {
            self.atomics.pop_front();
        }
        self.atomics.push_back((psn, original));
    }

    /// The result that an atomic was first answered with.
    pub(super) fn result(&self, psn: Psn) -> Option<u64> {
        self.atomics.iter().find(|(known, _)| *known == psn).map(|(_, result)| *result)
    }
}
