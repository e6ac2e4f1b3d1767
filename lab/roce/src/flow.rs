//! Connections: which packets belong together, and which queue pair sends them.
//!
//! In: connection management messages and packets. Out: for each packet its connection and the side that sent it. Without connection management the two
//! directions are paired when a response's PSN falls among the other's requests. Queue pair numbers are reused: a new REQ begins a new connection.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use crate::checker::{Broken, Budget, Stream};
use crate::cm::{Message as CmMessage, PortSpace, ack_timeout_ns, path_mtu_bytes};
use crate::finding::Evidence;
use crate::retransmission::Retransmissions;
use crate::rule::Rule;
use crate::wire::{Bth, Packet, Psn};

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
    /// READs and atomics that it may have under way: the lesser of its initiator depth and its peer's responder resources, as far as REQ and REP told them.
    pub initiator_depth: Option<u8>,
    /// Packets that it sent and its peer got, requests and answers.
    pub packets: u64,
    /// Payload of them in bytes.
    pub payload_bytes: u64,
}

impl Endpoint {
    fn new(address: IpAddr, qpn: Option<u32>, psn_first: Option<Psn>) -> Self {
        Self { address, qpn, psn_first, initiator_depth: None, packets: 0, payload_bytes: 0 }
    }
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
    /// ACK timeout of the requesters in nanoseconds, from the REQ; `None` when that has none, or is not there.
    pub ack_timeout_ns: Option<u64>,
    /// How often a request may be repeated that nothing answers, from the REQ.
    pub retry_count: Option<u8>,
    /// Requests that came again, of both sides, by class.
    pub retransmissions: Retransmissions,
    /// Connection management messages that came, by the side that sent them: `REQ`, `DREP`.
    pub management: BTreeSet<(Side, &'static str)>,
}

impl Connection {
    /// The end on `side`.
    pub fn endpoint(&self, side: Side) -> &Endpoint {
        match side {
            Side::Active => &self.active,
            Side::Passive => &self.passive,
        }
    }

    /// Whether something shows that the queue pair on `side` is there: connection management, or a packet that it sent.
    pub(crate) fn is_shown(&self, side: Side) -> bool {
        self.port_space.is_some() || self.endpoint(side).packets > 0
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
    /// Owner and id of what it is known under.
    comm_ids: [Option<Key>; 2],
    cm: CmState,
    /// Requests of both sides that came as copies.
    copies: u64,
    /// The flow that took this one over when the two directions were paired; there, the sides are exchanged.
    merged_into: Option<usize>,
}

/// Which connection management messages came.
#[derive(Clone, Copy, Debug, Default)]
struct CmState {
    rep: bool,
    dreq: bool,
}

impl Flow {
    /// Whether its end is in the capture.
    pub(crate) fn has_ended(&self) -> bool {
        self.cm.dreq
    }

    /// Counts a packet that `sender` sent.
    #[inline]
    pub(crate) fn count(&mut self, sender: Side, payload_bytes: u64) {
        let end = self.connection.endpoint_mut(sender);
        end.packets += 1;
        end.payload_bytes += payload_bytes;
    }

    /// Counts a copy of a request.
    pub(crate) fn count_copy(&mut self) {
        self.copies += 1;
    }

    /// Holds a message behind REQ and REP against what came before.
    fn judge(&mut self, receiver: IpAddr, message: &CmMessage<'_>, findings: &mut Vec<Broken>) {
        let mut lacks = |expected, got| {
            findings.push(Broken::new(Rule::CmOutOfSequence, Evidence::Words { expected, got }))
        };
        match message {
            CmMessage::Rtu(_) if !self.cm.rep => lacks("a REP before it", "RTU"),
            CmMessage::Drep(_) if !self.cm.dreq => lacks("a DREQ before it", "DREP"),
            CmMessage::Dreq(dreq) => {
                self.cm.dreq = true;
                let ends = [&self.connection.active, &self.connection.passive];
                let mut own =
                    ends.into_iter().filter(|end| end.address == receiver).filter_map(|end| end.qpn);
                let got = dreq.remote_qpn();
                if let Some(expected) = own.clone().next()
                    && !own.any(|qpn| qpn == got)
                {
                    let (expected, got) = (u64::from(expected), u64::from(got));
                    let evidence = Evidence::Number { what: "queue pair", expected, got };
                    findings.push(Broken::new(Rule::DreqForOtherQueuePair, evidence));
                }
            }
            _ => {}
        }
    }

    /// Gives what its streams took of the budget back, and counts what they sent again.
    fn settle(&mut self, budget: &mut Budget, counts_copies: bool) {
        let mut sum = Retransmissions::default();
        sum.duplicate += if counts_copies { self.copies } else { 0 };
        for stream in &mut self.streams {
            stream.release(budget);
            sum += stream.retransmissions();
        }
        self.connection.retransmissions = sum;
    }

    /// Whether a request is no more of this connection, which has no management, but of another between queue pairs with the same numbers.
    #[inline]
    pub(crate) fn is_used_again(&self, sender: Side, bth: Bth<'_>) -> bool {
        self.connection.port_space.is_none() && self.stream(sender).is_behind(bth.opcode(), bth.psn())
    }

    /// The stream of requests that `side` sends.
    pub(crate) fn stream(&self, side: Side) -> &Stream {
        &self.streams[side as usize]
    }

    /// The connection and the stream of requests that `side` sends.
    pub(crate) fn parts(&mut self, side: Side) -> (&mut Connection, &mut Stream) {
        (&mut self.connection, &mut self.streams[side as usize])
    }
}

/// A receiver's address and queue pair number.
type Key = (IpAddr, u32);

/// Queue pairs that are found without hashing; a power of two.
const RECENT: usize = 64;

/// Connections without a requester's QPN that a response is compared with.
const UNPAIRED_MAX: usize = 256;

/// Every connection of a capture; the oldest goes when there are too many.
#[derive(Debug)]
pub(crate) struct Flows {
    flows: VecDeque<Flow>,
    /// Number of the first flow.
    base: usize,
    limit: usize,
    /// (receiver, destination QPN) to the flow and the side that *receives*.
    by_qpn: HashMap<Key, (usize, Side)>,
    /// (owner, communication id) to the flow.
    by_comm_id: HashMap<Key, usize>,
    recent: [Option<(Key, (usize, Side))>; RECENT],
    /// Retransmissions of the flows that had to go.
    pub(crate) dropped: Retransmissions,
    /// Flows that had to go before their end.
    pub(crate) forgotten: u64,
}

impl Flows {
    /// Makes room for `limit` connections.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            flows: VecDeque::new(),
            base: 0,
            limit: limit.max(1),
            by_qpn: HashMap::new(),
            by_comm_id: HashMap::new(),
            recent: [None; RECENT],
            dropped: Retransmissions::default(),
            forgotten: 0,
        }
    }

    /// Numbers of the flows that are there.
    pub(crate) fn numbers(&self) -> std::ops::Range<usize> {
        self.base..self.base + self.flows.len()
    }

    pub(crate) fn get(&self, number: usize) -> Option<&Flow> {
        self.flows.get(number.checked_sub(self.base)?)
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut Flow> {
        self.flows.get_mut(number.checked_sub(self.base)?)
    }

    /// Ends every flow; what is left of them is their connections.
    pub(crate) fn settle(&mut self, budget: &mut Budget, counts_copies: bool) {
        for flow in &mut self.flows {
            flow.settle(budget, counts_copies);
        }
    }

    /// The oldest flow, when there are more than there is room for.
    pub(crate) fn in_excess(&self) -> Option<usize> {
        (self.flows.len() > self.limit).then_some(self.base)
    }

    /// Takes the oldest flow out. One whose end was seen is not missed.
    #[cold]
    pub(crate) fn drop_oldest(&mut self, budget: &mut Budget, counts_copies: bool) {
        let Some(mut flow) = self.flows.pop_front() else { return };
        self.forgotten += u64::from(!flow.has_ended() && flow.merged_into.is_none());
        flow.settle(budget, counts_copies);
        self.dropped += flow.connection.retransmissions;
        let number = self.base;
        self.base += 1;
        for side in [Side::Active, Side::Passive] {
            let end = flow.connection.endpoint(side);
            if let Some(qpn) = end.qpn {
                let key = (end.address, qpn);
                if self.by_qpn.get(&key).is_some_and(|(found, _)| *found == number) {
                    self.by_qpn.remove(&key);
                }
            }
        }
        for (address, comm_id) in flow.comm_ids.into_iter().flatten() {
            if self.by_comm_id.get(&(address, comm_id)) == Some(&number) {
                self.by_comm_id.remove(&(address, comm_id));
            }
        }
        self.recent = [None; RECENT];
    }

    fn insert_qpn(&mut self, key: Key, value: (usize, Side)) {
        self.by_qpn.insert(key, value);
        self.recent[key.1 as usize % RECENT] = None;
    }

    fn add(&mut self, connection: Connection, active_comm_id: Option<u32>) -> usize {
        let streams = [Stream::new(connection.active.psn_first), Stream::new(connection.passive.psn_first)];
        let comm_ids = [active_comm_id.map(|id| (connection.active.address, id)), None];
        self.flows.push_back(Flow {
            connection,
            streams,
            active_comm_id,
            comm_ids,
            cm: CmState::default(),
            copies: 0,
            merged_into: None,
        });
        self.base + self.flows.len() - 1
    }

    /// Takes a connection management message in; gives the flow that it belongs to.
    pub(crate) fn connection_management(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        message: &CmMessage<'_>,
        findings: &mut Vec<Broken>,
    ) -> Option<usize> {
        let index = self.manage(source, destination, message, findings)?;
        let connection = &mut self.get_mut(index)?.connection;
        connection.management.extend(connection.side_of(source).zip(message.name()));
        Some(index)
    }

    fn manage(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        message: &CmMessage<'_>,
        findings: &mut Vec<Broken>,
    ) -> Option<usize> {
        match message {
            CmMessage::Req(req) => {
                let comm_id = req.local_comm_id();
                if let Some(index) = self.by_comm_id.get(&(source, comm_id))
                    && let Some(flow) = self.get(*index)
                    && flow.active_comm_id == Some(comm_id)
                    && flow.connection.active.qpn == Some(req.local_qpn())
                    && flow.connection.passive.psn_first == Some(req.starting_psn())
                {
                    return Some(*index);
                }
                // A starting PSN is the one that its sender wants to receive first: the peer's requests begin there.
                let mut active = Endpoint::new(source, Some(req.local_qpn()), None);
                let mut passive = Endpoint::new(destination, None, Some(req.starting_psn()));
                active.initiator_depth = Some(req.initiator_depth());
                passive.initiator_depth = Some(req.responder_resources());
                let index = self.add(
                    Connection {
                        active,
                        passive,
                        port_space: Some(req.port_space()),
                        path_mtu_bytes: path_mtu_bytes(req.path_mtu_code()),
                        ack_timeout_ns: ack_timeout_ns(req.primary_ack_timeout()),
                        retry_count: Some(req.retry_count()),
                        retransmissions: Retransmissions::default(),
                        management: BTreeSet::new(),
                    },
                    Some(comm_id),
                );
                self.by_comm_id.insert((source, comm_id), index);
                self.insert_qpn((source, req.local_qpn()), (index, Side::Active));
                Some(index)
            }
            CmMessage::Rep(rep) => {
                let index = *self.by_comm_id.get(&(destination, rep.remote_comm_id()))?;
                let flow = self.get_mut(index)?;
                flow.cm.rep = true;
                if flow.connection.passive.qpn.is_none() {
                    flow.connection.passive.qpn = Some(rep.local_qpn());
                    flow.connection.active.psn_first = Some(rep.starting_psn());
                    let least = |depth: Option<u8>, other: u8| depth.map(|depth| depth.min(other));
                    let (active, passive) = (&mut flow.connection.active, &mut flow.connection.passive);
                    active.initiator_depth = least(active.initiator_depth, rep.responder_resources());
                    passive.initiator_depth = least(passive.initiator_depth, rep.initiator_depth());
                    flow.streams[Side::Active as usize] = Stream::new(Some(rep.starting_psn()));
                    flow.comm_ids[1] = Some((source, rep.local_comm_id()));
                    self.by_comm_id.insert((source, rep.local_comm_id()), index);
                    self.insert_qpn((source, rep.local_qpn()), (index, Side::Passive));
                }
                Some(index)
            }
            other => {
                let index = self.of_connection_management(source, destination, other)?;
                self.get_mut(index)?.judge(destination, other, findings);
                Some(index)
            }
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

    /// The same, for the packets of one flow after the other.
    #[inline]
    pub(crate) fn find_recent(&mut self, key: Key) -> Option<(usize, Side)> {
        let slot = &mut self.recent[key.1 as usize % RECENT];
        if let Some((known, (index, side))) = slot
            && *known == key
        {
            return Some((*index, side.other()));
        }
        let (index, side) = *self.by_qpn.get(&key)?;
        *slot = Some((key, (index, side)));
        Some((index, side.other()))
    }

    /// Finds or makes the flow of a connected packet; gives it and the side that sends.
    pub(crate) fn take_in(&mut self, packet: &Packet<'_>) -> Option<(usize, Side)> {
        let bth = packet.bth?;
        let qpn = bth.destination_qpn();
        let is_response = bth.opcode().is_response();
        if let Some((index, sender)) = self.find_recent((packet.destination, qpn)) {
            // Both directions were taken for connections of their own: a response shows that they are one.
            if is_response
                && self.get(index).is_some_and(|flow| {
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
            self.get_mut(index)?.connection.endpoint_mut(requester).qpn = Some(qpn);
            self.insert_qpn((packet.destination, qpn), (index, requester));
            return Some((index, requester.other()));
        }
        let connection = Connection {
            active: Endpoint::new(packet.source, None, None),
            passive: Endpoint::new(packet.destination, Some(qpn), None),
            port_space: None,
            path_mtu_bytes: None,
            ack_timeout_ns: None,
            retry_count: None,
            retransmissions: Retransmissions::default(),
            management: BTreeSet::new(),
        };
        let index = self.add(connection, None);
        self.insert_qpn((packet.destination, qpn), (index, Side::Passive));
        Some((index, Side::Active))
    }

    /// Begins a connection between the queue pairs of flow `index`, whose side `sender` sends first.
    #[cold]
    pub(crate) fn begin_again(&mut self, index: usize, sender: Side) -> Option<usize> {
        let old = &self.get(index)?.connection;
        let ends = [*old.endpoint(sender), *old.endpoint(sender.other())];
        let [active, passive] = ends.map(|end| Endpoint::new(end.address, end.qpn, None));
        let connection = Connection {
            active,
            passive,
            port_space: None,
            path_mtu_bytes: None,
            ack_timeout_ns: None,
            retry_count: None,
            retransmissions: Retransmissions::default(),
            management: BTreeSet::new(),
        };
        let new = self.add(connection, None);
        for (side, end) in [(Side::Active, active), (Side::Passive, passive)] {
            if let Some(qpn) = end.qpn {
                self.insert_qpn((end.address, qpn), (new, side));
            }
        }
        Some(new)
    }

    /// Finds a flow whose requester has no QPN yet and has sent the PSN that `packet` answers.
    fn unpaired(&self, packet: &Packet<'_>, psn: Psn, except: usize) -> Option<(usize, Side)> {
        self.flows.iter().enumerate().rev().take(UNPAIRED_MAX).find_map(|(at, flow)| {
            let index = self.base + at;
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
        let Some(flow) = self.get_mut(from) else {
            return;
        };
        flow.merged_into = Some(into);
        let stream = std::mem::replace(&mut flow.streams[Side::Active as usize], Stream::new(None));
        let (qpn, psn_first) = (flow.connection.passive.qpn, flow.connection.active.psn_first);
        let address = flow.connection.passive.address;
        let sent = [flow.connection.passive, flow.connection.active];
        if let Some(qpn) = qpn {
            self.insert_qpn((address, qpn), (into, requester));
        }
        if let Some(into) = self.get_mut(into) {
            for (side, sent) in [requester, requester.other()].into_iter().zip(sent) {
                let end = into.connection.endpoint_mut(side);
                end.packets += sent.packets;
                end.payload_bytes += sent.payload_bytes;
            }
            into.connection.endpoint_mut(requester).qpn = qpn;
            into.connection.endpoint_mut(requester.other()).psn_first = psn_first;
            into.streams[requester.other() as usize] = stream;
        }
    }

    /// Follows a merge: where flow `index` and `side` of it are now.
    pub(crate) fn resolve(&self, index: usize, side: Side) -> (usize, Side) {
        let Some((flow, into)) = self.get(index).and_then(|flow| Some((flow, flow.merged_into?))) else {
            return (index, side);
        };
        let address = flow.connection.endpoint(side).address;
        (into, self.get(into).and_then(|flow| flow.connection.side_of(address)).unwrap_or(side))
    }

    /// Whether flow `index` was taken over by another.
    pub(crate) fn is_merged(&self, index: usize) -> bool {
        self.get(index).is_some_and(|flow| flow.merged_into.is_some())
    }

    /// The connections, in the order of their first packets, without those that were taken over.
    pub(crate) fn into_connections(self) -> Vec<Connection> {
        self.flows.into_iter().filter(|flow| flow.merged_into.is_none()).map(|flow| flow.connection).collect()
    }
}
