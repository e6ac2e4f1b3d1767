//! [`Rule::CaptureOneDirection`]: a capture of one side.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, bare, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "Packets of a connection come from one side alone, so what the other side did is unknown. Told once with its extent.",
    "the rules of this catalogue",
);

/// Tells of so many directions between nodes.
pub(crate) fn found(count: u64) -> Broken {
    Broken::new(Rule::CaptureOneDirection, Evidence::OneDirection { count })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || bare().put(send(0)).put(send(1)),
    keeps: || bare().put(send(0)).put(send(1)).ack(1, 2),
    beside: &[],
};
