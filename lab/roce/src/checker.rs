//! The state of one stream of requests and its responses, and the rules that it is held to.
//!
//! In: the packets of a connection as the receiver got them. Out: messages and findings. A responder ignores requests after a gap until the missing one
//! comes; so does this, which makes a lost packet one finding and a go-back-N none. When an answer shows that the missing request did arrive, the gap is the
//! capture's, and checking goes on behind it.

use std::collections::VecDeque;

use crate::finding::Evidence;
use crate::flow::{Connection, Side};
use crate::message::{Message, MessageKind, Outcome};
use crate::rule::Rule;
use crate::wire::{Bth, NakCode, Opcode, Operation, Packet, Place, Psn, Syndrome, Transport};

/// Most requests without an answer that are remembered for one stream; more only loses the oldest.
const OUTSTANDING_MAX: usize = 65_536;

/// A message between its First and its Last.
#[derive(Clone, Copy, Debug)]
struct Open {
    message: usize,
    operation: Operation,
    announced_bytes: Option<u32>,
    bytes: u64,
}

/// A READ or an atomic that waits for its own response.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    message: Option<usize>,
    psn_first: Psn,
    /// Responses that it takes; `None` until the path MTU is known.
    count: Option<u32>,
    announced_bytes: u32,
    /// Index of the first response since it was last asked for.
    asked_from: u32,
    /// Index of the next response.
    next: u32,
    bytes: u64,
    has_gap: bool,
}

/// The requests of one side and what answers them.
#[derive(Debug)]
pub(crate) struct Stream {
    psn_first: Option<Psn>,
    /// PSN of the next new request.
    expected: Option<Psn>,
    /// One past the highest PSN that was sent.
    sent_end: Option<Psn>,
    in_gap: bool,
    /// Middle and Last may come without a First: the First is lost and was reported.
    first_is_lost: bool,
    open: Option<Open>,
    outstanding: VecDeque<Outstanding>,
    unacknowledged: VecDeque<(Psn, usize)>,
    /// Whether an outstanding READ may be without a count.
    has_uncounted: bool,
}

/// One packet on its way through the rules.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) number: u64,
    pub(crate) timestamp_ns: u64,
    pub(crate) packet: &'a Packet<'a>,
    pub(crate) bth: Bth<'a>,
    pub(crate) flow: usize,
}

/// Where messages and findings go.
pub(crate) struct Sink<'a> {
    pub(crate) messages: &'a mut Vec<Message>,
    pub(crate) report: &'a mut dyn FnMut(Rule, Evidence),
}

impl Sink<'_> {
    fn end(&mut self, message: Option<usize>, outcome: Outcome, timestamp_ns: u64) {
        if let Some(message) = message.and_then(|index| self.messages.get_mut(index)) {
            message.outcome = outcome;
            message.ended_ns = Some(timestamp_ns);
        }
    }
}

/// Packets that `bytes` take at a path MTU.
fn packets(bytes: u32, path_mtu_bytes: u32) -> u32 {
    bytes.div_ceil(path_mtu_bytes.max(1)).max(1)
}

fn words_of_place(place: Place) -> &'static str {
    match place {
        Place::First => "First",
        Place::Middle => "Middle",
        Place::Last => "Last",
        Place::Only => "Only",
    }
}

impl Stream {
    pub(crate) fn new(psn_first: Option<Psn>) -> Self {
        Self {
            psn_first,
            expected: psn_first,
            sent_end: psn_first,
            in_gap: false,
            first_is_lost: psn_first.is_none(),
            open: None,
            outstanding: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            has_uncounted: false,
        }
    }

    /// Whether its first PSN is known.
    pub(crate) fn has_begun(&self) -> bool {
        self.psn_first.is_some()
    }

    /// Whether `psn` is one of its requests'.
    pub(crate) fn has_sent(&self, psn: Psn) -> bool {
        match (self.psn_first, self.sent_end) {
            (Some(first), Some(end)) => psn.distance(first) >= 0 && psn.distance(end) < 0,
            _ => false,
        }
    }

    /// Takes a request in.
    pub(crate) fn request(
        &mut self,
        connection: &mut Connection,
        requester: Side,
        arrival: &Arrival<'_>,
        sink: &mut Sink<'_>,
    ) {
        let (packet, opcode, psn) = (arrival.packet, arrival.bth.opcode(), arrival.bth.psn());
        if opcode.place() == Place::First && connection.path_mtu_bytes.is_none() {
            connection.path_mtu_bytes =
                u32::try_from(packet.payload_length_bytes).ok().filter(|bytes| *bytes > 0);
        }
        let announced = packet.reth.map(|reth| reth.dma_length());
        let is_read = opcode.operation() == Operation::ReadRequest;
        let count = if is_read {
            connection.path_mtu_bytes.map(|mtu| packets(announced.unwrap_or(0), mtu))
        } else {
            Some(1)
        };
        if self.psn_first.is_none() {
            self.psn_first = Some(psn);
            connection.endpoint_mut(requester).psn_first = Some(psn);
        }
        self.has_uncounted |= count.is_none();
        let end = psn.plus(count.unwrap_or(1));
        if self.sent_end.is_none_or(|sent_end| end.distance(sent_end) > 0) {
            self.sent_end = Some(end);
        }
        let expected = *self.expected.get_or_insert(psn);
        let ahead = psn.distance(expected);
        if ahead > 0 {
            if !self.in_gap {
                (sink.report)(Rule::RequestPsnGap, Evidence::Psn { expected, got: psn });
            }
            if opcode.transport() != Transport::Uc {
                self.in_gap = true;
                return;
            }
            self.resume_at(Some(psn));
        } else if ahead < 0 {
            connection.retransmissions += 1;
            if is_read {
                self.read_again(psn, count, announced.unwrap_or(0));
            }
            return;
        }
        self.in_gap = false;
        self.expected = count.map(|count| psn.plus(count));
        self.assemble(connection, requester, arrival, count, sink);
    }

    fn resume_at(&mut self, psn: Option<Psn>) {
        self.expected = psn;
        self.in_gap = false;
        self.open = None;
        self.first_is_lost = true;
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
        let Some(kind) = MessageKind::of(opcode) else {
            return;
        };
        let announced_bytes = packet.reth.map(|reth| reth.dma_length());
        if place.starts() {
            if self.open.take().is_some() {
                (sink.report)(
                    Rule::OpcodeOutOfSequence,
                    Evidence::Opcode { expected: "Middle or Last of the message before", got: opcode },
                );
            }
            self.first_is_lost = false;
            let message = sink.messages.len();
            sink.messages.push(Message {
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
                sent_ns: arrival.timestamp_ns,
                ended_ns: None,
                outcome: Outcome::Incomplete,
            });
            self.open = Some(Open { message, operation, announced_bytes, bytes: 0 });
        }
        let Some(mut open) = self.open else {
            if !self.first_is_lost {
                (sink.report)(
                    Rule::OpcodeOutOfSequence,
                    Evidence::Opcode { expected: "First or Only", got: opcode },
                );
                self.first_is_lost = true;
            }
            return;
        };
        if open.operation != operation {
            (sink.report)(
                Rule::OpcodeOutOfSequence,
                Evidence::Opcode { expected: "Middle or Last of the message before", got: opcode },
            );
            self.open = None;
            self.first_is_lost = true;
            return;
        }
        open.bytes += packet.payload_length_bytes as u64;
        self.open = Some(open);
        if let Some(message) = sink.messages.get_mut(open.message) {
            message.bytes = match operation {
                Operation::ReadRequest | Operation::Flush => u64::from(announced_bytes.unwrap_or(0)),
                Operation::CmpSwap | Operation::FetchAdd => 8,
                _ => open.bytes,
            };
            message.psn_last = psn.plus(count.unwrap_or(1) - 1);
            message.packet_last = arrival.number;
        }
        if place.ends() {
            self.open = None;
            self.finish_message(&open, kind, arrival, count, sink);
        }
    }

    fn finish_message(
        &mut self,
        open: &Open,
        kind: MessageKind,
        arrival: &Arrival<'_>,
        count: Option<u32>,
        sink: &mut Sink<'_>,
    ) {
        if let Some(message) = sink.messages.get_mut(open.message) {
            message.kind = kind;
            message.outcome = Outcome::Sent;
            message.immediate = arrival.packet.immdt.map(|immdt| immdt.value());
            message.rkey = message.rkey.or(arrival.packet.ieth.map(|ieth| ieth.rkey()));
        }
        let psn = arrival.bth.psn();
        match open.operation {
            Operation::ReadRequest
            | Operation::CmpSwap
            | Operation::FetchAdd
            | Operation::Flush
            | Operation::AtomicWrite => {
                if self.outstanding.len() >= OUTSTANDING_MAX {
                    self.outstanding.pop_front();
                }
                self.outstanding.push_back(Outstanding {
                    message: Some(open.message),
                    psn_first: psn,
                    count,
                    announced_bytes: open.announced_bytes.unwrap_or(0),
                    asked_from: 0,
                    next: 0,
                    bytes: 0,
                    has_gap: false,
                });
            }
            _ => {
                if let Some(expected) = open.announced_bytes.map(u64::from)
                    && expected != open.bytes
                {
                    (sink.report)(Rule::LengthMismatch, Evidence::Bytes { expected, got: open.bytes });
                }
                if arrival.bth.opcode().transport() != Transport::Uc {
                    if self.unacknowledged.len() >= OUTSTANDING_MAX {
                        self.unacknowledged.pop_front();
                    }
                    self.unacknowledged.push_back((psn, open.message));
                }
            }
        }
    }

    /// A READ asked for again, whole or from a later PSN on.
    fn read_again(&mut self, psn: Psn, count: Option<u32>, announced_bytes: u32) {
        let position = self.outstanding.iter().position(|read| {
            let index = psn.distance(read.psn_first);
            index >= 0 && read.count.is_none_or(|count| index < count as i32)
        });
        match position.and_then(|position| self.outstanding.get_mut(position)) {
            Some(read) => {
                let index = psn.distance(read.psn_first) as u32;
                read.asked_from = index;
                read.next = index;
                // What came before the point of asking again stands; the rest is counted anew only when all of it is.
                read.has_gap = index > 0;
                if index == 0 {
                    read.bytes = 0;
                }
            }
            None => {
                let read = Outstanding {
                    message: None,
                    psn_first: psn,
                    count,
                    announced_bytes,
                    asked_from: 0,
                    next: 0,
                    bytes: 0,
                    has_gap: false,
                };
                if self.outstanding.len() < OUTSTANDING_MAX {
                    self.outstanding.push_front(read);
                }
            }
        }
    }

    /// Takes a response in.
    pub(crate) fn response(
        &mut self,
        connection: &mut Connection,
        arrival: &Arrival<'_>,
        sink: &mut Sink<'_>,
    ) {
        let (opcode, psn) = (arrival.bth.opcode(), arrival.bth.psn());
        let (Some(first), Some(sent_end)) = (self.psn_first, self.sent_end) else {
            return;
        };
        if opcode.operation() == Operation::ReadResponse
            && opcode.place() == Place::First
            && connection.path_mtu_bytes.is_none()
        {
            connection.path_mtu_bytes =
                u32::try_from(arrival.packet.payload_length_bytes).ok().filter(|bytes| *bytes > 0);
        }
        self.learn_read_counts(connection.path_mtu_bytes);
        let sent_end = self.sent_end.unwrap_or(sent_end);
        if psn.distance(sent_end) >= 0 {
            let open_ended = self.outstanding.back().is_some_and(|read| read.count.is_none());
            if !open_ended {
                (sink.report)(
                    Rule::AckForUnsentPsn,
                    Evidence::Psn { expected: sent_end.plus(Psn::new(u32::MAX).value()), got: psn },
                );
                return;
            }
        }
        if psn.distance(first) < 0 {
            return;
        }
        let syndrome = arrival.packet.aeth.map(|aeth| aeth.syndrome());
        let accepts = !matches!(syndrome, Some(Syndrome::Nak(_) | Syndrome::RnrNak { .. }));
        if accepts && self.in_gap && self.expected.is_some_and(|expected| psn.distance(expected) >= 0) {
            self.resume_at(Some(sent_end));
        }
        match opcode.operation() {
            Operation::ReadResponse => self.read_response(arrival, opcode, sink),
            Operation::AtomicAcknowledge => self.single_response(psn, arrival.timestamp_ns, sink),
            Operation::Acknowledge => match syndrome {
                Some(Syndrome::Ack { .. }) => {
                    self.acknowledge_before(psn.plus(1), arrival.timestamp_ns, sink);
                    self.acknowledge_flush_or_atomic_write(psn, arrival.timestamp_ns, sink);
                }
                Some(Syndrome::Nak(code)) => {
                    self.acknowledge_before(psn, arrival.timestamp_ns, sink);
                    if code != NakCode::PsnSequenceError {
                        self.refuse(psn, code, arrival.timestamp_ns, sink);
                    }
                }
                _ => self.acknowledge_before(psn, arrival.timestamp_ns, sink),
            },
            _ => {}
        }
    }

    /// Counts the responses of READs that were asked for before the path MTU was known.
    fn learn_read_counts(&mut self, path_mtu_bytes: Option<u32>) {
        let Some(mtu) = path_mtu_bytes.filter(|_| self.has_uncounted) else {
            return;
        };
        self.has_uncounted = false;
        for read in self.outstanding.iter_mut().filter(|read| read.count.is_none()) {
            let count = packets(read.announced_bytes, mtu);
            read.count = Some(count);
            let end = read.psn_first.plus(count);
            if self.sent_end.is_none_or(|sent_end| end.distance(sent_end) > 0) {
                self.sent_end = Some(end);
            }
        }
    }

    fn acknowledge_before(&mut self, psn: Psn, timestamp_ns: u64, sink: &mut Sink<'_>) {
        while let Some((last, message)) = self.unacknowledged.front().copied()
            && last.distance(psn) < 0
        {
            self.unacknowledged.pop_front();
            sink.end(Some(message), Outcome::Acknowledged, timestamp_ns);
        }
    }

    /// A FLUSH or ATOMIC WRITE is answered by a READ response Only or, on some senders, by a plain ACK.
    fn acknowledge_flush_or_atomic_write(&mut self, psn: Psn, timestamp_ns: u64, sink: &mut Sink<'_>) {
        let is_single = self.outstanding.front().is_some_and(|front| {
            let kind = front.message.and_then(|index| sink.messages.get(index)).map(|message| message.kind);
            front.psn_first == psn && matches!(kind, Some(MessageKind::Flush | MessageKind::AtomicWrite))
        });
        if is_single {
            self.single_response(psn, timestamp_ns, sink);
        }
    }

    fn refuse(&mut self, psn: Psn, code: NakCode, timestamp_ns: u64, sink: &mut Sink<'_>) {
        let outstanding =
            self.outstanding.iter().find(|read| read.psn_first == psn).and_then(|read| read.message);
        let unacknowledged = self
            .unacknowledged
            .iter()
            .find(|(last, _)| *last == psn || last.distance(psn) > 0)
            .map(|(_, message)| *message);
        let message = outstanding.or(unacknowledged).or(self.open.map(|open| open.message));
        sink.end(message, Outcome::Refused(code), timestamp_ns);
    }

    fn single_response(&mut self, psn: Psn, timestamp_ns: u64, sink: &mut Sink<'_>) {
        self.acknowledge_before(psn, timestamp_ns, sink);
        if let Some(position) = self.outstanding.iter().position(|outstanding| outstanding.psn_first == psn)
            && let Some(outstanding) = self.outstanding.remove(position)
        {
            sink.end(outstanding.message, Outcome::Responded, timestamp_ns);
        }
    }

    fn read_response(&mut self, arrival: &Arrival<'_>, opcode: Opcode, sink: &mut Sink<'_>) {
        let psn = arrival.bth.psn();
        self.acknowledge_before(psn, arrival.timestamp_ns, sink);
        let position = self.outstanding.iter().position(|read| {
            let index = psn.distance(read.psn_first);
            index >= 0 && read.count.is_none_or(|count| index < count as i32)
        });
        // A response to a READ that is already answered in full comes from a retransmission.
        let Some(position) = position else { return };
        let mut missing = None;
        for earlier in self.outstanding.iter_mut().take(position).filter(|earlier| !earlier.has_gap) {
            earlier.has_gap = true;
            missing = missing.or(Some(earlier.psn_first.plus(earlier.next)));
        }
        let Some(read) = self.outstanding.get_mut(position) else {
            return;
        };
        let index = psn.distance(read.psn_first) as u32;
        if index < read.next {
            return;
        }
        if index > read.next && !read.has_gap {
            missing = missing.or(Some(read.psn_first.plus(read.next)));
            read.has_gap = true;
        } else if index > read.next {
            read.has_gap = true;
        }
        let was_next = index == read.next;
        read.next = index + 1;
        read.bytes += arrival.packet.payload_length_bytes as u64;
        if let Some(expected) = missing {
            (sink.report)(Rule::ReadResponsePsnGap, Evidence::Psn { expected, got: psn });
        }
        let Some(count) = read.count.or((opcode.place() == Place::Only).then_some(1)) else {
            return;
        };
        let place = match (index == read.asked_from, index + 1 == count) {
            (true, true) => Place::Only,
            (true, false) => Place::First,
            (false, true) => Place::Last,
            (false, false) => Place::Middle,
        };
        if place != opcode.place() && was_next {
            (sink.report)(
                Rule::OpcodeOutOfSequence,
                Evidence::Opcode { expected: words_of_place(place), got: opcode },
            );
        }
        let read = *read;
        if index + 1 == count && was_next {
            if !read.has_gap
                && read.bytes != u64::from(read.announced_bytes)
                && place == opcode.place()
                && !self.is_single(&read, sink)
            {
                (sink.report)(
                    Rule::LengthMismatch,
                    Evidence::Bytes { expected: u64::from(read.announced_bytes), got: read.bytes },
                );
            }
            self.outstanding.remove(position);
            sink.end(read.message, Outcome::Responded, arrival.timestamp_ns);
        }
    }

    /// Whether it is a FLUSH or an ATOMIC WRITE, whose response carries no bytes.
    fn is_single(&self, outstanding: &Outstanding, sink: &Sink<'_>) -> bool {
        let kind = outstanding.message.and_then(|index| sink.messages.get(index)).map(|message| message.kind);
        matches!(kind, Some(MessageKind::Flush | MessageKind::AtomicWrite))
    }
}
