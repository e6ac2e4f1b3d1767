//! [`Rule::CaptureDoubled`]: packets that the recorder wrote twice.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "Frames come twice, equal in every byte, within half a millisecond: two mirror ports, or every interface of a node was recorded. The copies are not held against the peers and not counted as retransmissions. Told once with its extent, when two fifths of the packets of a direction or more are copies, each of another; fewer are copies that the network made. So is a refusal that comes once more though what it refuses was answered, or did not come again. What a requester sends again on its way back to a missing packet is no copy.",
    "the rules of this catalogue",
);

/// Tells of so many copies.
pub(crate) fn found(count: u64) -> Broken {
    Broken::new(Rule::CaptureDoubled, Evidence::Extent { what: "copied packet", count, places: 1 })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).ack(0, 1).end().twice(),
    keeps: || {
        // One copy is the network's.
        managed().put(send(0)).after(1, send(0)).ack(0, 1).end()
    },
    beside: &[],
};
