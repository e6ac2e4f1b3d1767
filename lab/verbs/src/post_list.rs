//! The fast path of a [`WorkQueue`]: posts lists of work requests, polls completions in batches.
//!
//! Nothing is allocated, counted or logged for a message. Memory of list-posted requests is that of attached regions, which
//! live until the queue pair is destroyed, or inline bytes, which the call copies. Source: `ibv_post_send(3)`,
//! `ibv_post_recv(3)`, `ibv_poll_cq(3)`.

use std::ptr;
use std::sync::Arc;

use crate::address::AddressHandle;
use crate::batch::{
    AttachedAddress, AttachedRegion, BatchCompletion, RECV_MARK, RecvList, RequestList, SEND_MARK,
    is_of_a_batch,
};
use crate::error::{Error, Result};
use crate::extended::has_posted_nothing;
use crate::mr::MemoryRegion;
use crate::qp::ServiceType;
use crate::work_queue::{WorkQueue, beyond_classic};
use crate::{rdma_sys, sys};

impl WorkQueue {
    /// Attaches `region`: it is kept until the queue pair is destroyed, and lists may name it.
    pub fn attach(&mut self, region: &Arc<MemoryRegion>) -> AttachedRegion {
        self.batch.attach(region)
    }

    /// Attaches `address`: it is kept until the queue pair is destroyed, and datagrams of lists may name it.
    pub fn attach_address(&mut self, address: &Arc<AddressHandle>) -> AttachedAddress {
        self.batch.attach_address(address)
    }

    /// An empty list of requests for this queue pair.
    #[must_use]
    pub fn request_list<'data>(&self) -> RequestList<'data> {
        RequestList::of(self.batch.keeper())
    }

    /// An empty list of RECVs for this queue pair.
    #[must_use]
    pub fn recv_list(&self) -> RecvList {
        RecvList::of(self.batch.keeper())
    }

    /// Posts all requests of `list` to the send queue by one call (`ibv_post_send`, or `ibv_wr_*` on a queue pair that was
    /// created for them, which then posts all or none); returns the number of the first, as
    /// [`BatchCompletion::number`] tells it. The list stays as it is and may be posted again.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_post_send`: ENOMEM if the queue is full, EINVAL for more ranges or
    /// inline bytes than the queue pair was made for, or on a queue pair of datagrams for a request without
    /// [`BatchRequest::to`](crate::batch::BatchRequest::to); the requests before the refused one are posted, as
    /// [`WorkQueue::sends_in_flight`] tells. [`Error::NotAttached`] for the list of another
    /// queue pair.
    pub fn post_send_list(&mut self, list: &mut RequestList<'_>) -> Result<u64> {
        if self.qp().service() == ServiceType::Ud && !list.is_of_datagrams() {
            // The provider would follow an address handle that is not there.
            return Err(Error::verb(
                "post what names no receiver of a datagram",
                "ibv_post_send",
                libc::EINVAL,
            ));
        }
        let first = self.batch.sends.posted;
        if self.qp().extended().is_none()
            && let Some(opcode) = list.beyond_classic()
        {
            return Err(beyond_classic(opcode));
        }
        let head = list.link(self.batch.keeper(), SEND_MARK | first)?;
        if head.is_null() {
            return Ok(first);
        }
        if let Some(extended) = self.qp().extended() {
            // SAFETY: as below; nobody else posts to the queue pair, which is ours alone for this call.
            let posted = unsafe { extended.post(head) };
            if !posted.as_ref().err().is_some_and(has_posted_nothing) {
                self.batch.sends.posted += list.len() as u64;
            }
            return posted.map(|()| first);
        }
        let mut refused = ptr::null_mut();
        // SAFETY: the queue pair is alive (we own it). `head` leads through requests and entries of `list`, which are linked
        // anew and live through the call, which copies them. The memory they name is that of regions that we keep until the
        // queue pair is destroyed (`link` has checked whose they are), or inline bytes, which the list borrows and the call
        // copies.
        let returned = unsafe { rdma_sys::ibv_post_send(self.qp().as_raw(), head, &raw mut refused) };
        let posted = sys::check_errno(returned, "ibv_post_send", || format!("post {} requests", list.len()));
        self.batch.sends.posted += match posted {
            Ok(()) => list.len() as u64,
            Err(_) => list.before(refused),
        };
        posted.map(|()| first)
    }

    /// Posts the first `count` RECVs of `list`, or all if it has fewer, by one call (`ibv_post_recv`); returns the number
    /// of the first, as [`BatchCompletion::number`] tells it. The list stays as it is and may be posted again.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_post_recv`: ENOMEM if the queue is full, EINVAL for more ranges than
    /// the queue pair was made for; the RECVs before the refused one are posted.
    /// [`Error::NotAttached`] for the list of another queue pair.
    pub fn post_recv_list(&mut self, list: &mut RecvList, count: usize) -> Result<u64> {
        let count = count.min(list.len());
        let first = self.batch.recvs.posted;
        let head = list.link(self.batch.keeper(), RECV_MARK | first, count)?;
        if head.is_null() {
            return Ok(first);
        }
        let mut refused = ptr::null_mut();
        // SAFETY: as in `post_send_list`; no RECV has inline bytes.
        let returned = unsafe { rdma_sys::ibv_post_recv(self.qp().as_raw(), head, &raw mut refused) };
        let posted = sys::check_errno(returned, "ibv_post_recv", || format!("post {count} RECVs"));
        self.batch.recvs.posted += match posted {
            Ok(()) => count as u64,
            Err(_) => list.before(refused, count),
        };
        posted.map(|()| first)
    }

    /// Takes completions of list-posted requests, as many as there are and fit, into the beginning of `into`
    /// (`ibv_poll_cq`, once); returns how many. Those that came while something else was awaited come first, by themselves.
    /// Completions of other requests are kept for [`WorkQueue::take`].
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_poll_cq`.
    pub fn poll_batch(&mut self, into: &mut [BatchCompletion]) -> Result<usize> {
        if !self.batch.early.is_empty() {
            let count = self.batch.early.len().min(into.len());
            into.iter_mut().zip(self.batch.early.drain(..count)).for_each(|(place, early)| *place = early);
            return Ok(count);
        }
        let polled = self.qp().poll_into(into)?;
        let mut kept = 0;
        for place in 0..polled {
            let wr_id = into[place].0.wr_id;
            if is_of_a_batch(wr_id) {
                self.note_batch(wr_id);
                into.swap(kept, place);
                kept += 1;
            } else {
                self.keep(&into[place].0);
            }
        }
        Ok(kept)
    }

    /// Counts list-posted requests of the send queue without a completion, of their own or of a later one.
    #[must_use]
    pub fn sends_in_flight(&self) -> u64 {
        self.batch.sends.in_flight()
    }

    /// Counts list-posted RECVs without a completion.
    #[must_use]
    pub fn recvs_in_flight(&self) -> u64 {
        self.batch.recvs.in_flight()
    }
}
