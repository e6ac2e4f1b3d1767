//! [`Rule::PayloadTooLarge`]: a payload beyond every path MTU.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, SEND, bare, pair};
use crate::wire::Packet;

pub(super) const TEXT: RuleText =
    RuleText::new("The largest path MTU is 4096 bytes.", "Linux include/rdma/ib_verbs.h (enum ib_mtu)");

/// Largest path MTU in bytes.
const PAYLOAD_MAX_BYTES: usize = 4_096;

/// Holds the payload against the largest path MTU.
#[inline]
pub(crate) fn check(packet: &Packet<'_>) -> Option<Broken> {
    let (most, got) = (PAYLOAD_MAX_BYTES as u64, packet.payload_length_bytes as u64);
    (got > most).then(|| Broken::new(Rule::PayloadTooLarge, Evidence::Payload { most, got }))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || bare().put(pair().request(SEND, 0).ack_request().payload(&[1; 6000]).build()).ack(0, 1),
    keeps: || bare().put(pair().request(SEND, 0).ack_request().payload(&[1; 4096]).build()).ack(0, 1),
    beside: &[],
};
