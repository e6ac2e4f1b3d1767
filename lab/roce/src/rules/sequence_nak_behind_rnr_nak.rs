//! [`Rule::SequenceNakBehindRnrNak`]: a second refusal of one request, of another kind.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "Behind an RNR NAK the requests that were in flight are out of order, and rxe sends a NAK \"PSN sequence error\" for the one that it was not ready for. The RNR NAK is the cause, and what comes again is an RNR retry. Told once for each direction.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (RESPST_ERR_RNR, sent_psn_nak)",
);

/// Tells of the sequence NAK.
pub(crate) fn found() -> Broken {
    let (expected, got) = ("the RNR NAK for it alone", "a sequence NAK too");
    Broken::new(Rule::SequenceNakBehindRnrNak, Evidence::Words { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        let script = managed().put(send(0)).put(send(1)).answer(0, 0x2e, 0).answer(0, 0x60, 0);
        script.after(2_000, send(0)).put(send(1)).ack(1, 2)
    },
    keeps: || {
        managed().put(send(0)).put(send(1)).answer(0, 0x2e, 0).after(2_000, send(0)).put(send(1)).ack(1, 2)
    },
    beside: &[],
};
