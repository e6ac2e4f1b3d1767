//! [`Rule::MsnBeyondCompleted`]: a count of what is not complete.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "The message sequence number cannot count a message whose last packet the answer does not cover, nor one that it refuses.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (execute)",
);

/// Tells of an MSN above the most that it could be.
pub(crate) fn found(expected: u32, got: u32) -> Broken {
    Broken::new(Rule::MsnBeyondCompleted, Evidence::Msn { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).ack(0, 2),
    keeps: || managed().write(0x06, 0, 2048, 1024).write(0x08, 1, 0, 1024).ack(1, 1),
    beside: &[],
};
