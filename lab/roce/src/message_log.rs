//! The messages of a capture while they are under way, by number.
//!
//! A whole report keeps them all. A streaming analysis hands the finished ones on in the order of their first packets, and never holds more than a window.

use std::collections::VecDeque;

use crate::message::{Message, MessageOutcome};

/// Place of a message in the order of first packets, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageId(u64);

impl MessageId {
    /// Number of the message in reports, from 1.
    pub(crate) const fn number(self) -> u64 {
        self.0 + 1
    }
}

#[derive(Debug, Default)]
pub(crate) struct MessageLog {
    /// Messages that were taken out.
    base: u64,
    items: VecDeque<(Message, bool)>,
}

impl MessageLog {
    /// Adds a message that is under way.
    pub(crate) fn add(&mut self, message: Message) -> MessageId {
        self.items.push_back((message, false));
        MessageId(self.base + self.items.len() as u64 - 1)
    }

    fn slot(&mut self, id: MessageId) -> Option<&mut (Message, bool)> {
        self.items.get_mut(usize::try_from(id.0.checked_sub(self.base)?).ok()?)
    }

    pub(crate) fn get_mut(&mut self, id: MessageId) -> Option<&mut Message> {
        self.slot(id).map(|(message, _)| message)
    }

    /// Notes what became of a message; only the first outcome counts. Gives it when it was news.
    pub(crate) fn end(
        &mut self,
        id: MessageId,
        outcome: MessageOutcome,
        ended_ns: Option<u64>,
    ) -> Option<&Message> {
        let (message, is_final) = self.slot(id)?;
        if *is_final {
            return None;
        }
        *is_final = true;
        message.outcome = outcome;
        message.ended_ns = ended_ns;
        Some(message)
    }

    /// Takes the next message that is finished, or the oldest when more than `window` are held.
    pub(crate) fn take(&mut self, window: usize) -> Option<Message> {
        let (_, is_final) = self.items.front()?;
        if !is_final && self.items.len() <= window {
            return None;
        }
        self.base += 1;
        self.items.pop_front().map(|(message, _)| message)
    }
}
