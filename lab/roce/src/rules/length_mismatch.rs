//! [`Rule::LengthMismatch`]: a message of another length than it said.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed};

pub(super) const TEXT: RuleText = RuleText::new(
    "The RETH's DMA length is the sum of the payloads from First to Last; zero is allowed. The responses to a READ add up to what it asked for.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_length, check_rkey)",
);

/// Compares the sum of the payloads with the announced length, both in bytes.
pub(crate) fn check(expected: u64, got: u64) -> Option<Broken> {
    (expected != got).then(|| Broken::new(Rule::LengthMismatch, Evidence::Bytes { expected, got }))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().write(0x0a, 0, 22, 18).ack(0, 1),
    keeps: || managed().write(0x0a, 0, 18, 18).ack(0, 1),
    beside: &[],
};
