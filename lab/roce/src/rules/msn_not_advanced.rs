//! [`Rule::MsnNotAdvanced`]: a count that lacks what it answers.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "The message sequence number counts completed requests, one at each last packet, plain WRITEs included; a READ counts when it is executed. Acknowledgements coalesce, so it may jump, but an answer never counts less than what it answers, and the number never goes back.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (execute)",
);

/// Tells of an MSN below the least that it could be.
pub(crate) fn found(expected: u32, got: u32) -> Broken {
    Broken::new(Rule::MsnNotAdvanced, Evidence::Msn { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).ack(0, 1).put(send(1)).ack(1, 1),
    keeps: || managed().put(send(0)).ack(0, 1).put(send(1)).ack(1, 2),
    beside: &[],
};
