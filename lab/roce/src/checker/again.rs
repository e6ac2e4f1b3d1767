//! Retransmissions of a stream: which request comes again, and why.

use crate::checker::broken::Spot;
use crate::checker::retry::Nak;
use crate::checker::shape::{Known, Shape};
use crate::checker::sink::{Arrival, Sink};
use crate::checker::stream::{NotReady, Stream};
use crate::finding::Evidence;
use crate::flow::Connection;
use crate::retransmission::RetransmissionClass;
use crate::rule::Rule;
use crate::wire::{Operation, Psn, rnr_timer_us};

/// A copy by the network comes sooner than this. The ACK timeout of the REQ does not tell a requester's: a network card takes the nearest that it has, and a
/// program may set another.
const COPY_LIMIT_NS: u64 = 500_000;

/// A requester needs longer than this to send a request again.
const COPY_NS: u64 = 20_000;

impl Stream {
    /// Takes note of a request where it is sent, whether it arrives or not; gives why it was sent, when it was sent before.
    #[inline]
    pub(crate) fn sent(
        &mut self,
        connection: &Connection,
        arrival: &Arrival<'_>,
        count: Option<u32>,
        sink: &mut Sink<'_>,
    ) -> Option<RetransmissionClass> {
        let psn = arrival.bth.psn();
        let shape = Shape::new(arrival, count);
        let end = psn.plus(count.unwrap_or(1));
        if self.sent_end.is_some_and(|sent_end| psn.distance(sent_end) < 0) {
            return self.sent_again(connection, arrival, shape, end, sink);
        }
        self.retry.shapes.push(shape, self.acknowledged, sink.budget);
        self.sent_end = Some(end);
        self.retry.run = None;
        self.retry.last = Some((psn, arrival.timestamp_ns));
        None
    }

    fn sent_again(
        &mut self,
        connection: &Connection,
        arrival: &Arrival<'_>,
        shape: Shape,
        end: Psn,
        sink: &mut Sink<'_>,
    ) -> Option<RetransmissionClass> {
        let psn = arrival.bth.psn();
        let known = self.retry.shapes.compare(shape);
        if self.psn_first.is_some_and(|first| psn.distance(first) < 0) {
            // Not seen before: the capture began later, or the PSN is none of this connection.
            return None;
        }
        let is_known = matches!(known, Known::Same | Known::Other);
        let differs = matches!(known, Known::Other | Known::InsideRead);
        if self.sent_end.is_some_and(|sent_end| end.distance(sent_end) > 0) {
            self.sent_end = Some(end);
        }
        let is_sure = self.sure_from.is_none_or(|from| psn.distance(from) >= 0);
        let is_jumped = self.jumped == Some(psn) && self.retry.last.is_some_and(|(last, _)| last == psn);
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
            self.is_other_again = true;
            let evidence = match known {
                Known::InsideRead => Evidence::Opcode {
                    expected: "a PSN behind those of the READ before it",
                    got: arrival.bth.opcode(),
                },
                _ => Evidence::Words {
                    expected: "the packet that was sent before",
                    got: "another opcode or length",
                },
            };
            sink.report(Rule::RetransmissionDiffers, evidence);
        }
        let class = self.classify(arrival, is_known, sink);
        let now_ns = arrival.timestamp_ns;
        if known == Known::InsideRead {
            self.retry.last = Some((psn, now_ns));
            return None;
        }
        if let Some(class) = class {
            if class == RetransmissionClass::Timeout
                && self.acknowledged.is_none_or(|acknowledged| psn.distance(acknowledged) >= 0)
            {
                let at = Spot { number: arrival.number, psn, is_request: true };
                self.count_repetition(connection, arrival.bth.destination_qpn(), at, now_ns, sink);
            }
            let is_continued = self.retry.run == Some((class, psn));
            if let Some((_, last_ns)) = self.retry.last.filter(|_| !is_continued) {
                sink.stats.sent_again(class, now_ns.saturating_sub(last_ns));
            }
            self.retry.run = Some((class, end));
            self.retry.counts.count(class);
        } else {
            self.retry.shapes.insert(shape);
        }
        self.retry.last = Some((psn, now_ns));
        class
    }

    /// Tells why a request comes whose PSN lies before others; `None` when those only overtook it.
    fn classify(
        &mut self,
        arrival: &Arrival<'_>,
        is_known: bool,
        sink: &mut Sink<'_>,
    ) -> Option<RetransmissionClass> {
        let (psn, now_ns) = (arrival.bth.psn(), arrival.timestamp_ns);
        if let Some(nak) = self.nak
            && nak.psn == psn
        {
            self.nak = None;
            let Some((from_ns, least_ns)) = nak.rnr else {
                return Some(RetransmissionClass::GoBackN);
            };
            let got_ns = now_ns.saturating_sub(from_ns);
            if got_ns < least_ns - least_ns / 10 {
                // Sooner than a requester can: a recorder may have written the refusal behind a copy.
                let is_sure = arrival.is_told || got_ns > COPY_NS && !self.is_lossy;
                sink.blame(is_sure, Rule::RnrRetryTooEarly, Evidence::Time { expected_ns: least_ns, got_ns });
            }
            return Some(RetransmissionClass::RnrRetry);
        }
        if let Some((class, next)) = self.retry.run
            && next == psn
        {
            return Some(class);
        }
        let asked = (arrival.bth.opcode().operation() == Operation::ReadRequest)
            .then(|| self.queue.find(psn))
            .flatten();
        if let Some(at) = asked
            && self.queue.get_mut(at).is_some_and(|read| read.has_gap)
        {
            return Some(RetransmissionClass::ReadRetry);
        }
        if self.acknowledged.is_some_and(|acknowledged| psn.distance(acknowledged) < 0) {
            let is_late =
                self.retry.last.is_none_or(|(_, at_ns)| now_ns.saturating_sub(at_ns) >= COPY_LIMIT_NS);
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
                } else if is_known || asked.is_some() {
                    Some(RetransmissionClass::Timeout)
                } else {
                    None
                }
            }
            _ => Some(RetransmissionClass::Timeout),
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
        }
        self.nak = Some(Nak { psn, rnr, is_reported, is_filled: false });
        self.retry.run = None;
    }
}
