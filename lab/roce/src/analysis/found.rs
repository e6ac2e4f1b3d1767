//! Broken rules to findings: at which packet, of which connection, and how often.

use super::*;

impl Analysis {
    pub(super) fn find(
        &mut self,
        broken: Broken,
        number: u64,
        packet: &Packet<'_>,
        requester: Option<(usize, Side)>,
    ) {
        if let (Some(at), Some(requester)) = (broken.at, requester) {
            return self.find_at(broken, at, requester);
        }
        let psn = packet.bth.map(|bth| bth.psn());
        let message = requester.zip(psn).and_then(|(requester, psn)| self.message_at(requester, psn));
        self.findings.push(Finding {
            rule: broken.rule,
            severity: broken.severity,
            packet: number,
            source: packet.source,
            destination: packet.destination,
            requester,
            psn,
            message,
            evidence: broken.evidence,
        });
    }

    /// Number of the message of a connection's side that a PSN belongs to, from 1.
    fn message_at(&mut self, (index, side): (usize, Side), psn: Psn) -> Option<u64> {
        self.conversations.get_mut(index)?.stream(side).message_at(psn).map(MessageId::number)
    }

    /// Makes a finding of what another packet of a connection shows than the one that is looked at.
    pub(super) fn find_at(&mut self, broken: Broken, at: Spot, (index, side): (usize, Side)) {
        let (index, side) = self.tracker.resolve(index, side);
        let Some(connection) = self.connection(index) else { return };
        let sender = if at.is_request { side } else { side.other() };
        let (source, destination) =
            (connection.endpoint(sender).address, connection.endpoint(sender.other()).address);
        let message = self.message_at((index, side), at.psn);
        self.findings.push(Finding {
            rule: broken.rule,
            severity: broken.severity,
            packet: at.number,
            source,
            destination,
            requester: Some((index, side)),
            psn: Some(at.psn),
            message,
            evidence: broken.evidence,
        });
    }

    /// Judges the packet by itself; true if a receiver would take it.
    pub(super) fn judge_alone(&mut self, number: u64, packet: &Packet<'_>, is_short: bool) -> bool {
        let (broken, is_taken) = match alone::judge(packet, is_short) {
            Alone::Clean => return true,
            Alone::Cut => return packet.bth.is_some(),
            Alone::Broken { broken, is_taken } => (broken, is_taken),
        };
        let requester = packet
            .bth
            .and_then(|bth| self.requester_of(packet, bth.opcode().is_response(), bth.destination_qpn()));
        self.find(broken, number, packet, requester);
        let opcode = packet.opcode();
        self.cm_is_unsure |= opcode.is_none_or(|opcode| opcode.transport() == TransportService::Ud);
        let leaves_gap = opcode.is_none_or(|opcode| opcode.operation() != Operation::Acknowledge);
        if !is_taken && opcode.is_none_or(|opcode| opcode.transport() != TransportService::Ud) {
            let psn = packet.bth.map(|bth| bth.psn());
            remember(&mut self.ledger.discarded, DiscardedPacket { psn, number, leaves_gap });
        }
        is_taken
    }

    /// Reports what the headers break, once where a sender does it in every packet.
    #[cold]
    pub(super) fn judge_headers(&mut self, broken: Broken, number: u64, packet: &Packet<'_>) {
        let Some(bth) = packet.bth else { return };
        if self.once.is_new(broken.rule, bth.opcode(), packet.destination, bth.destination_qpn()) {
            let requester = self.requester_of(packet, bth.opcode().is_response(), bth.destination_qpn());
            self.find(broken, number, packet, requester);
        }
    }

    pub(super) fn requester_of(
        &self,
        packet: &Packet<'_>,
        is_response: bool,
        qpn: u32,
    ) -> Option<(usize, Side)> {
        let (index, sender) = self.tracker.find(packet.destination, qpn)?;
        Some((index, if is_response { sender.other() } else { sender }))
    }

    /// Turns what a packet broke into findings.
    #[inline]
    pub(super) fn report_broken(
        &mut self,
        number: u64,
        packet: &Packet<'_>,
        requester: Option<(usize, Side)>,
    ) {
        if !self.ledger.broken.is_empty() {
            self.report(number, packet, requester);
        }
    }

    #[cold]
    pub(super) fn report(&mut self, number: u64, packet: &Packet<'_>, requester: Option<(usize, Side)>) {
        let mut broken = std::mem::take(&mut self.ledger.broken);
        for broken in broken.drain(..) {
            self.find(broken, number, packet, requester);
            if broken.rule == Rule::CmOutOfSequence
                && !self.is_told
                && !self.paths.has(packet.destination, packet.source)
                && self.cm_held.len() < CM_HELD_MAX
            {
                // Perhaps nothing of the other side is in the capture.
                self.cm_held.extend(self.findings.pop());
            }
        }
        self.ledger.broken = broken;
    }
}
