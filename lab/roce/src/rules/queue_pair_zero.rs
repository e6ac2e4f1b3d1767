//! [`Rule::QueuePairZero`]: a packet for subnet management.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Once, Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, SEND, bare, pair};
use crate::wire::Bth;

pub(super) const TEXT: RuleText = RuleText::new(
    "Queue pair 0 is for subnet management, which RoCE does not have; a receiver discards it. Reported once for each receiver.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (hdr_check: qpn == 0)",
)
.once(Once::ByReceiver);

/// Looks for queue pair 0 as the destination.
#[inline]
pub(crate) fn check(bth: Bth<'_>) -> Option<Broken> {
    let evidence = Evidence::Words { expected: "a queue pair from 1 on", got: "queue pair 0" };
    (bth.destination_qpn() == 0).then(|| Broken::new(Rule::QueuePairZero, evidence))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        let frame = pair().request(SEND, 0).destination_qpn(0).payload(b"four").build();
        bare().put(frame).ack(0, 1)
    },
    keeps: || bare().put(pair().request(SEND, 0).destination_qpn(2).payload(b"four").build()).ack(0, 1),
    beside: &[],
};
