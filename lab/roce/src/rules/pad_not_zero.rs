//! [`Rule::PadNotZero`]: a pad that carries something.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, SEND, bare, pair};
use crate::wire::Packet;

pub(super) const TEXT: RuleText = RuleText::new(
    "The 0 to 3 bytes between payload and ICRC are zero.",
    "Linux drivers/infiniband/sw/rxe/rxe_req.c (finish_packet)",
);

/// Looks for pad bytes that are not zero.
#[inline]
pub(crate) fn check(packet: &Packet<'_>) -> Option<Broken> {
    let is_broken = packet.pad.iter().any(|byte| *byte != 0);
    is_broken.then(|| Broken::new(Rule::PadNotZero, Evidence::PadNotZero))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        let odd = pair().request(SEND, 0).ack_request().pad_count(1).payload(b"odd\x01");
        bare().put(odd.build()).ack(0, 1)
    },
    keeps: || {
        let odd = pair().request(SEND, 0).ack_request().pad_count(1).payload(b"odd\0");
        bare().put(odd.build()).ack(0, 1)
    },
    beside: &[],
};
