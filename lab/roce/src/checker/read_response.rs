//! Responses with data: those of READs and atomics.

use crate::checker::answer_gap::{AnswerGap, MissingAnswer};
use crate::checker::pending::{AnswerKind, Due, Pending};
use crate::checker::sink::{Arrival, Sink};
use crate::checker::stream::Stream;
use crate::flow::Connection;
use crate::message::MessageOutcome;
use crate::rules::{atomic_replay_differs, length_mismatch, opcode_out_of_sequence, path_mtu_violated};
use crate::wire::{Opcode, Place};

impl Stream {
    pub(super) fn atomic_response(&mut self, arrival: &Arrival<'_>, sink: &mut Sink<'_>) {
        let psn = arrival.bth.psn();
        let is_behind_missing = self.acknowledge_before(psn, arrival.timestamp_ns, sink);
        if is_behind_missing {
            // It may be the missing one itself, under a wrong PSN.
            self.msn.forget();
            self.sure_from = Some(psn.plus(1));
        }
        let is_right = |answer| answer == AnswerKind::AtomicAck;
        if let Some(at) = self.answered(psn, is_right, arrival, sink)
            && let Some(pending) = self.queue.get_mut(at)
            && !pending.is_done()
        {
            pending.due = Due::Done;
            sink.end(pending.message, MessageOutcome::Responded, arrival.timestamp_ns);
            if !self.answer_gaps.is_empty() {
                self.close_answer_gap(psn, arrival.bth.opcode().place(), arrival.timestamp_ns, sink);
            }
            if let Some(ack) = arrival.packet.atomic_ack_eth.filter(|_| !is_behind_missing) {
                self.retry.remember(psn, ack.original());
            }
            self.acknowledge_before(psn.plus(1), arrival.timestamp_ns, sink);
        } else if let Some(ack) = arrival.packet.atomic_ack_eth
            && let Some(before) = self.retry.result(psn)
            && let Some(broken) = atomic_replay_differs::check(before, ack.original())
        {
            sink.report(broken);
            let next = psn.plus(1);
            if self.queue.find(next).and_then(|at| self.queue.get_mut(at)).is_some_and(|next| !next.is_done())
            {
                // If it is the next one's answer, that this one is missing has the same cause.
                sink.discard(Some(next));
            }
        }
    }

    pub(super) fn read_response(
        &mut self,
        connection: &Connection,
        arrival: &Arrival<'_>,
        opcode: Opcode,
        sink: &mut Sink<'_>,
    ) {
        let psn = arrival.bth.psn();
        // The one right before it in the capture; those of an earlier asking follow each other.
        let follows_lost = self.answer_lost.take().is_some_and(|lost| lost.plus(1) == psn);
        let is_right = |answer| matches!(answer, AnswerKind::ReadResponses | AnswerKind::Either);
        let Some(at) = self.answered(psn, is_right, arrival, sink) else {
            self.answered_again = Some(psn);
            self.acknowledge_before(psn, arrival.timestamp_ns, sink);
            return;
        };
        let Some(begin) = self.queue.get_mut(at).map(|read| read.psn) else {
            return;
        };
        if self.acknowledge_before(begin, arrival.timestamp_ns, sink)
            && psn == begin
            && !opcode.place().starts()
        {
            // It belongs to the READ before, under a wrong PSN.
            if let Some(gap) = self.answer_gaps.back_mut() {
                gap.is_misnumbered = true;
            }
            self.msn.forget();
            self.sure_from = Some(psn.plus(1));
            return;
        }
        let has_begun = self.begin.is_announced() || self.acknowledged != self.begin.psn();
        let is_whole = self.is_complete() && self.retry.counts.read_retry == 0 && has_begun;
        if !self.answer_gaps.is_empty() {
            self.close_answer_gap(psn, arrival.bth.opcode().place(), arrival.timestamp_ns, sink);
        }
        let goes_on = self.whole_answer.take() == Some(psn) || follows_lost;
        let Some(read) = self.queue.get_mut(at) else {
            return;
        };
        let index = psn.distance(read.psn) as u32;
        if read.is_unknown {
            // It has asked for as much at least, and may ask for it again: behind a First or Middle there is one more.
            let end = psn.plus(if opcode.place().ends() { 1 } else { 2 });
            self.sent_end = self.sent_end.map(|before| if end.distance(before) > 0 { end } else { before });
        }
        if !read.is_done() && index < read.asked_from && !opcode.place().ends() {
            self.whole_answer = Some(psn.plus(1));
        }
        // A response to a READ that is already answered in full comes from a retransmission.
        if read.is_done() || index < read.next {
            self.answered_again = Some(psn);
            if opcode.place().starts() {
                self.answered_anew(psn);
            }
            self.note_late_answer(arrival, sink);
            return;
        }
        if index > read.next {
            let is_first = !std::mem::replace(&mut read.has_gap, true);
            let expected = read.psn.plus(read.next);
            let is_single = index == read.next + 1;
            // The requester discards it: until the missing one comes, late or because it is asked for again.
            read.excuse();
            if self.answer_gaps.back().is_some_and(|gap| gap.at.psn == psn) {
                self.answered_again = Some(psn);
            }
            if is_first && !sink.excuses(expected, is_single) {
                let (number, now_ns) = (arrival.number, arrival.timestamp_ns);
                let missing = MissingAnswer::ReadResponse;
                self.hold_answer_gap(AnswerGap::new(missing, number, now_ns, expected, psn), sink);
            }
            return;
        }
        read.next = index + 1;
        read.bytes += arrival.packet.payload_length_bytes as u64;
        if read.is_unknown && opcode.place().ends() {
            read.count = Some(index + 1);
            read.due = Due::Done;
            let (message, end) = (read.message, read.psn.plus(index + 1));
            if let Some(message) = sink.messages.get_mut(message) {
                message.bytes = read.bytes;
                message.psn_last = psn;
            }
            if self.sent_end == Some(end) {
                // No request came behind it that would tell.
                self.expected = self.expected.or(Some(end));
            }
            sink.end(message, MessageOutcome::Responded, arrival.timestamp_ns);
            self.acknowledge_before(end, arrival.timestamp_ns, sink);
            return;
        }
        let Some(count) = read.count.or((opcode.place() == Place::Only).then_some(1)) else {
            return;
        };
        if read.is_unknown {
            return;
        }
        let place = match (index == read.asked_from, index + 1 == count) {
            (true, true) => Place::Only,
            (true, false) => Place::First,
            (false, true) => Place::Last,
            (false, false) => Place::Middle,
        };
        if place != opcode.place() {
            read.excuse();
            // What begins anew was asked for anew, perhaps by a request that the recorder lost.
            let begins_anew = opcode.place().starts() && index > 0;
            let is_sure = arrival.is_told || is_whole && !begins_anew;
            let came_again = self.retry.counts.timeout + self.retry.counts.read_retry > 0;
            let broken = opcode_out_of_sequence::found(words_of_place(place), opcode).sure_if(is_sure);
            // The READ was asked for from its begin as well, and this is of the answer to that.
            let is_of_whole = read.asked_from > 0
                && index > 0
                && goes_on
                && opcode.place() == if index + 1 == count { Place::Last } else { Place::Middle };
            if !read.is_resized && !is_of_whole {
                sink.report(sink.profile.weigh_read_response(came_again, broken));
            }
        } else if !judge_response_payload(connection, arrival, read, count, sink) {
            (read.has_gap, read.is_resized) = (true, true);
        }
        if index + 1 == count && (!read.is_resized || opcode.place().ends()) {
            read.due = Due::Done;
            let (message, end) = (read.message, read.psn.plus(count));
            sink.end(message, MessageOutcome::Responded, arrival.timestamp_ns);
            self.acknowledge_before(end, arrival.timestamp_ns, sink);
        } else if opcode.place().ends() {
            // It was reported; what else comes of this READ is the rest.
            read.has_gap = true;
        }
    }
}

/// Holds the payload of a READ response against the path MTU and the length that was asked for; true if it is right.
pub(super) fn judge_response_payload(
    connection: &Connection,
    arrival: &Arrival<'_>,
    read: &Pending,
    count: u32,
    sink: &mut Sink<'_>,
) -> bool {
    if read.answer != AnswerKind::ReadResponses || read.has_gap {
        return true;
    }
    let got = arrival.packet.payload_length_bytes as u64;
    if arrival.bth.opcode().place().ends() {
        if read.next == count {
            sink.findings.extend(length_mismatch::check(u64::from(read.announced_bytes), read.bytes));
        }
        return true;
    }
    match connection.path_mtu_bytes.map(u64::from) {
        Some(mtu) if got != mtu => {
            sink.report(path_mtu_violated::found(mtu, got));
            false
        }
        _ => true,
    }
}

pub(super) fn words_of_place(place: Place) -> &'static str {
    match place {
        Place::First => "First",
        Place::Middle => "Middle",
        Place::Last => "Last",
        Place::Only => "Only",
    }
}
