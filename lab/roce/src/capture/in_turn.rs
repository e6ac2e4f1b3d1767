//! A value that threads use one after the other, in the order of their tickets.

use std::hint;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// Looks at the ticket before a thread sleeps: a turn takes some ten microseconds, and waking up takes longer than several of them.
const LOOKS: u32 = 10_000;

/// The ticket that is next when nobody comes in any more.
const NOBODY: u64 = u64::MAX;

/// A value that is used in turn, from ticket 0 on.
#[derive(Debug)]
pub(super) struct InTurn<T> {
    /// The ticket that comes in next.
    next: AtomicU64,
    value: Mutex<T>,
    /// Number of threads that sleep.
    sleeping: Mutex<usize>,
    changed: Condvar,
}

impl<T> InTurn<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            next: AtomicU64::new(0),
            value: Mutex::new(value),
            sleeping: Mutex::new(0),
            changed: Condvar::new(),
        }
    }

    /// Waits for the turn of `ticket`, and uses the value; `None` when it was abandoned.
    pub(super) fn enter<R>(&self, ticket: u64, with: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.wait(ticket);
        if self.next.load(Ordering::Acquire) != ticket {
            return None;
        }
        let result = with(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner));
        // Unless it was abandoned meanwhile.
        let _ = self.next.compare_exchange(ticket, ticket + 1, Ordering::AcqRel, Ordering::Relaxed);
        self.wake();
        Some(result)
    }

    fn is_due(&self, ticket: u64) -> bool {
        let next = self.next.load(Ordering::Acquire);
        next == ticket || next == NOBODY
    }

    fn wait(&self, ticket: u64) {
        for _ in 0..LOOKS {
            if self.is_due(ticket) {
                return;
            }
            hint::spin_loop();
        }
        let mut sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
        *sleeping += 1;
        while !self.is_due(ticket) {
            sleeping = self.changed.wait(sleeping).unwrap_or_else(PoisonError::into_inner);
        }
        *sleeping -= 1;
    }

    fn wake(&self) {
        // Who falls asleep looks once more under this lock.
        if *self.sleeping.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            self.changed.notify_all();
        }
    }

    pub(super) fn into_inner(self) -> T {
        self.value.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets nobody in any more when its thread panics.
pub(super) struct Abandon<'a, T>(pub(super) &'a InTurn<T>);

impl<T> Drop for Abandon<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.next.store(NOBODY, Ordering::Release);
            self.0.wake();
        }
    }
}
