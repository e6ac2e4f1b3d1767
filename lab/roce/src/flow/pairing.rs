//! Flows without connection management: their two directions paired, and numbers of queue pairs that are used again.
//!
//! In: packets that do not go on with the flow of their queue pair, or that have none. Out: the flow that they belong to. A response is of the requests that have
//! its PSN; where several do, of those from its own UDP source port, which many network cards give to both directions of a connection, and else of the newest.

use std::net::IpAddr;

use crate::flow::tracker::{Flow, FlowChange, ReceiverKey, Tracker};
use crate::flow::{Connection, ConnectionEnd, ConnectionId, Side};
use crate::names::Names;
use crate::wire::{Bth, Packet, Psn};

/// Connections without a requester's QPN that a response is compared with.
const UNPAIRED_MAX: usize = 256;

impl Tracker {
    /// Pairs two directions that were taken for connections of their own, as a response shows, or begins a connection between queue pairs that are used again:
    /// by the same two nodes, or by another one that `packet` comes from.
    #[cold]
    pub(super) fn take_in_rare(
        &mut self,
        flow: ConnectionId,
        sender: Side,
        packet: &Packet<'_>,
        bth: Bth<'_>,
        names: &Names,
    ) -> Option<(ConnectionId, Side, FlowChange)> {
        let Flow { connection, requests, .. } = self.get(flow)?;
        let requests = requests[if bth.opcode().is_response() { sender.other() } else { sender } as usize];
        let is_managed = connection.port_space.is_some();
        let is_others = !is_managed && connection.endpoint(sender).address != packet.source;
        if !bth.opcode().is_response() {
            let new = if is_others {
                self.take_in_new(packet, bth, names)?.0
            } else {
                self.begin_again(flow, sender, packet.udp_source_port, names)?
            };
            return Some((new, Side::Active, FlowChange::Replaced { old: flow }));
        }
        let is_one_sided = !requests.has_begun() && !is_others;
        let found = self.unpaired(packet, bth.psn(), Some(flow));
        let own_port = self.get(flow)?.udp_source_port;
        // Else the recorder may have lost the request.
        let is_of_others = |(index, requester): (ConnectionId, Side)| {
            let Some(others) = self.get(index) else { return false };
            let asked = others.requests[requester as usize];
            let is_from_port = others.udp_source_port == packet.udp_source_port;
            let is_from_own_port = own_port == packet.udp_source_port;
            let is_next =
                (is_from_port || !is_from_own_port) && requests.is_all_answered() && asked.is_last(bth.psn());
            let is_far = asked.first().is_some_and(|first| requests.is_far(first));
            is_one_sided
                || is_others
                || requests.has_not(bth.psn()) && (is_from_port && !is_from_own_port || is_next || is_far)
        };
        Some(match found.filter(|found| is_of_others(*found)) {
            Some((index, requester)) if !is_one_sided => {
                // The queue pair is used again, with another one.
                self.pair(index, requester, packet.destination, bth.destination_qpn(), names)?
            }
            Some((from, _)) if is_managed => {
                // The REP that tells their queue pair is late, or not in the capture.
                self.merge(from, flow, sender);
                (flow, sender, FlowChange::Merged { from, side: sender.other() })
            }
            Some((into, requester)) => {
                self.merge(flow, into, requester);
                let side = requester.other();
                (into, side, FlowChange::Merged { from: flow, side })
            }
            None => (flow, sender, FlowChange::None),
        })
    }

    /// Finds the flow of a packet to a queue pair that nothing told of yet, or makes one.
    #[cold]
    pub(super) fn take_in_new(
        &mut self,
        packet: &Packet<'_>,
        bth: Bth<'_>,
        names: &Names,
    ) -> Option<(ConnectionId, Side, FlowChange)> {
        let qpn = bth.destination_qpn();
        if bth.opcode().is_response()
            && let Some((index, requester)) = self.unpaired(packet, bth.psn(), None)
        {
            return self.pair(index, requester, packet.destination, qpn, names);
        }
        let number = Some(self.numbers.next(&names.get(packet.destination)));
        let active = ConnectionEnd::new(packet.source, None);
        let passive = ConnectionEnd { number, ..ConnectionEnd::new(packet.destination, Some(qpn)) };
        let index = self.add(Connection::unmanaged(active, passive), None);
        self.get_mut(index)?.udp_source_port = packet.udp_source_port;
        self.insert_qpn((packet.destination, qpn), (index, Side::Passive));
        Some((index, Side::Active, FlowChange::Begun))
    }

    /// Takes in that an answer to the requests of flow `index` came to queue pair `qpn` at `address`.
    #[cold]
    fn pair(
        &mut self,
        index: ConnectionId,
        requester: Side,
        address: IpAddr,
        qpn: u32,
        names: &Names,
    ) -> Option<(ConnectionId, Side, FlowChange)> {
        self.forget_end(index, requester);
        let end = self.connection(index)?.endpoint(requester);
        let number = end.number.unwrap_or_else(|| self.numbers.next(&names.get(address)));
        self.get_mut(index)?.assumed = None;
        let end = self.connection_mut(index)?.endpoint_mut(requester);
        (end.qpn, end.number) = (Some(qpn), Some(number));
        self.insert_qpn((address, qpn), (index, requester));
        Some((index, requester.other(), FlowChange::None))
    }

    /// Begins a connection between the queue pairs of flow `index`, whose side `sender` sends first.
    #[cold]
    fn begin_again(
        &mut self,
        index: ConnectionId,
        sender: Side,
        udp_source_port: u16,
        names: &Names,
    ) -> Option<ConnectionId> {
        let old = self.connection(index)?;
        let ends = [*old.endpoint(sender), *old.endpoint(sender.other())];
        let [active, passive] = ends.map(|end| ConnectionEnd {
            number: end.qpn.map(|_| self.numbers.next(&names.get(end.address))),
            ..ConnectionEnd::new(end.address, end.qpn)
        });
        let new = self.add(Connection::unmanaged(active, passive), None);
        let flow = self.get_mut(new)?;
        (flow.assumed, flow.udp_source_port) = (Some(Side::Active), udp_source_port);
        for (side, end) in [(Side::Active, active), (Side::Passive, passive)] {
            if let Some(qpn) = end.qpn {
                self.insert_qpn((end.address, qpn), (new, side));
            }
        }
        Some(new)
    }

    /// Finds a flow whose requester's QPN nothing has shown yet and that has sent the PSN that `packet` answers.
    fn unpaired(
        &self,
        packet: &Packet<'_>,
        psn: Psn,
        except: Option<ConnectionId>,
    ) -> Option<(ConnectionId, Side)> {
        let mut newest = None;
        for (at, flow) in self.flows.iter().enumerate().rev().take(UNPAIRED_MAX) {
            let index = ConnectionId(self.base + at);
            let Some(requester) = flow.connection.side_of(packet.destination) else { continue };
            let requests = &flow.requests[requester as usize];
            let is_assumed = flow.assumed == Some(requester) && !requests.is_answered();
            let fits = Some(index) != except
                && flow.merged_into.is_none()
                && (flow.connection.endpoint(requester).qpn.is_none() || is_assumed)
                && flow.connection.endpoint(requester.other()).address == packet.source
                && requests.has(psn);
            if fits && flow.udp_source_port == packet.udp_source_port {
                return Some((index, requester));
            }
            newest = newest.or(fits.then_some((index, requester)));
        }
        newest
    }

    /// Moves flow `from`, whose only requests are its active side's, into the other direction of flow `into`.
    pub(super) fn merge(&mut self, from: ConnectionId, into: ConnectionId, requester: Side) {
        let Some(flow) = self.get_mut(from) else {
            return;
        };
        flow.merged_into = Some(into);
        let requests = std::mem::take(&mut flow.requests[Side::Active as usize]);
        let Connection { active, passive, .. } = flow.connection;
        if let Some(qpn) = passive.qpn {
            self.insert_qpn((passive.address, qpn), (into, requester));
        }
        if let Some(into) = self.get_mut(into) {
            for (side, sent) in [(requester, passive), (requester.other(), active)] {
                let end = into.connection.endpoint_mut(side);
                end.packets += sent.packets;
                end.payload_bytes += sent.payload_bytes;
            }
            let end = into.connection.endpoint_mut(requester);
            (end.qpn, end.number) = (passive.qpn, passive.number);
            into.connection.endpoint_mut(requester.other()).psn_first = active.psn_first;
            into.requests[requester.other() as usize] = requests;
        }
    }

    /// Finds the flow of the requests from `requester` to a queue pair whose REP was written behind them, and which begin at the PSN that it names.
    pub(super) fn requests_before_rep(
        &self,
        responder: ReceiverKey,
        requester: IpAddr,
        psn_first: Psn,
    ) -> Option<ConnectionId> {
        let (index, _) = *self.by_qpn.get(&responder)?;
        let connection = self.connection(index)?;
        let is_early = connection.port_space.is_none()
            && connection.active.address == requester
            && connection.active.qpn.is_none()
            && connection.active.psn_first == Some(psn_first);
        is_early.then_some(index)
    }

    /// Forgets the queue pair that was connected to the one at `key`, which is used again.
    #[cold]
    pub(super) fn forget_other_end(&mut self, key: ReceiverKey) {
        if let Some((index, side)) = self.by_qpn.get(&key).copied() {
            self.forget_end(index, side.other());
        }
    }

    /// Forgets the queue pair of a side of a flow, unless another flow has its number by now.
    fn forget_end(&mut self, index: ConnectionId, side: Side) {
        let end = self.connection(index).map(|connection| connection.endpoint(side));
        if let Some(end) = end
            && let Some(qpn) = end.qpn
            && let key = (end.address, qpn)
            && self.by_qpn.get(&key) == Some(&(index, side))
        {
            self.forget_qpn(key);
        }
    }
}
