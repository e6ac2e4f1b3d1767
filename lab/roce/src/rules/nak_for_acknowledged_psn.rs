//! [`Rule::NakForAcknowledgedPsn`]: a NAK for what was done.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};
use crate::wire::Psn;

pub(super) const TEXT: RuleText = RuleText::new(
    "What is acknowledged was executed.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (check_psn)",
);

/// A recorder puts packets into another order that are no further apart, in packets and in time.
const DISORDER: u64 = 128;
const DISORDER_NS: u64 = 100_000_000;

/// True where a refusal stands too far behind the acknowledgement for the recorder to have swapped them.
pub(crate) fn is_late(packets: u64, passed_ns: u64) -> bool {
    packets > DISORDER || passed_ns > DISORDER_NS
}

/// Tells of a refusal of `got`, before the next one to acknowledge.
pub(crate) fn found(acknowledged: Psn, got: Psn) -> Broken {
    Broken::new(Rule::NakForAcknowledgedPsn, Evidence::Psn { expected: acknowledged, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).ack(0, 1).answer(0, 0x60, 1),
    keeps: || {
        managed().put(send(0)).ack(0, 1).put(send(1)).answer(1, 0x2e, 1).after(2_000, send(1)).ack(1, 2)
    },
    beside: &[],
};
