//! [`Rule::RetransmissionDiffers`]: a request that is another one under its PSN.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};
use crate::wire::Opcode;

pub(super) const TEXT: RuleText = RuleText::new(
    "A PSN that was sent before is a duplicate and has to be the same packet. Only a READ may ask for less, with address, length and PSN advanced.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (duplicate_request), rxe_req.c (req_retry)",
);

/// Tells of a request with another opcode or length than the one of its PSN.
pub(crate) fn found() -> Broken {
    let (expected, got) = ("the packet that was sent before", "another opcode or length");
    Broken::new(Rule::RetransmissionDiffers, Evidence::Words { expected, got })
}

/// Tells of a request under a PSN that the responses to a READ take.
pub(crate) fn found_inside_read(got: Opcode) -> Broken {
    let expected = "a PSN behind those of the READ before it";
    Broken::new(Rule::RetransmissionDiffers, Evidence::Opcode { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().read(0, 3).piece(0x0d, 0, 1).piece(0x0e, 1, 1).piece(0x0f, 2, 1).put(send(2)),
    keeps: || managed().put(send(0)).after(2_000_000, send(0)).ack(0, 1),
    beside: &[],
};
