//! [`Rule::PathMtuInvalid`]: a First whose payload is no path MTU.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, bare};
use crate::wire::PATH_MTUS;

pub(super) const TEXT: RuleText = RuleText::new(
    "A path MTU is 256, 512, 1024, 2048 or 4096 bytes, and First and Middle carry exactly one. Reported once for each receiver.",
    "Linux include/rdma/ib_verbs.h (enum ib_mtu)",
);

/// Holds the payload of the First that tells the path MTU against those that there are.
#[cold]
pub(crate) fn check(payload_bytes: usize) -> Option<Broken> {
    let got = payload_bytes as u64;
    if PATH_MTUS.contains(&got) {
        return None;
    }
    let expected = PATH_MTUS.into_iter().find(|mtu| *mtu >= got).unwrap_or(4_096);
    Some(Broken::new(Rule::PathMtuInvalid, Evidence::Bytes { expected, got }))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || bare().write(0x06, 0, 2000, 1000).write(0x08, 1, 0, 1000).ack(1, 1),
    keeps: || bare().write(0x06, 0, 2024, 1024).write(0x08, 1, 0, 1000).ack(1, 1),
    beside: &[],
};
