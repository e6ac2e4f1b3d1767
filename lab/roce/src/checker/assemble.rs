//! Requests to messages: from the first packet of one to its last.

use crate::broken::Spot;
use crate::checker::asked::RequestPacket;
use crate::checker::pending::{AnswerKind, Due, Pending};
use crate::checker::sink::Sink;
use crate::checker::stream::{Assembly, Open, Stream};
use crate::flow::{Connection, Side};
use crate::message::{Message, MessageKind, MessageOutcome};
use crate::rule::Rule;
use crate::rules::{
    atomic_address_misaligned, dma_length_too_large, initiator_depth_exceeded, length_mismatch,
    opcode_out_of_sequence,
};
use crate::wire::{Operation, Place, Psn, TransportService};

/// Packets that may follow inside a message.
const GOES_ON: &str = "Middle or Last of the message before";

impl Stream {
    /// Begins or continues a message with a request that is in order.
    pub(super) fn assemble(
        &mut self,
        connection: &Connection,
        requester: Side,
        asked: &RequestPacket,
        sink: &mut Sink<'_>,
    ) {
        let (opcode, psn, count) = (asked.opcode, asked.psn, asked.count);
        let (place, operation) = (opcode.place(), opcode.operation());
        let announced_bytes = asked.dma_length;
        if place.starts() {
            let Some(message) = self.message(connection, requester, asked) else { return };
            if let Some(open) = self.assembly.take() {
                if !open.is_suspect {
                    sink.report(
                        opcode_out_of_sequence::found(GOES_ON, opcode)
                            .sure_if(self.is_certain(asked.is_told)),
                    );
                }
                sink.messages.end(open.message, MessageOutcome::Incomplete, None);
                self.lose_place();
            }
            let message = sink.messages.add(message);
            sink.findings.extend(asked.dma_length.and_then(dma_length_too_large::check));
            sink.findings.extend(asked.atomic_va.and_then(atomic_address_misaligned::check));
            let open = Open { message, operation, announced_bytes, bytes: 0, is_suspect: false };
            self.assembly = Assembly::Open(open);
        }
        let Assembly::Open(open) = &mut self.assembly else {
            if let Assembly::Between = self.assembly {
                sink.report(
                    opcode_out_of_sequence::found("First or Only", opcode)
                        .sure_if(self.is_certain(asked.is_told)),
                );
            }
            self.lose_place();
            return;
        };
        if open.operation != operation {
            sink.report(
                opcode_out_of_sequence::found(GOES_ON, opcode).sure_if(self.is_certain(asked.is_told)),
            );
            self.lose_place();
            return;
        }
        open.bytes += asked.payload_bytes;
        if !self.payload.judge(connection, asked, sink) {
            open.is_suspect = true;
            self.msn.forget();
            self.sure_from = self.sent_end;
        }
        if let Some(message) = sink.messages.get_mut(open.message) {
            message.bytes = match operation {
                Operation::ReadRequest | Operation::Flush => u64::from(announced_bytes.unwrap_or(0)),
                Operation::CmpSwap | Operation::FetchAdd => 8,
                _ => open.bytes,
            };
            message.psn_last = psn.plus(count.unwrap_or(1) - 1);
            message.packet_last = asked.number;
        }
        if place.ends()
            && let Some(open) = self.assembly.take()
        {
            self.finish_message(connection, requester, &open, asked, sink);
        }
    }

    /// The message that begins with a request.
    pub(super) fn message(
        &self,
        connection: &Connection,
        requester: Side,
        asked: &RequestPacket,
    ) -> Option<Message> {
        Some(Message {
            kind: MessageKind::of(asked.opcode)?,
            requester: connection.endpoint(requester).address,
            requester_qpn: connection.endpoint(requester).qpn,
            responder: connection.endpoint(requester.other()).address,
            responder_qpn: asked.destination_qpn,
            connection: Some(asked.flow),
            bytes: 0,
            immediate: None,
            va: asked.memory.map(|(va, _)| va),
            rkey: asked.memory.map(|(_, rkey)| rkey).or(asked.invalidate),
            psn_first: asked.psn,
            psn_last: asked.psn.plus(asked.count.unwrap_or(1) - 1),
            packet_first: asked.number,
            packet_last: asked.number,
            is_whole: false,
            sent_ns: asked.timestamp_ns,
            ended_ns: None,
            outcome: MessageOutcome::Incomplete,
        })
    }

    pub(super) fn finish_message(
        &mut self,
        connection: &Connection,
        requester: Side,
        open: &Open,
        asked: &RequestPacket,
        sink: &mut Sink<'_>,
    ) {
        if let Some(message) = sink.messages.get_mut(open.message) {
            message.kind = MessageKind::of(asked.opcode).unwrap_or(message.kind);
            message.is_whole = true;
            if message.outcome == MessageOutcome::Incomplete {
                message.outcome = MessageOutcome::Sent;
            }
            message.immediate = asked.immediate;
            message.rkey = message.rkey.or(asked.invalidate);
        }
        self.msn.completed = self.msn.completed.wrapping_add(1);
        let answer = match open.operation {
            Operation::ReadRequest => AnswerKind::ReadResponses,
            Operation::CmpSwap | Operation::FetchAdd => AnswerKind::AtomicAck,
            Operation::Flush | Operation::AtomicWrite => AnswerKind::Either,
            _ => AnswerKind::Ack,
        };
        if (answer == AnswerKind::Ack || open.operation == Operation::AtomicWrite)
            && let Some(expected) = open.announced_bytes.map(u64::from)
            && let Some(broken) = length_mismatch::check(expected, open.bytes)
            && !open.is_suspect
        {
            sink.report(broken);
            if open.bytes < expected && asked.opcode.place() == Place::Last {
                // What follows may be the rest of it.
                self.lose_place();
            }
        }
        if asked.opcode.transport() == TransportService::Uc {
            sink.messages.end(open.message, MessageOutcome::Sent, None);
            return;
        }
        let pending = Pending {
            message: open.message,
            answer,
            due: if answer != AnswerKind::Ack || asked.ack_request { Due::Must } else { Due::May },
            packet_last: asked.number,
            psn: asked.psn,
            count: asked.count,
            is_unknown: asked.is_read_of_unknown_length(),
            ordinal: self.msn.completed,
            announced_bytes: open.announced_bytes.unwrap_or(0),
            asked_from: 0,
            next: 0,
            bytes: 0,
            has_gap: false,
            is_resized: false,
        };
        if matches!(answer, AnswerKind::ReadResponses | AnswerKind::AtomicAck)
            && !self.told.has(Rule::InitiatorDepthExceeded)
        {
            self.judge_depth(connection.endpoint(requester).initiator_depth, asked, sink);
        }
        self.queue.push(pending, sink.budget);
    }

    /// Holds the READs and atomics that are under way, with one more, against what the connection allows.
    pub(super) fn judge_depth(
        &mut self,
        initiator_depth: Option<u8>,
        asked: &RequestPacket,
        sink: &mut Sink<'_>,
    ) {
        let Some(depth) = initiator_depth.filter(|_| self.deep.is_none()) else { return };
        let most = sink.profile.reads_under_way_max(depth);
        let under_way = self.queue.under_way(most) + 1;
        if let Some(broken) = initiator_depth_exceeded::check(most, under_way) {
            let at = Spot { number: asked.number, psn: asked.psn, is_request: true };
            self.deep = Some(broken.sure_if(false).at(at));
            if asked.is_told {
                self.judge_deep(None, sink);
            }
        }
    }

    /// Tells of a READ or an atomic too many when an earlier one is answered behind it; when its own answer comes, the capture lacks those of the others.
    #[cold]
    pub(super) fn judge_deep(&mut self, answered: Option<Psn>, sink: &mut Sink<'_>) {
        if let Some(broken) = self.deep.take()
            && broken.at.zip(answered).is_none_or(|(at, answered)| answered.distance(at.psn) < 0)
            && self.told.is_new(broken.rule)
        {
            sink.report(broken);
        }
    }
}
