//! [`Rule::NetworkReordered`]: requests that came behind later ones.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "A request came behind later ones before anything asked for it again, and its responder refused the later ones: they had taken another way through the network. Told once with its extent.",
    "the rules of this catalogue",
);

/// Tells of so many requests, in so many places.
pub(crate) fn found(count: u64, places: u64) -> Broken {
    Broken::new(Rule::NetworkReordered, Evidence::Extent { what: "overtaken request", count, places })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        managed()
            .put(send(0))
            .ack(0, 1)
            .put(send(2))
            .put(send(1))
            .answer(1, 0x60, 1)
            .put(send(1))
            .put(send(2))
            .ack(2, 3)
    },
    keeps: || managed().put(send(0)).ack(0, 1).put(send(1)).put(send(2)).ack(2, 3),
    beside: &[],
};
