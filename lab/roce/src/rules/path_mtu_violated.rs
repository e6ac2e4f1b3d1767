//! [`Rule::PathMtuViolated`]: a payload that does not fill its packet.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed};

pub(super) const TEXT: RuleText = RuleText::new(
    "First and Middle carry exactly one path MTU, Only at most one, Last between one byte and one path MTU. The path MTU is the REQ's, or without connection management that of the first First.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_length)",
);

/// Tells of a payload of `got` bytes.
pub(crate) fn found(mtu: u64, got: u64) -> Broken {
    Broken::new(Rule::PathMtuViolated, Evidence::Bytes { expected: mtu, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().write(0x06, 0, 1512, 512).write(0x07, 1, 0, 512).write(0x08, 2, 0, 488).ack(2, 1),
    keeps: || managed().write(0x06, 0, 2536, 1024).write(0x07, 1, 0, 1024).write(0x08, 2, 0, 488).ack(2, 1),
    beside: &[],
};
