//! A connection and its two ends.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::cm::{PortSpace, Req, ack_timeout_ns, path_mtu_bytes};
use crate::retransmission::Retransmissions;
use crate::wire::{Opcode, Psn, is_of_path_mtu, is_of_some_path_mtu};

/// A side of a connection; each sends requests in a PSN space of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Sent the REQ; without connection management: the first requester.
    Active,
    /// Sent the REP.
    Passive,
}

impl Side {
    /// Both sides.
    pub const BOTH: [Self; 2] = [Self::Active, Self::Passive];

    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Active => Self::Passive,
            Self::Passive => Self::Active,
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionEnd {
    /// IP address of the node.
    pub address: IpAddr,
    /// Queue pair number; `None` while nothing has told it.
    pub qpn: Option<u32>,
    /// Number of the queue pair's name at its node: 1 of `client.qp1`. A REQ keeps one for the queue pair that its REP will name.
    pub number: Option<u32>,
    /// First PSN of its requests: the starting PSN in its *peer's* REQ or REP, or else the first seen.
    pub psn_first: Option<Psn>,
    /// READs and atomics that it may have under way: the lesser of its initiator depth and its peer's responder resources, as far as REQ and REP told them.
    pub initiator_depth: Option<u8>,
    /// Packets that it sent and its peer got, requests and answers.
    pub packets: u64,
    /// Payload of them in bytes.
    pub payload_bytes: u64,
}

impl ConnectionEnd {
    pub(super) fn new(address: IpAddr, qpn: Option<u32>) -> Self {
        let (number, psn_first, initiator_depth) = (None, None, None);
        Self { address, qpn, number, psn_first, initiator_depth, packets: 0, payload_bytes: 0 }
    }
}

/// Two queue pairs that talk to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// The active side.
    pub active: ConnectionEnd,
    /// The passive side.
    pub passive: ConnectionEnd,
    /// Service that the REQ asks for; `None` without connection management.
    pub port_space: Option<PortSpace>,
    /// Partition key of its packets, from the REQ.
    pub p_key: Option<u16>,
    /// Path MTU in bytes, from the REQ or else the first First packet.
    pub path_mtu_bytes: Option<u32>,
    /// ACK timeout of the requesters in nanoseconds, from the REQ; `None` when that has none, or is not there.
    pub ack_timeout_ns: Option<u64>,
    /// Most repetitions of a request that nothing answers, from the REQ.
    pub retry_count: Option<u8>,
    /// Requests that came again, of both sides, by class.
    pub retransmissions: Retransmissions,
    /// Connection management messages that came, by the side that sent them: `REQ`, `DREP`.
    pub management: BTreeSet<(Side, &'static str)>,
}

impl Connection {
    /// A connection that no management tells of.
    pub(super) fn unmanaged(active: ConnectionEnd, passive: ConnectionEnd) -> Self {
        Self {
            active,
            passive,
            port_space: None,
            p_key: None,
            path_mtu_bytes: None,
            ack_timeout_ns: None,
            retry_count: None,
            retransmissions: Retransmissions::default(),
            management: BTreeSet::new(),
        }
    }

    /// The connection that a REQ asks for.
    pub(super) fn asked_for(source: IpAddr, destination: IpAddr, req: Req<'_>) -> Self {
        let mut active = ConnectionEnd::new(source, Some(req.local_qpn()));
        let mut passive = ConnectionEnd::new(destination, None);
        // A starting PSN is the one that its sender wants to receive first: the peer's requests begin there.
        passive.psn_first = Some(req.starting_psn());
        active.initiator_depth = Some(req.initiator_depth());
        passive.initiator_depth = Some(req.responder_resources());
        Self {
            port_space: Some(req.port_space()),
            p_key: Some(req.p_key()),
            path_mtu_bytes: path_mtu_bytes(req.path_mtu_code()),
            ack_timeout_ns: ack_timeout_ns(req.primary_ack_timeout()),
            retry_count: Some(req.retry_count()),
            ..Self::unmanaged(active, passive)
        }
    }

    /// The end on `side`.
    pub fn endpoint(&self, side: Side) -> &ConnectionEnd {
        match side {
            Side::Active => &self.active,
            Side::Passive => &self.passive,
        }
    }

    /// True if something shows that the queue pair on `side` is there: connection management, or a packet that it sent.
    pub(crate) fn is_shown(&self, side: Side) -> bool {
        self.port_space.is_some() || self.endpoint(side).packets > 0
    }

    /// True if one of its sides has asked to end it.
    pub(crate) fn is_closed(&self) -> bool {
        Side::BOTH.into_iter().any(|side| self.management.contains(&(side, "DREQ")))
    }

    /// True if a payload is one of another path MTU than that of the connection.
    pub(crate) fn has_other_path_mtu(&self, opcode: Opcode, payload_bytes: usize) -> bool {
        let (place, payload_bytes) = (opcode.place(), payload_bytes as u64);
        self.path_mtu_bytes.is_some_and(|mtu| !is_of_path_mtu(mtu.into(), place, payload_bytes))
            && is_of_some_path_mtu(place, payload_bytes)
    }

    pub(crate) fn endpoint_mut(&mut self, side: Side) -> &mut ConnectionEnd {
        match side {
            Side::Active => &mut self.active,
            Side::Passive => &mut self.passive,
        }
    }

    /// Counts a packet that `sender` sent and its peer got.
    #[inline]
    pub(crate) fn count(&mut self, sender: Side, payload_bytes: u64) {
        let end = self.endpoint_mut(sender);
        end.packets += 1;
        end.payload_bytes += payload_bytes;
    }

    /// The side whose node has `address`; the active one when both have.
    pub(crate) fn side_of(&self, address: IpAddr) -> Option<Side> {
        Side::BOTH.into_iter().find(|side| self.endpoint(*side).address == address)
    }
}
