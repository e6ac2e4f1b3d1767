//! [`Rule::ReadResponsePsnGap`]: a READ response that did not come.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed};
use crate::wire::Psn;

pub(super) const TEXT: RuleText = RuleText::new(
    "The i-th response to a READ carries the request's PSN + i. Responses come in the order of the requests, so a later answer shows as well that one is missing. A requester discards what follows it, until the missing one comes late or is asked for again; if it never is, the capture may lack it: a note.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (check_psn)",
);

/// Tells of the answer behind the missing one.
pub(crate) fn found(expected: Psn, got: Psn) -> Broken {
    Broken::new(Rule::ReadResponsePsnGap, Evidence::Psn { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().read(0, 2).piece(0x0f, 1, 1),
    keeps: || managed().read(0, 2).piece(0x0d, 0, 1).piece(0x0f, 1, 1),
    beside: &[],
};
