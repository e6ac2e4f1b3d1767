//! [`Rule::InitiatorDepthExceeded`]: more READs and atomics than the responder can hold.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed};

pub(super) const TEXT: RuleText = RuleText::new(
    "The requester's initiator depth and the responder's responder resources, from REQ and REP, bound how many READs and atomics may be without their answer at a time: the lesser of both, rounded up to a power of two, as rxe does. Reported once for each direction; without connection management nothing tells the bound.",
    "Linux drivers/infiniband/sw/rxe/rxe_qp.c (rxe_qp_from_attr), core/cm.c (cm_format_rep_event)",
);

/// Holds how many are under way against the most that may be.
pub(crate) fn check(most: usize, under_way: usize) -> Option<Broken> {
    let (most, got) = (most as u64, under_way as u64);
    let evidence = Evidence::Most { what: "READs and atomics under way", most, got };
    (got > most).then(|| Broken::new(Rule::InitiatorDepthExceeded, evidence))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().read(0, 1).read(1, 1).piece(0x10, 0, 1).piece(0x10, 1, 2),
    keeps: || managed().read(0, 1).piece(0x10, 0, 1).read(1, 1).piece(0x10, 1, 2),
    beside: &[],
};
