//! Shared receive queues: RECVs that whichever queue pair needs one takes. Source: `ibv_create_srq(3)`.

use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::batch::{AttachedRegion, BatchState, RECV_MARK, RecvList};
use crate::error::Result;
use crate::mr::MemoryRegion;
use crate::pd::ProtectionDomain;
use crate::raw::ibv_srq;
use crate::rdma_sys::{ibv_srq_attr, ibv_srq_init_attr};
use crate::{rdma_sys, sys};

/// A queue of RECVs that several queue pairs share. Queue pairs hold an `Arc` of it; the memory of its RECVs is attached to
/// it and kept until it is destroyed.
#[derive(Debug)]
pub struct SharedReceiveQueue {
    raw: NonNull<ibv_srq>,
    // Behind the queue, and dropped after it.
    batch: Mutex<BatchState>,
    pd: Arc<ProtectionDomain>,
}

// SAFETY: libibverbs is thread-safe, providers lock a queue themselves, and the object is freed once, on drop.
unsafe impl Send for SharedReceiveQueue {}
// SAFETY: as for Send; what changes is under a lock.
unsafe impl Sync for SharedReceiveQueue {}

impl SharedReceiveQueue {
    /// Creates a queue for `max_recv_wr` RECVs of at most `max_recv_sge` ranges each (`ibv_create_srq`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `ibv_create_srq`: EINVAL for a queue or lists longer than the device has,
    /// ENOMEM.
    pub fn create(pd: &Arc<ProtectionDomain>, max_recv_wr: u32, max_recv_sge: u32) -> Result<Arc<Self>> {
        let attr = ibv_srq_attr { max_wr: max_recv_wr, max_sge: max_recv_sge, srq_limit: 0 };
        let mut attr = ibv_srq_init_attr { srq_context: ptr::null_mut(), attr };
        // SAFETY: the domain is alive (the caller holds its Arc, and so will we), and `attr` lives through the call.
        let raw = unsafe { rdma_sys::ibv_create_srq(pd.as_raw(), &raw mut attr) };
        let action = || format!("create shared receive queue of {max_recv_wr} RECVs");
        let raw = sys::check_null(raw, "ibv_create_srq", action)?;
        tracing::debug!("ibv_create_srq: {max_recv_wr} recv");
        Ok(Arc::new(Self { raw, batch: Mutex::new(BatchState::new()), pd: Arc::clone(pd) }))
    }

    /// C's pointer, valid while `self` is.
    #[must_use]
    pub fn as_raw(&self) -> *mut ibv_srq {
        self.raw.as_ptr()
    }

    /// The domain whose memory regions it may use.
    #[must_use]
    pub fn pd(&self) -> &Arc<ProtectionDomain> {
        &self.pd
    }

    fn batch(&self) -> MutexGuard<'_, BatchState> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches `region`: it is kept until the queue is destroyed, and lists may name it.
    pub fn attach(&self, region: &Arc<MemoryRegion>) -> AttachedRegion {
        self.batch().attach(region)
    }

    /// An empty list of RECVs for this queue.
    #[must_use]
    pub fn recv_list(&self) -> RecvList {
        RecvList::of(self.batch().keeper())
    }

    /// Posts the first `count` RECVs of `list`, or all if it has fewer, by one call (`ibv_post_srq_recv`); returns the
    /// number of the first, which the completion at whichever queue pair took it tells.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `ibv_post_srq_recv`: ENOMEM if the queue is full, EINVAL for more ranges
    /// than it was made for; the RECVs before the refused one are posted.
    /// [`Error::NotAttached`](crate::Error::NotAttached) for the list of another queue.
    pub fn post_recv_list(&self, list: &mut RecvList, count: usize) -> Result<u64> {
        let count = count.min(list.len());
        // Held through the call: numbers and places of two lists do not mix.
        let mut batch = self.batch();
        let first = batch.recvs.posted;
        let head = list.link(batch.keeper(), RECV_MARK | first, count)?;
        if head.is_null() {
            return Ok(first);
        }
        let mut refused = ptr::null_mut();
        // SAFETY: the queue is alive (we own it). `head` leads through RECVs and entries of `list`, which are linked anew and
        // live through the call, which copies them; the memory they name is that of regions that we keep until the queue is
        // destroyed (`link` has checked whose they are).
        let returned = unsafe { rdma_sys::ibv_post_srq_recv(self.as_raw(), head, &raw mut refused) };
        let posted = sys::check_errno(returned, "ibv_post_srq_recv", || format!("post {count} RECVs"));
        batch.recvs.posted += match posted {
            Ok(()) => count as u64,
            Err(_) => list.before(refused, count),
        };
        posted.map(|()| first)
    }
}

impl Drop for SharedReceiveQueue {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_create_srq` and is freed once, here. Queue pairs hold our Arc, so none is left; the
        // domain lives (we hold its Arc), and so does the memory of RECVs.
        let returned = unsafe { rdma_sys::ibv_destroy_srq(self.raw.as_ptr()) };
        sys::log_drop(sys::check_errno(returned, "ibv_destroy_srq", || {
            "destroy shared receive queue".into()
        }));
    }
}
