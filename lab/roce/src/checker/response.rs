//! Answers as the requester gets them: acknowledgements, READ responses, refusals.

use crate::checker::broken::Spot;
use crate::checker::headers;
use crate::checker::msn::{Bounds, Wrong};
use crate::checker::payload::judge_path_mtu;
use crate::checker::pending::Answer;
use crate::checker::sink::{Arrival, Sink};
use crate::checker::stream::{Early, Gap, Held, Stream};
use crate::finding::Evidence;
use crate::flow::{Connection, Side, packets};
use crate::message::Outcome;
use crate::rule::Rule;
use crate::wire::{NakCode, Opcode, Operation, Place, Psn, Syndrome};

/// Answers that agree with a number that was learnt, before another is an error.
const CONFIRMED: u32 = 2;

impl Stream {
    /// Takes an answer in.
    pub(crate) fn response(
        &mut self,
        connection: &Connection,
        requester: Side,
        arrival: &Arrival<'_>,
        sink: &mut Sink<'_>,
    ) {
        let (opcode, psn) = (arrival.bth.opcode(), arrival.bth.psn());
        let syndrome = arrival.packet.aeth.map(|aeth| aeth.syndrome());
        let Some(first) = self.psn_first else {
            return;
        };
        let is_ack = opcode.operation() == Operation::Acknowledge;
        if syndrome.map_or(is_ack, headers::is_reserved) {
            // Cut by the snap length, or without a meaning: nothing is known of what it says.
            return;
        }
        if arrival.tells_mtu {
            judge_path_mtu(arrival, sink);
        }
        self.learn_read_counts(connection.path_mtu_bytes, sink);
        if psn.distance(first) < 0 {
            if self.is_announced {
                let evidence = Evidence::Psn { expected: first, got: psn };
                sink.blame(arrival.is_told, Rule::AckForUnsentPsn, evidence);
                // That the first request lacks this answer has the same cause.
                sink.discard(Some(first));
            } else if let Some(Syndrome::Nak(NakCode::PsnSequenceError)) = syndrome {
                // The capture began behind the request that is missing.
                self.refuse_for_now(psn, None, arrival.number, arrival.timestamp_ns, true);
            }
            return;
        }
        let accepts = !matches!(syndrome, Some(Syndrome::Nak(_) | Syndrome::RnrNak { .. }));
        if !self.is_sent_or_excused(arrival, accepts, sink) {
            return;
        }
        self.fatal.judge_answer(sink);
        // A refusal takes what comes before it.
        let taken = if accepts { psn } else { psn.plus(Psn::new(u32::MAX).value()) };
        if self.gap != Gap::No && self.expected.is_some_and(|expected| taken.distance(expected) >= 0) {
            self.judge_gap(connection, requester, arrival, taken, sink);
        }
        if accepts {
            self.accepted(psn, sink);
        }
        match opcode.operation() {
            Operation::ReadResponse => self.read_response(connection, arrival, opcode, sink),
            Operation::AtomicAcknowledge => self.atomic_response(arrival, sink),
            Operation::Acknowledge => match syndrome {
                Some(Syndrome::Ack { .. }) => {
                    self.acknowledge_before(psn.plus(1), arrival.timestamp_ns, sink);
                }
                Some(Syndrome::Nak(code)) => self.refused(psn, code, arrival, sink),
                Some(Syndrome::RnrNak { timer }) => {
                    let is_possible = self.judge_nak(psn, arrival, sink);
                    self.acknowledge_before(psn, arrival.timestamp_ns, sink);
                    self.refuse_for_now(psn, Some(timer), arrival.number, arrival.timestamp_ns, !is_possible);
                }
                _ => {
                    self.acknowledge_before(psn, arrival.timestamp_ns, sink);
                }
            },
            _ => {}
        }
        if let Some(aeth) = arrival.packet.aeth {
            self.judge_msn(arrival, accepts, aeth.msn(), sink);
        }
        self.queue.trim(sink.budget);
    }

    /// Looks at an answer that shows that a request arrived which the capture seems to lack. When the one behind it is not answered too, that one may be it,
    /// under a wrong PSN.
    #[cold]
    fn judge_gap(
        &mut self,
        connection: &Connection,
        requester: Side,
        arrival: &Arrival<'_>,
        taken: Psn,
        sink: &mut Sink<'_>,
    ) {
        let opcode = arrival.bth.opcode();
        let is_long_read = opcode.operation() == Operation::ReadResponse && opcode.place() != Place::Only;
        match self.held {
            Some(held) if held.at.psn.distance(held.expected) == 1 && is_long_read => {
                // Answers of several PSNs where one is missing: the READ behind the gap is theirs.
                self.report_held(sink);
                self.drop_behind(sink.budget);
                self.resume_at(self.sent_end);
            }
            Some(held) if self.gap == Gap::Waiting && taken.distance(held.at.psn) < 0 => {
                self.held = Some(Held { is_proven: true, ..held });
            }
            _ => self.close_gap(connection, requester, sink),
        }
    }

    /// Whether the PSN that is answered was sent, as far as the capture can tell.
    fn is_sent_or_excused(&mut self, arrival: &Arrival<'_>, accepts: bool, sink: &mut Sink<'_>) -> bool {
        let psn = arrival.bth.psn();
        let Some(sent_end) = self.sent_end else {
            return false;
        };
        let beyond = psn.distance(sent_end);
        if beyond < 0 || self.queue.back().is_some_and(|read| read.count.is_none()) {
            return true;
        }
        if self.is_unsure || sink.excuses(sent_end, beyond == 0) {
            // The request was there, in a packet that could not be read.
            self.is_unsure = true;
            self.sent_end = Some(psn.plus(1));
            self.drop_behind(sink.budget);
            self.report_held(sink);
            self.resume_at(self.sent_end);
            return true;
        }
        let is_contradicted = self.is_contradicted(arrival, accepts);
        if !arrival.is_told && !is_contradicted {
            let at = Spot { number: arrival.number, psn, is_request: false };
            let is_ack = accepts && arrival.bth.opcode().operation() == Operation::Acknowledge;
            let early = self.early.get_or_insert(Early { at, psn, is_ack });
            if psn.distance(early.psn) >= 0 {
                (early.psn, early.is_ack) = (psn, is_ack);
            }
            return false;
        }
        let evidence = Evidence::Psn { expected: sent_end.plus(Psn::new(u32::MAX).value()), got: psn };
        let is_read = arrival.bth.opcode().operation() == Operation::ReadResponse;
        let is_sure = arrival.is_told || self.is_whole() && !is_read;
        sink.blame(is_sure, Rule::AckForUnsentPsn, evidence);
        // If the request was there, its gap and its other answers have the same cause.
        let is_straddled = self.gap == Gap::No;
        sink.discard(self.expected.filter(|_| is_straddled).or(Some(sent_end)));
        self.is_unsure = true;
        false
    }

    /// Whether an answer to a PSN that the capture has not got says itself that nothing came there: it completes no more messages than were seen, or goes on
    /// with a READ whose answers are not complete.
    fn is_contradicted(&mut self, arrival: &Arrival<'_>, accepts: bool) -> bool {
        let opcode = arrival.bth.opcode();
        if opcode.operation() == Operation::ReadResponse && !opcode.place().starts() {
            return self
                .queue
                .back()
                .is_some_and(|read| read.answer == Answer::ReadResponses && !read.is_done && !read.has_gap);
        }
        let counts = accepts && self.open.is_none() && self.gap == Gap::No;
        counts
            && (opcode.operation() != Operation::ReadResponse || opcode.place() == Place::Only)
            && arrival.packet.aeth.is_some_and(|aeth| self.msn.is_at_most_completed(aeth.msn()))
    }

    /// Draws the conclusions from an answer that is no refusal.
    fn accepted(&mut self, psn: Psn, sink: &mut Sink<'_>) {
        self.expect_no_nak_up_to(psn);
        if let Some(nak) = self.nak
            && psn.distance(nak.psn) >= 0
            && !nak.is_filled
        {
            self.nak = None;
            if !self.is_unsure && !nak.is_reported {
                sink.report(
                    Rule::NakWithoutRetransmission,
                    Evidence::Psn { expected: nak.psn.plus(Psn::new(u32::MAX).value()), got: psn },
                );
            }
        }
    }

    /// Counts the responses of READs that were asked for before the path MTU was known. One whose PSN lies among the responses of the READ before it has the
    /// wrong one.
    fn learn_read_counts(&mut self, path_mtu_bytes: Option<u32>, sink: &mut Sink<'_>) {
        let Some(mtu) = path_mtu_bytes.filter(|_| self.has_uncounted) else {
            return;
        };
        self.has_uncounted = false;
        let mut least: Option<Psn> = None;
        for read in self.queue.iter_mut().filter(|read| read.count.is_none() && !read.is_unknown) {
            if let Some(expected) = least
                && read.psn.distance(expected) < 0
            {
                sink.report(Rule::RequestPsnGap, Evidence::Psn { expected, got: read.psn });
                read.psn = expected;
            }
            let count = packets(read.announced_bytes, mtu);
            read.count = Some(count);
            let end = read.psn.plus(count);
            least = Some(end);
            if self.sent_end.is_none_or(|sent_end| end.distance(sent_end) > 0) {
                self.sent_end = Some(end);
            }
        }
        if self.expected.is_none() {
            self.expected = self.queue.back().map(|read| read.psn.plus(read.count.unwrap_or(1)));
        }
    }

    /// Ends every request before `end` that an ACK answers; reports what needed an answer of its own and has none. Gives whether there is such.
    pub(super) fn acknowledge_before(&mut self, end: Psn, timestamp_ns: u64, sink: &mut Sink<'_>) -> bool {
        if self.acknowledged.is_none_or(|acknowledged| end.distance(acknowledged) > 0) {
            self.acknowledged = Some(end);
            self.repeated = None;
            self.acknowledged_at = (sink.number, timestamp_ns);
        }
        let got = end.plus(Psn::new(u32::MAX).value());
        let mut is_reported = false;
        let is_lossy = &mut self.is_lossy;
        self.queue.pass(end, |pending| {
            if pending.is_done {
                return;
            }
            if pending.is_acked_by_ack() {
                pending.is_done = true;
                let outcome =
                    if pending.answer == Answer::Ack { Outcome::Acknowledged } else { Outcome::Responded };
                sink.end(pending.message, outcome, timestamp_ns);
                return;
            }
            if !is_reported && !pending.has_gap {
                is_reported = true;
                let rule = if pending.answer == Answer::AtomicAck {
                    Rule::AtomicAckMissing
                } else {
                    Rule::ReadResponsePsnGap
                };
                let expected = pending.psn.plus(pending.next);
                if !sink.excuses(expected, true) {
                    *is_lossy = true;
                    sink.report(rule, Evidence::Psn { expected, got });
                }
            }
            pending.has_gap = true;
            pending.must_be_answered = false;
        });
        is_reported
    }

    /// Holds the MSN of an answer against the messages that can be complete.
    fn judge_msn(&mut self, arrival: &Arrival<'_>, accepts: bool, msn: u32, sink: &mut Sink<'_>) {
        if self.gap != Gap::No && accepts {
            return;
        }
        let (opcode, psn) = (arrival.bth.opcode(), arrival.bth.psn());
        if let Some(from) = self.sure_from {
            if psn.distance(from) < 0 {
                return;
            }
            self.sure_from = None;
        }
        if opcode.operation() == Operation::Acknowledge
            && self.acknowledged.is_some_and(|acknowledged| psn.plus(1).distance(acknowledged) < 0)
        {
            // Overtaken on its way by a later one.
            return;
        }
        let own = self.queue.find(psn);
        let before = self.queue.ordinal_before(psn);
        let bounds = match opcode.operation() {
            // A refusal is too rare to learn from.
            _ if !accepts && !self.msn.is_known() => return,
            // What is refused is not complete.
            _ if !accepts => Bounds { least: before, most: before },
            // An answer to a request that was answered before counts what came since.
            _ if own.is_none() && before == self.queue.left_ordinal && opcode.place() != Place::Only => {
                return;
            }
            Operation::ReadResponse | Operation::AtomicAcknowledge => {
                let least = match (own.and_then(|at| self.queue.get_mut(at)), opcode.place()) {
                    (Some(read), Place::Last | Place::Only) => read.ordinal,
                    _ => before,
                };
                Bounds { least, most: self.msn.completed }
            }
            _ => {
                let least = self.queue.ordinal_before(psn.plus(1));
                let is_sure = self.retry.counts.total() == 0;
                Bounds { least, most: if is_sure { least } else { self.msn.completed } }
            }
        };
        let Some(wrong) = self.msn.check(msn, bounds) else { return };
        let is_ack = opcode.operation() == Operation::Acknowledge;
        let is_certain = self.is_whole() && accepts && (self.is_announced || self.msn.confirmed >= CONFIRMED);
        let is_newest = self.acknowledged.is_none_or(|end| psn.plus(1).distance(end) >= 0);
        match wrong {
            Wrong::Low(expected) => {
                let is_sure = arrival.is_told || is_certain && is_newest;
                sink.blame(is_sure, Rule::MsnNotAdvanced, Evidence::Msn { expected, got: msn });
            }
            Wrong::High(expected) => {
                // It may count a request that the recorder lost, and whose gap is still to come.
                let is_sent = self.sent_end.is_some_and(|end| psn.distance(end) < 0);
                let is_sure = arrival.is_told || is_certain && is_ack && is_newest && is_sent;
                sink.blame(is_sure, Rule::MsnBeyondCompleted, Evidence::Msn { expected, got: msn });
                if let Some(open) = &mut self.open {
                    // To the responder it is complete.
                    open.is_suspect = true;
                }
                if opcode.operation() == Operation::Acknowledge
                    && let Some(next) = self.queue.first_from_mut(psn.plus(1))
                {
                    // If the number is right and the PSN wrong, this is its answer.
                    next.must_be_answered = false;
                }
            }
        }
        if !accepts {
            // What is wrong with the refusal is said.
            self.fatal.tell();
            if let Some(nak) = &mut self.nak {
                nak.is_reported = true;
            }
        }
    }

    /// The request that an answer is for, when it is of the right kind.
    pub(super) fn answered(
        &mut self,
        psn: Psn,
        is_right: impl Fn(Answer) -> bool,
        opcode: Opcode,
        sink: &mut Sink<'_>,
    ) -> Option<usize> {
        let at = self.queue.find(psn)?;
        let pending = self.queue.get_mut(at)?;
        if is_right(pending.answer) {
            return Some(at);
        }
        if !pending.is_done {
            let expected = match pending.answer {
                Answer::Ack => "Acknowledge",
                Answer::ReadResponses => "RDMA READ response",
                Answer::AtomicAck => "Atomic Acknowledge",
                Answer::Either => "RDMA READ response Only",
            };
            sink.report(Rule::ResponseOfWrongKind, Evidence::Opcode { expected, got: opcode });
        }
        None
    }
}
