//! Refusals: NAKs, and the request that each refuses.

use crate::broken::Spot;
use crate::checker::fatal::{Fatal, RefusedForGood};
use crate::checker::pending::Pending;
use crate::checker::sink::{Arrival, Sink};
use crate::checker::stream::{Gap, Stream};
use crate::finding::Refusal;
use crate::message::{MessageKind, MessageOutcome};
use crate::rule::Rule;
use crate::rules::{nak_for_acknowledged_psn, nak_without_gap, sequence_nak_behind_rnr_nak};
use crate::wire::{NakCode, Psn, Syndrome};

/// Refusals that one stream remembers.
const REFUSALS_MAX: usize = 8;

/// The values by which a refusal is equal to another: PSN, MSN and syndrome.
fn refusal_key(psn: Psn, arrival: &Arrival<'_>) -> Option<(Psn, u32, u8)> {
    arrival.packet.aeth.map(|aeth| (psn, aeth.msn(), aeth.syndrome_byte()))
}

impl Stream {
    /// Reports a refusal of what was acknowledged.
    pub(super) fn judge_nak(&mut self, psn: Psn, arrival: &Arrival<'_>, sink: &mut Sink<'_>) -> bool {
        let own = refusal_key(psn, arrival);
        let is_copy = self.is_like_refusal_before(psn, arrival);
        if self.last_naks.len() >= REFUSALS_MAX {
            self.last_naks.remove(0);
        }
        self.last_naks.extend(own.filter(|_| !is_copy));
        if let Some(acknowledged) = self.acknowledged
            && psn.distance(acknowledged) < 0
        {
            // A recorder may have written it behind a later answer.
            let (number, at_ns) = self.acknowledged_at;
            let is_late = nak_for_acknowledged_psn::is_late(
                arrival.number.saturating_sub(number),
                arrival.timestamp_ns.saturating_sub(at_ns),
            );
            let is_sure = arrival.is_told || is_late && !self.is_lossy && !is_copy;
            sink.report(nak_for_acknowledged_psn::found(acknowledged, psn).sure_if(is_sure));
            return false;
        }
        true
    }

    /// True if a refusal is equal to one before.
    #[cold]
    pub(super) fn is_like_refusal_before(&self, psn: Psn, arrival: &Arrival<'_>) -> bool {
        refusal_key(psn, arrival).is_some_and(|own| self.last_naks.contains(&own))
    }

    /// True if a refusal is one that came before: what it refuses was answered or taken since, or nothing came again that could be refused.
    #[cold]
    pub(super) fn is_copied_refusal(&self, psn: Psn, arrival: &Arrival<'_>) -> bool {
        if !self.is_like_refusal_before(psn, arrival) || arrival.is_told && arrival.is_sent {
            return false;
        }
        let is_answered = self.acknowledged.is_some_and(|acknowledged| psn.distance(acknowledged) < 0);
        let is_waiting = self.nak.is_some_and(|nak| nak.psn == psn && nak.rnr.is_some());
        let is_sequence = matches!(
            arrival.packet.aeth.map(|aeth| aeth.syndrome()),
            Some(Syndrome::Nak(NakCode::PsnSequenceError))
        );
        let is_taken = self.expected.is_some_and(|expected| psn.distance(expected) < 0);
        is_answered || is_waiting || self.fatal.is_real() || is_sequence && is_taken && !self.is_nak_due(psn)
    }

    pub(super) fn refused(&mut self, psn: Psn, code: NakCode, arrival: &Arrival<'_>, sink: &mut Sink<'_>) {
        let is_possible = self.judge_nak(psn, arrival, sink);
        self.acknowledge_before(psn, arrival.timestamp_ns, sink);
        if code == NakCode::PsnSequenceError {
            if self.nak.is_some_and(|nak| nak.psn == psn && nak.rnr.is_some()) {
                // It was refused as not ready, and what was in flight behind it is out of order.
                if sink.profile.tells_sequence_nak_behind_rnr_nak()
                    && self.told.is_new(Rule::SequenceNakBehindRnrNak)
                {
                    sink.report(sequence_nak_behind_rnr_nak::found());
                }
                return;
            }
            let is_missing = self.gap.is_waiting() && self.expected == Some(psn);
            let was_missing = self.is_nak_due(psn) && !is_missing;
            if is_missing || was_missing {
                if let Some(held) = self.held.take_if(|_| was_missing && self.gap == Gap::Refilling) {
                    // What is refused as missing came late by itself.
                    sink.capture.overtaken(held.at, sink.stream(sink.requester));
                }
                self.report_held(sink);
                self.drop_behind(sink.budget);
            }
            if was_missing && self.gap == Gap::No {
                self.expect_naks_from(psn);
            }
            self.expect_no_nak_up_to(psn);
            if is_possible
                && !is_missing
                && !was_missing
                && self.expected.is_some_and(|expected| psn.distance(expected) < 0)
            {
                if !sink.excuses(psn, false) {
                    let expected = self.expected.unwrap_or(psn);
                    sink.report(nak_without_gap::found(expected, psn));
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
        self.judge_deep(None, sink);
        let pending = self.queue.first_from(psn).copied();
        let message =
            pending.map(|pending| pending.message).or(self.assembly.open().map(|open| open.message));
        let before = self.fatal.take();
        let refused = if is_possible {
            Some(Box::new(self.refusal_of(psn, code, pending, arrival, sink)))
        } else {
            before
        };
        self.fatal = Fatal::Refused { at_ns: arrival.timestamp_ns, refused };
        if let Some(message) = message {
            sink.end(message, MessageOutcome::Refused(code), arrival.timestamp_ns);
        }
    }

    /// Evidence of a refusal for good, told unless something contradicts it.
    pub(super) fn refusal_of(
        &self,
        psn: Psn,
        code: NakCode,
        pending: Option<Pending>,
        arrival: &Arrival<'_>,
        sink: &mut Sink<'_>,
    ) -> RefusedForGood {
        let announced = pending.map(|pending| pending.announced_bytes);
        let announced = announced.or(self.assembly.open().and_then(|open| open.announced_bytes)).unwrap_or(0);
        let message =
            pending.map(|pending| pending.message).or(self.assembly.open().map(|open| open.message));
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
        RefusedForGood { at: Spot { number: arrival.number, psn, is_request: false }, refusal, has_cause }
    }
}
