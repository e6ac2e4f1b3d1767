//! [`Rule::RequestNotAnswered`]: a request that nothing answered.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, pair, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "A READ, an atomic, or a request that asked for an acknowledgement was answered neither before the disconnect nor after it. Named at the request. Where the requester did not send it again and the capture tells no fates, its answer may have come and be missing here: a note. Connections whose end is not in the capture are not held to this.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c",
);

/// Tells of a request without an answer at the end of its connection.
pub(crate) fn found() -> Broken {
    let (expected, got) = ("an answer before the connection ends", "none");
    Broken::new(Rule::RequestNotAnswered, Evidence::Words { expected, got })
}

/// Tells of a request that was sent `times` to queue pair `qpn`, the last time in vain.
pub(crate) fn found_repeated(times: u64, qpn: u32) -> Broken {
    Broken::new(Rule::RequestNotAnswered, Evidence::Unanswered { times, qpn })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).end(),
    keeps: || {
        // The answer was on its way when the connection ended.
        managed().put(send(0)).put(pair().dreq()).ack(0, 1).put(pair().drep())
    },
    beside: &[],
};
