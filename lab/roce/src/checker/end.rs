//! What is told of a stream when it ends, or when the capture does: what was held back until something would tell more.

use crate::checker::broken::Spot;
use crate::checker::sink::Sink;
use crate::checker::stream::{Repeated, Stream};
use crate::finding::Evidence;
use crate::flow::{Connection, Side};
use crate::message::Outcome;
use crate::rule::Rule;

/// Times that an RNR NAK names before its request, not sent again, was given up.
const TIMERS: u64 = 4;

/// Least time for that, in nanoseconds.
const GIVEN_UP_NS: u64 = 10_000_000;

impl Stream {
    /// Ends it: tells what was held back until now. `last_ns` is the time of the capture's last frame, `has_ended` whether the connection's end was seen.
    pub(crate) fn end(&mut self, requester: Side, last_ns: u64, has_ended: bool, sink: &mut Sink<'_>) {
        if let Some(held) = self.held.filter(|held| held.is_proven) {
            self.held = None;
            let count = held.at.psn.distance(held.expected).max(1) as u64;
            sink.capture.lost(held.at, (sink.flow, requester), count);
        }
        self.report_held(sink);
        self.drop_behind(sink.budget);
        if let (Some(early), Some(end)) = (self.early.take(), self.sent_end) {
            let count = early.psn.plus(1).distance(end).max(1) as u64;
            sink.capture.lost(early.at, (sink.flow, requester), count);
        }
        if let Some(refused) = self.fatal.take() {
            let rule = if refused.has_cause { Rule::RequestRefused } else { Rule::RefusalWithoutCause };
            sink.report_at(refused.at, rule, Evidence::Refusal(refused.refusal));
        }
        self.end_not_ready(last_ns, has_ended, sink);
    }

    /// Tells of a request that was given up because its responder was not ready.
    fn end_not_ready(&mut self, last_ns: u64, has_ended: bool, sink: &mut Sink<'_>) {
        let Some(not_ready) = self.not_ready.take() else { return };
        if self.nak.is_none_or(|nak| nak.psn != not_ready.at.psn || nak.is_reported) {
            return;
        }
        let (number_ns, least_ns) = self.nak.and_then(|nak| nak.rnr).unwrap_or_default();
        let given_up_ns = number_ns.saturating_add((TIMERS * least_ns).max(GIVEN_UP_NS));
        if !has_ended && last_ns < given_up_ns {
            return;
        }
        sink.report_at(not_ready.at, Rule::RnrRetriesEnded, Evidence::NotReady { naks: not_ready.naks });
        if let Some(pending) = self.queue.first_from(not_ready.at.psn) {
            sink.messages.end(pending.message, Outcome::NotReady, None);
        }
    }

    /// Tells of a request that was repeated until the end, and never answered.
    pub(crate) fn end_repeated(&mut self, last_ns: u64, sink: &mut Sink<'_>) {
        let Some(repeated) = self.repeated.take() else { return };
        let Repeated { psn, times, first, qpn, .. } = repeated;
        // After one repetition the answer may still have been to come.
        let is_over = times > 1 || last_ns > repeated.at_ns.saturating_add(repeated.interval_ns);
        if !is_over || self.fatal.is_real() || self.nak.is_some() {
            return;
        }
        let pending = self.queue.find(psn).and_then(|at| self.queue.get_mut(at));
        let number = pending.as_ref().map_or(first, |pending| pending.packet_last);
        let evidence = Evidence::Unanswered { times: times + 1, qpn };
        sink.report_at(Spot { number, psn, is_request: true }, Rule::RequestNotAnswered, evidence);
        if let Some(pending) = pending {
            pending.must_be_answered = false;
            sink.messages.end(pending.message, Outcome::Unanswered, None);
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
        if let Some(most) = connection.retry_count
            && repeated.times > u64::from(most)
            && self.told.is_new(Rule::RetryCountExceeded)
        {
            let evidence = Evidence::Repetitions { most: u64::from(most), got: repeated.times };
            sink.report(Rule::RetryCountExceeded, evidence);
        }
    }
}
