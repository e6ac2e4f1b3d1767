//! [`Rule::PadCountMismatch`]: a pad of the wrong length.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, SEND, bare, pair};
use crate::wire::Packet;

pub(super) const TEXT: RuleText = RuleText::new(
    "The pad count of the BTH is (-payload) mod 4.",
    "Linux drivers/infiniband/sw/rxe/rxe_hdr.h, rxe_req.c (init_req_packet)",
);

/// Compares the pad count with the payload's length.
#[inline]
pub(crate) fn check(packet: &Packet<'_>) -> Option<Broken> {
    let expected = (4 - packet.payload.len() % 4) as u8 % 4;
    let got = packet.pad.len() as u8;
    (expected != got).then(|| Broken::new(Rule::PadCountMismatch, Evidence::Pad { expected, got }))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        // Six bytes behind the BTH, and no pad.
        bare().put(pair().request(SEND, 0).header(b"ab").payload(b"four").build()).ack(0, 1)
    },
    keeps: || bare().put(pair().request(SEND, 0).payload(b"sixpad").build()).ack(0, 1),
    beside: &[],
};
