//! The complete requests of a stream that wait for an answer, in the order of their PSNs.

use std::collections::VecDeque;

use crate::checker::sink::Budget;
use crate::message_log::MessageId;
use crate::wire::Psn;

/// Most requests that one stream remembers; more only loses the oldest.
const PENDING_MAX: usize = 65_536;

/// Among how many requests those under way are counted; a depth is at most 255.
const UNDER_WAY_WITHIN: usize = 1_024;

/// Packets that answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    /// An ACK.
    Ack,
    /// READ responses.
    ReadResponses,
    /// An Atomic Acknowledge.
    AtomicAck,
    /// A READ response Only or, on some senders, an ACK: FLUSH, ATOMIC WRITE.
    Either,
}

impl AnswerKind {
    /// The answer in the standard's words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Ack => "Acknowledge",
            Self::ReadResponses => "RDMA READ response",
            Self::AtomicAck => "Atomic Acknowledge",
            Self::Either => "RDMA READ response Only",
        }
    }
}

/// AnswerKind that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// One of its own has to come.
    Must,
    /// One may come: none was asked for, or it is excused.
    May,
    /// All of it came.
    Done,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) message: MessageId,
    pub(super) answer: AnswerKind,
    pub(super) due: Due,
    pub(super) packet_last: u64,
    /// PSN of the first packet that can be answered: a READ's, else the last packet's.
    pub(super) psn: Psn,
    /// PSNs of its answers; `None` until the path MTU is known.
    pub(super) count: Option<u32>,
    /// True if it is a READ whose length the snap length cut.
    pub(super) is_unknown: bool,
    /// Messages that are complete with this one.
    pub(super) ordinal: u32,
    pub(super) announced_bytes: u32,
    /// Index of the first response since it was last asked for.
    pub(super) asked_from: u32,
    /// Index of the next response.
    pub(super) next: u32,
    pub(super) bytes: u64,
    pub(super) has_gap: bool,
    /// True if a response was not of the path MTU's size, so that their number is another than `count`.
    pub(super) is_resized: bool,
}

impl Pending {
    /// True if `psn` is one of its answers'.
    pub(super) fn covers(&self, psn: Psn) -> bool {
        let index = psn.distance(self.psn);
        index >= 0 && self.count.is_none_or(|count| (index as u32) < count)
    }

    /// True if all of its answer came.
    pub(super) fn is_done(&self) -> bool {
        self.due == Due::Done
    }

    /// Excuses that no answer comes.
    pub(super) fn excuse(&mut self) {
        if self.due == Due::Must {
            self.due = Due::May;
        }
    }

    /// True if an ACK answers it.
    pub(super) fn is_acked_by_ack(&self) -> bool {
        matches!(self.answer, AnswerKind::Ack | AnswerKind::Either)
    }
}

#[derive(Debug, Default)]
pub(super) struct PendingQueue {
    items: VecDeque<Pending>,
    /// Index of the first that no answer has passed.
    open_from: usize,
    /// Messages complete with the newest that was answered and left.
    pub(super) left_ordinal: u32,
}

impl PendingQueue {
    pub(super) fn push(&mut self, pending: Pending, budget: &mut Budget) {
        if budget.left == 0 || self.items.len() >= PENDING_MAX {
            budget.forgotten += 1;
            if self.items.is_empty() {
                return;
            }
            self.pop(budget);
        }
        budget.left = budget.left.saturating_sub(1);
        self.items.push_back(pending);
    }

    fn pop(&mut self, budget: &mut Budget) {
        if let Some(gone) = self.items.pop_front() {
            self.left_ordinal = gone.ordinal;
            self.open_from = self.open_from.saturating_sub(1);
            budget.left += 1;
        }
    }

    pub(super) fn clear(&mut self, budget: &mut Budget) {
        while !self.items.is_empty() {
            self.pop(budget);
        }
    }

    /// Drops from the front what is answered, and what is missing answers and will not be asked for again, so much was answered since.
    pub(super) fn trim(&mut self, budget: &mut Budget) {
        while let Some(front) = self.items.front()
            && (front.is_done() || front.has_gap && self.open_from > UNDER_WAY_WITHIN)
        {
            self.pop(budget);
        }
    }

    /// Index of the last request whose first answer is at or before `psn`.
    fn at_or_before(&self, psn: Psn) -> Option<usize> {
        self.items.partition_point(|pending| pending.psn.distance(psn) <= 0).checked_sub(1)
    }

    /// The request that `psn` answers.
    pub(super) fn find(&self, psn: Psn) -> Option<usize> {
        self.at_or_before(psn).filter(|at| self.items.get(*at).is_some_and(|pending| pending.covers(psn)))
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Pending> {
        self.items.get_mut(index)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Pending> {
        self.items.get(index)
    }

    pub(super) fn back(&self) -> Option<&Pending> {
        self.items.back()
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut Pending> {
        self.items.back_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.items.iter_mut()
    }

    /// READs and atomics that wait for an answer which nothing has shown to be missing; the count stops above `most`.
    pub(super) fn under_way(&self, most: usize) -> usize {
        let waits = |pending: &&Pending| {
            matches!(pending.answer, AnswerKind::ReadResponses | AnswerKind::AtomicAck)
                && !pending.is_done()
                && !pending.has_gap
        };
        self.items.iter().rev().take(UNDER_WAY_WITHIN).filter(waits).take(most + 1).count()
    }

    /// The first request that ends at `psn` or later.
    pub(super) fn first_from(&self, psn: Psn) -> Option<&Pending> {
        self.items.get(self.items.partition_point(|pending| pending.psn.distance(psn) < 0))
    }

    pub(super) fn first_from_mut(&mut self, psn: Psn) -> Option<&mut Pending> {
        let at = self.items.partition_point(|pending| pending.psn.distance(psn) < 0);
        self.items.get_mut(at)
    }

    /// Messages that are complete with the last request that ends before `end`.
    pub(super) fn ordinal_before(&self, end: Psn) -> u32 {
        let at = self.items.partition_point(|pending| {
            let last = pending.psn.plus(pending.count.unwrap_or(1) - 1);
            last.distance(end) < 0
        });
        at.checked_sub(1)
            .and_then(|at| self.items.get(at))
            .map_or(self.left_ordinal, |pending| pending.ordinal)
    }

    /// Hands on every request that an answer newly passes: those that begin before `end`, each once.
    pub(super) fn pass(&mut self, end: Psn, mut each: impl FnMut(&mut Pending)) {
        while let Some(pending) = self.items.get_mut(self.open_from)
            && pending.psn.distance(end) < 0
            && pending.psn.plus(pending.count.unwrap_or(1)).distance(end) <= 0
        {
            self.open_from += 1;
            each(pending);
        }
    }

    /// The oldest request that had to be answered and was not.
    pub(super) fn unanswered(&self) -> Option<(u64, Psn, u32)> {
        self.items
            .iter()
            .find(|pending| pending.due == Due::Must)
            .map(|pending| (pending.packet_last, pending.psn, pending.count.unwrap_or(1)))
    }
}
