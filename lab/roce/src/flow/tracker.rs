//! The connection of each packet: its two queue pairs, the side that sends, the distance of its PSN.
//!
//! In: packets and connection management messages, in the order in which they were sent, whatever became of them. Without connection management the two
//! directions are paired when a response's PSN falls among the other's requests. Queue pair numbers are reused: a new REQ begins a new connection, and so
//! does a request that cannot follow those before it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::cm::Message as CmMessage;
use crate::flow::requests::{RequestPsns, packets};
use crate::flow::{Connection, ConnectionId, Datagrams, Numbers, QueuePairName, Side, StreamId};
use crate::names::Names;
use crate::wire::{Bth, Icrc, Operation, Packet, Place, Syndrome, TransportService};

/// A connection and the requests of both sides.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) connection: Connection,
    pub(super) requests: [RequestPsns; 2],
    active_comm_id: Option<u32>,
    /// Owner and id of what it is known under.
    comm_ids: [Option<ReceiverKey>; 2],
    /// The flow that took this one over when the two directions were paired; there, the sides are exchanged.
    pub(super) merged_into: Option<ConnectionId>,
    /// The side whose queue pair number is that of the connection before it, as long as no answer has shown it.
    pub(super) assumed: Option<Side>,
    /// UDP source port of its first request without connection management.
    pub(super) udp_source_port: u16,
}

impl Flow {
    /// Counts the PSN of a packet.
    #[inline]
    fn count(
        &mut self,
        sender: Side,
        packet: &Packet<'_>,
        bth: Bth<'_>,
        is_sent: bool,
    ) -> (Option<i64>, bool) {
        let Self { connection, requests, .. } = self;
        let (opcode, psn) = (bth.opcode(), bth.psn());
        if opcode.place() == Place::First && connection.path_mtu_bytes.is_none() {
            let bytes = u32::try_from(packet.payload_length_bytes).ok().filter(|bytes| *bytes > 0);
            connection.path_mtu_bytes = bytes;
            for requests in requests.iter_mut().filter(|_| bytes.is_some()) {
                requests.learn_path_mtu(bytes.unwrap_or_default());
            }
        }
        let is_response = opcode.is_response();
        let requester = if is_response { sender.other() } else { sender };
        let requests = &mut requests[requester as usize];
        if !is_sent {
            return (requests.distance(psn), false);
        }
        if is_response {
            let syndrome = packet.aeth.map(|aeth| aeth.syndrome());
            let is_refusal = matches!(syndrome, Some(Syndrome::Nak(_) | Syndrome::RnrNak { .. }));
            return (requests.answer(psn, is_refusal), true);
        }
        let bytes = packet.reth.map(|reth| reth.dma_length());
        let count = match opcode.operation() {
            Operation::ReadRequest => {
                bytes.zip(connection.path_mtu_bytes).map(|(bytes, mtu)| packets(bytes, mtu))
            }
            _ => Some(1),
        };
        connection.endpoint_mut(requester).psn_first.get_or_insert(psn);
        let (distance, is_new) = requests.ask(psn, count, bytes.unwrap_or_default());
        (Some(distance), is_new)
    }
}

/// A receiver's address and queue pair number.
pub(super) type ReceiverKey = (IpAddr, u32);

/// Queue pairs that are found without hashing; a power of two.
const RECENT: usize = 64;

/// FlowChange that a packet makes in the known connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowChange {
    /// Nothing.
    None,
    /// A new connection is there.
    Begun,
    /// A new connection is there, between queue pairs whose numbers another had: that one has ended.
    Replaced {
        /// The one that has ended.
        old: ConnectionId,
    },
    /// Two connections were the directions of one.
    Merged {
        /// The one that went: its active side's requests are those of `side` now.
        from: ConnectionId,
        /// Side of the one that stays.
        side: Side,
    },
    /// A REP told the passive side's queue pair, and where the active side's requests begin.
    Answered,
}

/// The place of a packet of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) flow: ConnectionId,
    pub(crate) sender: Side,
    /// Distance of its PSN from the first request of the side that it counts.
    pub(crate) distance: Option<i64>,
    /// True if it is a request beyond all before it, or no request.
    pub(crate) is_new: bool,
    pub(crate) change: FlowChange,
}

/// The place of a packet among all that came, for those who stand on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// Connection of a packet and the side that sent it; `None` of a datagram, and of a packet of no connection.
    pub connection: Option<(ConnectionId, Side)>,
    /// The queue pair that it goes to; `None` of a packet of no connection.
    pub to: Option<QueuePairName>,
    /// Distance of its PSN from the first request of the side that it counts; of a datagram, from the first of its sender's queue pair.
    pub distance: Option<i64>,
    /// True if it is no request, or one whose PSN lies beyond those of all before it.
    pub is_new: bool,
}

/// The connection management message of a packet, when it is one that can be read.
pub(crate) fn management<'a>(packet: &Packet<'a>) -> Option<CmMessage<'a>> {
    let mad = packet.mad()?.ok().filter(crate::cm::Mad::is_cm)?;
    mad.message().ok()
}

/// Every connection of a capture, or of a wire; the oldest goes when there are too many.
#[derive(Debug)]
pub struct Tracker {
    pub(super) flows: VecDeque<Flow>,
    /// Number of the first flow.
    pub(super) base: usize,
    limit: usize,
    /// (receiver, destination QPN) to the flow and the side that *receives*.
    pub(super) by_qpn: HashMap<ReceiverKey, (ConnectionId, Side)>,
    /// (owner, communication id) to the flow.
    by_comm_id: HashMap<ReceiverKey, ConnectionId>,
    recent: [Option<(ReceiverKey, (ConnectionId, Side))>; RECENT],
    pub(super) numbers: Numbers,
    datagrams: Datagrams,
}

impl Tracker {
    /// Makes room for `limit` connections, and for as many queue pairs of datagrams.
    pub fn new(limit: usize) -> Self {
        Self {
            flows: VecDeque::new(),
            base: 0,
            limit: limit.max(1),
            by_qpn: HashMap::new(),
            by_comm_id: HashMap::new(),
            recent: [None; RECENT],
            numbers: Numbers::default(),
            datagrams: Datagrams::new(limit),
        }
    }

    /// Takes a packet in where it is sent, and tells its place; addresses without a name get one. `None` when it is no packet of a queue pair.
    pub fn see(&mut self, packet: &Packet<'_>, names: &mut Names) -> Option<Sighting> {
        for address in [packet.source, packet.destination] {
            names.see(address);
        }
        let sighting = self.place(packet, names);
        while self.in_excess().is_some() {
            self.drop_oldest();
        }
        sighting
    }

    fn place(&mut self, packet: &Packet<'_>, names: &Names) -> Option<Sighting> {
        let bth = packet.bth?;
        let nowhere = Sighting { connection: None, to: None, distance: None, is_new: true };
        if let Some(message) = management(packet) {
            self.manage(packet.source, packet.destination, &message, names);
            return Some(Sighting { to: Some(QueuePairName::Gsi), ..nowhere });
        }
        if packet.deth.is_some() {
            self.see_datagram(packet, names);
            let (from, to) = self.datagram(packet)?;
            let distance = self.datagrams.psn_offset(from, bth.psn()).map(i64::from);
            return Some(Sighting { to: self.datagrams.number(to), distance, ..nowhere });
        }
        let key = (packet.destination, bth.destination_qpn());
        let (flow, sender, distance, is_new) = match self.take_in(packet, true, names) {
            Some(placed) => (placed.flow, placed.sender, placed.distance, placed.is_new),
            None => match self.find(key.0, key.1) {
                Some((flow, sender)) => (flow, sender, None, true),
                None => return Some(nowhere),
            },
        };
        let number = self.connection(flow)?.endpoint(sender.other()).number;
        let to = number.map(QueuePairName::Connected);
        Some(Sighting { connection: Some((flow, sender)), to, distance, is_new })
    }

    /// Source and destination queue pair of a datagram that is no connection management.
    fn datagram(&self, packet: &Packet<'_>) -> Option<(ReceiverKey, ReceiverKey)> {
        let (bth, deth) = (packet.bth?, packet.deth?);
        Some(((packet.source, deth.source_qpn()), (packet.destination, bth.destination_qpn())))
    }

    /// Takes note of a datagram that is no connection management.
    pub(crate) fn see_datagram(&mut self, packet: &Packet<'_>, names: &Names) {
        if let (Some((source, destination)), Some(bth)) = (self.datagram(packet), packet.bth) {
            self.datagrams.see(source, destination, bth.psn(), names);
        }
    }

    /// Queue pairs of datagrams.
    pub(crate) fn datagrams(&self) -> &Datagrams {
        &self.datagrams
    }

    /// Numbers of the flows that are there.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = ConnectionId> + use<> {
        (self.base..self.base + self.flows.len()).map(ConnectionId)
    }

    pub(super) fn get(&self, number: ConnectionId) -> Option<&Flow> {
        self.flows.get(number.0.checked_sub(self.base)?)
    }

    pub(super) fn get_mut(&mut self, number: ConnectionId) -> Option<&mut Flow> {
        self.flows.get_mut(number.0.checked_sub(self.base)?)
    }

    /// The connection of that number, if it is followed now.
    pub fn connection(&self, number: ConnectionId) -> Option<&Connection> {
        self.get(number).map(|flow| &flow.connection)
    }

    /// The connections that are followed now, by their numbers, in the order of their first packets.
    pub fn connections(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        let own = self.numbers().zip(&self.flows).filter(|(_, flow)| flow.merged_into.is_none());
        own.map(|(number, flow)| (number, &flow.connection))
    }

    pub(crate) fn connection_mut(&mut self, number: ConnectionId) -> Option<&mut Connection> {
        self.get_mut(number).map(|flow| &mut flow.connection)
    }

    /// The oldest flow, when there are more than there is room for.
    #[inline]
    pub(crate) fn in_excess(&self) -> Option<ConnectionId> {
        (self.flows.len() > self.limit).then_some(ConnectionId(self.base))
    }

    /// Takes the oldest flow out; returns its connection, unless another took it over.
    #[cold]
    pub(crate) fn drop_oldest(&mut self) -> Option<Connection> {
        let flow = self.flows.pop_front()?;
        let number = ConnectionId(self.base);
        self.base += 1;
        for side in Side::BOTH {
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
        flow.merged_into.is_none().then_some(flow.connection)
    }

    pub(super) fn insert_qpn(&mut self, key: ReceiverKey, value: (ConnectionId, Side)) {
        self.by_qpn.insert(key, value);
        self.recent[key.1 as usize % RECENT] = None;
    }

    #[cold]
    pub(super) fn forget_qpn(&mut self, key: ReceiverKey) {
        self.by_qpn.remove(&key);
        self.recent[key.1 as usize % RECENT] = None;
    }

    pub(super) fn add(&mut self, connection: Connection, active_comm_id: Option<u32>) -> ConnectionId {
        let requests = Side::BOTH.map(|side| RequestPsns::from(connection.endpoint(side).psn_first));
        let comm_ids = [active_comm_id.map(|id| (connection.active.address, id)), None];
        self.flows.push_back(Flow {
            connection,
            requests,
            active_comm_id,
            comm_ids,
            merged_into: None,
            assumed: None,
            udp_source_port: 0,
        });
        ConnectionId(self.base + self.flows.len() - 1)
    }

    /// Takes a connection management message in; returns the flow that it belongs to, and what it changes.
    pub(crate) fn manage(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        message: &CmMessage<'_>,
        names: &Names,
    ) -> Option<(ConnectionId, FlowChange)> {
        match message {
            CmMessage::Req(req) => {
                let comm_id = req.local_comm_id();
                if let Some(index) = self.by_comm_id.get(&(source, comm_id))
                    && let Some(flow) = self.get(*index)
                    && flow.active_comm_id == Some(comm_id)
                    && flow.connection.active.qpn == Some(req.local_qpn())
                    && flow.connection.passive.psn_first == Some(req.starting_psn())
                {
                    return Some((*index, FlowChange::None));
                }
                let mut connection = Connection::asked_for(source, destination, *req);
                for side in Side::BOTH {
                    let end = connection.endpoint_mut(side);
                    end.number = Some(self.numbers.next(&names.get(end.address)));
                }
                self.forget_other_end((source, req.local_qpn()));
                let index = self.add(connection, Some(comm_id));
                self.by_comm_id.insert((source, comm_id), index);
                self.insert_qpn((source, req.local_qpn()), (index, Side::Active));
                Some((index, FlowChange::Begun))
            }
            CmMessage::Rep(rep) => {
                let Some(index) = self.by_comm_id.get(&(destination, rep.remote_comm_id())).copied() else {
                    // Of a connection whose REQ the capture lacks: the queue pair is none of those before.
                    self.forget_qpn((source, rep.local_qpn()));
                    return None;
                };
                if self.connection(index)?.passive.qpn.is_some() {
                    return Some((index, FlowChange::None));
                }
                let early =
                    self.requests_before_rep((source, rep.local_qpn()), destination, rep.starting_psn());
                let connection = self.connection_mut(index)?;
                connection.passive.qpn = Some(rep.local_qpn());
                connection.active.psn_first = Some(rep.starting_psn());
                let least = |depth: Option<u8>, other: u8| depth.map(|depth| depth.min(other));
                let (active, passive) = (&mut connection.active, &mut connection.passive);
                active.initiator_depth = least(active.initiator_depth, rep.responder_resources());
                passive.initiator_depth = least(passive.initiator_depth, rep.initiator_depth());
                if connection.passive.number.is_none() {
                    // Its number was given back when the request was refused.
                    let number = self.numbers.next(&names.get(source));
                    self.connection_mut(index)?.passive.number = Some(number);
                }
                let flow = self.get_mut(index)?;
                flow.requests[Side::Active as usize] = RequestPsns::from(Some(rep.starting_psn()));
                flow.comm_ids[1] = Some((source, rep.local_comm_id()));
                self.by_comm_id.insert((source, rep.local_comm_id()), index);
                self.insert_qpn((source, rep.local_qpn()), (index, Side::Passive));
                if let Some(from) = early {
                    self.merge(from, index, Side::Passive);
                    return Some((index, FlowChange::Merged { from, side: Side::Active }));
                }
                Some((index, FlowChange::Answered))
            }
            other => {
                let index = self.of_connection_management(source, destination, other)?;
                if matches!(other, CmMessage::Rej(_))
                    && let Some(Connection { passive, .. }) = self.connection_mut(index)
                    && passive.qpn.is_none()
                    && let Some(number) = passive.number.take()
                {
                    let node = names.get(passive.address);
                    self.numbers.give_back(&node, number);
                }
                Some((index, FlowChange::None))
            }
        }
    }

    /// Finds the flow of a connection management message without taking it in.
    pub(crate) fn of_connection_management(
        &self,
        source: IpAddr,
        destination: IpAddr,
        message: &CmMessage<'_>,
    ) -> Option<ConnectionId> {
        let local = message.local_comm_id().and_then(|id| self.by_comm_id.get(&(source, id)));
        let remote = message.remote_comm_id().and_then(|id| self.by_comm_id.get(&(destination, id)));
        local.or(remote).copied()
    }

    /// Finds the flow of a packet and the side that sends it, without taking it in.
    pub(crate) fn find(&self, destination: IpAddr, destination_qpn: u32) -> Option<(ConnectionId, Side)> {
        self.by_qpn.get(&(destination, destination_qpn)).map(|(index, side)| (*index, side.other()))
    }

    /// The same, for the packets of one flow after the other.
    #[inline]
    fn find_recent(&mut self, key: ReceiverKey) -> Option<(ConnectionId, Side)> {
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

    /// Takes a packet of a connection in: finds or makes its flow, and counts its PSN if this is where it `is_sent`. `None` when it is none of a connection.
    #[inline]
    pub(crate) fn take_in(&mut self, packet: &Packet<'_>, is_sent: bool, names: &Names) -> Option<Placed> {
        let bth = packet.bth?;
        let opcode = bth.opcode();
        let is_connected =
            matches!(opcode.transport(), TransportService::Rc | TransportService::Uc | TransportService::Xrc);
        let is_broken = matches!(packet.icrc, Icrc::Bad { .. }) || packet.stop.is_some() && !packet.is_cut;
        if !is_connected || is_broken || !opcode.is_known() {
            return None;
        }
        let key = (packet.destination, bth.destination_qpn());
        let (mut flow, mut sender, mut change) = match self.find_recent(key) {
            Some((flow, sender)) => (flow, sender, FlowChange::None),
            None => self.take_in_new(packet, bth, names)?,
        };
        let mut state = self.flows.get_mut(flow.0.checked_sub(self.base)?)?;
        if change == FlowChange::None {
            let is_managed = state.connection.port_space.is_some();
            let is_response = opcode.is_response();
            let requester = if is_response { sender.other() } else { sender };
            let requests = &state.requests[requester as usize];
            let is_rare = if is_response {
                !requests.has_begun() || requests.has_not(bth.psn())
            } else {
                let has_other_mtu = || {
                    !is_managed && state.connection.has_other_path_mtu(opcode, packet.payload_length_bytes)
                };
                requests.is_behind(opcode, bth.psn(), has_other_mtu)
                    && (!is_managed || state.connection.is_closed())
            };
            let is_others = !is_managed && state.connection.endpoint(sender).address != packet.source;
            if is_rare || is_others {
                (flow, sender, change) = self.take_in_rare(flow, sender, packet, bth, names)?;
                state = self.flows.get_mut(flow.0.checked_sub(self.base)?)?;
            }
        }
        let is_counted = is_sent || change != FlowChange::None;
        let (distance, is_new) = state.count(sender, packet, bth, is_counted);
        Some(Placed { flow, sender, distance, is_new, change })
    }

    /// Follows a merge likewise, for the requests of a side.
    pub fn resolve_stream(&self, stream: StreamId) -> StreamId {
        let (connection, requester) = self.resolve(stream.connection, stream.requester);
        StreamId { connection, requester }
    }

    /// Follows a merge: the connection and the side that connection `id` and its `side` turned out to be.
    pub fn resolve(&self, id: ConnectionId, side: Side) -> (ConnectionId, Side) {
        let Some((flow, into)) = self.get(id).and_then(|flow| Some((flow, flow.merged_into?))) else {
            return (id, side);
        };
        let address = flow.connection.endpoint(side).address;
        (into, self.connection(into).and_then(|connection| connection.side_of(address)).unwrap_or(side))
    }

    /// True if flow `id` was taken over by another.
    pub(crate) fn is_merged(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|flow| flow.merged_into.is_some())
    }

    /// The connections, in the order of their first packets, without those that were taken over, and the names that were given beside them.
    pub(crate) fn into_parts(self) -> (Vec<Connection>, Numbers, Datagrams) {
        let own = self.flows.into_iter().filter(|flow| flow.merged_into.is_none());
        (own.map(|flow| flow.connection).collect(), self.numbers, self.datagrams)
    }
}
