//! [`Rule::RequestPsnGap`]: a request that did not come.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};
use crate::wire::Psn;

pub(super) const TEXT: RuleText = RuleText::new(
    "A new request carries the PSN after the one before it; a READ Request takes one PSN for each packet of its response. Numbers are compared in a signed window of 2^23, so a wrap is a step of one. A responder discards what follows a gap, and so do the rules until the missing request comes or an answer shows that it had come. A note where nothing tells whether it was lost or the recorder has not got it: nobody refuses it, UC, one direction alone.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_psn)",
);

/// Tells of the request behind the missing one.
pub(crate) fn found(expected: Psn, got: Psn) -> Broken {
    Broken::new(Rule::RequestPsnGap, Evidence::Psn { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        managed().put(send(0)).ack(0, 1).put(send(2)).answer(1, 0x60, 1).put(send(1)).put(send(2)).ack(2, 3)
    },
    keeps: || {
        // A READ takes a PSN for each of its responses.
        managed().read(0, 2).piece(0x0d, 0, 1).piece(0x0f, 1, 1).put(send(2)).ack(2, 2)
    },
    beside: &[],
};
