//! Requests as the responder gets them: order, messages, lengths.

use crate::checker::pending::{Answer, Pending};
use crate::checker::{Arrival, Gap, Open, Sink, Stream, packets};
use crate::finding::Evidence;
use crate::flow::{Connection, Side};
use crate::message::{Message, MessageKind, Outcome};
use crate::retransmission::RetransmissionClass;
use crate::rule::Rule;
use crate::wire::{Operation, Place, Psn, Transport};

/// Longest message in bytes.
const MESSAGE_MAX_BYTES: u32 = 1 << 31;

/// Behind a missing request no requester sends as many without an answer that makes it go back: the capture has requests alone.
const BEHIND_GAP_MAX: u32 = 4_096;

/// Requests may be on their way for this long when a fatal NAK is.
const FATAL_GRACE_NS: u64 = 100_000_000;

impl Stream {
    /// PSNs that a request takes; `None` for a READ without a path MTU.
    pub(crate) fn count(connection: &Connection, arrival: &Arrival<'_>) -> Option<u32> {
        match arrival.packet.reth {
            Some(reth) if arrival.bth.opcode().operation() == Operation::ReadRequest => {
                connection.path_mtu_bytes.map(|mtu| packets(reth.dma_length(), mtu))
            }
            _ => Some(1),
        }
    }

    /// Takes a request in that reached its receiver; gives why it was sent, when it was sent before.
    pub(crate) fn request(
        &mut self,
        connection: &mut Connection,
        requester: Side,
        arrival: &Arrival<'_>,
        sink: &mut Sink<'_>,
    ) -> Option<RetransmissionClass> {
        let (packet, opcode, psn) = (arrival.packet, arrival.bth.opcode(), arrival.bth.psn());
        if opcode.place() == Place::First && connection.path_mtu_bytes.is_none() {
            connection.path_mtu_bytes =
                u32::try_from(packet.payload_length_bytes).ok().filter(|bytes| *bytes > 0);
        }
        let count = Self::count(connection, arrival);
        if self.psn_first.is_none() {
            self.psn_first = Some(psn);
            self.acknowledged = Some(psn);
            connection.endpoint_mut(requester).psn_first = Some(psn);
        }
        self.has_uncounted |= count.is_none();
        let sent_before = self.sent_end;
        let class = if arrival.is_sent { self.sent(connection, arrival, count, sink) } else { None };
        self.after_fatal(arrival, sink);
        let is_again = self.expected.is_none()
            && self.queue.back().is_some_and(|last| last.count.is_none() && psn.distance(last.psn) <= 0);
        if is_again {
            self.again(connection, arrival, count, sink);
            return class;
        }
        let expected = *self.expected.get_or_insert(psn);
        let ahead = psn.distance(expected);
        if ahead > 0 {
            if !self.is_ahead(expected, sent_before, arrival, sink) {
                return class;
            }
        } else if ahead < 0 && !self.begins_earlier(psn, count) {
            self.again(connection, arrival, count, sink);
            return class;
        }
        if self.gap == Gap::No {
            self.is_unsure = false;
        } else {
            self.refill(psn, count);
        }
        self.expected = count.map(|count| psn.plus(count));
        self.assemble(connection, requester, arrival, count, sink);
        class
    }

    /// The stream began before what the capture has of it. Its responder may have found a gap there, and at each request since.
    fn begin_at(&mut self, psn: Psn) {
        if self.acknowledged == self.psn_first {
            self.acknowledged = Some(psn);
            self.naks_due = self.sent_end.map(|end| (psn, end));
        }
        self.psn_first = Some(psn);
    }

    /// Whether the first requests of the capture had overtaken this one, the rest of a message; then they are behind a gap.
    fn begins_earlier(&mut self, psn: Psn, count: Option<u32>) -> bool {
        let is_earlier = !self.is_announced
            && self.first_is_lost
            && self.acknowledged == self.psn_first
            && self.psn_first == count.map(|count| psn.plus(count));
        if is_earlier {
            self.begin_at(psn);
            self.gap = Gap::Waiting;
        }
        is_earlier
    }

    /// Takes note of a request that fills a gap.
    #[cold]
    fn refill(&mut self, psn: Psn, count: Option<u32>) {
        if let Some(nak) = &mut self.nak {
            nak.is_filled |= nak.psn == psn;
        }
        let has_more = self.sent_end.is_some_and(|end| psn.plus(count.unwrap_or(1)).distance(end) < 0);
        self.gap = if has_more { Gap::Refilling } else { Gap::No };
        self.is_unsure &= has_more;
    }

    fn after_fatal(&mut self, arrival: &Arrival<'_>, sink: &mut Sink<'_>) {
        if let Some(at_ns) = self.fatal_ns
            && !self.fatal_is_reported
            && arrival.timestamp_ns.saturating_sub(at_ns) > FATAL_GRACE_NS
        {
            self.fatal_is_reported = true;
            sink.report(
                Rule::TrafficAfterFatalNak,
                Evidence::Words { expected: "no further request", got: "one" },
            );
        }
    }

    /// Judges a request behind a missing one; gives whether it is to be taken all the same.
    fn is_ahead(
        &mut self,
        expected: Psn,
        sent_before: Option<Psn>,
        arrival: &Arrival<'_>,
        sink: &mut Sink<'_>,
    ) -> bool {
        let psn = arrival.bth.psn();
        let is_new = sent_before.is_none_or(|end| psn.distance(end) >= 0);
        let goes_on = self.gap == Gap::Refilling && is_new;
        if goes_on && self.nak.is_none() && self.naks_due.is_none() {
            // The requester sent again what was missing, and no more.
            self.resume_at(Some(psn));
            return true;
        }
        // The missing one came late, and a NAK is on its way: what was sent behind it has to come again.
        if self.gap != Gap::Waiting && !goes_on {
            let is_excused = sink.excuses(expected, psn.distance(expected) == 1);
            if !is_excused {
                sink.report(Rule::RequestPsnGap, Evidence::Psn { expected, got: psn });
                self.jumped = (psn.distance(expected) == 1).then_some(psn);
            }
            self.is_unsure |= is_excused;
        }
        if arrival.bth.opcode().transport() == Transport::Uc {
            self.resume_at(Some(psn));
            return true;
        }
        if self.gap != Gap::Waiting {
            self.gap = Gap::Waiting;
            self.behind_gap = 0;
            self.expect_nak(expected);
        }
        self.behind_gap += 1;
        if self.behind_gap > BEHIND_GAP_MAX {
            self.resume_at(Some(psn));
            return true;
        }
        false
    }

    /// Takes a request in whose PSN was taken before.
    fn again(
        &mut self,
        connection: &Connection,
        arrival: &Arrival<'_>,
        count: Option<u32>,
        sink: &mut Sink<'_>,
    ) {
        let psn = arrival.bth.psn();
        if self.psn_first.is_some_and(|first| psn.distance(first) < 0) {
            if self.is_announced {
                let expected = self.psn_first.unwrap_or(psn);
                sink.report(Rule::RequestBeforeFirstPsn, Evidence::Psn { expected, got: psn });
                // The gap at the PSN that it should have had has the same cause.
                sink.discard(self.expected);
            } else if connection.path_mtu_bytes.is_some() {
                // The capture began in the middle of a retransmission.
                self.begin_at(psn);
            }
            return;
        }
        if !arrival.is_sent {
            self.retry.counts.count(RetransmissionClass::Duplicate);
        }
        let end = psn.plus(count.unwrap_or(1));
        if self.gap == Gap::No && self.expected.is_some_and(|expected| end.distance(expected) > 0) {
            // None that was sent before: its PSN is wrong, or else checking went on too far behind a gap.
            if self.first_is_lost {
                self.resume_at(Some(end));
            }
            return;
        }
        if arrival.bth.opcode().operation() == Operation::ReadRequest {
            self.read_again(psn, count);
        }
    }

    /// Begins or continues a message with a request that is in order.
    fn assemble(
        &mut self,
        connection: &Connection,
        requester: Side,
        arrival: &Arrival<'_>,
        count: Option<u32>,
        sink: &mut Sink<'_>,
    ) {
        let (packet, opcode, psn) = (arrival.packet, arrival.bth.opcode(), arrival.bth.psn());
        let (place, operation) = (opcode.place(), opcode.operation());
        let announced_bytes = packet.reth.map(|reth| reth.dma_length());
        if place.starts() {
            let Some(kind) = MessageKind::of(opcode) else { return };
            if let Some(open) = self.open.take() {
                if !open.is_suspect {
                    sink.report(
                        Rule::OpcodeOutOfSequence,
                        Evidence::Opcode { expected: "Middle or Last of the message before", got: opcode },
                    );
                }
                sink.messages.end(open.message, Outcome::Incomplete, None);
                self.lose_place();
            }
            self.first_is_lost = false;
            let message = sink.messages.add(Message {
                kind,
                requester: connection.endpoint(requester).address,
                requester_qpn: connection.endpoint(requester).qpn,
                responder: connection.endpoint(requester.other()).address,
                responder_qpn: arrival.bth.destination_qpn(),
                connection: Some(arrival.flow),
                bytes: 0,
                immediate: None,
                va: packet.remote_memory().map(|(va, _)| va),
                rkey: packet.remote_memory().map(|(_, rkey)| rkey).or(packet.ieth.map(|ieth| ieth.rkey())),
                psn_first: psn,
                psn_last: psn.plus(count.unwrap_or(1) - 1),
                packet_first: arrival.number,
                packet_last: arrival.number,
                is_whole: false,
                sent_ns: arrival.timestamp_ns,
                ended_ns: None,
                outcome: Outcome::Incomplete,
            });
            self.judge_addresses(arrival, announced_bytes, sink);
            self.open = Some(Open { message, operation, announced_bytes, bytes: 0, is_suspect: false });
        }
        let Some(open) = &mut self.open else {
            if !self.first_is_lost {
                sink.report(
                    Rule::OpcodeOutOfSequence,
                    Evidence::Opcode { expected: "First or Only", got: opcode },
                );
            }
            self.lose_place();
            return;
        };
        if open.operation != operation {
            sink.report(
                Rule::OpcodeOutOfSequence,
                Evidence::Opcode { expected: "Middle or Last of the message before", got: opcode },
            );
            self.lose_place();
            return;
        }
        open.bytes += packet.payload_length_bytes as u64;
        if !judge_payload(connection, arrival, sink) {
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
            message.packet_last = arrival.number;
        }
        if place.ends()
            && let Some(open) = self.open.take()
        {
            self.finish_message(connection, requester, &open, arrival, count, sink);
        }
    }

    fn judge_addresses(&self, arrival: &Arrival<'_>, announced_bytes: Option<u32>, sink: &mut Sink<'_>) {
        if let Some(bytes) = announced_bytes
            && bytes > MESSAGE_MAX_BYTES
        {
            let (expected, got) = (u64::from(MESSAGE_MAX_BYTES), u64::from(bytes));
            sink.report(Rule::DmaLengthTooLarge, Evidence::Number { what: "at most", expected, got });
        }
        if let Some(atomic) = arrival.packet.atomic_eth
            && !atomic.va().is_multiple_of(8)
        {
            let (expected, got) = (atomic.va() & !7, atomic.va());
            sink.report(Rule::AtomicAddressMisaligned, Evidence::Number { what: "address", expected, got });
        }
    }

    fn finish_message(
        &mut self,
        connection: &Connection,
        requester: Side,
        open: &Open,
        arrival: &Arrival<'_>,
        count: Option<u32>,
        sink: &mut Sink<'_>,
    ) {
        if let Some(message) = sink.messages.get_mut(open.message) {
            message.kind = MessageKind::of(arrival.bth.opcode()).unwrap_or(message.kind);
            message.is_whole = true;
            if message.outcome == Outcome::Incomplete {
                message.outcome = Outcome::Sent;
            }
            message.immediate = arrival.packet.immdt.map(|immdt| immdt.value());
            message.rkey = message.rkey.or(arrival.packet.ieth.map(|ieth| ieth.rkey()));
        }
        self.msn.completed = self.msn.completed.wrapping_add(1);
        let answer = match open.operation {
            Operation::ReadRequest => Answer::ReadResponses,
            Operation::CmpSwap | Operation::FetchAdd => Answer::AtomicAck,
            Operation::Flush | Operation::AtomicWrite => Answer::Either,
            _ => Answer::Ack,
        };
        if answer == Answer::Ack
            && let Some(expected) = open.announced_bytes.map(u64::from)
            && expected != open.bytes
            && !open.is_suspect
        {
            sink.report(Rule::LengthMismatch, Evidence::Bytes { expected, got: open.bytes });
            if open.bytes < expected && arrival.bth.opcode().place() == Place::Last {
                // What follows may be the rest of it.
                self.lose_place();
            }
        }
        if arrival.bth.opcode().transport() == Transport::Uc {
            sink.messages.end(open.message, Outcome::Sent, None);
            return;
        }
        let pending = Pending {
            message: open.message,
            answer,
            is_done: false,
            must_be_answered: answer != Answer::Ack || arrival.bth.ack_request(),
            packet_last: arrival.number,
            psn: arrival.bth.psn(),
            count,
            ordinal: self.msn.completed,
            announced_bytes: open.announced_bytes.unwrap_or(0),
            asked_from: 0,
            next: 0,
            bytes: 0,
            has_gap: false,
        };
        if matches!(answer, Answer::ReadResponses | Answer::AtomicAck) && !self.depth_is_reported {
            self.judge_depth(connection.endpoint(requester).initiator_depth, sink);
        }
        self.queue.push(pending, sink.budget);
    }

    /// Holds the READs and atomics that are under way, with one more, against what the connection allows.
    fn judge_depth(&mut self, initiator_depth: Option<u8>, sink: &mut Sink<'_>) {
        let Some(depth) = initiator_depth else { return };
        let most = if depth == 0 { 0 } else { usize::from(depth).next_power_of_two() };
        let under_way = self.queue.under_way(most) + 1;
        if under_way > most {
            self.depth_is_reported = true;
            let (expected, got) = (most as u64, under_way as u64);
            sink.report(Rule::InitiatorDepthExceeded, Evidence::Number { what: "at most", expected, got });
        }
    }

    /// A READ asked for again, whole or from a later PSN on. One that is answered in full is answered again, which changes nothing.
    fn read_again(&mut self, psn: Psn, count: Option<u32>) {
        let Some(read) = self.queue.find(psn).and_then(|at| self.queue.get_mut(at)) else {
            return;
        };
        if read.is_done || read.answer != Answer::ReadResponses {
            return;
        }
        let index = psn.distance(read.psn) as u32;
        read.count = read.count.or(count);
        read.asked_from = index;
        read.next = index;
        // What came before the point of asking again stands; the rest is counted anew only when all of it is.
        read.has_gap = index > 0;
        if index == 0 {
            read.bytes = 0;
        }
    }
}

/// Holds a payload against the path MTU; gives whether it is right.
fn judge_payload(connection: &Connection, arrival: &Arrival<'_>, sink: &mut Sink<'_>) -> bool {
    let Some(mtu) = connection.path_mtu_bytes.map(u64::from) else {
        return true;
    };
    let got = arrival.packet.payload_length_bytes as u64;
    let is_right = match arrival.bth.opcode().place() {
        Place::First | Place::Middle => got == mtu,
        Place::Last => (1..=mtu).contains(&got),
        Place::Only => got <= mtu,
    };
    if !is_right {
        sink.report(Rule::PathMtuViolated, Evidence::Bytes { expected: mtu, got });
    }
    is_right
}
