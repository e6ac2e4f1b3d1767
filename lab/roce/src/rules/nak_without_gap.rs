//! [`Rule::NakWithoutGap`]: a NAK where nothing is missing.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};
use crate::wire::Psn;

pub(super) const TEXT: RuleText = RuleText::new(
    "A NAK \"PSN sequence error\" carries the PSN that the responder expects, and the capture shows no gap there: the request was lost behind the place of capture, or the NAK is wrong. A request that others overtook was missing when they came, though its NAK may come after it. Of a shuffled capture, whose order shows no gap, the NAKs are told once, with their number.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_psn)",
);

/// Tells of a NAK at `got`, where the request at `expected` is the next.
pub(crate) fn found(expected: Psn, got: Psn) -> Broken {
    Broken::new(Rule::NakWithoutGap, Evidence::Psn { expected, got })
}

/// Tells of so many NAKs, in so many places, of a capture in whose order of packets no gap shows.
pub(crate) fn found_in_disorder(count: u64, places: u64) -> Broken {
    Broken::new(Rule::NakWithoutGap, Evidence::Extent { what: "sequence NAK", count, places })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).answer(0, 0x60, 0).put(send(0)).ack(0, 1),
    keeps: || managed().put(send(1)).answer(0, 0x60, 0).put(send(0)).put(send(1)).ack(1, 2),
    beside: &[Rule::RequestPsnGap],
};
