//! [`Rule::DmaLengthTooLarge`]: a message that announces too much.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, pair};

pub(super) const TEXT: RuleText = RuleText::new(
    "A message has at most 2^31 bytes.",
    "Linux drivers/infiniband/sw/rxe/rxe_param.h, include/rdma/ib_verbs.h (max_msg_sz)",
);

/// Longest message in bytes.
const MESSAGE_MAX_BYTES: u32 = 1 << 31;

/// Holds the announced length against the longest message.
#[inline]
pub(crate) fn check(bytes: u32) -> Option<Broken> {
    let (most, got) = (u64::from(MESSAGE_MAX_BYTES), u64::from(bytes));
    let evidence = Evidence::Most { what: "bytes", most, got };
    (bytes > MESSAGE_MAX_BYTES).then(|| Broken::new(Rule::DmaLengthTooLarge, evidence))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(pair().request(0x0c, 0).ack_request().reth(0, 1, (1 << 31) + 1).build()),
    keeps: || managed().put(pair().request(0x0c, 0).ack_request().reth(0, 1, 1 << 31).build()),
    beside: &[],
};
