//! A request as the rules keep it: one that is taken, or one that waits behind a missing one.

use crate::checker::sink::Arrival;
use crate::flow::ConnectionId;
use crate::wire::{Opcode, Operation, Psn};

/// Requests behind a gap that one stream keeps until something tells whether the responder took them.
pub(super) const BEHIND_MAX: usize = 1_024;

/// A request packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestPacket {
    pub(super) number: u64,
    pub(super) timestamp_ns: u64,
    pub(super) flow: ConnectionId,
    pub(super) opcode: Opcode,
    pub(super) psn: Psn,
    /// PSNs that it takes; `None` for a READ whose length or path MTU is unknown.
    pub(super) count: Option<u32>,
    pub(super) destination_qpn: u32,
    pub(super) ack_request: bool,
    pub(super) payload_bytes: u64,
    pub(super) dma_length: Option<u32>,
    /// Address and key.
    pub(super) memory: Option<(u64, u32)>,
    pub(super) atomic_va: Option<u64>,
    pub(super) immediate: Option<u32>,
    pub(super) invalidate: Option<u32>,
    /// True if the capture tells the fates of its packets.
    pub(super) is_told: bool,
}

impl RequestPacket {
    #[inline]
    pub(super) fn new(arrival: &Arrival<'_>, count: Option<u32>) -> Self {
        let (packet, bth) = (arrival.packet, arrival.bth);
        Self {
            number: arrival.number,
            timestamp_ns: arrival.timestamp_ns,
            flow: arrival.flow,
            opcode: bth.opcode(),
            psn: bth.psn(),
            count,
            destination_qpn: bth.destination_qpn(),
            ack_request: bth.ack_request(),
            payload_bytes: packet.payload_length_bytes as u64,
            dma_length: packet.reth.map(|reth| reth.dma_length()),
            memory: packet.remote_memory(),
            atomic_va: packet.atomic_eth.map(|atomic| atomic.va()),
            immediate: packet.immdt.map(|immdt| immdt.value()),
            invalidate: packet.ieth.map(|ieth| ieth.rkey()),
            is_told: arrival.is_told,
        }
    }

    /// True if the snap length cut the header that says how many responses a READ has.
    pub(super) fn is_read_of_unknown_length(&self) -> bool {
        self.opcode.operation() == Operation::ReadRequest && self.dma_length.is_none()
    }

    /// One past its last PSN, as far as it is known.
    pub(super) fn end(&self) -> Psn {
        self.psn.plus(self.count.unwrap_or(1))
    }
}
