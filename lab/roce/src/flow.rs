//! Connections: which packets belong together, and which queue pair sends them.
//!
//! In: connection management messages and packets. Out: for each packet its connection and the side that sent it. Without connection management the two
//! directions are paired when a response's PSN falls among the other's requests. Queue pair numbers are reused: a new REQ begins a new connection.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::checker::Stream;
use crate::cm::{Message as CmMessage, PortSpace, path_mtu_bytes};
use crate::wire::{Packet, Psn};

/// A side of a connection; each sends requests in a PSN space of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Sent the REQ; without connection management: the first requester.
    Active,
    /// Sent the REP.
    Passive,
}

impl Side {
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
pub struct Endpoint {
    /// IP address of the node.
    pub address: IpAddr,
    /// Queue pair number; `None` while nothing has told it.
    pub qpn: Option<u32>,
    /// First PSN of its requests: the starting PSN in its *peer's* REQ or REP, or else the first seen.
    pub psn_first: Option<Psn>,
}

/// Two queue pairs that talk to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The active side.
    pub active: Endpoint,
    /// The passive side.
    pub passive: Endpoint,
    /// Service that the REQ asks for; `None` without connection management.
    pub port_space: Option<PortSpace>,
    /// Path MTU in bytes, from the REQ or else the first First packet.
    pub path_mtu_bytes: Option<u32>,
    /// Packets that came again: requests whose PSN was seen before.
    pub retransmissions: u64,
}

impl Connection {
    /// The end on `side`.
    pub fn endpoint(&self, side: Side) -> &Endpoint {
        match side {
            Side::Active => &self.active,
            Side::Passive => &self.passive,
        }
    }

    pub(crate) fn endpoint_mut(&mut self, side: Side) -> &mut Endpoint {
        match side {
            Side::Active => &mut self.active,
            Side::Passive => &mut self.passive,
        }
    }

    /// The side whose node has `address`; the active one when both have.
    fn side_of(&self, address: IpAddr) -> Option<Side> {
        [Side::Active, Side::Passive].into_iter().find(|side| self.endpoint(*side).address == address)
    }
}

/// A connection and the state of both request streams.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) connection: Connection,
    streams: [Stream; 2],
    active_comm_id: Option<u32>,
    /// The flow that took this one over when the two directions were paired; there, the sides are exchanged.
    merged_into: Option<usize>,
}

impl Flow {
    /// The stream of requests that `side` sends.
    pub(crate) fn stream(&self, side: Side) -> &Stream {
        &self.streams[side as usize]
    }

    /// The connection and the stream of requests that `side` sends.
    pub(crate) fn parts(&mut self, side: Side) -> (&mut Connection, &mut Stream) {
        (&mut self.connection, &mut self.streams[side as usize])
    }
}

/// Every connection of a capture.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    pub(crate) flows: Vec<Flow>,
    /// (receiver, destination QPN) to the flow and the side that *receives*.
    by_qpn: HashMap<(IpAddr, u32), (usize, Side)>,
    /// (owner, communication id) to the flow.
    by_comm_id: HashMap<(IpAddr, u32), usize>,
}

impl Flows {
    fn add(&mut self, connection: Connection, active_comm_id: Option<u32>) -> usize {
        let streams = [Stream::new(connection.active.psn_first), Stream::new(connection.passive.psn_first)];
        self.flows.push(Flow { connection, streams, active_comm_id, merged_into: None });
        self.flows.len() - 1
    }

    /// Takes a connection management message in; gives the flow that it belongs to.
    pub(crate) fn connection_management(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        message: &CmMessage<'_>,
    ) -> Option<usize> {
        match message {
            CmMessage::Req(req) => {
                let comm_id = req.local_comm_id();
                if let Some(index) = self.by_comm_id.get(&(source, comm_id))
                    && let Some(flow) = self.flows.get(*index)
                    && flow.active_comm_id == Some(comm_id)
                    && flow.connection.active.qpn == Some(req.local_qpn())
                    && flow.connection.passive.psn_first == Some(req.starting_psn())
                {
                    return Some(*index);
                }
                // A starting PSN is the one that its sender wants to receive first: the peer's requests begin there.
                let active = Endpoint { address: source, qpn: Some(req.local_qpn()), psn_first: None };
                let passive =
                    Endpoint { address: destination, qpn: None, psn_first: Some(req.starting_psn()) };
                let index = self.add(
                    Connection {
                        active,
                        passive,
                        port_space: Some(req.port_space()),
                        path_mtu_bytes: path_mtu_bytes(req.path_mtu_code()),
                        retransmissions: 0,
                    },
                    Some(comm_id),
                );
                self.by_comm_id.insert((source, comm_id), index);
                self.by_qpn.insert((source, req.local_qpn()), (index, Side::Active));
                Some(index)
            }
            CmMessage::Rep(rep) => {
                let index = *self.by_comm_id.get(&(destination, rep.remote_comm_id()))?;
                let flow = self.flows.get_mut(index)?;
                if flow.connection.passive.qpn.is_none() {
                    flow.connection.passive.qpn = Some(rep.local_qpn());
                    flow.connection.active.psn_first = Some(rep.starting_psn());
                    flow.streams[Side::Active as usize] = Stream::new(Some(rep.starting_psn()));
                    self.by_comm_id.insert((source, rep.local_comm_id()), index);
                    self.by_qpn.insert((source, rep.local_qpn()), (index, Side::Passive));
                }
                Some(index)
            }
            other => self.of_connection_management(source, destination, other),
        }
    }

    /// Finds the flow of a connection management message without taking it in.
    pub(crate) fn of_connection_management(
        &self,
        source: IpAddr,
        destination: IpAddr,
        message: &CmMessage<'_>,
    ) -> Option<usize> {
        let local = message.local_comm_id().and_then(|id| self.by_comm_id.get(&(source, id)));
        let remote = message.remote_comm_id().and_then(|id| self.by_comm_id.get(&(destination, id)));
        local.or(remote).copied()
    }

    /// Finds the flow of a packet and the side that sends it, without taking it in.
    pub(crate) fn find(&self, destination: IpAddr, destination_qpn: u32) -> Option<(usize, Side)> {
        self.by_qpn.get(&(destination, destination_qpn)).map(|(index, side)| (*index, side.other()))
    }

    /// Finds or makes the flow of a connected packet; gives it and the side that sends.
    pub(crate) fn take_in(&mut self, packet: &Packet<'_>) -> Option<(usize, Side)> {
        let bth = packet.bth?;
        let qpn = bth.destination_qpn();
        let is_response = bth.opcode().is_response();
        if let Some((index, sender)) = self.find(packet.destination, qpn) {
            // Both directions were taken for connections of their own: a response shows that they are one.
            if is_response
                && self.flows.get(index).is_some_and(|flow| {
                    flow.connection.port_space.is_none() && !flow.stream(sender.other()).has_begun()
                })
                && let Some((into, requester)) = self.unpaired(packet, bth.psn(), index)
            {
                self.merge(index, into, requester);
                return Some((into, requester.other()));
            }
            return Some((index, sender));
        }
        if is_response && let Some((index, requester)) = self.unpaired(packet, bth.psn(), usize::MAX) {
            self.flows.get_mut(index)?.connection.endpoint_mut(requester).qpn = Some(qpn);
            self.by_qpn.insert((packet.destination, qpn), (index, requester));
            return Some((index, requester.other()));
        }
        let active = Endpoint { address: packet.source, qpn: None, psn_first: None };
        let passive = Endpoint { address: packet.destination, qpn: Some(qpn), psn_first: None };
        let connection =
            Connection { active, passive, port_space: None, path_mtu_bytes: None, retransmissions: 0 };
        let index = self.add(connection, None);
        self.by_qpn.insert((packet.destination, qpn), (index, Side::Passive));
        Some((index, Side::Active))
    }

    /// Finds a flow whose requester has no QPN yet and has sent the PSN that `packet` answers.
    fn unpaired(&self, packet: &Packet<'_>, psn: Psn, except: usize) -> Option<(usize, Side)> {
        self.flows.iter().enumerate().rev().find_map(|(index, flow)| {
            let requester = flow.connection.side_of(packet.destination)?;
            let fits = index != except
                && flow.merged_into.is_none()
                && flow.connection.endpoint(requester).qpn.is_none()
                && flow.connection.endpoint(requester.other()).address == packet.source
                && flow.stream(requester).has_sent(psn);
            fits.then_some((index, requester))
        })
    }

    /// Moves flow `from`, whose only requests are its active side's, into the other direction of flow `into`.
    fn merge(&mut self, from: usize, into: usize, requester: Side) {
        let Some(flow) = self.flows.get_mut(from) else {
            return;
        };
        flow.merged_into = Some(into);
        let stream = std::mem::replace(&mut flow.streams[Side::Active as usize], Stream::new(None));
        let (qpn, psn_first) = (flow.connection.passive.qpn, flow.connection.active.psn_first);
        let address = flow.connection.passive.address;
        if let Some(qpn) = qpn {
            self.by_qpn.insert((address, qpn), (into, requester));
        }
        if let Some(into) = self.flows.get_mut(into) {
            into.connection.endpoint_mut(requester).qpn = qpn;
            into.connection.endpoint_mut(requester.other()).psn_first = psn_first;
            into.streams[requester.other() as usize] = stream;
        }
    }

    /// Follows a merge: where flow `index` and `side` of it are now.
    pub(crate) fn resolve(&self, index: usize, side: Side) -> (usize, Side) {
        match self.flows.get(index).and_then(|flow| flow.merged_into) {
            Some(into) => match self.flows.get(index).map(|flow| flow.connection.endpoint(side).address) {
                Some(address) => {
                    let side = self
                        .flows
                        .get(into)
                        .and_then(|flow| flow.connection.side_of(address))
                        .unwrap_or(side);
                    (into, side)
                }
                None => (into, side),
            },
            None => (index, side),
        }
    }

    /// Whether flow `index` was taken over by another.
    pub(crate) fn is_merged(&self, index: usize) -> bool {
        self.flows.get(index).is_some_and(|flow| flow.merged_into.is_some())
    }
}
