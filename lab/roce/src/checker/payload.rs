//! The payload of a request against the path MTU, and its addresses against what there is.

use crate::checker::asked::Asked;
use crate::checker::sink::{Arrival, Sink};
use crate::finding::Evidence;
use crate::flow::Connection;
use crate::rule::Rule;
use crate::wire::Place;

/// Longest message in bytes.
const MESSAGE_MAX_BYTES: u32 = 1 << 31;

/// The path MTUs that there are, in bytes.
const PATH_MTUS: [u64; 5] = [256, 512, 1_024, 2_048, 4_096];

/// Holds the payload of a First, which tells the path MTU, against those that there are.
#[cold]
pub(super) fn judge_path_mtu(arrival: &Arrival<'_>, sink: &mut Sink<'_>) {
    let got = arrival.packet.payload_length_bytes as u64;
    if !PATH_MTUS.contains(&got) {
        let nearest = PATH_MTUS.into_iter().find(|mtu| *mtu >= got).unwrap_or(4_096);
        sink.report(Rule::PathMtuInvalid, Evidence::Bytes { expected: nearest, got });
    }
}

/// Holds addresses and lengths against their bounds.
pub(super) fn judge_addresses(asked: &Asked, sink: &mut Sink<'_>) {
    if let Some(bytes) = asked.dma_length
        && bytes > MESSAGE_MAX_BYTES
    {
        let (expected, got) = (u64::from(MESSAGE_MAX_BYTES), u64::from(bytes));
        sink.report(Rule::DmaLengthTooLarge, Evidence::Number { what: "at most", expected, got });
    }
    if let Some(va) = asked.atomic_va
        && !va.is_multiple_of(8)
    {
        let (expected, got) = (va & !7, va);
        sink.report(Rule::AtomicAddressMisaligned, Evidence::Number { what: "address", expected, got });
    }
}

/// Payloads of First and Middle that were reported: the same wrong length again has the same cause.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PayloadRule {
    wrong_bytes: Option<u64>,
}

impl PayloadRule {
    /// Holds a payload against the path MTU; gives whether it is right.
    pub(super) fn judge(&mut self, connection: &Connection, asked: &Asked, sink: &mut Sink<'_>) -> bool {
        let Some(mtu) = connection.path_mtu_bytes.map(u64::from) else {
            return true;
        };
        let (got, place) = (asked.payload_bytes, asked.opcode.place());
        let is_right = match place {
            Place::First | Place::Middle => got == mtu,
            Place::Last => (1..=mtu).contains(&got),
            Place::Only => got <= mtu,
        };
        if !is_right && self.wrong_bytes != Some(got) {
            sink.report(Rule::PathMtuViolated, Evidence::Bytes { expected: mtu, got });
            self.wrong_bytes = Some(got);
        }
        is_right
    }
}
