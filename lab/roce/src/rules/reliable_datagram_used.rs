//! [`Rule::ReliableDatagramUsed`]: a packet of a transport that no verb makes.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Once, Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, bare, pair};
#[cfg(any(test, feature = "synth"))]
use crate::wire::RdethValues;
use crate::wire::{Opcode, TransportService};

pub(super) const TEXT: RuleText = RuleText::new(
    "No queue pair of type RD can be made with RDMA verbs, so nothing that is known sends one. Reported once for each opcode and receiver.",
    "Linux include/rdma/ib_verbs.h (enum ib_qp_type)",
)
.once(Once::ByOpcodeAndReceiver);

/// Looks for the transport RD.
#[inline]
pub(crate) fn check(opcode: Opcode) -> Option<Broken> {
    (opcode.transport() == TransportService::Rd).then(|| {
        let evidence = Evidence::Opcode { expected: "no reliable datagram", got: opcode };
        Broken::new(Rule::ReliableDatagramUsed, evidence)
    })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        let frame = pair().request(0x44, 0).header(&RdethValues::default().emit()).deth(1, 2);
        bare().put(frame.payload(b"four").build())
    },
    keeps: || bare().put(pair().request(0x64, 0).deth(1, 2).payload(b"four").build()),
    beside: &[],
};
