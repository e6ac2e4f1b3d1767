//! [`Rule::PayloadUnexpected`]: a payload behind headers that stand alone.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{ACK, Examples, managed, pair, send};
use crate::wire::{Operation, Packet};

pub(super) const TEXT: RuleText = RuleText::new(
    "READ Requests, acknowledgements and atomics, and the answers to atomics, have headers and no payload.",
    "Linux drivers/infiniband/sw/rxe/rxe_opcode.c (RXE_PAYLOAD_MASK)",
);

/// Looks for a payload in a packet of an operation that has none.
#[inline]
pub(crate) fn check(packet: &Packet<'_>, operation: Operation) -> Option<Broken> {
    let got = packet.payload_length_bytes as u64;
    let evidence = Evidence::Payload { most: 0, got };
    (got != 0 && is_bare(operation)).then(|| Broken::new(Rule::PayloadUnexpected, evidence))
}

/// True for an operation that has headers and no payload.
const fn is_bare(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::ReadRequest
            | Operation::Acknowledge
            | Operation::AtomicAcknowledge
            | Operation::CmpSwap
            | Operation::FetchAdd
            | Operation::Flush
    )
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        let frame = pair().response(0x11, 0).aeth(ACK, 1).payload(b"four").build();
        managed().put(send(0)).put(frame)
    },
    keeps: || managed().put(send(0)).ack(0, 1),
    beside: &[],
};
