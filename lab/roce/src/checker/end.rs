//! End of a stream or of the capture: findings that were held back until something would tell more.

use crate::broken::Spot;
use crate::checker::sink::Sink;
use crate::checker::stream::{HeldGap, Repeated, Stream};
use crate::flow::{Connection, Side};
use crate::message::MessageOutcome;
use crate::rules::{
    refusal_without_cause, request_not_answered, request_refused, retry_count_exceeded, rnr_retries_ended,
};

/// Time in which every responder has refused what came behind a gap.
const REFUSED_WITHIN_NS: u64 = 10_000_000;

impl Stream {
    /// Ends it: tells what was held back until now. `last_ns` is the time of the capture's last frame, `has_ended` whether the connection's end was seen.
    pub(crate) fn end(&mut self, requester: Side, last_ns: u64, has_ended: bool, sink: &mut Sink<'_>) {
        self.forget_skipped();
        if let Some(held) = self.held.filter(|held| held.is_proven) {
            self.held = None;
            self.lose(held.at, held.expected, held.at.psn, sink);
        }
        self.tell_unseen(sink);
        // A responder refuses what lies behind a gap at once, and a requester that goes on for longer was not refused. One that falls silent may wait.
        let until_ns = self.retry.last.map_or(last_ns, |(_, at_ns)| at_ns);
        let is_open = |held: HeldGap| !has_ended && until_ns.saturating_sub(held.at_ns) < REFUSED_WITHIN_NS;
        let is_lost = self.held.is_some_and(is_open) && !sink.capture.has_fault();
        self.leave_held(self.is_told || is_lost, sink);
        if let Some((broken, nak)) = self.early_retry.take() {
            // Nothing answers it.
            self.early_retry = Some((broken.sure_if(false), nak));
            self.tell_early_retry(sink);
        }
        self.leave_answer_gaps(last_ns, sink);
        self.judge_deep(None, sink);
        self.drop_behind(sink.budget);
        if let (Some(early), Some(end)) = (self.early.take(), self.sent_end) {
            let count = early.psn.plus(1).distance(end).max(1) as u64;
            sink.capture.lost(early.at, sink.stream(requester), count);
        }
        if let Some(refused) = self.fatal.take() {
            let found = if refused.has_cause { request_refused::found } else { refusal_without_cause::found };
            sink.report(found(refused.refusal).at(refused.at));
        }
        self.end_not_ready(last_ns, has_ended, sink);
    }

    /// Tells of a request that was given up because its responder was not ready.
    fn end_not_ready(&mut self, last_ns: u64, has_ended: bool, sink: &mut Sink<'_>) {
        let Some(not_ready) = self.not_ready.take() else { return };
        if self.nak.is_none_or(|nak| nak.psn != not_ready.at.psn || nak.is_reported) {
            return;
        }
        let (nak_ns, timer_ns) = self.nak.and_then(|nak| nak.rnr).unwrap_or_default();
        if !has_ended && last_ns < rnr_retries_ended::given_up_ns(nak_ns, timer_ns) {
            return;
        }
        sink.report(rnr_retries_ended::found(not_ready.naks).at(not_ready.at));
        if let Some(pending) = self.queue.first_from(not_ready.at.psn) {
            sink.messages.end(pending.message, MessageOutcome::NotReady, None);
        }
    }

    /// Tells of a request that was repeated until the end, and never answered.
    pub(crate) fn end_repeated(&mut self, last_ns: u64, sink: &mut Sink<'_>) {
        let Some(repeated) = self.repeated.take() else { return };
        let Repeated { psn, times, first, qpn, .. } = repeated;
        // After one repetition the answer may still have been to come.
        let again_ns = repeated.at_ns.saturating_add(repeated.interval_ns);
        let is_over = times > 1 || last_ns > again_ns;
        // It would have come again before anything else, had nothing answered it.
        let goes_on = self.retry.last.is_some_and(|(last, at_ns)| at_ns > again_ns && last.distance(psn) > 0);
        if goes_on {
            return;
        }
        if !is_over || self.fatal.is_real() || self.nak.is_some() {
            return;
        }
        let pending = self.queue.find(psn).and_then(|at| self.queue.get_mut(at));
        let number = pending.as_ref().map_or(first, |pending| pending.packet_last);
        let broken = request_not_answered::found_repeated(times + 1, qpn);
        sink.report(broken.at(Spot { number, psn, is_request: true }));
        if let Some(pending) = pending {
            pending.excuse();
            sink.messages.end(pending.message, MessageOutcome::Unanswered, None);
        }
    }

    /// Counts a request that comes again though nothing refused it, and holds the count against the connection's.
    pub(super) fn count_repetition(
        &mut self,
        connection: &Connection,
        qpn: u32,
        at: Spot,
        now_ns: u64,
        sink: &mut Sink<'_>,
    ) {
        let last_ns = self.retry.last.map_or(now_ns, |(_, last_ns)| last_ns);
        let repeated = match &mut self.repeated {
            Some(repeated) if repeated.psn == at.psn => {
                repeated.times += 1;
                repeated.interval_ns = now_ns.saturating_sub(repeated.at_ns);
                repeated.at_ns = now_ns;
                repeated
            }
            // What follows it in the same run.
            Some(repeated) if at.psn.distance(repeated.psn) > 0 => return,
            slot => slot.insert(Repeated {
                psn: at.psn,
                times: 1,
                at_ns: now_ns,
                interval_ns: now_ns.saturating_sub(last_ns),
                first: at.number,
                qpn,
            }),
        };
        if let Some(most) = connection.retry_count.and_then(|count| sink.profile.repetitions_max(count))
            && let Some(broken) = retry_count_exceeded::check(most, repeated.times)
            && self.told.is_new(broken.rule)
        {
            sink.report(broken);
        }
    }
}
