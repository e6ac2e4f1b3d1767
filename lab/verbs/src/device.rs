//! Devices, and what is made on one: protection domain, completion channel, completion queue.
//!
//! The context of a device that CM found belongs to librdmacm, which opens it once a process; it is valid as long as an
//! identifier bound to it lives. Without CM it is ours. Everything here keeps the one or the other.

use std::ffi::CStr;
use std::fs;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdma_sys::{
    ibv_comp_channel, ibv_context, ibv_cq, ibv_device, ibv_device_attr, ibv_gid, ibv_pd, ibv_port_attr,
    ibv_wc,
};

use crate::cm::CmId;
use crate::error::{Error, Result, errno};
use crate::plain::gid_of;
use crate::sys;

/// Names of this host's RDMA devices.
///
/// # Errors
///
/// [`Error::NoDevice`] if there is none: `ibv_get_device_list` returns NULL with ENOSYS without the kernel modules, and
/// an empty list with them. [`Error::Verb`] for every other refusal.
pub fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for_each_device(|device| names.extend(device_name(device)))?;
    if names.is_empty() { Err(Error::NoDevice) } else { Ok(names) }
}

/// Calls `visit` with each device of this host, which is valid during the call.
fn for_each_device(mut visit: impl FnMut(*mut ibv_device)) -> Result<()> {
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
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: the call above said that `list` holds `count` pointers, and `index` is below it.
        let entry = unsafe { list.add(index) };
        // SAFETY: `entry` lies within the list, which is freed only below.
        visit(unsafe { entry.read() });
    }
    // SAFETY: `list` came from `ibv_get_device_list` and is freed once, here; no pointer into it is kept.
    unsafe { rdma_sys::ibv_free_device_list(list.as_ptr()) };
    Ok(())
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

/// An open device, by what keeps it open.
#[derive(Clone, Debug)]
pub(crate) enum Device {
    /// The identifier that CM bound to it.
    Cm(Arc<CmId>),
    /// Opened by ourselves.
    Open(Arc<OpenDevice>),
}

impl Device {
    /// Its context, or ENODEV of an identifier that is bound to none.
    fn context(&self, call: &'static str, action: &str) -> Result<NonNull<ibv_context>> {
        let raw = match self {
            Self::Cm(id) => id.context(),
            Self::Open(device) => device.as_ptr(),
        };
        NonNull::new(raw).ok_or_else(|| Error::verb(action, call, errno::ENODEV))
    }
}

/// A device that we opened ourselves.
#[derive(Debug)]
pub(crate) struct OpenDevice {
    raw: NonNull<ibv_context>,
}

// SAFETY: libibverbs is thread-safe; the pointer is used only in calls to it, and the object is freed once, by the last
// owner.
unsafe impl Send for OpenDevice {}
// SAFETY: as for Send.
unsafe impl Sync for OpenDevice {}

/// A device's port, and its address in the table of GIDs.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) number: u8,
    pub(crate) gid: Ipv6Addr,
    pub(crate) gid_index: u8,
    /// The InfiniBand MTU in bytes.
    pub(crate) mtu_bytes: u32,
}

impl OpenDevice {
    /// Opens the device that answers to `address` of this host, on the port that has it (`ibv_open_device`).
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`]; [`Error::NoDeviceAt`] if none has that address; [`Error::Verb`] naming `ibv_open_device`,
    /// `ibv_query_device` or `ibv_query_port`.
    pub(crate) fn with_address(address: IpAddr) -> Result<(Self, Port)> {
        for name in names()? {
            let device = Self::open(&name)?;
            for number in 1..=device.ports()? {
                if let Some(port) = device.port_with(number, gid_of(address))? {
                    tracing::debug!("ibv_open_device: {name}, port {number}, GID index {}", port.gid_index);
                    return Ok((device, port));
                }
            }
        }
        Err(Error::NoDeviceAt { address })
    }

    fn open(name: &str) -> Result<Self> {
        let failed = |errno| Error::verb(format!("open {name}"), "ibv_open_device", errno);
        let mut raw = ptr::null_mut();
        for_each_device(|device| {
            if device_name(device).as_deref() == Some(name) {
                // SAFETY: the device is of a list that lives through this call; the context outlives the list (its
                // documentation).
                raw = unsafe { rdma_sys::ibv_open_device(device) };
            }
        })?;
        let raw = NonNull::new(raw).ok_or_else(|| failed(sys::last_errno()))?;
        Ok(Self { raw })
    }

    fn as_ptr(&self) -> *mut ibv_context {
        self.raw.as_ptr()
    }

    /// How many ports it has.
    fn ports(&self) -> Result<u8> {
        // SAFETY: the structure is integers only, for which all zeros is a valid value.
        let mut attr = unsafe { mem::zeroed::<ibv_device_attr>() };
        // SAFETY: the context is open (we own it) and `attr` is a live local that the call fills.
        let returned = unsafe { rdma_sys::ibv_query_device(self.as_ptr(), &raw mut attr) };
        sys::check_errno(returned, "ibv_query_device", || "query device".into())?;
        Ok(attr.phys_port_cnt)
    }

    /// Port `number`, if its table has `gid`.
    fn port_with(&self, number: u8, gid: Ipv6Addr) -> Result<Option<Port>> {
        // SAFETY: the structure is integers only, for which all zeros is a valid value; the call below leaves the members
        // of later versions alone.
        let mut attr = unsafe { mem::zeroed::<ibv_port_attr>() };
        let compatible = (&raw mut attr).cast();
        // SAFETY: the context is open (we own it); the call fills the beginning of `attr`, which the compatible structure is.
        let returned = unsafe { rdma_sys::ibv_query_port(self.as_ptr(), number, compatible) };
        sys::check_errno(returned, "ibv_query_port", || format!("query port {number}"))?;
        // `enum ibv_mtu`: 1 is 256 bytes, each further one doubles.
        let mtu_bytes = 128_u32.checked_shl(attr.active_mtu).unwrap_or(0);
        let last = u8::try_from(attr.gid_tbl_len).unwrap_or(u8::MAX);
        let found = (0..last).find(|&index| self.gid(number, index) == Some(gid));
        Ok(found.map(|gid_index| Port { number, gid, gid_index, mtu_bytes }))
    }

    /// An entry of a port's table; `None` if it is empty, or of RoCE version 1 (`ibv_query_gid`).
    fn gid(&self, port: u8, index: u8) -> Option<Ipv6Addr> {
        let mut gid = ibv_gid { raw: [0; 16] };
        // SAFETY: the context is open (we own it) and `gid` is a live local that the call fills.
        let returned =
            unsafe { rdma_sys::ibv_query_gid(self.as_ptr(), port, i32::from(index), &raw mut gid) };
        // SAFETY: both members of the union are 16 bytes of integers.
        let gid = Ipv6Addr::from(unsafe { gid.raw });
        (returned == 0 && !gid.is_unspecified() && self.is_version_2(port, index)).then_some(gid)
    }

    /// What sysfs says of the entry; verbs have no classic call for it.
    fn is_version_2(&self, port: u8, index: u8) -> bool {
        // SAFETY: the context is open (we own it).
        let device = unsafe { (*self.as_ptr()).device };
        let name = device_name(device).unwrap_or_default();
        let path = format!("/sys/class/infiniband/{name}/ports/{port}/gid_attrs/types/{index}");
        fs::read_to_string(path).is_ok_and(|text| text.trim() == "RoCE v2")
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_open_device` and is freed once, here. What was made on it holds our Arc, so none is
        // left.
        let returned = unsafe { rdma_sys::ibv_close_device(self.raw.as_ptr()) };
        sys::log_drop(sys::check_minus_one(returned, "ibv_close_device", || "close device".into()));
    }
}

/// A protection domain of our own: with none, librdmacm's belongs to all identifiers of the process.
#[derive(Debug)]
pub struct ProtectionDomain {
    raw: NonNull<ibv_pd>,
    device: Device,
}

// SAFETY: libibverbs is thread-safe (its documentation, "libibverbs.md"); the pointer is used only in calls to it, and
// the object is freed once, by the last owner.
unsafe impl Send for ProtectionDomain {}
// SAFETY: as for Send: no field is changed after construction.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    /// Allocates one (`ibv_alloc_pd`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`]: ENODEV of an identifier that is bound to no device yet, otherwise what `ibv_alloc_pd` says.
    pub(crate) fn alloc(device: Device) -> Result<Arc<Self>> {
        let context = device.context("ibv_alloc_pd", "allocate protection domain")?;
        // SAFETY: `context` is open as long as `device` lives, which outlives the domain: we store it.
        let raw = unsafe { rdma_sys::ibv_alloc_pd(context.as_ptr()) };
        let raw = sys::check_null(raw, "ibv_alloc_pd", || "allocate protection domain".into())?;
        // SAFETY: as above, the context is open.
        let named = unsafe { (*context.as_ptr()).device };
        tracing::debug!("ibv_alloc_pd: device {}", device_name(named).unwrap_or_default());
        Ok(Arc::new(Self { raw, device }))
    }

    pub(crate) fn as_ptr(&self) -> *mut ibv_pd {
        self.raw.as_ptr()
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_alloc_pd` and is freed once, here. Regions and queue pairs hold our Arc, so none is
        // left; `device`, a field, stays open until after this call.
        let returned = unsafe { rdma_sys::ibv_dealloc_pd(self.raw.as_ptr()) };
        sys::log_drop(sys::check_errno(returned, "ibv_dealloc_pd", || "free protection domain".into()));
    }
}

/// Where a completion queue announces that completions came, as a descriptor to poll.
#[derive(Debug)]
pub struct CompletionChannel {
    raw: NonNull<ibv_comp_channel>,
    _device: Device,
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
    fn create(device: &Device) -> Result<Arc<Self>> {
        let context = device.context("ibv_create_comp_channel", "create completion channel")?;
        // SAFETY: `context` is open as long as `device` lives, which outlives the channel: we store it.
        let raw = unsafe { rdma_sys::ibv_create_comp_channel(context.as_ptr()) };
        let raw = sys::check_null(raw, "ibv_create_comp_channel", || "create completion channel".into())?;
        let channel = Arc::new(Self { raw, _device: device.clone() });
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
    pub(crate) fn create(device: &Device, entries: u32) -> Result<Arc<Self>> {
        let channel = CompletionChannel::create(device)?;
        let action = || format!("create completion queue of {entries} entries");
        let context = device.context("ibv_create_cq", "create completion queue")?;
        let count =
            i32::try_from(entries).map_err(|_| Error::verb(action(), "ibv_create_cq", libc::EINVAL))?;
        // SAFETY: `context` is open as long as `device` lives, and `channel` is on it; both outlive the queue, which stores the
        // channel's Arc, which stores the device. The queue's own context pointer is not used.
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
