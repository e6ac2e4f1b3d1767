//! The requests of one side and what answers them: the state that the rules keep, each in a file of its own.

use std::collections::VecDeque;

use crate::checker::asked::Asked;
use crate::checker::broken::Spot;
use crate::checker::fatal::Fatal;
use crate::checker::msn::MsnCount;
use crate::checker::payload::PayloadRule;
use crate::checker::pending::Queue;
use crate::checker::retry::{Nak, Retry};
use crate::checker::sink::Budget;
use crate::checker::told::Told;
use crate::message_log::MessageId;
use crate::retransmission::Retransmissions;
use crate::wire::{Operation, Psn};

/// A message between its First and its Last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) message: MessageId,
    pub(super) operation: Operation,
    pub(super) announced_bytes: Option<u32>,
    pub(super) bytes: u64,
    /// A payload was not the path MTU's, so the sum will not be right either.
    pub(super) is_suspect: bool,
}

/// Whether a request is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
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
    pub(super) psn_first: Option<Psn>,
    /// Whether connection management said where it begins.
    pub(super) is_announced: bool,
    /// PSN of the next new request.
    pub(super) expected: Option<Psn>,
    /// One past the highest PSN that was sent.
    pub(super) sent_end: Option<Psn>,
    pub(super) gap: Gap,
    /// Requests behind it that were not taken, and those of them that are kept.
    pub(super) behind_gap: u32,
    pub(super) behind: VecDeque<Asked>,
    pub(super) held: Option<Held>,
    pub(super) early: Option<Early>,
    /// Whether the capture has shown to lack requests of this stream.
    pub(super) is_lossy: bool,
    /// Whether the request that is looked at is another than the one with its PSN.
    pub(super) is_other_again: bool,
    pub(super) payload: PayloadRule,
    /// The request that showed a gap of one: it may be the missing one itself, under a wrong PSN.
    pub(super) jumped: Option<Psn>,
    /// Middle and Last may come without a First: the First is lost and was reported.
    pub(super) first_is_lost: bool,
    pub(super) open: Option<Open>,
    pub(super) queue: Queue,
    pub(super) msn: MsnCount,
    pub(super) retry: Retry,
    /// A refusal whose request has not come again.
    pub(super) nak: Option<Nak>,
    /// PSNs, first and last, at which the responder found gaps whose NAKs did not come yet.
    pub(super) naks_due: Option<(Psn, Psn)>,
    /// One past the last PSN that is acknowledged, with the packet number and the time of its answer.
    pub(super) acknowledged: Option<Psn>,
    pub(super) acknowledged_at: (u64, u64),
    pub(super) fatal: Fatal,
    /// The last RNR NAK, and how many there were for its request.
    pub(super) not_ready: Option<NotReady>,
    /// The request that is repeated, and how often it was since the last answer.
    pub(super) repeated: Option<Repeated>,
    pub(super) told: Told,
    /// Whether an outstanding READ may be without a count.
    pub(super) has_uncounted: bool,
    /// A request was in a packet that could not be read, so an answer may name a PSN that was not seen.
    pub(super) is_unsure: bool,
    /// Answers before this PSN count messages that were not followed.
    pub(super) sure_from: Option<Psn>,
}

/// A gap of which nothing tells yet whether the request was lost on its way or by the recorder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The request behind it.
    pub(super) at: Spot,
    pub(super) expected: Psn,
    /// Whether an answer shows that the missing one arrived.
    pub(super) is_proven: bool,
}

/// An answer to a request that has not come: lost by the recorder, or written behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Early {
    pub(super) at: Spot,
    /// The last PSN that is answered so.
    pub(super) psn: Psn,
    pub(super) is_ack: bool,
}

/// A request that its responder was not ready for.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotReady {
    pub(super) at: Spot,
    pub(super) naks: u64,
}

/// A request that comes again without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeated {
    pub(super) psn: Psn,
    pub(super) times: u64,
    /// Time of the last repetition, and how long after the sending before it that was.
    pub(super) at_ns: u64,
    pub(super) interval_ns: u64,
    pub(super) first: u64,
    pub(super) qpn: u32,
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
            fatal: Fatal::No,
            not_ready: None,
            repeated: None,
            told: Told::default(),
            has_uncounted: false,
            is_unsure: false,
            sure_from: None,
        }
    }

    /// Whether nothing that the capture shows of it makes its own counts unsure.
    pub(super) fn is_whole(&self) -> bool {
        self.is_complete() && self.retry.counts.total() == 0
    }

    /// Whether the capture does not seem to lack anything of it.
    pub(super) fn is_complete(&self) -> bool {
        !self.is_lossy && self.held.is_none() && self.early.is_none()
    }

    /// Notes where its requests begin, if nothing told yet.
    pub(super) fn begin(&mut self, psn: Psn) {
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
        if self.gap == Gap::Waiting || is_refused || self.fatal.is_real() || self.is_unsure {
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
    pub(super) fn expect_nak(&mut self, psn: Psn) {
        self.naks_due = Some((self.naks_due.map_or(psn, |(first, _)| first), psn));
    }

    /// Whether a NAK at `psn` may be on its way.
    pub(super) fn is_nak_due(&self, psn: Psn) -> bool {
        self.naks_due.is_some_and(|(first, last)| psn.distance(first) >= 0 && psn.distance(last) <= 0)
    }

    /// Answers keep their order, so behind one at `psn` no NAK up to there comes any more.
    pub(super) fn expect_no_nak_up_to(&mut self, psn: Psn) {
        if let Some((first, last)) = self.naks_due
            && psn.distance(first) >= 0
        {
            self.naks_due = (psn.distance(last) < 0).then_some((psn.plus(1), last));
        }
    }

    /// What was counted of messages no longer holds: learn it anew.
    pub(super) fn lose_place(&mut self) {
        self.open = None;
        self.first_is_lost = true;
        self.msn.forget();
        self.sure_from = self.sent_end;
    }

    pub(super) fn resume_at(&mut self, psn: Option<Psn>) {
        self.expected = psn;
        self.gap = Gap::No;
        self.lose_place();
        self.sure_from = psn;
    }
}
