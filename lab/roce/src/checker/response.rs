//! Answers as the requester gets them: acknowledgements, READ responses, refusals.

use crate::broken::Spot;
use crate::checker::answer_gap::{AnswerGap, MissingAnswer};
use crate::checker::msn::{Bounds, WrongMsn};
use crate::checker::pending::{AnswerKind, Due};
use crate::checker::sink::{Arrival, Sink};
use crate::checker::stream::{Assembly, Early, Gap, HeldGap, Stream};
use crate::flow::{Connection, Side, packets};
use crate::message::MessageOutcome;
use crate::rules::{
    ack_for_unsent_psn, msn_beyond_completed, msn_not_advanced, nak_without_retransmission, path_mtu_invalid,
    request_psn_gap, reserved_syndrome, response_of_wrong_kind,
};
use crate::wire::{NakCode, Operation, Place, Psn, Syndrome};

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
        let Some(first) = self.begin.psn() else {
            return;
        };
        let is_ack = opcode.operation() == Operation::Acknowledge;
        if syndrome.map_or(is_ack, reserved_syndrome::is_reserved) {
            // Cut by the snap length, or without a meaning: nothing is known of what it says, but that it answers.
            if let Some(pending) = self.queue.first_from_mut(psn).filter(|pending| pending.covers(psn)) {
                pending.excuse();
            }
            return;
        }
        if arrival.tells_mtu {
            sink.findings.extend(path_mtu_invalid::check(arrival.packet.payload_length_bytes));
        }
        self.is_told |= arrival.is_told;
        if !self.answer_gaps.is_empty() {
            self.count_behind_gaps();
        }
        let accepts = !matches!(syndrome, Some(Syndrome::Nak(_) | Syndrome::RnrNak { .. }));
        if let Some(Syndrome::Nak(NakCode::PsnSequenceError)) = syndrome
            && !self.is_like_refusal_before(psn, arrival)
        {
            let at = Spot { number: arrival.number, psn, is_request: false };
            sink.capture.refused(at, sink.stream(requester));
        }
        let is_not_ready = matches!(syndrome, Some(Syndrome::RnrNak { .. }));
        if (accepts || is_not_ready) && self.early_retry.is_some_and(|(_, nak)| psn.distance(nak.psn) >= 0) {
            // It was taken for a request, so it was none of the recorder's copies.
            self.tell_early_retry(sink);
        }
        self.learn_read_counts(connection.path_mtu_bytes, sink);
        if psn.distance(first) < 0 {
            if self.begin.is_announced() {
                sink.report(ack_for_unsent_psn::found(first, psn).sure_if(arrival.is_told));
                // That the first request lacks this answer has the same cause.
                sink.discard(Some(first));
            } else if let Some(Syndrome::Nak(NakCode::PsnSequenceError)) = syndrome {
                // The capture began behind the request that is missing.
                self.refuse_for_now(psn, None, arrival.number, arrival.timestamp_ns, true);
            }
            return;
        }
        if !self.is_sent_or_excused(arrival, accepts, sink) {
            return;
        }
        if !accepts && self.is_copied_refusal(psn, arrival) {
            let at = Spot { number: arrival.number, psn, is_request: false };
            sink.capture.copied(at, sink.stream(requester));
            return;
        }
        self.fatal.judge_answer(sink);
        if self.deep.is_some() && opcode.operation() != Operation::Acknowledge {
            self.judge_deep(Some(psn), sink);
        }
        // A refusal takes what comes before it; one for want of a buffer had the request as the next one.
        let taken = if accepts || is_not_ready { psn } else { psn.previous() };
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
                    self.judge_kind(psn, arrival, sink);
                    self.acknowledge_before(psn.plus(1), arrival.timestamp_ns, sink);
                }
                Some(Syndrome::Nak(code)) => self.refused(psn, code, arrival, sink),
                Some(Syndrome::RnrNak { timer }) => {
                    let is_like_before = !arrival.is_told && self.is_like_refusal_before(psn, arrival);
                    let is_possible = self.judge_nak(psn, arrival, sink);
                    self.acknowledge_before(psn, arrival.timestamp_ns, sink);
                    self.refuse_for_now(psn, Some(timer), arrival.number, arrival.timestamp_ns, !is_possible);
                    if let Some(nak) = &mut self.nak {
                        nak.is_like_before = is_like_before;
                    }
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
            Some(held)
                if held.at.psn.distance(held.expected) == 1
                    && is_long_read
                    && taken.distance(held.at.psn) < 0
                    && !held.is_skipped =>
            {
                // Answers of several PSNs where one is missing: the READ behind the gap is theirs.
                self.report_held(sink);
                self.drop_behind(sink.budget);
                self.resume_at(self.sent_end);
            }
            Some(held) if self.gap.is_waiting() && taken.distance(held.at.psn) < 0 => {
                self.held = Some(HeldGap { is_proven: true, ..held });
            }
            _ => {
                if self.gap.is_waiting() && self.counts_anew(arrival) {
                    // What seems to be missing was never sent.
                    self.held = None;
                }
                self.close_gap(connection, requester, sink);
            }
        }
    }

    /// True if the responder of a connection without management counts its messages from the start: the queue pairs are used again.
    fn counts_anew(&self, arrival: &Arrival<'_>) -> bool {
        let msn = arrival.packet.aeth.map(|aeth| aeth.msn());
        !self.begin.is_announced()
            && !arrival.is_told
            && msn.is_some_and(|msn| self.msn.is_less_than_completed(msn))
    }

    /// True if the PSN that is answered was sent, as far as the capture can tell.
    fn is_sent_or_excused(&mut self, arrival: &Arrival<'_>, accepts: bool, sink: &mut Sink<'_>) -> bool {
        let psn = arrival.bth.psn();
        let Some(sent_end) = self.sent_end else {
            return false;
        };
        let beyond = psn.distance(sent_end);
        if beyond < 0 || self.queue.back().is_some_and(|read| read.count.is_none()) {
            return true;
        }
        if let Some(read) = self.queue.back_mut().filter(|read| read.is_resized)
            && arrival.bth.opcode().operation() == Operation::ReadResponse
        {
            // More of them than the path MTU asks for.
            if arrival.bth.opcode().place().ends() {
                read.due = Due::Done;
                let message = read.message;
                sink.end(message, MessageOutcome::Responded, arrival.timestamp_ns);
            }
            return false;
        }
        if self.counts_anew(arrival) {
            // Its request is not in the capture, nor is the begin of its connection.
            return false;
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
        let last_sent = sent_end.previous();
        let is_read = arrival.bth.opcode().operation() == Operation::ReadResponse;
        let is_sure = arrival.is_told || self.is_whole() && !is_read;
        sink.report(ack_for_unsent_psn::found(last_sent, psn).sure_if(is_sure));
        // If the request was there, its gap and its other answers have the same cause.
        let is_straddled = self.gap == Gap::No;
        sink.discard(self.expected.filter(|_| is_straddled).or(Some(sent_end)));
        self.is_unsure = true;
        false
    }

    /// True if an answer to a PSN that the capture has not got says itself that nothing came there: it completes no more messages than were seen, or goes on
    /// with a READ whose answers are not complete.
    fn is_contradicted(&mut self, arrival: &Arrival<'_>, accepts: bool) -> bool {
        let opcode = arrival.bth.opcode();
        if opcode.operation() == Operation::ReadResponse && !opcode.place().starts() {
            if self.early.is_some() {
                // It goes on with a READ that is known to be missing.
                return false;
            }
            return self.queue.back().is_some_and(|read| {
                read.answer == AnswerKind::ReadResponses && !read.is_done() && !read.has_gap
            });
        }
        let counts = accepts && self.assembly.open().is_none() && self.gap == Gap::No;
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
            if let Some(not_ready) = self.not_ready.filter(|_| nak.is_like_before) {
                sink.capture.copied(not_ready.at, sink.stream(sink.requester));
            } else if !self.is_unsure && !nak.is_reported {
                // The answer proves that it came again, unless the refusal is wrong.
                sink.report(nak_without_retransmission::found(nak.psn, psn).note_unless(self.is_told));
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
                sink.report(request_psn_gap::found(expected, read.psn));
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
            self.expected = self.queue.back().and_then(|read| Some(read.psn.plus(read.count?)));
        }
    }

    /// Ends every request before `end` that an ACK answers; reports what needed an answer of its own and has none. Gives whether there is such.
    pub(super) fn acknowledge_before(&mut self, end: Psn, timestamp_ns: u64, sink: &mut Sink<'_>) -> bool {
        if self.acknowledged.is_none_or(|acknowledged| end.distance(acknowledged) > 0) {
            self.acknowledged = Some(end);
            self.repeated = None;
            self.acknowledged_at = (sink.number, timestamp_ns);
        }
        let got = end.previous();
        let mut is_reported = false;
        let mut gap = None;
        self.queue.pass(end, |pending| {
            if pending.is_done() {
                return;
            }
            if pending.is_acked_by_ack() {
                pending.due = Due::Done;
                let outcome = if pending.answer == AnswerKind::Ack {
                    MessageOutcome::Acknowledged
                } else {
                    MessageOutcome::Responded
                };
                sink.end(pending.message, outcome, timestamp_ns);
                return;
            }
            if !is_reported && !pending.has_gap {
                is_reported = true;
                let missing = match pending.answer {
                    AnswerKind::AtomicAck => MissingAnswer::AtomicAck,
                    _ => MissingAnswer::ReadResponse,
                };
                let expected = pending.psn.plus(pending.next);
                if !sink.excuses(expected, true) {
                    gap = Some(AnswerGap::new(missing, sink.number, timestamp_ns, expected, got));
                }
            }
            pending.has_gap = true;
            pending.excuse();
        });
        if let Some(gap) = gap {
            self.hold_answer_gap(gap, sink);
        }
        is_reported
    }

    /// Holds an ACK against the request with its PSN: a READ or an atomic has an answer of its own. Where requests came again, the ACK may be of one of those.
    fn judge_kind(&mut self, psn: Psn, arrival: &Arrival<'_>, sink: &mut Sink<'_>) {
        if self.retry.counts.total() > 0 || !self.is_complete() {
            return;
        }
        if let Some(pending) = self.queue.find(psn).and_then(|at| self.queue.get_mut(at))
            && !pending.is_acked_by_ack()
            && !pending.is_done()
            && !pending.has_gap
            && pending.next == 0
        {
            pending.has_gap = true;
            pending.excuse();
            let broken = response_of_wrong_kind::found(pending.answer.words(), arrival.bth.opcode());
            sink.report(broken.sure_if(arrival.is_told));
        }
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
            self.note_late_answer(arrival, sink);
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
        if let Some(before) = self.paused_after.filter(|_| accepts)
            && !self.msn.agrees(msn, bounds)
            && self.msn.begins_anew(msn, bounds, before)
        {
            // The next queue pair of that number happens to begin where the last one ended.
            self.paused_after = None;
            return;
        }
        if !self.is_whole()
            && !self.begin.is_announced()
            && !self.msn.is_confirmed()
            && !self.msn.agrees(msn, bounds)
        {
            // What was learnt among requests that came again was perhaps of another one.
            self.msn.forget();
        }
        let Some(wrong) = self.msn.check(msn, bounds) else { return };
        let is_ack = opcode.operation() == Operation::Acknowledge;
        let is_certain = accepts && self.is_certain(false);
        let is_newest = self.acknowledged.is_none_or(|end| psn.plus(1).distance(end) >= 0);
        match wrong {
            WrongMsn::Low(expected) => {
                let is_sure = arrival.is_told || is_certain && is_newest;
                sink.report(msn_not_advanced::found(expected, msn).sure_if(is_sure));
            }
            WrongMsn::High(expected) => {
                // It may count a request that the recorder lost, and whose gap is still to come.
                let is_sent = self.sent_end.is_some_and(|end| psn.distance(end) < 0);
                let is_sure = arrival.is_told || is_certain && is_ack && is_newest && is_sent;
                sink.report(msn_beyond_completed::found(expected, msn).sure_if(is_sure));
                if let Assembly::Open(open) = &mut self.assembly {
                    // To the responder it is complete.
                    open.is_suspect = true;
                }
                if opcode.operation() == Operation::Acknowledge
                    && let Some(next) = self.queue.first_from_mut(psn.plus(1))
                {
                    // If the number is right and the PSN wrong, this is its answer.
                    next.excuse();
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
        is_right: impl Fn(AnswerKind) -> bool,
        arrival: &Arrival<'_>,
        sink: &mut Sink<'_>,
    ) -> Option<usize> {
        let at = self.queue.find(psn)?;
        let is_certain = self.is_certain(arrival.is_told);
        let pending = self.queue.get_mut(at)?;
        if is_right(pending.answer) {
            return Some(at);
        }
        // How far a READ reaches whose length or path MTU is unknown, nobody can say.
        let is_known = pending.count.is_some() || pending.psn == psn;
        if !pending.is_done() && is_known {
            let broken = response_of_wrong_kind::found(pending.answer.words(), arrival.bth.opcode());
            sink.report(broken.sure_if(is_certain));
        }
        None
    }
}
