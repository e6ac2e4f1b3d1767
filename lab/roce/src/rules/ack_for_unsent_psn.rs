//! [`Rule::AckForUnsentPsn`]: an answer to nothing.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};
use crate::wire::Psn;

pub(super) const TEXT: RuleText = RuleText::new(
    "An answer lies between the oldest request without one and the newest request that was sent.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (check_psn)",
);

/// Tells of an answer to a PSN outside of those that were sent.
pub(crate) fn found(expected: Psn, got: Psn) -> Broken {
    Broken::new(Rule::AckForUnsentPsn, Evidence::Psn { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).ack(0, 1).ack(1, 1),
    keeps: || managed().put(send(0)).put(send(1)).ack(1, 2),
    beside: &[],
};
