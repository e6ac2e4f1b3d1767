//! [`Rule::OpcodeOutOfSequence`]: a packet at another place than its message is at.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};
use crate::wire::Opcode;

pub(super) const TEXT: RuleText = RuleText::new(
    "After First or Middle only Middle or Last of the same operation may come, and Middle or Last not without a First. READ responses are Only when there is one, else First, Middle and Last, and begin anew when the rest of a READ is asked for again. rxe then goes on with Middle or Last, which is reported: its own requester takes it, another need not.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_op_seq)",
);

/// Tells of an opcode where another was due, in words.
pub(crate) fn found(expected: &'static str, got: Opcode) -> Broken {
    Broken::new(Rule::OpcodeOutOfSequence, Evidence::Opcode { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).ack(0, 1).write(0x08, 1, 0, 18),
    keeps: || managed().put(send(0)).ack(0, 1).write(0x06, 1, 1042, 1024).write(0x08, 2, 0, 18).ack(2, 2),
    beside: &[],
};
