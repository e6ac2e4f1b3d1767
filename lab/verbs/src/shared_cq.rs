//! Completion queues that queue pairs share: each finds its own completions, whichever of them looked.
//!
//! Whoever looks takes all completions from the device's queue and puts each where its queue pair looks next. A queue pair
//! that sleeps is woken by the queue's channel, or by its bell if another one has taken the completion for it. Who takes an
//! event from the channel asks for the next one before it looks, so that nobody sleeps beside a queue that is not armed.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::EventfdFlags;

use crate::batch::BatchCompletion;
use crate::cq::CompletionQueue;
use crate::deadline::Deadline;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::rdma_sys::ibv_wc;
use crate::sys;

/// Completions that are taken from the device at once.
const AT_ONCE: usize = 16;

/// A completion queue that queue pairs share. Each holds an `Arc` of it.
#[derive(Debug)]
pub struct SharedCompletionQueue {
    cq: CompletionQueue,
    entries: u32,
    members: Mutex<Members>,
}

/// The queue pairs of a shared queue, by their numbers.
#[derive(Default)]
struct Members {
    places: BTreeMap<u32, Member>,
    /// Entries that the queue pairs need, all together.
    promised: u32,
    taken: Vec<BatchCompletion>,
}

/// A queue pair's part of a shared queue.
struct Member {
    completions: VecDeque<ibv_wc>,
    bell: Arc<OwnedFd>,
    promised: u32,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").field("numbers", &self.places.keys()).finish_non_exhaustive()
    }
}

impl SharedCompletionQueue {
    /// Creates a queue of `entries` completions, for queue pairs that need no more than that together (`ibv_create_cq`).
    ///
    /// # Errors
    ///
    /// Errors of [`CompletionQueue::create`].
    pub fn create(device: &Arc<Device>, entries: u32) -> Result<Arc<Self>> {
        let cq = CompletionQueue::create(device, entries)?;
        let taken = BatchCompletion::places(AT_ONCE);
        let members = Mutex::new(Members { taken, ..Members::default() });
        Ok(Arc::new(Self { cq, entries, members }))
    }

    /// The device that it is on.
    #[must_use]
    pub fn device(&self) -> &Arc<Device> {
        self.cq.device()
    }

    /// Waits until there are completions; returns the numbers of the queue pairs that have some, for each to be polled.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; [`Error::Verb`] naming `ibv_poll_cq`, `ibv_req_notify_cq` or `ibv_get_cq_event`.
    pub fn wait(&self, deadline: &Deadline) -> Result<Vec<u32>> {
        loop {
            let mut ready = self.ready()?;
            if ready.is_empty() {
                self.cq.req_notify()?;
                ready = self.ready()?;
            }
            if !ready.is_empty() {
                return Ok(ready);
            }
            if !sys::wait_readable(&[self.cq.as_fd()], deadline)? {
                return Err(Error::timeout("completions of queue pairs that share a queue", deadline));
            }
            self.drain_events()?;
        }
    }

    /// Takes what is there, and returns the numbers of the queue pairs that have completions, without waiting.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_poll_cq`.
    pub fn ready(&self) -> Result<Vec<u32>> {
        let mut members = self.members();
        members.sort(&self.cq, None)?;
        let has_some =
            |(number, member): (&u32, &Member)| (!member.completions.is_empty()).then_some(*number);
        Ok(members.places.iter().filter_map(has_some).collect())
    }

    /// The device's queue.
    pub(crate) fn queue(&self) -> &CompletionQueue {
        &self.cq
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in queue pair `number`, which may have as many as `promised` completions waiting; returns its bell.
    pub(crate) fn join(&self, number: u32, promised: u32) -> Result<Arc<OwnedFd>> {
        let mut members = self.members();
        let left = self.entries - members.promised;
        if promised > left {
            let action = format!(
                "take a queue pair of {promised} requests into a completion queue of {} entries, of which {left} are left",
                self.entries
            );
            return Err(Error::verb(action, "ibv_create_qp", libc::ENOMEM));
        }
        let bell = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|errno| Error::verb("create an event descriptor", "eventfd", errno.raw_os_error()))?;
        let bell = Arc::new(bell);
        members.promised += promised;
        let member = Member { completions: VecDeque::new(), bell: Arc::clone(&bell), promised };
        members.places.insert(number, member);
        Ok(bell)
    }

    /// Lets queue pair `number` go, which `destroy` destroys. Its last completions are dropped before another can have its
    /// number.
    pub(crate) fn leave(&self, number: u32, destroy: impl FnOnce()) {
        let mut members = self.members();
        destroy();
        // After it was destroyed, nothing of it comes any more.
        sys::log_drop(members.sort(&self.cq, None));
        if let Some(member) = members.places.remove(&number) {
            members.promised -= member.promised;
        }
    }

    /// Takes one completion of queue pair `number`, if there is one.
    pub(crate) fn poll(&self, number: u32) -> Result<Option<ibv_wc>> {
        let mut members = self.members();
        members.sort(&self.cq, Some(number))?;
        let place = members.places.get_mut(&number);
        Ok(place.and_then(|member| member.completions.pop_front()))
    }

    /// Takes completions of queue pair `number`, as many as there are and fit, into the beginning of `into`.
    pub(crate) fn poll_into(&self, number: u32, into: &mut [BatchCompletion]) -> Result<usize> {
        let mut members = self.members();
        members.sort(&self.cq, Some(number))?;
        let Some(member) = members.places.get_mut(&number) else { return Ok(0) };
        let count = into.len().min(member.completions.len());
        for (place, wc) in into.iter_mut().zip(member.completions.drain(..count)) {
            place.0 = wc;
        }
        Ok(count)
    }

    /// Takes and acknowledges all events that are there, and asks for the next one.
    pub(crate) fn drain_events(&self) -> Result<()> {
        self.cq.drain_events()?;
        self.cq.req_notify()
    }
}

impl AsFd for SharedCompletionQueue {
    /// The channel's descriptor, readable when completions came to any of the queue pairs.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.cq.as_fd()
    }
}

impl Members {
    /// Takes all completions from the device and gives each to its queue pair; `looking` is the one that looks itself and
    /// needs no bell.
    fn sort(&mut self, cq: &CompletionQueue, looking: Option<u32>) -> Result<()> {
        loop {
            let count = cq.poll_into(&mut self.taken)?;
            for place in &mut self.taken[..count] {
                let wc = std::mem::take(place).0;
                let number = wc.qp_num;
                let Some(member) = self.places.get_mut(&number) else {
                    tracing::debug!("dropped a completion of qp {number}, which has gone");
                    continue;
                };
                member.completions.push_back(wc);
                if looking != Some(number) {
                    ring(&member.bell);
                }
            }
            if count < self.taken.len() {
                return Ok(());
            }
        }
    }
}

/// Rings a bell: its descriptor is readable from then on.
fn ring(bell: &OwnedFd) {
    // It fails only if it has rung very often already.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

/// Silences a bell.
pub(crate) fn silence(bell: &OwnedFd) {
    // It fails if it has not rung.
    let _ = rustix::io::read(bell, &mut [0_u8; 8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bell_rings_until_it_is_silenced() {
        let bell = rustix::event::eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let now =
            || sys::wait_readable(&[bell.as_fd()], &Deadline::after(std::time::Duration::ZERO)).unwrap();
        silence(&bell);
        assert!(!now());
        ring(&bell);
        ring(&bell);
        assert!(now() && now());
        silence(&bell);
        assert!(!now());
    }
}
