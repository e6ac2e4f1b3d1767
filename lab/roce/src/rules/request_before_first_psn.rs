//! [`Rule::RequestBeforeFirstPsn`]: a request from before its connection.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, SEND, managed, pair, send};
use crate::wire::Psn;

pub(super) const TEXT: RuleText = RuleText::new(
    "The peer's REQ or REP says where the requests begin; nothing that was sent before can come again.",
    "Linux drivers/infiniband/core/cm.c, sw/rxe/rxe_resp.c (check_psn)",
);

/// Tells of a request before the first PSN.
pub(crate) fn found(expected: Psn, got: Psn) -> Broken {
    Broken::new(Rule::RequestBeforeFirstPsn, Evidence::Psn { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(pair().request(SEND, 0xff_ffff).payload(b"four").build()),
    keeps: || managed().put(send(0)).ack(0, 1),
    beside: &[],
};
