//! [`Rule::ResponseOfWrongKind`]: an answer of another operation than its request.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};
use crate::wire::Opcode;

pub(super) const TEXT: RuleText = RuleText::new(
    "READ responses answer READs (and FLUSH and ATOMIC WRITE), Atomic Acknowledges answer atomics.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (check_ack)",
);

/// Tells of an answer where another was due, in words.
pub(crate) fn found(expected: &'static str, got: Opcode) -> Broken {
    Broken::new(Rule::ResponseOfWrongKind, Evidence::Opcode { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).piece(0x10, 0, 1),
    keeps: || managed().read(0, 1).piece(0x10, 0, 1),
    beside: &[],
};
