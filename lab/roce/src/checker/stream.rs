//! The requests of one side and what answers them: the state that the rules keep, each in a file of its own.

use std::collections::VecDeque;

use crate::broken::{Broken, Spot};
use crate::checker::answer_gap::AnswerGap;
use crate::checker::asked::RequestPacket;
use crate::checker::fatal::Fatal;
use crate::checker::msn::MsnCount;
use crate::checker::payload::PayloadRule;
use crate::checker::pending::PendingQueue;
use crate::checker::retry::{Nak, Retry};
use crate::checker::sink::Budget;
use crate::checker::told::ToldOnce;
use crate::checker::unseen::Unseen;
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

/// Place in the messages of the stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Assembly {
    /// A First or an Only comes next.
    Between,
    /// A First came, and its Last did not.
    Open(Open),
    /// Middle and Last may come without a First: it is lost and was reported, or lies before the capture.
    FirstLost,
}

impl Assembly {
    /// The message between its First and its Last.
    pub(super) fn open(&self) -> Option<&Open> {
        if let Self::Open(open) = self { Some(open) } else { None }
    }

    /// Takes the message out that is between its First and its Last.
    pub(super) fn take(&mut self) -> Option<Open> {
        let open = self.open().copied();
        if open.is_some() {
            *self = Self::Between;
        }
        open
    }
}

/// Beginning of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    /// No request came yet.
    Unknown,
    /// PSN of the first request in the capture.
    Seen(Psn),
    /// PSN that connection management said.
    Announced(Psn),
}

impl Begin {
    /// PSN of the first request.
    #[inline]
    pub(super) fn psn(self) -> Option<Psn> {
        match self {
            Self::Unknown => None,
            Self::Seen(psn) | Self::Announced(psn) => Some(psn),
        }
    }

    /// True if connection management said it.
    #[inline]
    pub(super) fn is_announced(self) -> bool {
        matches!(self, Self::Announced(_))
    }
}

/// Missing requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// None is missing.
    No,
    /// The expected one is missing; those behind it are not taken.
    Waiting {
        /// Requests that came behind it.
        passed: u32,
    },
    /// The missing one came; those that were sent behind it have to come again.
    Refilling,
}

impl Gap {
    /// True while the expected request is missing.
    pub(super) fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting { .. })
    }
}

/// The requests of one side and what answers them.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) begin: Begin,
    /// PSN of the next new request.
    pub(super) expected: Option<Psn>,
    /// One past the highest PSN that was sent.
    pub(super) sent_end: Option<Psn>,
    pub(super) gap: Gap,
    /// The missing request whose repetition did not arrive either, as its fate tells.
    pub(super) lost_again: Option<Psn>,
    /// The last answer that did not arrive, as its fate tells.
    pub(super) answer_lost: Option<Psn>,
    /// Requests behind the gap that were not taken and are kept.
    pub(super) behind: VecDeque<RequestPacket>,
    pub(super) held: Option<HeldGap>,
    pub(super) early: Option<Early>,
    /// Requests that are taken for lost by the recorder and may still come.
    pub(super) unseen: Vec<Unseen>,
    /// True if the capture has shown to lack requests of this stream.
    pub(super) is_lossy: bool,
    pub(super) payload: PayloadRule,
    /// The request that showed a gap of one: it may be the missing one itself, under a wrong PSN.
    pub(super) jumped: Option<Psn>,
    pub(super) assembly: Assembly,
    pub(super) queue: PendingQueue,
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
    pub(super) told: ToldOnce,
    /// True if an outstanding READ may be without a count.
    pub(super) has_uncounted: bool,
    /// A request was in a packet that could not be read, so an answer may name a PSN that was not seen.
    pub(super) is_unsure: bool,
    /// Answers before this PSN count messages that were not followed.
    pub(super) sure_from: Option<Psn>,
    /// Missing answers of which nothing tells yet who lost them.
    pub(super) answer_gaps: VecDeque<AnswerGap>,
    /// The last response that came when it was not due any more, or for the second time behind a gap.
    pub(super) answered_again: Option<Psn>,
    /// The next response of a READ that is answered from its begin though its rest was asked for since.
    pub(super) whole_answer: Option<Psn>,
    /// A repetition that came before its RNR timer ran out, and the refusal.
    pub(super) early_retry: Option<(Broken, Nak)>,
    /// One past the last request that was taken for a copy.
    pub(super) copied_to: Option<Psn>,
    /// A READ or an atomic that seems to be one too many under way.
    pub(super) deep: Option<Broken>,
    /// PSN, MSN and syndrome of the last refusals: an equal one later may be a copy.
    pub(super) last_naks: Vec<(Psn, u32, u8)>,
    /// True if the capture tells the fates of its packets.
    pub(super) is_told: bool,
    /// Messages before a pause in which the queue pairs may have been made anew; `None` with connection management, which would tell.
    pub(super) paused_after: Option<u32>,
}

/// A gap of which nothing tells yet whether the request was lost on its way or by the recorder.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldGap {
    /// The request behind it, and its time.
    pub(super) at: Spot,
    pub(super) at_ns: u64,
    pub(super) expected: Psn,
    /// True if an answer shows that the missing one arrived.
    pub(super) is_proven: bool,
    /// True if it was there before: the requester went back, and on without it. Then an answer behind it shows no loss.
    pub(super) is_skipped: bool,
    /// True if the missing one came right behind: too soon for one that was sent again.
    pub(super) is_overtaken: bool,
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
            begin: psn_first.map_or(Begin::Unknown, Begin::Announced),
            expected: psn_first,
            sent_end: psn_first,
            gap: Gap::No,
            lost_again: None,
            answer_lost: None,
            behind: VecDeque::new(),
            held: None,
            early: None,
            unseen: Vec::new(),
            is_lossy: false,
            payload: PayloadRule::default(),
            jumped: None,
            assembly: if psn_first.is_some() { Assembly::Between } else { Assembly::FirstLost },
            queue: PendingQueue::default(),
            msn: MsnCount::new(psn_first.is_some()),
            retry: Retry::default(),
            nak: None,
            naks_due: None,
            acknowledged: psn_first,
            acknowledged_at: (0, 0),
            fatal: Fatal::No,
            not_ready: None,
            repeated: None,
            told: ToldOnce::default(),
            has_uncounted: false,
            is_unsure: false,
            sure_from: None,
            answer_gaps: VecDeque::new(),
            answered_again: None,
            whole_answer: None,
            early_retry: None,
            copied_to: None,
            deep: None,
            last_naks: Vec::new(),
            is_told: false,
            paused_after: None,
        }
    }

    /// True if nothing that the capture shows of it makes its own counts unsure.
    pub(super) fn is_whole(&self) -> bool {
        self.is_complete() && self.retry.counts.total() == 0
    }

    /// True if a fault of the capture does not explain as well what is wrong: it tells fates, or lacks nothing of this stream, whose begin is known or whose
    /// answers agreed with what was counted.
    pub(super) fn is_certain(&self, is_told: bool) -> bool {
        is_told || self.is_whole() && (self.begin.is_announced() || self.msn.is_confirmed())
    }

    /// True if the capture does not seem to lack anything of it.
    pub(super) fn is_complete(&self) -> bool {
        !self.is_lossy && self.held.is_none() && self.early.is_none()
    }

    /// True if a request of it came.
    pub(crate) fn has_begun(&self) -> bool {
        self.retry.last.is_some()
    }

    /// Notes where its requests begin, if nothing told yet.
    pub(super) fn begin(&mut self, psn: Psn) {
        if let Begin::Unknown = self.begin {
            self.begin = Begin::Seen(psn);
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
        self.assembly.open().filter(|_| is_taken).map(|open| open.message)
    }

    /// Requests that came again.
    pub(crate) fn retransmissions(&self) -> Retransmissions {
        self.retry.counts
    }

    /// The request that should have been answered before the connection ended: its packet number, PSN and PSNs of answers.
    pub(crate) fn unanswered(&self) -> Option<(u64, Psn, u32)> {
        let is_refused = self.nak.is_some_and(|nak| !nak.is_filled);
        if self.gap.is_waiting() || is_refused || self.fatal.is_real() || self.is_unsure {
            return None;
        }
        self.queue.unanswered()
    }

    /// Returns to the budget what its requests took.
    pub(crate) fn release(&mut self, budget: &mut Budget) {
        self.drop_behind(budget);
        self.retry.shapes.clear(budget);
        self.queue.clear(budget);
    }

    /// A NAK for the gap at `psn` is on its way.
    pub(super) fn expect_nak(&mut self, psn: Psn) {
        self.expect_naks(psn, psn.plus(1));
    }

    /// A NAK for any request from `first` to before `end` may be on its way, beside those that are due.
    #[cold]
    pub(super) fn expect_naks(&mut self, first: Psn, end: Psn) {
        let last = end.previous();
        if last.distance(first) < 0 {
            return;
        }
        let (due_first, due_last) = self.naks_due.unwrap_or((first, last));
        self.naks_due = Some((
            if first.distance(due_first) < 0 { first } else { due_first },
            if last.distance(due_last) > 0 { last } else { due_last },
        ));
    }

    /// A NAK for any request from `first` on that was taken may be on its way: its responder took none of them, and each that comes again may be lost.
    #[cold]
    pub(super) fn expect_naks_from(&mut self, first: Psn) {
        if let Some(end) = self.expected {
            self.expect_naks(first, end);
        }
    }

    /// True if a NAK at `psn` may be on its way.
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

    /// Forgets the counts of messages, which no longer hold: they are learnt anew.
    pub(super) fn lose_place(&mut self) {
        self.assembly = Assembly::FirstLost;
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
