//! Devices, and what an identifier opens on one: protection domain, completion channel, completion queue.
//!
//! The device context itself belongs to librdmacm, which opens it once a process; it is valid as long as an identifier
//! bound to it lives, so everything here keeps that identifier.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdma_sys::{ibv_comp_channel, ibv_context, ibv_cq, ibv_device, ibv_pd, ibv_wc};

use crate::cm::CmId;
use crate::error::{Error, Result, errno};
use crate::sys;

/// Names of this host's RDMA devices.
///
/// # Errors
///
/// [`Error::NoDevice`] if there is none: `ibv_get_device_list` returns NULL with ENOSYS without the kernel modules, and
/// an empty list with them. [`Error::Verb`] for every other refusal.
pub fn names() -> Result<Vec<String>> {
    let mut count = 0;
    // SAFETY: `count` is a live local; the call writes one integer to it and returns a list it allocated, or NULL.
    let list = unsafe { rdma_sys::ibv_get_device_list(&raw mut count) };
    let errno = sys::last_errno();
    let Some(list) = NonNull::new(list) else {
        return Err(match errno {
            errno::ENOSYS | errno::ENODEV => Error::NoDevice,
            errno => Error::verb("list RDMA devices", "ibv_get_device_list", errno),
        });
    };
    let names = (0..usize::try_from(count).unwrap_or(0))
        .filter_map(|index| {
            // SAFETY: the call above said that `list` holds `count` pointers, and `index` is below it.
            let entry = unsafe { list.add(index) };
            // SAFETY: `entry` lies within the list, which is freed only below.
            let device = unsafe { entry.read() };
            device_name(device)
        })
        .collect::<Vec<_>>();
    // SAFETY: `list` came from `ibv_get_device_list` and is freed once, here; no pointer into it is kept.
    unsafe { rdma_sys::ibv_free_device_list(list.as_ptr()) };
    if names.is_empty() { Err(Error::NoDevice) } else { Ok(names) }
}

/// Copies a device's name.
///
/// `device` must be null, or a device of a list or an open context that outlives the call.
fn device_name(device: *mut ibv_device) -> Option<String> {
    if device.is_null() {
        return None;
    }
    // SAFETY: `device` is non-null (checked above) and alive (the caller holds its list or context).
    let name = unsafe { rdma_sys::ibv_get_device_name(device) };
    if name.is_null() {
        return None;
    }
    // SAFETY: libibverbs keeps the name NUL-terminated inside the device, which outlives this copy.
    let name = unsafe { CStr::from_ptr(name) };
    Some(name.to_string_lossy().into_owned())
}

/// A protection domain of our own: with none, librdmacm's belongs to all identifiers of the process.
#[derive(Debug)]
pub struct ProtectionDomain {
    raw: NonNull<ibv_pd>,
    id: Arc<CmId>,
}

// SAFETY: libibverbs is thread-safe (its documentation, "libibverbs.md"); the pointer is used only in calls to it, and
// the object is freed once, by the last owner.
unsafe impl Send for ProtectionDomain {}
// SAFETY: as for Send: no field is changed after construction.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    /// Allocates one on the device that `id` is bound to (`ibv_alloc_pd`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`]: ENODEV if `id` is bound to no device yet, otherwise what `ibv_alloc_pd` says.
    pub(crate) fn alloc(id: &Arc<CmId>) -> Result<Arc<Self>> {
        let context = context(id, "ibv_alloc_pd", "allocate protection domain")?;
        // SAFETY: `context` is the open device of `id`, which outlives the domain: we store its Arc.
        let raw = unsafe { rdma_sys::ibv_alloc_pd(context.as_ptr()) };
        let raw = sys::check_null(raw, "ibv_alloc_pd", || "allocate protection domain".into())?;
        // SAFETY: as above, the context is open.
        let device = unsafe { (*context.as_ptr()).device };
        tracing::debug!("ibv_alloc_pd: device {}", device_name(device).unwrap_or_default());
        Ok(Arc::new(Self { raw, id: Arc::clone(id) }))
    }

    pub(crate) fn as_ptr(&self) -> *mut ibv_pd {
        self.raw.as_ptr()
    }

    /// The identifier whose device it is on.
    pub(crate) fn id(&self) -> &Arc<CmId> {
        &self.id
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_alloc_pd` and is freed once, here. Regions and queue pairs hold our Arc, so none is
        // left; our own Arc of the identifier, a field, keeps the device open until after this call.
        let returned = unsafe { rdma_sys::ibv_dealloc_pd(self.raw.as_ptr()) };
        sys::log_drop(sys::check_errno(returned, "ibv_dealloc_pd", || "free protection domain".into()));
    }
}

/// Where a completion queue announces that completions came, as a descriptor to poll.
#[derive(Debug)]
pub struct CompletionChannel {
    raw: NonNull<ibv_comp_channel>,
    _id: Arc<CmId>,
}

// SAFETY: as for ProtectionDomain.
unsafe impl Send for CompletionChannel {}
// SAFETY: as for ProtectionDomain; `ibv_get_cq_event` is one read(2) of a descriptor.
unsafe impl Sync for CompletionChannel {}

impl CompletionChannel {
    /// Creates a non-blocking one (`ibv_create_comp_channel`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_create_comp_channel` or `fcntl`.
    fn create(id: &Arc<CmId>) -> Result<Arc<Self>> {
        let context = context(id, "ibv_create_comp_channel", "create completion channel")?;
        // SAFETY: `context` is the open device of `id`, which outlives the channel: we store its Arc.
        let raw = unsafe { rdma_sys::ibv_create_comp_channel(context.as_ptr()) };
        let raw = sys::check_null(raw, "ibv_create_comp_channel", || "create completion channel".into())?;
        let channel = Arc::new(Self { raw, _id: Arc::clone(id) });
        sys::set_nonblocking(channel.fd(), "completion channel")?;
        tracing::debug!("ibv_create_comp_channel");
        Ok(channel)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `raw` is alive until our drop.
        let fd = unsafe { (*self.raw.as_ptr()).fd };
        // SAFETY: the channel owns `fd` and closes it only in our drop; the borrow is tied to `self`.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}

impl Drop for CompletionChannel {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_create_comp_channel` and is freed once, here. Queues hold our Arc, so none is left.
        let returned = unsafe { rdma_sys::ibv_destroy_comp_channel(self.raw.as_ptr()) };
        sys::log_drop(sys::check_errno(returned, "ibv_destroy_comp_channel", || {
            "destroy completion channel".into()
        }));
    }
}

/// A completion queue, announced on a channel of its own.
#[derive(Debug)]
pub struct CompletionQueue {
    raw: NonNull<ibv_cq>,
    channel: Arc<CompletionChannel>,
}

// SAFETY: as for ProtectionDomain; providers lock a completion queue themselves.
unsafe impl Send for CompletionQueue {}
// SAFETY: as for Send.
unsafe impl Sync for CompletionQueue {}

impl CompletionQueue {
    /// Creates one that holds at least `entries` completions (`ibv_create_cq`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_create_cq`: EINVAL for more entries than the device has, ENOMEM.
    pub(crate) fn create(id: &Arc<CmId>, entries: u32) -> Result<Arc<Self>> {
        let channel = CompletionChannel::create(id)?;
        let action = || format!("create completion queue of {entries} entries");
        let context = context(id, "ibv_create_cq", "create completion queue")?;
        let count =
            i32::try_from(entries).map_err(|_| Error::verb(action(), "ibv_create_cq", libc::EINVAL))?;
        // SAFETY: `context` is the open device of `id`, and `channel` is on the same device; both outlive the queue, which
        // stores the channel's Arc, which stores the identifier's. The queue's own context pointer is not used.
        let raw = unsafe {
            rdma_sys::ibv_create_cq(context.as_ptr(), count, ptr::null_mut(), channel.raw.as_ptr(), 0)
        };
        let raw = sys::check_null(raw, "ibv_create_cq", action)?;
        tracing::debug!("ibv_create_cq: {entries} entries");
        Ok(Arc::new(Self { raw, channel }))
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

    /// Asks for an event on the channel at the next completion (`ibv_req_notify_cq`).
    pub(crate) fn req_notify(&self) -> Result<()> {
        // SAFETY: the queue is alive (we own it), and its context's function table was filled by the provider.
        let returned = unsafe { rdma_sys::ibv_req_notify_cq(self.raw.as_ptr(), 0) };
        sys::check_errno(returned, "ibv_req_notify_cq", || "request a completion event".into())
    }

    /// Takes and acknowledges all events that are there (`ibv_get_cq_event`, `ibv_ack_cq_events`).
    pub(crate) fn drain_events(&self) -> Result<()> {
        loop {
            let mut cq = ptr::null_mut();
            let mut context = ptr::null_mut();
            // SAFETY: the channel is alive (we hold its Arc) and both out-pointers are live locals.
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

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.channel.fd()
    }

    pub(crate) fn as_ptr(&self) -> *mut ibv_cq {
        self.raw.as_ptr()
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_create_cq` and is freed once, here. Queue pairs hold our Arc, so none is left, and
        // every event taken was acknowledged at once, so the call does not wait for one.
        let returned = unsafe { rdma_sys::ibv_destroy_cq(self.raw.as_ptr()) };
        sys::log_drop(sys::check_errno(returned, "ibv_destroy_cq", || "destroy completion queue".into()));
    }
}

/// The open device of an identifier, or ENODEV while it is bound to none.
fn context(id: &CmId, call: &'static str, action: &str) -> Result<NonNull<ibv_context>> {
    NonNull::new(id.context()).ok_or_else(|| Error::verb(action, call, errno::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_listed_or_their_absence_is_explained() {
        match names() {
            Ok(names) => assert!(names.iter().all(|name| !name.is_empty())),
            Err(error) => assert!(error.to_string().contains("rdma link add"), "{error}"),
        }
    }
}
