//! Memory regions attached to a queue pair, and the count of its work requests posted in lists.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::address::AddressHandle;
use crate::batch::BatchCompletion;
use crate::error::{Error, Result};
use crate::mr::MemoryRegion;
use crate::raw::ibv_ah;
use crate::rdma_sys::ibv_sge;

/// A memory region that a queue pair keeps until it is destroyed, so that no work request need keep it.
#[derive(Clone, Copy, Debug)]
pub struct AttachedRegion {
    /// The queue pair that keeps it.
    pub(super) keeper: u64,
    address: u64,
    length_bytes: usize,
    lkey: u32,
}

impl AttachedRegion {
    /// A range of `length_bytes` bytes from `offset` on, both in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] if the range does not lie within the region, or is longer than a message (32 bits).
    pub fn range(&self, offset: usize, length_bytes: usize) -> Result<AttachedRange> {
        let failed = Error::Range { offset, length_bytes, region_bytes: self.length_bytes };
        match (offset.checked_add(length_bytes), u32::try_from(length_bytes)) {
            (Some(end), Ok(length)) if end <= self.length_bytes => Ok(AttachedRange {
                keeper: self.keeper,
                address: self.address + offset as u64,
                length_bytes: length,
                lkey: self.lkey,
            }),
            _ => Err(failed),
        }
    }

    /// The whole region.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] if the region is longer than a message (32 bits).
    pub fn whole(&self) -> Result<AttachedRange> {
        self.range(0, self.length_bytes)
    }
}

/// A range of an attached region: one entry of a scatter/gather list.
#[derive(Clone, Copy, Debug)]
pub struct AttachedRange {
    pub(super) keeper: u64,
    address: u64,
    length_bytes: u32,
    lkey: u32,
}

impl AttachedRange {
    /// The length in bytes.
    #[must_use]
    pub fn length_bytes(&self) -> u32 {
        self.length_bytes
    }

    pub(super) fn entry(&self) -> ibv_sge {
        ibv_sge { addr: self.address, length: self.length_bytes, lkey: self.lkey }
    }
}

/// An address handle that a queue pair keeps until it is destroyed, for the datagrams of lists.
#[derive(Clone, Copy, Debug)]
pub struct AttachedAddress {
    pub(super) keeper: u64,
    pub(super) raw: *mut ibv_ah,
}

// SAFETY: the pointer is given to calls alone, with the queue pair that keeps what it leads to.
unsafe impl Send for AttachedAddress {}
// SAFETY: as for Send.
unsafe impl Sync for AttachedAddress {}

/// The part of a queue pair's state that lists need: attached memory, and how much was posted and completed.
#[derive(Debug)]
pub(crate) struct BatchState {
    /// Distinguishes this queue pair from all others of the process, past ones too.
    keeper: u64,
    regions: Vec<Arc<MemoryRegion>>,
    addresses: Vec<Arc<AddressHandle>>,
    pub(crate) sends: QueueProgress,
    pub(crate) recvs: QueueProgress,
    /// Completions that were polled while something else was awaited.
    pub(crate) early: VecDeque<BatchCompletion>,
}

/// Work requests of one queue, counted from its first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueProgress {
    pub(crate) posted: u64,
    pub(crate) completed: u64,
}

impl QueueProgress {
    /// Notes the completion of a request, and so of those before it: a queue completes in its order.
    pub(crate) fn complete(&mut self, number: u64) {
        self.completed = self.completed.max(number.saturating_add(1)).min(self.posted);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.posted - self.completed
    }
}

impl BatchState {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            keeper: NEXT.fetch_add(1, Ordering::Relaxed),
            regions: Vec::new(),
            addresses: Vec::new(),
            sends: QueueProgress::default(),
            recvs: QueueProgress::default(),
            early: VecDeque::new(),
        }
    }

    pub(crate) fn keeper(&self) -> u64 {
        self.keeper
    }

    /// Keeps `address`, once however often it is attached.
    pub(crate) fn attach_address(&mut self, address: &Arc<AddressHandle>) -> AttachedAddress {
        if !self.addresses.iter().any(|kept| Arc::ptr_eq(kept, address)) {
            self.addresses.push(Arc::clone(address));
        }
        AttachedAddress { keeper: self.keeper, raw: address.as_raw() }
    }

    /// Keeps `region`, once however often it is attached.
    pub(crate) fn attach(&mut self, region: &Arc<MemoryRegion>) -> AttachedRegion {
        if !self.regions.iter().any(|kept| Arc::ptr_eq(kept, region)) {
            self.regions.push(Arc::clone(region));
        }
        AttachedRegion {
            keeper: self.keeper,
            address: region.address(),
            length_bytes: region.length_bytes(),
            lkey: region.lkey(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> AttachedRegion {
        AttachedRegion { keeper: 1, address: 0x1000, length_bytes: 4096, lkey: 7 }
    }

    #[test]
    fn range_lies_within_its_region() {
        let entry = region().range(4000, 96).unwrap().entry();
        assert_eq!((entry.addr, entry.length, entry.lkey), (0x1000 + 4000, 96, 7));
        assert_eq!(region().whole().unwrap().length_bytes(), 4096);
        for (offset, length_bytes) in [(4000, 97), (4097, 0), (usize::MAX, 1)] {
            assert!(matches!(region().range(offset, length_bytes), Err(Error::Range { .. })));
        }
    }

    #[test]
    fn completion_covers_all_before_it_and_nothing_after() {
        let mut progress = QueueProgress { posted: 10, completed: 0 };
        progress.complete(6);
        assert_eq!(progress.in_flight(), 3);
        progress.complete(2);
        assert_eq!(progress.in_flight(), 3);
        progress.complete(u64::MAX);
        assert_eq!(progress.in_flight(), 0);
    }

    #[test]
    fn keepers_differ() {
        assert_ne!(BatchState::new().keeper(), BatchState::new().keeper());
    }
}
