//! Requests as the responder gets them: order, messages, lengths.

use crate::broken::Spot;
use crate::checker::again::SentRequest;
use crate::checker::asked::{BEHIND_MAX, RequestPacket};
use crate::checker::pending::AnswerKind;
use crate::checker::sink::{Arrival, Budget, Sink};
use crate::checker::stream::{Assembly, Begin, Gap, HeldGap, Stream};
use crate::flow::{Connection, Side, packets};
use crate::message::MessageOutcome;
use crate::retransmission::RetransmissionClass;
use crate::rules::{path_mtu_invalid, request_before_first_psn, request_psn_gap, retransmission_differs};
use crate::wire::{Operation, Place, Psn, TransportService};

/// Path MTUs in bytes.
const PATH_MTU_LEAST: u32 = 256;
const PATH_MTU_MOST: u32 = 4_096;

/// Behind a missing request no requester sends as many without an answer that makes it go back: the capture has requests alone.
const BEHIND_GAP_MAX: u32 = 4_096;

/// Packets behind a gap within which a recorder writes what it has put elsewhere.
const OVERTAKEN_WITHIN: u64 = 4;

impl Stream {
    /// PSNs that a request takes; `None` for a READ without a path MTU, or whose length the snap length cut.
    pub(crate) fn count(connection: &Connection, arrival: &Arrival<'_>) -> Option<u32> {
        if arrival.bth.opcode().operation() != Operation::ReadRequest {
            return Some(1);
        }
        let length_bytes = arrival.packet.reth?.dma_length();
        let least_mtu_bytes =
            connection.path_mtu_bytes.or((length_bytes <= PATH_MTU_LEAST).then_some(PATH_MTU_LEAST));
        Some(packets(length_bytes, least_mtu_bytes?))
    }

    /// Takes a request in that reached its receiver; returns why it was sent, when it was sent before.
    pub(crate) fn request(
        &mut self,
        connection: &Connection,
        requester: Side,
        arrival: &Arrival<'_>,
        sink: &mut Sink<'_>,
    ) -> Option<RetransmissionClass> {
        let psn = arrival.bth.psn();
        if arrival.tells_mtu {
            sink.findings.extend(path_mtu_invalid::check(arrival.packet.payload_length_bytes));
        }
        let count = Self::count(connection, arrival);
        if self.is_used_again(arrival, count) {
            if self.retry.run.is_some() {
                // Up to here they were like those before the pause.
                sink.report(retransmission_differs::found().sure_if(false));
            }
            self.begin_anew(arrival.timestamp_ns, sink);
        }
        self.begin(psn);
        self.note_pause(arrival);
        self.has_uncounted |= count.is_none();
        let sent_before = self.sent_end;
        let sent = if arrival.is_sent {
            self.sent(connection, arrival, count, sink)
        } else {
            SentRequest::default()
        };
        let class = sent.again;
        if let Some(held) = self.held.filter(|_| class.is_some()) {
            if held.is_proven && !held.is_skipped {
                self.held = None;
                self.lose(held.at, held.expected, held.at.psn, sink);
            } else if matches!(
                class,
                Some(
                    RetransmissionClass::GoBackN
                        | RetransmissionClass::RnrRetry
                        | RetransmissionClass::ReadRetry
                )
            ) || psn == held.expected && self.acknowledged_at.0 == 0
            {
                // What is sent again was lost on its way, and not by the recorder.
                self.report_held(sink);
            } else if psn.distance(held.expected) <= 0 {
                // Nobody asked for it: what was lost may be an answer.
                self.leave_held(arrival.is_told, sink);
            }
        }
        self.fatal.judge_request(arrival.timestamp_ns, sink);
        let is_again = self.expected.is_none()
            && self.queue.back().is_some_and(|last| last.count.is_none())
            && sent_before.is_some_and(|end| psn.distance(end) < 0);
        if is_again {
            self.again(connection, arrival, count, sink);
            return class;
        }
        // What the snap length cut is unknown.
        self.is_lossy |= arrival.packet.is_cut && count.is_none();
        if self.expected.is_none()
            && let Some(read) = self.queue.back_mut()
            && read.count.is_none()
        {
            if read.is_unknown {
                // The next request tells how many PSNs the READ before it took.
                read.count = u32::try_from(psn.distance(read.psn)).ok();
            }
            // What lies between them is unknown: a First may be missing, and a NAK tell of it.
            self.assembly = Assembly::FirstLost;
            let least = read.psn.plus(packets(read.announced_bytes, PATH_MTU_MOST));
            self.expect_naks(least, psn);
        }
        if self.early.is_some() {
            self.meet_early(psn, sink);
        }
        if self.gap == Gap::Refilling && self.is_overtaken_alone(psn, sent_before) {
            self.close_gap(connection, requester, sink);
            self.expected = sent_before;
        }
        let expected = *self.expected.get_or_insert(psn);
        let ahead = psn.distance(expected);
        if ahead > 0 {
            if !self.is_ahead(expected, sent_before, arrival, count, sink) {
                return class;
            }
        } else if ahead < 0 && !self.begins_earlier(psn, count) {
            self.again(connection, arrival, count, sink);
            if sent.is_other {
                self.list_other(connection, requester, &RequestPacket::new(arrival, count), sink);
            }
            return class;
        }
        if self.gap == Gap::No {
            self.is_unsure = false;
        } else {
            self.refill(psn, count, arrival.number);
        }
        self.expected = count.map(|count| psn.plus(count));
        self.assemble(connection, requester, &RequestPacket::new(arrival, count), sink);
        if self.early.is_some() {
            self.apply_early(requester, arrival.timestamp_ns, sink);
        }
        class
    }

    /// Holds a request against answers that the capture has before it: of those that it passes, the requests are not in the capture.
    #[cold]
    fn meet_early(&mut self, psn: Psn, sink: &mut Sink<'_>) {
        let (Some(early), Some(expected)) = (self.early, self.expected) else { return };
        let (ahead, beyond) = (psn.distance(expected), psn.distance(early.psn));
        if ahead <= 0 || self.gap != Gap::No {
            return;
        }
        // A READ reaches as far as nobody knows whose responses come and whose request does not.
        let next = if beyond > 0 && early.is_ack { early.psn.plus(1) } else { psn };
        self.lose(early.at, expected, next, sink);
        self.is_lossy = true;
        if beyond > 0 {
            self.early = None;
        }
        self.resume_at(Some(next));
    }

    /// Lets an answer that the capture has before its request answer it.
    #[cold]
    fn apply_early(&mut self, requester: Side, timestamp_ns: u64, sink: &mut Sink<'_>) {
        let Some(early) = self.early else { return };
        if self.expected.is_some_and(|expected| early.psn.distance(expected) < 0) {
            self.early = None;
            sink.capture.reordered(early.at, sink.stream(requester));
            if early.is_ack {
                self.acknowledge_before(early.psn.plus(1), timestamp_ns, sink);
            }
            self.msn.forget();
            self.sure_from = self.sent_end;
            if let Some(pending) = self.queue.find(early.psn).and_then(|at| self.queue.get_mut(at)) {
                // Its answer was there, whatever else of it the capture has.
                pending.has_gap = true;
                pending.excuse();
            }
        }
    }

    /// Lists a message whose PSN was taken before by another.
    #[cold]
    fn list_other(
        &mut self,
        connection: &Connection,
        requester: Side,
        asked: &RequestPacket,
        sink: &mut Sink<'_>,
    ) {
        if !asked.opcode.place().starts() {
            return;
        }
        if let Some(mut message) = self.message(connection, requester, asked) {
            message.bytes = asked.payload_bytes;
            message.immediate = asked.immediate;
            message.is_whole = asked.opcode.place() == Place::Only;
            message.outcome = MessageOutcome::Sent;
            let id = sink.messages.add(message);
            sink.messages.end(id, MessageOutcome::Sent, None);
        }
    }

    /// Takes note of a request that was sent and did not arrive.
    #[cold]
    pub(crate) fn lost(&mut self, psn: Psn) {
        if self.gap == Gap::Refilling && self.expected == Some(psn) {
            self.lost_again = Some(psn);
        }
    }

    /// Takes note of an answer that was sent and did not arrive.
    #[cold]
    pub(crate) fn lost_answer(&mut self, psn: Psn) {
        self.answer_lost = Some(psn);
    }

    /// Forgets a gap of which nothing tells that it is one.
    #[cold]
    pub(super) fn forget_skipped(&mut self) {
        self.held = self.held.filter(|held| !held.is_skipped);
    }

    /// Tells of the gap that nothing told whose it is: of the network or of the recorder.
    #[cold]
    pub(super) fn leave_held(&mut self, is_told: bool, sink: &mut Sink<'_>) {
        if let Some(held) = self.held.take() {
            let broken = request_psn_gap::found(held.expected, held.at.psn).at(held.at);
            sink.report(broken.note_unless(is_told));
        }
    }

    /// Reports the gap that was held back until something told whose it is.
    pub(crate) fn report_held(&mut self, sink: &mut Sink<'_>) {
        if let Some(held) = self.held.take() {
            sink.report(request_psn_gap::found(held.expected, held.at.psn).at(held.at));
        }
    }

    /// Forgets the requests behind a gap: the responder did not take them.
    pub(super) fn drop_behind(&mut self, budget: &mut Budget) {
        budget.left += self.behind.len();
        self.behind.clear();
    }

    /// An answer shows that the responder has what the capture seems to lack: it was lost, or put elsewhere, by the recorder. Takes in what waited behind it.
    #[cold]
    pub(super) fn close_gap(&mut self, connection: &Connection, requester: Side, sink: &mut Sink<'_>) {
        let place = sink.stream(requester);
        let Some(expected) = self.expected else { return };
        if let Some(held) = self.held.take().filter(|held| !held.is_skipped) {
            // The missing one may have come since, and only others behind it be missing.
            let is_filled = expected.distance(held.at.psn) >= 0;
            if self.gap.is_waiting() && !is_filled {
                self.is_lossy = true;
                self.lose(held.at, held.expected, held.at.psn, sink);
            } else if held.is_overtaken || self.retry.counts.total() == 0 {
                sink.capture.reordered(held.at, place);
            } else {
                sink.report(request_psn_gap::found(held.expected, held.at.psn).at(held.at));
            }
        }
        let behind = std::mem::take(&mut self.behind);
        sink.budget.left += behind.len();
        let is_continued = behind.iter().any(|asked| asked.psn == expected);
        if self.gap.is_waiting() || !is_continued {
            self.resume_at(behind.front().map(|asked| asked.psn).or(self.sent_end));
        }
        self.gap = Gap::No;
        for asked in &behind {
            let ahead = self.expected.map_or(0, |expected| asked.psn.distance(expected));
            if ahead < 0 {
                continue;
            }
            if ahead > 0 {
                let at = Spot { number: asked.number, psn: asked.psn, is_request: true };
                let first = self.expected.unwrap_or(asked.psn);
                self.lose(at, first, asked.psn, sink);
                self.lose_place();
            }
            self.expected = asked.count.map(|_| asked.end());
            self.assemble(connection, requester, asked, sink);
        }
        self.expected = self.sent_end;
    }

    /// True if a new request shows that nothing is missing: the one that was came right behind those that it should have preceded, and nobody asks for these
    /// again.
    #[cold]
    fn is_overtaken_alone(&self, psn: Psn, sent_before: Option<Psn>) -> bool {
        self.held.is_some_and(|held| held.is_overtaken)
            && sent_before.is_some_and(|end| psn.distance(end) >= 0)
            && (self.nak.is_none() && self.naks_due.is_none())
            && self.behind.iter().any(|asked| self.expected == Some(asked.psn))
    }

    /// The stream began before what the capture has of it. Its responder may have found a gap there, and at each request since.
    fn begin_at(&mut self, psn: Psn) {
        if self.acknowledged == self.begin.psn() {
            self.acknowledged = Some(psn);
            self.naks_due = self.sent_end.map(|end| (psn, end));
        }
        self.begin = Begin::Seen(psn);
    }

    /// True if the first requests of the capture had overtaken this one, the rest of a message; then they are behind a gap.
    fn begins_earlier(&mut self, psn: Psn, count: Option<u32>) -> bool {
        let is_earlier = !self.begin.is_announced()
            && matches!(self.assembly, Assembly::FirstLost)
            && self.acknowledged == self.begin.psn()
            && self.begin.psn() == count.map(|count| psn.plus(count));
        if is_earlier {
            self.begin_at(psn);
            self.gap = Gap::Waiting { passed: 0 };
        }
        is_earlier
    }

    /// Takes note of a request that fills a gap.
    #[cold]
    fn refill(&mut self, psn: Psn, count: Option<u32>, number: u64) {
        if let Some(held) = &mut self.held {
            held.is_overtaken = number <= held.at.number + OVERTAKEN_WITHIN;
        }
        if let Some(nak) = &mut self.nak {
            nak.is_filled |= nak.psn == psn;
        }
        let end = psn.plus(count.unwrap_or(1));
        self.behind.retain(|asked| asked.psn.distance(end) >= 0);
        let has_more = self.sent_end.is_some_and(|end| psn.plus(count.unwrap_or(1)).distance(end) < 0);
        self.gap = if has_more { Gap::Refilling } else { Gap::No };
        self.is_unsure &= has_more;
    }

    /// Judges a request behind a missing one; true if it is to be taken all the same.
    fn is_ahead(
        &mut self,
        expected: Psn,
        sent_before: Option<Psn>,
        arrival: &Arrival<'_>,
        count: Option<u32>,
        sink: &mut Sink<'_>,
    ) -> bool {
        let psn = arrival.bth.psn();
        let is_new = sent_before.is_none_or(|end| psn.distance(end) >= 0);
        let is_lost_again = self.lost_again.take_if(|lost| *lost == expected).is_some();
        let goes_on = self.gap == Gap::Refilling && is_new && !is_lost_again;
        // The requester sent again what was missing, and no more: its responder keeps what comes behind a gap, or a NAK will tell that the rest was lost.
        let is_skipped = goes_on && self.nak.is_none() && self.naks_due.is_none();
        let is_uc = arrival.bth.opcode().transport() == TransportService::Uc;
        // The missing one came late, and a NAK is on its way: what was sent behind it has to come again.
        if !self.gap.is_waiting() && (!goes_on || is_skipped) {
            let is_excused = sink.excuses(expected, psn.distance(expected) == 1);
            if !is_excused {
                self.report_held(sink);
                let at = Spot { number: arrival.number, psn, is_request: true };
                let at_ns = arrival.timestamp_ns;
                self.held =
                    Some(HeldGap { at, at_ns, expected, is_proven: false, is_skipped, is_overtaken: false });
                if is_uc {
                    // Nobody asks for it again, so nothing tells later either.
                    self.leave_held(arrival.is_told, sink);
                } else if arrival.is_told && !is_skipped {
                    self.report_held(sink);
                }
                self.jumped = (psn.distance(expected) == 1).then_some(psn);
            }
            self.is_unsure |= is_excused;
        }
        if is_uc {
            self.resume_at(Some(psn));
            return true;
        }
        if !self.gap.is_waiting() {
            if self.gap == Gap::No {
                self.drop_behind(sink.budget);
            }
            self.gap = Gap::Waiting { passed: 0 };
            self.expect_nak(expected);
        }
        if let Gap::Waiting { passed } = &mut self.gap {
            *passed += 1;
        }
        if matches!(self.gap, Gap::Waiting { passed } if passed > BEHIND_GAP_MAX) {
            self.forget_skipped();
            self.leave_held(self.is_told, sink);
            self.drop_behind(sink.budget);
            self.resume_at(Some(psn));
            return true;
        }
        // In the order of their PSNs, whatever the capture's is.
        let place = self.behind.partition_point(|asked| asked.psn.distance(psn) < 0);
        let is_free = place
            .checked_sub(1)
            .and_then(|before| self.behind.get(before))
            .is_none_or(|before| psn.distance(before.end()) >= 0)
            && self.behind.get(place).is_none_or(|next| next.psn != psn);
        if is_free && self.behind.len() < BEHIND_MAX && sink.budget.left > 0 {
            sink.budget.left -= 1;
            self.behind.insert(place, RequestPacket::new(arrival, count));
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
        if let Some(expected) = self.begin.psn()
            && psn.distance(expected) < 0
        {
            if self.begin.is_announced() {
                sink.report(request_before_first_psn::found(expected, psn));
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
        if self.is_nak_due(psn) {
            // It was missing behind a READ of unknown length: its responder took nothing of what followed.
            self.expect_naks_from(psn);
        }
        let end = psn.plus(count.unwrap_or(1));
        if self.gap == Gap::No && self.expected.is_some_and(|expected| end.distance(expected) > 0) {
            // None that was sent before: its PSN is wrong, or else checking went on too far behind a gap.
            if let Assembly::FirstLost = self.assembly {
                self.resume_at(Some(end));
            }
            return;
        }
        if arrival.bth.opcode().operation() == Operation::ReadRequest {
            self.read_again(psn, count);
        }
    }

    /// A READ asked for again, whole or from a later PSN on. One that is answered in full is answered again, which changes nothing.
    fn read_again(&mut self, psn: Psn, count: Option<u32>) {
        self.whole_answer = None;
        let Some(read) = self.queue.find(psn).and_then(|at| self.queue.get_mut(at)) else {
            return;
        };
        if read.is_done() || read.answer != AnswerKind::ReadResponses {
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
