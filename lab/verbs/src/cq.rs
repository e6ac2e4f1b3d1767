//! Completion queues, and the channels that announce their completions.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::batch::BatchCompletion;
use crate::device::Device;
use crate::error::{Error, Result, errno};
use crate::raw::{ibv_comp_channel, ibv_cq};
use crate::rdma_sys::ibv_wc;
use crate::{rdma_sys, sys};

/// Channel on which a completion queue announces that completions came, as a descriptor to poll.
#[derive(Debug)]
pub struct CompletionChannel {
    raw: NonNull<ibv_comp_channel>,
    _device: Arc<Device>,
}

// SAFETY: as for ProtectionDomain.
unsafe impl Send for CompletionChannel {}
// SAFETY: as for ProtectionDomain; `ibv_get_cq_event` is one read(2) of a descriptor.
unsafe impl Sync for CompletionChannel {}

impl CompletionChannel {
    /// Creates a non-blocking channel (`ibv_create_comp_channel`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_create_comp_channel` or `fcntl`.
    fn create(device: &Arc<Device>) -> Result<Self> {
        // SAFETY: the context is open as long as `device` lives, which outlives the channel: we store its Arc.
        let raw = unsafe { rdma_sys::ibv_create_comp_channel(device.as_raw()) };
        let raw = sys::check_null(raw, "ibv_create_comp_channel", || "create completion channel".into())?;
        let channel = Self { raw, _device: Arc::clone(device) };
        sys::set_nonblocking(channel.as_fd(), "completion channel")?;
        tracing::debug!("ibv_create_comp_channel");
        Ok(channel)
    }

    /// C's pointer, valid while `self` is.
    #[must_use]
    pub fn as_raw(&self) -> *mut ibv_comp_channel {
        self.raw.as_ptr()
    }
}

impl AsFd for CompletionChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `raw` is alive until our drop.
        let fd = unsafe { (*self.raw.as_ptr()).fd };
        // SAFETY: the channel owns `fd` and closes it only in our drop; the borrow is tied to `self`.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}

impl Drop for CompletionChannel {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_create_comp_channel` and is freed once, here. Its one queue, which owns it, is
        // destroyed before.
        let returned = unsafe { rdma_sys::ibv_destroy_comp_channel(self.raw.as_ptr()) };
        sys::log_drop(sys::check_errno(returned, "ibv_destroy_comp_channel", || {
            "destroy completion channel".into()
        }));
    }
}

/// A completion queue, announced on a channel of its own. A queue pair takes it over, or a
/// [`SharedCompletionQueue`](crate::shared_cq::SharedCompletionQueue), which keeps the completions of each apart.
#[derive(Debug)]
pub struct CompletionQueue {
    raw: NonNull<ibv_cq>,
    channel: CompletionChannel,
    device: Arc<Device>,
}

// SAFETY: as for ProtectionDomain; providers lock a completion queue themselves.
unsafe impl Send for CompletionQueue {}
// SAFETY: as for Send.
unsafe impl Sync for CompletionQueue {}

impl CompletionQueue {
    /// Creates a queue that holds at least `entries` completions (`ibv_create_cq`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_create_cq`: EINVAL for more entries than the device has, ENOMEM.
    pub fn create(device: &Arc<Device>, entries: u32) -> Result<Self> {
        let channel = CompletionChannel::create(device)?;
        let action = || format!("create completion queue of {entries} entries");
        let count =
            i32::try_from(entries).map_err(|_| Error::verb(action(), "ibv_create_cq", libc::EINVAL))?;
        // SAFETY: the context is open as long as `device` lives, and `channel` is on it; both outlive the queue, which stores
        // them. The queue's own context pointer is not used.
        let raw = unsafe {
            rdma_sys::ibv_create_cq(device.as_raw(), count, ptr::null_mut(), channel.raw.as_ptr(), 0)
        };
        let raw = sys::check_null(raw, "ibv_create_cq", action)?;
        tracing::debug!("ibv_create_cq: {entries} entries");
        Ok(Self { raw, channel, device: Arc::clone(device) })
    }

    /// The device that it is on.
    #[must_use]
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// C's pointer, valid while `self` is.
    #[must_use]
    pub fn as_raw(&self) -> *mut ibv_cq {
        self.raw.as_ptr()
    }

    /// Takes one completion, if there is one (`ibv_poll_cq`).
    pub(crate) fn poll(&self) -> Result<Option<ibv_wc>> {
        let mut wc = MaybeUninit::<ibv_wc>::zeroed();
        // SAFETY: the queue is alive (we own it), its context's function table was filled by the provider, and `wc` has
        // room for the one entry asked for.
        let polled = unsafe { rdma_sys::ibv_poll_cq(self.raw.as_ptr(), 1, wc.as_mut_ptr()) };
        let errno = sys::last_errno();
        match polled {
            0 => Ok(None),
            // SAFETY: one entry was written; and `ibv_wc` is integers only, for which even the zeros are valid.
            1.. => Ok(Some(unsafe { wc.assume_init() })),
            _ => Err(Error::verb("poll completion queue", "ibv_poll_cq", errno)),
        }
    }

    /// Takes completions, as many as there are and fit, into the beginning of `into` (`ibv_poll_cq`, once).
    pub(crate) fn poll_into(&self, into: &mut [BatchCompletion]) -> Result<usize> {
        let room = i32::try_from(into.len()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive (we own it), its context's function table was filled by the provider, and `into`, whose
        // elements have the layout of `ibv_wc`, has room for the entries asked for.
        let polled = unsafe { rdma_sys::ibv_poll_cq(self.raw.as_ptr(), room, into.as_mut_ptr().cast()) };
        let errno = sys::last_errno();
        usize::try_from(polled).map_err(|_| Error::verb("poll completion queue", "ibv_poll_cq", errno))
    }

    /// Asks for an event on the channel at the next completion (`ibv_req_notify_cq`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_req_notify_cq`.
    pub fn req_notify(&self) -> Result<()> {
        // SAFETY: the queue is alive (we own it), and its context's function table was filled by the provider.
        let returned = unsafe { rdma_sys::ibv_req_notify_cq(self.raw.as_ptr(), 0) };
        sys::check_errno(returned, "ibv_req_notify_cq", || "request a completion event".into())
    }

    /// Takes and acknowledges all events that are there (`ibv_get_cq_event`, `ibv_ack_cq_events`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_get_cq_event`.
    pub fn drain_events(&self) -> Result<()> {
        loop {
            let mut cq = ptr::null_mut();
            let mut context = ptr::null_mut();
            // SAFETY: the channel is alive (we own it) and both out-pointers are live locals.
            let returned = unsafe {
                rdma_sys::ibv_get_cq_event(self.channel.raw.as_ptr(), &raw mut cq, &raw mut context)
            };
            match sys::check_minus_one(returned, "ibv_get_cq_event", || "take a completion event".into()) {
                Ok(()) => {}
                Err(Error::Verb { errno: errno::EAGAIN, .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
            // SAFETY: exactly one event was taken from this queue's channel, which serves no other queue.
            unsafe { rdma_sys::ibv_ack_cq_events(self.raw.as_ptr(), 1) };
        }
    }
}

impl AsFd for CompletionQueue {
    /// The channel's descriptor, readable when completions came after [`CompletionQueue::req_notify`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_create_cq` and is freed once, here. A queue pair that owns us is destroyed before, and
        // every event taken was acknowledged at once, so the call does not wait for one.
        let returned = unsafe { rdma_sys::ibv_destroy_cq(self.raw.as_ptr()) };
        sys::log_drop(sys::check_errno(returned, "ibv_destroy_cq", || "destroy completion queue".into()));
    }
}
