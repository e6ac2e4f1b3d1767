//! A packet as the trace keeps it until every name is known.

use std::net::IpAddr;

use crate::cm::Mad;
use crate::fate::Fate;
use crate::flow::{ConnectionId, Side};
use crate::retransmission::RetransmissionClass;
use crate::wire::{DecodeStop, Icrc, Opcode, Packet, Psn, Syndrome};

/// A data packet.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// True if a filter hides it; it names things all the same.
    pub(crate) is_hidden: bool,
    pub(crate) number: u64,
    /// Time in nanoseconds since the epoch.
    pub(crate) timestamp_ns: u64,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Connection and the side that sends.
    pub(crate) flow: Option<(ConnectionId, Side)>,
    /// Retransmission class, if it was sent before.
    pub(crate) again: Option<RetransmissionClass>,
    pub(crate) fate: Fate,
    pub(crate) opcode: Option<Opcode>,
    pub(crate) destination_qpn: Option<u32>,
    pub(crate) source_qpn: Option<u32>,
    pub(crate) psn: Option<Psn>,
    pub(crate) p_key: u16,
    pub(crate) ack_request: bool,
    pub(crate) solicited_event: bool,
    pub(crate) transport_version: u8,
    pub(crate) congestion: (bool, bool),
    pub(crate) ecn: u8,
    pub(crate) payload_length_bytes: Option<usize>,
    pub(crate) pad_count: u8,
    /// Address, key, DMA length.
    pub(crate) reth: Option<(u64, u32, u32)>,
    /// Address, key, swap or add, compare.
    pub(crate) atomic: Option<(u64, u32, u64, u64)>,
    pub(crate) original: Option<u64>,
    pub(crate) aeth: Option<(Syndrome, u32)>,
    pub(crate) immediate: Option<u32>,
    pub(crate) invalidate: Option<u32>,
    pub(crate) q_key: Option<u32>,
    pub(crate) srq_number: Option<u32>,
    pub(crate) flush: Option<(u8, u8)>,
    pub(crate) mad: Option<(u8, u16)>,
    pub(crate) icrc: Icrc,
    pub(crate) is_cut: bool,
    pub(crate) stop: Option<DecodeStop>,
}

impl Row {
    pub(crate) fn new(
        number: u64,
        timestamp_ns: u64,
        packet: &Packet<'_>,
        flow: Option<(ConnectionId, Side)>,
        again: Option<RetransmissionClass>,
        fate: Fate,
    ) -> Self {
        let bth = packet.bth;
        Self {
            is_hidden: false,
            number,
            timestamp_ns,
            source: packet.source,
            destination: packet.destination,
            flow,
            again,
            fate,
            opcode: packet.opcode(),
            destination_qpn: bth.map(|bth| bth.destination_qpn()),
            source_qpn: packet.deth.map(|deth| deth.source_qpn()),
            psn: bth.map(|bth| bth.psn()),
            p_key: bth.map_or(0xffff, |bth| bth.p_key()),
            ack_request: bth.is_some_and(|bth| bth.ack_request()),
            solicited_event: bth.is_some_and(|bth| bth.solicited_event()),
            transport_version: bth.map_or(0, |bth| bth.transport_version()),
            congestion: bth.map_or((false, false), |bth| (bth.fecn(), bth.becn())),
            ecn: packet.ecn,
            payload_length_bytes: (packet.stop.is_none() || packet.is_cut)
                .then_some(packet.payload_length_bytes),
            pad_count: bth.map_or(0, |bth| bth.pad_count()),
            reth: packet.reth.map(|reth| (reth.va(), reth.rkey(), reth.dma_length())),
            atomic: packet
                .atomic_eth
                .map(|atomic| (atomic.va(), atomic.rkey(), atomic.swap_or_add(), atomic.compare())),
            original: packet.atomic_ack_eth.map(|ack| ack.original()),
            aeth: packet.aeth.map(|aeth| (aeth.syndrome(), aeth.msn())),
            immediate: packet.immdt.map(|immdt| immdt.value()),
            invalidate: packet.ieth.map(|ieth| ieth.rkey()),
            q_key: packet.deth.map(|deth| deth.q_key()),
            srq_number: packet.xrceth.map(|xrceth| xrceth.srq_number()),
            flush: packet.feth.map(|feth| (feth.placement(), feth.selectivity())),
            mad: packet.mad().and_then(Result::ok).map(|mad| (mad.class(), mad.attribute_id())),
            icrc: packet.icrc,
            is_cut: packet.is_cut,
            stop: packet.stop,
        }
    }
}

/// A connection management packet.
#[derive(Clone, Debug)]
pub(crate) struct CmRow {
    /// True if a filter hides it; it names things all the same.
    pub(crate) is_hidden: bool,
    pub(crate) number: u64,
    /// Time in nanoseconds since the epoch.
    pub(crate) timestamp_ns: u64,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) flow: Option<ConnectionId>,
    pub(crate) fate: Fate,
    pub(crate) icrc: Icrc,
    pub(crate) p_key: u16,
    /// The management datagram's bytes.
    bytes: Vec<u8>,
}

impl CmRow {
    pub(crate) fn new(
        (number, timestamp_ns): (u64, u64),
        packet: &Packet<'_>,
        flow: Option<ConnectionId>,
        fate: Fate,
    ) -> Self {
        Self {
            is_hidden: false,
            number,
            timestamp_ns,
            source: packet.source,
            destination: packet.destination,
            flow,
            fate,
            icrc: packet.icrc,
            p_key: packet.bth.map_or(0xffff, |bth| bth.p_key()),
            bytes: packet.payload.to_vec(),
        }
    }

    pub(crate) fn mad(&self) -> Option<Mad<'_>> {
        Mad::new(&self.bytes, 0).ok()
    }
}
