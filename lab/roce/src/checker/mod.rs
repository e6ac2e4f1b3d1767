//! The state of one stream of requests and its responses, and the rules that it is held to.
//!
//! In: the packets of a connection, as they were sent and as the receiver got them. Out: messages and findings. A responder ignores requests after a gap until
//! the missing one comes; so does this, which makes a lost packet one finding and a go-back-N none. When an answer shows that the missing request did
//! arrive, the gap is the capture's, and checking goes on behind it. After any fault the counts that it makes unsure are learnt anew from the wire.

mod adverts;
pub(crate) mod alone;
mod asked;
mod assemble;
mod capture_faults;
mod conversation;
mod copies;
mod end;
pub(crate) mod headers;
mod ledger;
mod msn;
mod payload;
mod pending;
mod read_response;
mod refused;
mod request;
mod response;
mod retry;
mod shape;

pub(crate) use crate::checker::adverts::Adverts;
pub(crate) use crate::checker::alone::Alone;
use crate::checker::asked::Asked;
pub(crate) use crate::checker::capture_faults::CaptureFaults;
pub(crate) use crate::checker::conversation::Conversations;
pub(crate) use crate::checker::copies::Copies;
pub(crate) use crate::checker::ledger::Ledger;
use crate::checker::msn::MsnCount;
use crate::checker::payload::PayloadRule;
use crate::checker::pending::Queue;
use crate::checker::retry::{Nak, Retry};
use std::collections::VecDeque;

use crate::finding::{Evidence, Refusal};
use crate::message::Outcome;
use crate::message_log::{MessageId, MessageLog};
use crate::retransmission::Retransmissions;
use crate::rule::{Rule, Severity};
use crate::stats::Stats;
use crate::wire::{Bth, Operation, Packet, Psn};

/// Messages between requests and answers that all streams together may remember; more only loses the oldest of a stream.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) left: usize,
    /// Requests that were forgotten before their answer.
    pub(crate) forgotten: u64,
}

/// A message between its First and its Last.
#[derive(Clone, Copy, Debug)]
struct Open {
    message: MessageId,
    operation: Operation,
    announced_bytes: Option<u32>,
    bytes: u64,
    /// A payload was not the path MTU's, so the sum will not be right either.
    is_suspect: bool,
}

/// Whether a request is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// None is.
    No,
    /// The expected one is; what comes behind it is not taken.
    Waiting,
    /// It came; what was sent behind it has to come again.
    Refilling,
}

/// The requests of one side and what answers them.
#[derive(Debug)]
pub(crate) struct Stream {
    psn_first: Option<Psn>,
    /// Whether connection management said where it begins.
    is_announced: bool,
    /// PSN of the next new request.
    expected: Option<Psn>,
    /// One past the highest PSN that was sent.
    sent_end: Option<Psn>,
    gap: Gap,
    /// Requests behind it that were not taken, and those of them that are kept.
    behind_gap: u32,
    behind: VecDeque<Asked>,
    held: Option<Held>,
    early: Option<Early>,
    /// Whether the capture has shown to lack requests of this stream.
    is_lossy: bool,
    /// Whether the request that is looked at is another than the one with its PSN.
    is_other_again: bool,
    payload: PayloadRule,
    /// The request that showed a gap of one: it may be the missing one itself, under a wrong PSN.
    jumped: Option<Psn>,
    /// Middle and Last may come without a First: the First is lost and was reported.
    first_is_lost: bool,
    open: Option<Open>,
    queue: Queue,
    msn: MsnCount,
    retry: Retry,
    /// A refusal whose request has not come again.
    nak: Option<Nak>,
    /// PSNs, first and last, at which the responder found gaps whose NAKs did not come yet.
    naks_due: Option<(Psn, Psn)>,
    /// One past the last PSN that is acknowledged, with the packet number and the time of its answer.
    acknowledged: Option<Psn>,
    acknowledged_at: (u64, u64),
    /// Time of a fatal NAK.
    fatal_ns: Option<u64>,
    fatal_is_reported: bool,
    /// A refusal for good that nothing contradicts yet.
    refusal: Option<Box<Refused>>,
    /// The last RNR NAK, and how many there were for its request.
    not_ready: Option<NotReady>,
    /// The request that is repeated, and how often it was since the last answer.
    repeated: Option<Repeated>,
    retry_count_is_reported: bool,
    rnr_nak_is_told: bool,
    depth_is_reported: bool,
    /// Whether an outstanding READ may be without a count.
    has_uncounted: bool,
    /// A request was in a packet that could not be read, so an answer may name a PSN that was not seen.
    is_unsure: bool,
    /// Answers before this PSN count messages that were not followed.
    sure_from: Option<Psn>,
}

/// A gap of which nothing tells yet whether the request was lost on its way or by the recorder.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// The request behind it.
    at: Spot,
    expected: Psn,
    /// Whether an answer shows that the missing one arrived.
    is_proven: bool,
}

/// An answer to a request that has not come: lost by the recorder, or written behind it.
#[derive(Clone, Copy, Debug)]
struct Early {
    at: Spot,
    /// The last PSN that is answered so.
    psn: Psn,
    is_ack: bool,
}

/// A refusal for good.
#[derive(Clone, Copy, Debug)]
struct Refused {
    at: Spot,
    refusal: Refusal,
    has_cause: bool,
}

/// A request that its responder was not ready for.
#[derive(Clone, Copy, Debug)]
struct NotReady {
    at: Spot,
    naks: u64,
}

/// A request that comes again without an answer.
#[derive(Clone, Copy, Debug)]
struct Repeated {
    psn: Psn,
    times: u64,
    /// Time of the last repetition, and how long after the sending before it that was.
    at_ns: u64,
    interval_ns: u64,
    first: u64,
    qpn: u32,
}

/// One packet on its way through the rules.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) number: u64,
    pub(crate) timestamp_ns: u64,
    pub(crate) packet: &'a Packet<'a>,
    pub(crate) bth: Bth<'a>,
    pub(crate) flow: usize,
    /// Whether this is where its sender sent it, not a copy or a late delivery.
    pub(crate) is_sent: bool,
    /// Whether the capture tells the fates of its packets, so that what it lacks was not there.
    pub(crate) is_told: bool,
    /// Whether it is the First that tells the path MTU.
    pub(crate) tells_mtu: bool,
}

/// A packet that its receiver discards, and that leaves a gap of which no other finding speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Discarded {
    pub(crate) psn: Option<Psn>,
    pub(crate) number: u64,
    /// Whether another packet shows that it is missing; an acknowledgement may be without a trace.
    pub(crate) leaves_gap: bool,
}

/// A rule that is broken, on its way to a finding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    pub(crate) severity: Severity,
    pub(crate) evidence: Evidence,
    /// The packet that shows it, when it is another than the one that is looked at.
    pub(crate) at: Option<Spot>,
}

/// A packet of a connection that a later one tells something of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) number: u64,
    pub(crate) psn: Psn,
    /// Whether the requester sent it.
    pub(crate) is_request: bool,
}

impl Broken {
    pub(crate) fn new(rule: Rule, evidence: Evidence) -> Self {
        Self { rule, severity: rule.severity(), evidence, at: None }
    }
}

/// Where messages and findings go.
pub(crate) struct Sink<'a> {
    pub(crate) messages: &'a mut MessageLog,
    pub(crate) findings: &'a mut Vec<Broken>,
    pub(crate) discarded: &'a mut Vec<Discarded>,
    pub(crate) budget: &'a mut Budget,
    pub(crate) stats: &'a mut Stats,
    pub(crate) capture: &'a mut CaptureFaults,
    pub(crate) adverts: &'a mut Adverts,
    /// Number of the packet, and of its connection.
    pub(crate) number: u64,
    pub(crate) flow: usize,
}

/// Discarded packets whose gaps are still to come.
const DISCARDED_MAX: usize = 16;

/// A discarded packet leaves its gap within this many packets.
const DISCARDED_FOR: u64 = 4_096;

/// Remembers a discarded packet, and forgets those whose gap did not come.
pub(crate) fn remember(all: &mut Vec<Discarded>, new: Discarded) {
    all.retain(|discarded| discarded.number + DISCARDED_FOR > new.number);
    if all.len() >= DISCARDED_MAX {
        all.remove(0);
    }
    all.push(new);
}

impl Sink<'_> {
    fn report(&mut self, rule: Rule, evidence: Evidence) {
        self.findings.push(Broken::new(rule, evidence));
    }

    /// Reports what a fault of the capture would explain as well.
    fn suspect(&mut self, rule: Rule, evidence: Evidence) {
        self.findings.push(Broken { severity: Severity::Warning, ..Broken::new(rule, evidence) });
    }

    /// Reports an error when it is sure, and else a warning.
    fn blame(&mut self, is_sure: bool, rule: Rule, evidence: Evidence) {
        if is_sure { self.report(rule, evidence) } else { self.suspect(rule, evidence) }
    }

    /// Reports what another packet shows.
    fn report_at(&mut self, at: Spot, rule: Rule, evidence: Evidence) {
        self.findings.push(Broken { at: Some(at), ..Broken::new(rule, evidence) });
    }

    fn end(&mut self, message: MessageId, outcome: Outcome, timestamp_ns: u64) {
        if let Some(message) = self.messages.end(message, outcome, Some(timestamp_ns)) {
            self.stats.ended(message);
            if let (true, Some(va), Some(rkey)) =
                (matches!(outcome, Outcome::Acknowledged | Outcome::Responded), message.va, message.rkey)
            {
                self.adverts.take(message.responder, va, rkey);
            }
        }
    }

    /// Remembers a request that must have been there, at this PSN.
    fn discard(&mut self, psn: Option<Psn>) {
        remember(self.discarded, Discarded { psn, number: self.number, leaves_gap: true });
    }

    /// Whether a discarded packet can be the one that is missing; it is used up.
    fn excuses(&mut self, psn: Psn, is_single: bool) -> bool {
        let mut gaps = self.discarded.iter().enumerate().filter(|(_, discarded)| discarded.leaves_gap);
        let exact = gaps.clone().find(|(_, discarded)| discarded.psn == Some(psn));
        let found = exact.or(gaps.next().filter(|_| is_single)).map(|(at, _)| at);
        found.map(|at| self.discarded.remove(at)).is_some()
    }
}

impl Stream {
    pub(crate) fn new(psn_first: Option<Psn>) -> Self {
        Self {
            psn_first,
            is_announced: psn_first.is_some(),
            expected: psn_first,
            sent_end: psn_first,
            gap: Gap::No,
            behind_gap: 0,
            behind: VecDeque::new(),
            held: None,
            early: None,
            is_lossy: false,
            is_other_again: false,
            payload: PayloadRule::default(),
            jumped: None,
            first_is_lost: psn_first.is_none(),
            open: None,
            queue: Queue::default(),
            msn: MsnCount::new(psn_first.is_some()),
            retry: Retry::default(),
            nak: None,
            naks_due: None,
            acknowledged: psn_first,
            acknowledged_at: (0, 0),
            fatal_ns: None,
            fatal_is_reported: false,
            refusal: None,
            not_ready: None,
            repeated: None,
            retry_count_is_reported: false,
            rnr_nak_is_told: false,
            depth_is_reported: false,
            has_uncounted: false,
            is_unsure: false,
            sure_from: None,
        }
    }

    /// Whether nothing that the capture shows of it makes its own counts unsure.
    fn is_whole(&self) -> bool {
        self.is_complete() && self.retry.counts.total() == 0
    }

    /// Whether the capture does not seem to lack anything of it.
    fn is_complete(&self) -> bool {
        !self.is_lossy && self.held.is_none() && self.early.is_none()
    }

    /// Notes where its requests begin, if nothing told yet.
    fn begin(&mut self, psn: Psn) {
        if self.psn_first.is_none() {
            self.psn_first = Some(psn);
            self.acknowledged = Some(psn);
        }
    }

    /// The message that a request or an answer with that PSN belongs to, as long as it is remembered.
    #[cold]
    pub(crate) fn message_at(&mut self, psn: Psn) -> Option<MessageId> {
        if let Some(at) = self.queue.find(psn) {
            return self.queue.get_mut(at).map(|pending| pending.message);
        }
        let is_taken = self.expected.is_some_and(|expected| psn.distance(expected) < 0);
        self.open.filter(|_| is_taken).map(|open| open.message)
    }

    /// Requests that came again.
    pub(crate) fn retransmissions(&self) -> Retransmissions {
        self.retry.counts
    }

    /// The request that should have been answered before the connection ended: its packet number, PSN and PSNs of answers.
    pub(crate) fn unanswered(&self) -> Option<(u64, Psn, u32)> {
        let is_refused = self.nak.is_some_and(|nak| !nak.is_filled);
        if self.gap == Gap::Waiting || is_refused || self.fatal_ns.is_some() || self.is_unsure {
            return None;
        }
        self.queue.unanswered()
    }

    /// Gives what its requests took of the budget back.
    pub(crate) fn release(&mut self, budget: &mut Budget) {
        self.drop_behind(budget);
        self.retry.shapes.clear(budget);
        self.queue.clear(budget);
    }

    /// A NAK for the gap at `psn` is on its way.
    fn expect_nak(&mut self, psn: Psn) {
        self.naks_due = Some((self.naks_due.map_or(psn, |(first, _)| first), psn));
    }

    /// Whether a NAK at `psn` may be on its way.
    fn is_nak_due(&self, psn: Psn) -> bool {
        self.naks_due.is_some_and(|(first, last)| psn.distance(first) >= 0 && psn.distance(last) <= 0)
    }

    /// Answers keep their order, so behind one at `psn` no NAK up to there comes any more.
    fn expect_no_nak_up_to(&mut self, psn: Psn) {
        if let Some((first, last)) = self.naks_due
            && psn.distance(first) >= 0
        {
            self.naks_due = (psn.distance(last) < 0).then_some((psn.plus(1), last));
        }
    }

    /// What was counted of messages no longer holds: learn it anew.
    fn lose_place(&mut self) {
        self.open = None;
        self.first_is_lost = true;
        self.msn.forget();
        self.sure_from = self.sent_end;
    }

    fn resume_at(&mut self, psn: Option<Psn>) {
        self.expected = psn;
        self.gap = Gap::No;
        self.lose_place();
        self.sure_from = psn;
    }
}
