//! A READ response or an Atomic Acknowledge that is missing before a later answer.

use crate::broken::{Broken, Spot};
use crate::rules::{atomic_ack_missing, read_response_psn_gap};
use crate::wire::Psn;

/// Kind of the answer that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingAnswer {
    /// A READ response.
    ReadResponse,
    /// An Atomic Acknowledge.
    AtomicAck,
}

/// A missing answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerGap {
    missing: MissingAnswer,
    /// The answer behind it, and its time.
    pub(super) at: Spot,
    pub(super) at_ns: u64,
    pub(super) expected: Psn,
    /// Answers that came since.
    pub(super) later: u32,
    /// True if the answer behind it seems to be the missing one, under a wrong PSN.
    pub(super) is_misnumbered: bool,
    /// True if the READ is answered anew since, from before the missing one.
    pub(super) is_answered_anew: bool,
}

impl AnswerGap {
    /// The gap before an answer, of that packet number and time, whose PSN is not the one that is due.
    pub(super) fn new(missing: MissingAnswer, number: u64, at_ns: u64, expected: Psn, got: Psn) -> Self {
        let at = Spot { number, psn: got, is_request: false };
        Self { missing, at, at_ns, expected, later: 0, is_misnumbered: false, is_answered_anew: false }
    }

    /// Finding that it was lost.
    pub(super) fn found(&self) -> Broken {
        let found = match self.missing {
            MissingAnswer::ReadResponse => read_response_psn_gap::found,
            MissingAnswer::AtomicAck => atomic_ack_missing::found,
        };
        found(self.expected, self.at.psn).at(self.at)
    }
}
