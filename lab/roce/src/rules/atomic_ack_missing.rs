//! [`Rule::AtomicAckMissing`]: an atomic that a later answer passes.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};
use crate::wire::Psn;

pub(super) const TEXT: RuleText = RuleText::new(
    "An ACK does not answer a CmpSwap or FetchAdd: it needs its own Atomic Acknowledge, and answers come in the order of the requests. If it is not sent again, the capture may lack the answer: a note.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (check_ack)",
);

/// Tells of the answer that passes the atomic at `expected`.
pub(crate) fn found(expected: Psn, got: Psn) -> Broken {
    Broken::new(Rule::AtomicAckMissing, Evidence::Psn { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().fetch_add(0, 64).put(send(1)).ack(1, 2),
    keeps: || managed().fetch_add(0, 64).put(send(1)).atomic_ack(0, 1, 7).ack(1, 2),
    beside: &[],
};
