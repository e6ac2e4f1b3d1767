//! Refusals: NAKs, and the request that each refuses.

use crate::checker::broken::Spot;
use crate::checker::fatal::{Fatal, Refused};
use crate::checker::pending::Pending;
use crate::checker::sink::{Arrival, Sink};
use crate::checker::stream::{Gap, Stream};
use crate::finding::{Evidence, Refusal};
use crate::message::{MessageKind, Outcome};
use crate::rule::Rule;
use crate::wire::{NakCode, Psn};

/// A recorder puts packets into another order that are no further apart, in packets and in time.
const DISORDER: u64 = 16;
const DISORDER_NS: u64 = 100_000_000;

impl Stream {
    /// Reports a refusal of what was acknowledged.
    pub(super) fn judge_nak(&mut self, psn: Psn, arrival: &Arrival<'_>, sink: &mut Sink<'_>) -> bool {
        if let Some(acknowledged) = self.acknowledged
            && psn.distance(acknowledged) < 0
        {
            // A recorder may have written it behind a later answer.
            let (number, at_ns) = self.acknowledged_at;
            let is_late = arrival.number > number + DISORDER
                || arrival.timestamp_ns.saturating_sub(at_ns) > DISORDER_NS;
            let evidence = Evidence::Psn { expected: acknowledged, got: psn };
            sink.blame(arrival.is_told || is_late && !self.is_lossy, Rule::NakForAcknowledgedPsn, evidence);
            return false;
        }
        true
    }

    pub(super) fn refused(&mut self, psn: Psn, code: NakCode, arrival: &Arrival<'_>, sink: &mut Sink<'_>) {
        let is_possible = self.judge_nak(psn, arrival, sink);
        self.acknowledge_before(psn, arrival.timestamp_ns, sink);
        if code == NakCode::PsnSequenceError {
            if self.nak.is_some_and(|nak| nak.psn == psn && nak.rnr.is_some()) {
                // It was refused as not ready, and what was in flight behind it is out of order.
                if self.told.is_new(Rule::SequenceNakBehindRnrNak) {
                    let words =
                        Evidence::Words { expected: "the RNR NAK for it alone", got: "a sequence NAK too" };
                    sink.report(Rule::SequenceNakBehindRnrNak, words);
                }
                return;
            }
            let is_missing = self.gap == Gap::Waiting && self.expected == Some(psn);
            let was_missing = self.is_nak_due(psn) && !is_missing;
            if is_missing || was_missing {
                self.report_held(sink);
                self.drop_behind(sink.budget);
            }
            self.expect_no_nak_up_to(psn);
            if is_possible
                && !is_missing
                && !was_missing
                && self.expected.is_some_and(|expected| psn.distance(expected) < 0)
            {
                if !sink.excuses(psn, false) {
                    let expected = self.expected.unwrap_or(psn);
                    sink.report(Rule::NakWithoutGap, Evidence::Psn { expected, got: psn });
                }
                self.sure_from = Some(psn.plus(1));
            }
            self.refuse_for_now(psn, None, arrival.number, arrival.timestamp_ns, !is_missing);
            if let Some(nak) = &mut self.nak {
                nak.is_filled = was_missing;
            }
            return;
        }
        self.repeated = None;
        let pending = self.queue.first_from(psn).copied();
        let message = pending.map(|pending| pending.message).or(self.open.map(|open| open.message));
        let before = self.fatal.take();
        let refused = if is_possible {
            Some(Box::new(self.refusal_of(psn, code, pending, arrival, sink)))
        } else {
            before
        };
        self.fatal = Fatal::Refused { at_ns: arrival.timestamp_ns, refused };
        if let Some(message) = message {
            sink.end(message, Outcome::Refused(code), arrival.timestamp_ns);
        }
    }

    /// What is told of a refusal for good, unless something contradicts it.
    pub(super) fn refusal_of(
        &self,
        psn: Psn,
        code: NakCode,
        pending: Option<Pending>,
        arrival: &Arrival<'_>,
        sink: &mut Sink<'_>,
    ) -> Refused {
        let announced = pending.map(|pending| pending.announced_bytes);
        let announced = announced.or(self.open.and_then(|open| open.announced_bytes)).unwrap_or(0);
        let message = pending.map(|pending| pending.message).or(self.open.map(|open| open.message));
        let message = message.and_then(|message| sink.messages.get_mut(message));
        let refusal = Refusal {
            code,
            kind: message.as_ref().map(|message| message.kind),
            bytes: message.as_ref().map_or(0, |message| message.bytes.max(u64::from(announced))),
            va: message.as_ref().and_then(|message| message.va),
            rkey: message.as_ref().and_then(|message| message.rkey),
            difference: None,
        };
        let is_write = matches!(refusal.kind, Some(MessageKind::Write | MessageKind::WriteWithImmediate));
        let is_later = message.is_some_and(|message| psn.distance(message.psn_first) > 0);
        let has_cause = !(code == NakCode::InvalidRequest && is_write && is_later && self.is_complete());
        Refused { at: Spot { number: arrival.number, psn, is_request: false }, refusal, has_cause }
    }
}
