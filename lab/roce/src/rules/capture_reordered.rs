//! [`Rule::CaptureReordered`]: packets that the recorder wrote late.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "An answer stands before the request that it answers, or a request before one that had to come first, and nothing was asked for again, or an answer behind a later one: the recorder wrote them in another order. Told once with its extent. Where it did so with one packet in twenty or more, and with four at least, nothing can be concluded from the order: what the rules about losses, answers and message numbers would say of such a capture is not told. What they find waits for 1,024 packets, in which a shuffled capture shows that it is one.",
    "the rules of this catalogue",
);

/// Tells of so many packets, in so many places.
pub(crate) fn found(count: u64, places: u64) -> Broken {
    Broken::new(Rule::CaptureReordered, Evidence::Extent { what: "packet", count, places })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).ack(0, 1).ack(1, 2).put(send(1)),
    keeps: || managed().put(send(0)).ack(0, 1).put(send(1)).ack(1, 2),
    beside: &[],
};
