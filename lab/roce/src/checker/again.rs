//! Retransmissions of a stream: which request comes again, and why.

use crate::broken::{Broken, Spot};
use crate::checker::retry::Nak;
use crate::checker::shape::{RequestShape, ShapeMatch};
use crate::checker::sink::{Arrival, Sink};
use crate::checker::stream::{NotReady, Stream};
use crate::flow::Connection;
use crate::message::MessageOutcome;
use crate::retransmission::RetransmissionClass;
use crate::rules::{retransmission_differs, rnr_retry_too_early};
use crate::wire::{Operation, Psn, TransportService, rnr_timer_us};

/// A copy by the network comes sooner than this. The ACK timeout of the REQ does not tell a requester's: a network card takes the nearest that it has, and a
/// program may set another.
const COPY_LIMIT_NS: u64 = 500_000;

/// Programs take longer than this to make a queue pair anew and to tell each other about it.
const USED_AGAIN_NS: u64 = 10_000_000;

/// A request among those that were sent before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SentRequest {
    /// Retransmission class, if it was sent before.
    pub(crate) again: Option<RetransmissionClass>,
    /// True if another request was sent under its PSN.
    pub(super) is_other: bool,
}

impl Stream {
    /// Takes note of a request where it is sent, whether it arrives or not.
    #[inline]
    pub(crate) fn sent(
        &mut self,
        connection: &Connection,
        arrival: &Arrival<'_>,
        count: Option<u32>,
        sink: &mut Sink<'_>,
    ) -> SentRequest {
        let psn = arrival.bth.psn();
        let shape = RequestShape::new(arrival, count);
        let end = psn.plus(count.unwrap_or(1));
        if self.sent_end.is_some_and(|sent_end| psn.distance(sent_end) < 0) {
            return self.sent_again(connection, arrival, shape, end, sink);
        }
        if !self.answer_gaps.is_empty() {
            self.goes_on_behind_gaps(arrival.timestamp_ns, sink);
        }
        self.retry.shapes.push(shape, self.acknowledged, sink.budget);
        self.sent_end = Some(end);
        self.retry.run = None;
        self.retry.last = Some((psn, arrival.timestamp_ns));
        SentRequest::default()
    }

    /// Takes note of a request that is equal to one shortly before.
    pub(crate) fn copied(&mut self, psn: Psn) {
        self.copied_to = Some(psn.plus(1));
    }

    /// True if a requester that goes back sends the request of that PSN next, or was asked to: then it is no copy, equal as it may be.
    #[cold]
    pub(crate) fn is_due_again(&self, psn: Psn) -> bool {
        let goes_on = |(class, next)| class != RetransmissionClass::Duplicate && next == psn;
        let lacks_response =
            || self.queue.find(psn).and_then(|at| self.queue.get(at)).is_some_and(|read| read.has_gap);
        self.retry.run.is_some_and(goes_on) || self.nak.is_some_and(|nak| nak.psn == psn) || lacks_response()
    }

    /// True if the response of that PSN is the next one of a READ or an atomic that was asked for again: then it is no copy of the first one.
    #[cold]
    pub(crate) fn is_answer_due(&self, psn: Psn) -> bool {
        self.queue.find(psn).and_then(|at| self.queue.get(at)).is_some_and(|pending| {
            let index = psn.distance(pending.psn) as u32;
            // Before where it was asked from at last, it is of an asking from the begin.
            let is_due = index == pending.next || index < pending.asked_from;
            is_due && !pending.is_acked_by_ack() && !pending.is_done()
        })
    }

    /// True if queue pairs whose connection the capture does not show are used again: after a pause a message begins, under a PSN that another request had.
    pub(super) fn is_used_again(&self, arrival: &Arrival<'_>, count: Option<u32>) -> bool {
        let psn = arrival.bth.psn();
        self.sent_end.is_some_and(|end| psn.distance(end) < 0)
            && arrival.bth.opcode().place().starts()
            && self.nak.is_none()
            && self.begin.psn().is_some_and(|first| psn.distance(first) >= 0)
            && match self.retry.run {
                None => self.could_be_used_again(arrival),
                Some(_) => self.retry.run_is_unsure,
            }
            && matches!(
                self.retry.shapes.compare(RequestShape::new(arrival, count)),
                ShapeMatch::Other | ShapeMatch::InsideRead
            )
    }

    /// Takes note of a pause in which queue pairs can have been made anew, before a message whose PSN goes on with the ones before.
    #[inline]
    pub(super) fn note_pause(&mut self, arrival: &Arrival<'_>) {
        if self.could_be_used_again(arrival)
            && self.sent_end.is_some_and(|end| arrival.bth.psn().distance(end) >= 0)
            && arrival.bth.opcode().place().starts()
        {
            self.paused_after = Some(self.msn.completed);
        }
    }

    /// True behind a pause in which queue pairs can have been made anew without a word in the capture.
    #[inline]
    fn could_be_used_again(&self, arrival: &Arrival<'_>) -> bool {
        let is_paused = |(_, at_ns)| arrival.timestamp_ns.saturating_sub(at_ns) >= USED_AGAIN_NS;
        self.retry.last.is_some_and(is_paused) && !self.begin.is_announced() && !arrival.is_told
    }

    /// Begins anew, as queue pairs do that are used again.
    #[cold]
    pub(super) fn begin_anew(&mut self, now_ns: u64, sink: &mut Sink<'_>) {
        self.forget_skipped();
        self.leave_held(self.is_told, sink);
        self.tell_early_retry(sink);
        self.leave_answer_gaps(now_ns, sink);
        self.tell_unseen(sink);
        if let Some(open) = self.assembly.take() {
            sink.messages.end(open.message, MessageOutcome::Incomplete, None);
        }
        self.release(sink.budget);
        let (counts, told) = (self.retry.counts, self.told);
        *self = Self { told, ..Self::new(None) };
        self.retry.counts = counts;
    }

    fn sent_again(
        &mut self,
        connection: &Connection,
        arrival: &Arrival<'_>,
        shape: RequestShape,
        end: Psn,
        sink: &mut Sink<'_>,
    ) -> SentRequest {
        let psn = arrival.bth.psn();
        let known = self.retry.shapes.compare(shape);
        if self.begin.psn().is_some_and(|first| psn.distance(first) < 0) {
            // Not seen before: the capture began later, or the PSN is none of this connection.
            return SentRequest::default();
        }
        if !self.unseen.is_empty()
            && known == ShapeMatch::No
            && self.nak.is_none_or(|nak| nak.psn != psn)
            && self.comes_late(Spot { number: arrival.number, psn, is_request: true }, end, sink)
        {
            self.retry.shapes.insert(shape);
            return SentRequest::default();
        }
        let differs = matches!(known, ShapeMatch::Other | ShapeMatch::InsideRead);
        if self.sent_end.is_some_and(|sent_end| end.distance(sent_end) > 0) {
            self.sent_end = Some(end);
        }
        let is_sure = self.sure_from.is_none_or(|from| psn.distance(from) >= 0);
        let is_jumped = self.jumped == Some(psn) && self.retry.last.is_some_and(|(last, _)| last == psn);
        let mut is_other = false;
        if differs && is_jumped {
            // The one before it had this one's PSN instead of its own, and was reported.
            self.retry.shapes.insert(shape);
            self.jumped = None;
            self.report_held(sink);
            self.drop_behind(sink.budget);
            self.lose_place();
        } else if differs && is_sure {
            // If its PSN is wrong, the gap at the right one has the same cause.
            sink.discard(self.sent_end);
            is_other = true;
            let broken = match known {
                ShapeMatch::InsideRead => retransmission_differs::found_inside_read(arrival.bth.opcode()),
                _ => retransmission_differs::found(),
            };
            sink.report(broken.sure_if(!self.retry.run_is_unsure));
        }
        let now_ns = arrival.timestamp_ns;
        if self.early_retry.is_some() {
            self.meet_early_retry(psn, now_ns);
        }
        let class = self.classify(arrival, known, sink);
        if !self.answer_gaps.is_empty() && class.is_some() {
            self.tell_answer_gaps(psn, sink);
        }
        if known == ShapeMatch::InsideRead {
            self.retry.last = Some((psn, now_ns));
            return SentRequest { again: None, is_other };
        }
        if let Some(class) = class {
            if class == RetransmissionClass::Timeout
                && arrival.bth.opcode().transport() != TransportService::Uc
                && self.acknowledged.is_none_or(|acknowledged| psn.distance(acknowledged) >= 0)
            {
                let at = Spot { number: arrival.number, psn, is_request: true };
                self.count_repetition(connection, arrival.bth.destination_qpn(), at, now_ns, sink);
            }
            let is_continued = self.retry.run == Some((class, psn));
            if let Some((_, last_ns)) = self.retry.last.filter(|_| !is_continued) {
                sink.stats.sent_again(class, now_ns.saturating_sub(last_ns));
            }
            if !is_continued {
                self.retry.run_is_unsure = class == RetransmissionClass::Spurious
                    && self.could_be_used_again(arrival)
                    && arrival.bth.opcode().place().starts();
            }
            self.retry.run = Some((class, end));
            self.retry.counts.count(class);
        } else {
            self.retry.shapes.insert(shape);
        }
        let is_late = known == ShapeMatch::No && matches!(class, None | Some(RetransmissionClass::Duplicate));
        let is_stamped_before = self.retry.last.is_some_and(|(_, last_ns)| now_ns < last_ns);
        if !arrival.is_told && (is_late || is_stamped_before) {
            let at = Spot { number: arrival.number, psn, is_request: true };
            sink.capture.late(at, sink.stream(sink.requester));
        }
        self.retry.last = Some((psn, now_ns));
        SentRequest { again: class, is_other }
    }

    /// Takes note of an answer behind a later one: of one that is stamped before that, or while nothing shows that a request was sent again.
    #[cold]
    pub(super) fn note_late_answer(&mut self, arrival: &Arrival<'_>, sink: &mut Sink<'_>) {
        let counts = self.retry.counts;
        let is_first_sending = self.nak.is_none() && counts.total() == counts.duplicate + counts.spurious;
        let behind_ns = arrival.timestamp_ns.checked_sub(self.acknowledged_at.1);
        // No recorder is as late as that: the queue pairs are used again under the same PSNs.
        let is_soon = behind_ns.is_some_and(|behind_ns| behind_ns < USED_AGAIN_NS);
        if !arrival.is_told && (is_first_sending && is_soon || behind_ns.is_none()) {
            let at = Spot { number: arrival.number, psn: arrival.bth.psn(), is_request: false };
            sink.capture.late(at, sink.stream(sink.requester));
        }
    }

    /// Tells why a request comes whose PSN lies before others; `None` when those only overtook it.
    fn classify(
        &mut self,
        arrival: &Arrival<'_>,
        known: ShapeMatch,
        sink: &mut Sink<'_>,
    ) -> Option<RetransmissionClass> {
        let (psn, now_ns) = (arrival.bth.psn(), arrival.timestamp_ns);
        // It went back further for another cause, and met the refused one on its way.
        let goes_on = self.retry.run.filter(|(_, next)| *next == psn).map(|(class, _)| class);
        if let Some(nak) = self.nak
            && nak.psn == psn
        {
            self.nak = None;
            let Some((from_ns, least_ns)) = nak.rnr else {
                return Some(RetransmissionClass::GoBackN);
            };
            let got_ns = now_ns.saturating_sub(from_ns);
            if let Some(broken) = rnr_retry_too_early::check(least_ns, got_ns).filter(|_| goes_on.is_none()) {
                let is_possible = rnr_retry_too_early::is_possible(got_ns);
                // Its requester may not have got the refusal, and its ACK timeout have run out.
                let is_timeout =
                    self.retry.last.is_some_and(|(_, at_ns)| now_ns.saturating_sub(at_ns) >= COPY_LIMIT_NS);
                let is_sure = is_possible && !self.is_lossy && !is_timeout;
                let at = Spot { number: arrival.number, psn, is_request: true };
                self.hold_early_retry(broken.sure_if(arrival.is_told || is_sure).at(at), nak, arrival, sink);
            }
            return goes_on.or(Some(RetransmissionClass::RnrRetry));
        }
        if goes_on.is_some() {
            return goes_on;
        }
        let asked = (arrival.bth.opcode().operation() == Operation::ReadRequest)
            .then(|| self.queue.find(psn))
            .flatten();
        if let Some(at) = asked
            && self.queue.get_mut(at).is_some_and(|read| read.has_gap)
        {
            return Some(RetransmissionClass::ReadRetry);
        }
        let is_late = self.retry.last.is_none_or(|(_, at_ns)| now_ns.saturating_sub(at_ns) >= COPY_LIMIT_NS);
        if known == ShapeMatch::RestOfRead && !is_late {
            // Nobody but a requester that lacks a response asks for the rest of a READ.
            return Some(RetransmissionClass::ReadRetry);
        }
        let is_missing = known == ShapeMatch::No && self.gap.is_waiting() && self.expected == Some(psn);
        if is_missing && self.copied_to == Some(psn) {
            // Those before it came again as well, and look like copies.
            return Some(RetransmissionClass::Timeout);
        }
        if is_missing && !is_late {
            // The missing one, late by itself.
            return None;
        }
        if self.acknowledged.is_some_and(|acknowledged| psn.distance(acknowledged) < 0) {
            return Some(if is_late {
                RetransmissionClass::Spurious
            } else {
                RetransmissionClass::Duplicate
            });
        }
        match self.retry.last {
            Some((last, at_ns)) if now_ns.saturating_sub(at_ns) < COPY_LIMIT_NS => {
                if last == psn {
                    Some(RetransmissionClass::Duplicate)
                } else if matches!(known, ShapeMatch::Same | ShapeMatch::Other) || asked.is_some() {
                    Some(RetransmissionClass::Timeout)
                } else {
                    None
                }
            }
            _ => Some(RetransmissionClass::Timeout),
        }
    }

    /// Holds a repetition back that comes too early for its requester until it is answered: a copy of the request looks the same, and comes once more in time.
    #[cold]
    fn hold_early_retry(&mut self, broken: Broken, nak: Nak, arrival: &Arrival<'_>, sink: &mut Sink<'_>) {
        self.tell_early_retry(sink);
        if arrival.is_told || self.early_retry.is_some() {
            sink.report(broken);
            return;
        }
        self.early_retry = Some((broken, nak));
    }

    /// Tells of a repetition that came too early, if there is one.
    #[cold]
    pub(super) fn tell_early_retry(&mut self, sink: &mut Sink<'_>) {
        sink.findings.extend(self.early_retry.take().map(|(broken, _)| broken));
    }

    /// Drops what was held of a repetition when the same request comes in time, unanswered until then: the first was a copy.
    #[cold]
    fn meet_early_retry(&mut self, psn: Psn, now_ns: u64) {
        let is_in_time = |nak: &Nak| {
            let (from_ns, least_ns) = nak.rnr.unwrap_or_default();
            rnr_retry_too_early::check(least_ns, now_ns.saturating_sub(from_ns)).is_none()
        };
        if self.early_retry.is_some_and(|(_, nak)| nak.psn == psn && is_in_time(&nak)) {
            self.early_retry = None;
        }
    }

    /// Notes an RNR NAK or a NAK "PSN sequence error".
    pub(super) fn refuse_for_now(
        &mut self,
        psn: Psn,
        rnr_timer: Option<u8>,
        number: u64,
        timestamp_ns: u64,
        is_reported: bool,
    ) {
        let rnr = rnr_timer.map(|code| (timestamp_ns, u64::from(rnr_timer_us(code)) * 1_000));
        if rnr.is_some() {
            let naks =
                self.not_ready.filter(|before| before.at.psn == psn).map_or(0, |before| before.naks) + 1;
            let at = Spot { number, psn, is_request: false };
            self.not_ready = Some(NotReady { at, naks });
            self.expect_naks_from(psn.plus(1));
        }
        self.nak = Some(Nak { psn, rnr, is_reported, is_filled: false, is_like_before: false });
        self.retry.run = None;
    }
}
