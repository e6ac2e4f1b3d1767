//! Broken rules to findings: at which packet, of which connection, and how often.

use super::*;
use crate::rule::Severity;
use crate::rules::malformed_packet;
use crate::wire::Bth;

impl Analysis {
    pub(super) fn find(
        &mut self,
        broken: Broken,
        number: u64,
        packet: &Packet<'_>,
        stream: Option<StreamId>,
    ) {
        if let (Some(at), Some(stream)) = (broken.at, stream) {
            return self.find_at(broken, at, stream);
        }
        // A notification has none, and a datagram one of its own queue pair's.
        let is_of_stream = |bth: &Bth<'_>| bth.opcode() != Opcode::CNP && packet.deth.is_none();
        let psn = packet.bth.filter(|bth| stream.is_none() || is_of_stream(bth)).map(|bth| bth.psn());
        let message = stream.zip(psn).and_then(|(stream, psn)| self.message_at(stream, psn));
        self.findings.push(Finding {
            rule: broken.rule,
            severity: broken.severity,
            packet: number,
            source: packet.source,
            destination: packet.destination,
            stream,
            psn,
            message,
            evidence: broken.evidence,
        });
    }

    /// Number of the message of a connection's side that a PSN belongs to, from 1.
    fn message_at(&mut self, stream: StreamId, psn: Psn) -> Option<u64> {
        self.conversations
            .get_mut(stream.connection)?
            .stream(stream.requester)
            .message_at(psn)
            .map(MessageId::number)
    }

    /// Makes a finding of what another packet of a connection shows than the one that is looked at.
    pub(super) fn find_at(&mut self, broken: Broken, at: Spot, stream: StreamId) {
        let stream = self.tracker.resolve_stream(stream);
        let StreamId { connection, requester } = stream;
        let Some(connection) = self.connection(connection) else { return };
        let sender = if at.is_request { requester } else { requester.other() };
        let (source, destination) =
            (connection.endpoint(sender).address, connection.endpoint(sender.other()).address);
        let message = self.message_at(stream, at.psn);
        self.findings.push(Finding {
            rule: broken.rule,
            severity: broken.severity,
            packet: at.number,
            source,
            destination,
            stream: Some(stream),
            psn: Some(at.psn),
            message,
            evidence: broken.evidence,
        });
    }

    /// Judges the packet by itself; true if a receiver would take it.
    pub(super) fn judge_alone(&mut self, number: u64, packet: &Packet<'_>, cut: CutCause) -> bool {
        let (broken, is_taken) = match alone::judge(packet, cut == CutCause::Sender) {
            Alone::Clean => return true,
            Alone::Cut => {
                if cut == CutCause::Unknown {
                    self.hold_cut(number, packet);
                }
                return packet.bth.is_some();
            }
            Alone::Broken { broken, is_taken } => (broken, is_taken),
        };
        let stream = packet
            .bth
            .and_then(|bth| self.stream_of(packet, bth.opcode().is_response(), bth.destination_qpn()));
        self.find(broken, number, packet, stream);
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
            let stream = self.stream_of(packet, bth.opcode().is_response(), bth.destination_qpn());
            self.find(broken, number, packet, stream);
        }
    }

    /// Holds the last finding back, of a packet that is equal to one shortly before: whether somebody copies packets shows later.
    fn hold_of_copy(&mut self) {
        if self.held.of_copies.len() < HELD_MAX {
            self.held.of_copies.extend(self.findings.pop());
        }
    }

    /// Holds the last finding back if another order of the packets explains it, until the capture has had the time to show that it is shuffled.
    #[cold]
    pub(super) fn hold_of_order(&mut self) {
        let is_explained = |finding: &Finding| finding.rule.is_of_order();
        if !self.is_told
            && self.held.of_order.len() < HELD_MAX
            && self.findings.last().is_some_and(is_explained)
        {
            self.held.of_order.extend(self.findings.pop());
        }
    }

    /// Tells what was held for so long that a shuffled capture would have shown it.
    pub(super) fn release_of_order(&mut self) {
        if self.held.of_order.is_empty() || self.ledger.capture.is_shuffled(self.packets) {
            return;
        }
        let has_fault = self.ledger.capture.has_fault();
        let records = self.records;
        while let Some(finding) = self.held.of_order.front()
            && finding.packet + SHUFFLED_WITHIN <= records
        {
            self.findings.extend(self.held.of_order.pop_front().map(|finding| weigh(finding, has_fault)));
        }
    }

    /// Tells what was held because of the order of the packets; nothing where the recorder shuffles them.
    pub(super) fn judge_order(&mut self) {
        let held = std::mem::take(&mut self.held.of_order);
        if self.ledger.capture.is_shuffled(self.packets) {
            self.findings.retain(|finding| !finding.rule.is_of_order());
        } else {
            let has_fault = self.ledger.capture.has_fault();
            self.findings.extend(held.into_iter().map(|finding| weigh(finding, has_fault)));
        }
    }

    /// Tells what was held of packets that are equal to others: nothing where the recorder doubles them, and as no error where one copy explains it.
    pub(super) fn judge_copies(&mut self) {
        for finding in std::mem::take(&mut self.held.of_copies) {
            if !self.copies.is_recorders(finding.source, finding.destination, &self.paths) {
                self.findings.push(Finding { severity: Severity::Warning, ..finding });
            }
        }
    }

    /// Takes note of a packet that is cut at the length of the longest frame, and no length that mirrors have.
    #[cold]
    pub(super) fn hold_cut(&mut self, number: u64, packet: &Packet<'_>) {
        let Some(broken) = malformed_packet::check(packet) else { return };
        let stream = packet
            .bth
            .and_then(|bth| self.stream_of(packet, bth.opcode().is_response(), bth.destination_qpn()));
        self.find(broken, number, packet, stream);
        self.held.of_cuts.extend(self.findings.pop());
    }

    pub(super) fn stream_of(&self, packet: &Packet<'_>, is_response: bool, qpn: u32) -> Option<StreamId> {
        let (connection, sender) = self.tracker.find(packet.destination, qpn)?;
        Some(StreamId { connection, requester: if is_response { sender.other() } else { sender } })
    }

    /// Turns what a packet broke into findings.
    #[inline]
    pub(super) fn report_broken(&mut self, number: u64, packet: &Packet<'_>, stream: Option<StreamId>) {
        if !self.ledger.broken.is_empty() {
            self.report(number, packet, stream);
        }
    }

    #[cold]
    pub(super) fn report(&mut self, number: u64, packet: &Packet<'_>, stream: Option<StreamId>) {
        let mut broken = std::mem::take(&mut self.ledger.broken);
        for broken in broken.drain(..) {
            self.find(broken, number, packet, stream);
            if self.is_like_another && broken.severity == Severity::Error && broken.at.is_none() {
                self.hold_of_copy();
            }
            if broken.rule == Rule::CmOutOfSequence
                && !self.is_told
                && !self.paths.has(packet.destination, packet.source)
                && self.held.of_management.len() < HELD_MAX
            {
                // Perhaps nothing of the other side is in the capture.
                self.held.of_management.extend(self.findings.pop());
            } else {
                self.hold_of_order();
            }
        }
        self.ledger.broken = broken;
    }
}

/// Makes a note of what would be an error and is not sure, where the capture has shown to lack packets or to have them in another order: that explains it as well.
fn weigh(finding: Finding, has_fault: bool) -> Finding {
    let is_unsure = finding.severity == Severity::Warning
        && (finding.rule.severity() == Severity::Error || finding.rule == Rule::RequestNotAnswered);
    if is_unsure && has_fault { Finding { severity: Severity::Note, ..finding } } else { finding }
}
