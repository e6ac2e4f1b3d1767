//! A packet to the rules: one that its receiver got, and one that was sent and lost.

use super::*;

impl Analysis {
    /// Takes note of a packet that its sender sent and its receiver did not get, or not here.
    pub(super) fn sent_only(
        &mut self,
        number: u64,
        timestamp_ns: u64,
        packet: &Packet<'_>,
    ) -> Option<Attribution> {
        let bth = packet.bth?;
        if matches!(packet.icrc, Icrc::Bad { .. }) {
            return None;
        }
        if let Some(message) = management(packet) {
            self.manage(packet, &message);
            return None;
        }
        let is_uc = bth.opcode().transport() == TransportService::Uc;
        let Placed { flow: index, sender, .. } = self.place(packet, true)?;
        let mut seen = Attribution { flow: index, sender, again: None };
        if !bth.opcode().is_request() || is_uc {
            if let Some(conversation) = self.conversations.get_mut(index) {
                conversation.stream(sender.other()).lost_answer(bth.psn());
            }
            return Some(seen);
        }
        if let (Some(connection), Some(conversation)) =
            (self.tracker.connection(index), self.conversations.get_mut(index))
        {
            let arrival = Arrival {
                number,
                timestamp_ns,
                packet,
                bth,
                flow: index,
                is_sent: true,
                is_told: true,
                tells_mtu: false,
            };
            let mut sink = self.ledger.lend(number, index, sender);
            let count = Stream::count(connection, &arrival);
            let stream = conversation.stream(sender);
            seen.again = stream.sent(connection, &arrival, count, &mut sink).again;
            stream.lost(bth.psn());
        }
        self.report_broken(number, packet, Some(StreamId { connection: index, requester: sender }));
        Some(seen)
    }

    /// Finds or makes the connection of a packet, and follows what it changes.
    #[inline]
    fn place(&mut self, packet: &Packet<'_>, is_sent: bool) -> Option<Placed> {
        let placed = self.tracker.take_in(packet, is_sent, &self.names)?;
        if placed.change != FlowChange::None {
            self.follow(placed.flow, placed.change);
        }
        Some(placed)
    }

    /// Follows a change of the connections.
    #[cold]
    fn follow(&mut self, index: ConnectionId, change: FlowChange) {
        if let FlowChange::Replaced { old } = change {
            self.end_flow(old);
            self.judge_end(old);
        }
        if let Some(connection) = self.tracker.connection(index) {
            self.conversations.follow(index, change, connection);
        }
        self.make_room();
    }

    /// Runs the rules over a packet that its receiver got.
    pub(super) fn deliver(
        &mut self,
        number: u64,
        timestamp_ns: u64,
        packet: &Packet<'_>,
        is_sent: bool,
        cut: CutCause,
        is_told: bool,
    ) -> Option<Attribution> {
        if !self.judge_alone(number, packet, cut) {
            return None;
        }
        let bth = packet.bth?;
        let opcode = bth.opcode();
        if let Some(broken) = headers::judge(packet) {
            self.judge_headers(broken, number, packet);
        }
        self.ledger.stats.packet(opcode, packet.payload_length_bytes as u64, timestamp_ns);
        if opcode == Opcode::CNP {
            self.copies.pass(packet);
            self.judge_pace(number, timestamp_ns, packet);
            return None;
        }
        if !is_told {
            let likeness = self.copies.see(packet, bth, timestamp_ns, &self.paths);
            if likeness != Likeness::No {
                // The first one of a recorder that doubles is its copy, whatever is asked for again.
                let is_recorders = likeness == Likeness::FirstCopy
                    && self.copies.is_recorders(packet.source, packet.destination, &self.paths);
                if likeness != Likeness::BehindRefusal && (is_recorders || !self.is_due_again(packet)) {
                    return self.copy(number, packet, likeness);
                }
                self.is_like_another = true;
            }
        }
        match opcode.transport() {
            _ if !opcode.is_known() => return self.unfollowed(number, packet),
            TransportService::Rc | TransportService::Uc | TransportService::Xrc => {}
            TransportService::Ud => {
                self.datagram(number, timestamp_ns, packet);
                return None;
            }
            _ => return self.unfollowed(number, packet),
        }
        let Placed { flow: index, sender, .. } = self.place(packet, is_sent)?;
        let is_response = opcode.is_response();
        let requester = if is_response { sender.other() } else { sender };
        let mut seen = Attribution { flow: index, sender, again: None };
        if let (Some(connection), Some(conversation)) =
            (self.tracker.connection_mut(index), self.conversations.get_mut(index))
        {
            connection.count(sender, packet.payload_length_bytes as u64);
            let connection = &*connection;
            let tells_mtu = opcode.place() == Place::First && conversation.judges_mtu();
            let arrival =
                Arrival { number, timestamp_ns, packet, bth, flow: index, is_sent, is_told, tells_mtu };
            if let Some(broken) = partition_key_differs::check(connection, bth)
                && self.once.is_new(broken.rule, opcode, packet.destination, bth.destination_qpn())
            {
                self.ledger.broken.push(broken);
            }
            let stream = conversation.stream(requester);
            let mut sink = self.ledger.lend(number, index, requester);
            if opcode.operation() == Operation::Send && packet.payload.len() <= ADVERT_MAX {
                sink.adverts.see(packet.source, packet.payload);
            }
            if is_response {
                stream.response(connection, requester, &arrival, &mut sink);
            } else {
                seen.again = stream.request(connection, requester, &arrival, &mut sink);
            }
        }
        self.report_broken(number, packet, Some(StreamId { connection: index, requester }));
        Some(seen)
    }

    /// Takes note of a packet whose opcode no rule follows; its receiver may have taken it, for all that is known.
    #[cold]
    fn unfollowed(&mut self, number: u64, packet: &Packet<'_>) -> Option<Attribution> {
        let bth = packet.bth?;
        let (flow, sender) = self.tracker.find(packet.destination, bth.destination_qpn())?;
        let discarded = DiscardedPacket { psn: Some(bth.psn()), number, leaves_gap: true };
        remember(&mut self.ledger.discarded, discarded);
        Some(Attribution { flow, sender, again: None })
    }

    /// Holds a congestion notification against the one before it to the same queue pair.
    pub(super) fn judge_pace(&mut self, number: u64, timestamp_ns: u64, packet: &Packet<'_>) {
        let Some(bth) = packet.bth else { return };
        let key = (packet.destination, bth.destination_qpn());
        if self.last_cnp.len() >= CNPS_MAX && !self.last_cnp.contains_key(&key) {
            return;
        }
        let Some(before_ns) = self.last_cnp.insert(key, timestamp_ns) else { return };
        if let Some(broken) = cnp_too_frequent::check(timestamp_ns.saturating_sub(before_ns))
            && !self.copies.is_recorders(packet.source, packet.destination, &self.paths)
            && !self.copies.is_recorders(packet.destination, packet.source, &self.paths)
            && self.once.is_new(broken.rule, bth.opcode(), packet.destination, bth.destination_qpn())
        {
            self.find(broken, number, packet, None);
        }
    }

    /// True if a packet is a request that its sender has to send again now, or an answer to one that came again.
    #[cold]
    fn is_due_again(&mut self, packet: &Packet<'_>) -> bool {
        let Some(bth) = packet.bth else { return false };
        let Some((index, sender)) = self.tracker.find(packet.destination, bth.destination_qpn()) else {
            return false;
        };
        let Some(conversation) = self.conversations.get_mut(index) else { return false };
        if bth.opcode().is_request() {
            conversation.stream(sender).is_due_again(bth.psn())
        } else {
            conversation.stream(sender.other()).is_answer_due(bth.psn())
        }
    }

    /// Takes note of a packet that is equal to one shortly before.
    #[cold]
    pub(super) fn copy(&mut self, number: u64, packet: &Packet<'_>, copy: Likeness) -> Option<Attribution> {
        self.copies.count(packet, copy);
        let bth = packet.bth?;
        let opcode = bth.opcode();
        let at = Spot { number, psn: bth.psn(), is_request: opcode.is_request() };
        let (index, sender) = self.tracker.find(packet.destination, bth.destination_qpn())?;
        let requester = if opcode.is_response() { sender.other() } else { sender };
        self.copies.name(packet, at, StreamId { connection: index, requester });
        if let Some(connection) = self.tracker.connection_mut(index) {
            connection.count(sender, packet.payload_length_bytes as u64);
        }
        if let Some(conversation) = self.conversations.get_mut(index) {
            if opcode.is_request() {
                conversation.count_copy();
                conversation.stream(sender).copied(bth.psn());
            } else if opcode.place().starts() {
                conversation.stream(requester).answered_anew(bth.psn());
            }
        }
        let again = opcode.is_request().then_some(RetransmissionClass::Duplicate);
        Some(Attribution { flow: index, sender, again })
    }

    pub(super) fn datagram(&mut self, number: u64, timestamp_ns: u64, packet: &Packet<'_>) {
        if let (Some(bth), Some(deth)) = (packet.bth, packet.deth)
            && let Some(broken) = self.datagram_receivers.see(number, packet, bth, deth)
            && self.once.is_new(broken.rule, bth.opcode(), packet.destination, bth.destination_qpn())
        {
            self.find(broken, number, packet, None);
        }
        if let Some(mad) = packet.mad() {
            if let Ok(mad) = mad
                && mad.is_cm()
                && let Ok(message) = mad.message()
            {
                self.connection_management(number, packet, &message);
            } else {
                self.cm_is_unsure = true;
            }
            return;
        }
        let (Some(bth), Some(deth)) = (packet.bth, packet.deth) else {
            return;
        };
        let Some(kind) = MessageKind::of(bth.opcode()) else {
            return;
        };
        let id = self.ledger.messages.add(Message {
            kind,
            requester: packet.source,
            requester_qpn: Some(deth.source_qpn()),
            responder: packet.destination,
            responder_qpn: bth.destination_qpn(),
            connection: None,
            bytes: packet.payload_length_bytes as u64,
            immediate: packet.immdt.map(|immdt| immdt.value()),
            va: None,
            rkey: None,
            psn_first: bth.psn(),
            psn_last: bth.psn(),
            packet_first: number,
            packet_last: number,
            is_whole: true,
            sent_ns: timestamp_ns,
            ended_ns: None,
            outcome: MessageOutcome::Sent,
        });
        self.ledger.messages.end(id, MessageOutcome::Sent, None);
    }

    pub(super) fn connection_management(
        &mut self,
        number: u64,
        packet: &Packet<'_>,
        message: &CmMessage<'_>,
    ) {
        match message {
            CmMessage::Req(req) => self.ledger.adverts.see(packet.source, req.consumer_private_data()),
            CmMessage::Rep(rep) => self.ledger.adverts.see(packet.source, rep.private_data()),
            _ => {}
        }
        if let Some(reply) = message.sidr_rep() {
            self.ledger.adverts.see_queue_pair(packet.source, reply.qpn());
            self.datagram_receivers.tell(packet.source, reply.qpn(), reply.q_key());
        }
        let index = self.manage(packet, message);
        if let Some(index) = index
            && let (Some(connection), Some(conversation)) =
                (self.tracker.connection_mut(index), self.conversations.get_mut(index))
        {
            conversation.judge(connection, packet.destination, message, &mut self.ledger.broken);
            connection.management.extend(connection.side_of(packet.source).zip(message.name()));
        }
        if self.cm_is_unsure {
            self.ledger.broken.retain(|broken| broken.rule != Rule::CmOutOfSequence);
        }
        for broken in &mut self.ledger.broken {
            if broken.rule == Rule::CmOutOfSequence {
                // The answer proves that there was something to answer.
                *broken = broken.note_unless(self.is_told);
            }
        }
        let stream = index.map(|connection| StreamId { connection, requester: Side::Active });
        self.report_broken(number, packet, stream);
    }

    /// Takes a message of connection management in, whether it arrives or not; returns its connection.
    fn manage(&mut self, packet: &Packet<'_>, message: &CmMessage<'_>) -> Option<ConnectionId> {
        if let CmMessage::Req(req) = message {
            // A queue pair that is used again: what it was before has ended.
            if let Some((index, _)) = self.tracker.find(packet.source, req.local_qpn()) {
                self.end_flow(index);
                self.judge_end(index);
            }
        }
        let (index, change) = self.tracker.manage(packet.source, packet.destination, message, &self.names)?;
        self.follow(index, change);
        Some(index)
    }
}
