//! Devices: listed, opened, and asked for their ports.
//!
//! A context is ours, or somebody else's: that of a device that CM found belongs to librdmacm, which opens it once a
//! process, and is valid as long as an identifier bound to it lives. A [`Device`] keeps the one or the other.

use std::ffi::CStr;
use std::fmt::Debug;
use std::fs;
use std::marker::PhantomData;
use std::mem;
use std::net::{IpAddr, Ipv6Addr};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::abilities::DeviceAbilities;
use crate::error::{Error, Result, errno};
use crate::extended;
use crate::raw::ibv_context;
use crate::rdma_sys::ibv_device;
use crate::{rdma_sys, sys};

/// Names this host's RDMA devices.
///
/// # Errors
///
/// [`Error::NoDevice`] if there is none: `ibv_get_device_list` returns NULL with ENOSYS without the kernel modules, and
/// an empty list with them. [`Error::Verb`] for every other refusal.
pub fn names() -> Result<Vec<String>> {
    let list = DeviceList::get()?;
    let names: Vec<String> = list.devices().filter_map(ListedDevice::name).collect();
    if names.is_empty() { Err(Error::NoDevice) } else { Ok(names) }
}

/// The devices of this host, as libibverbs lists them.
struct DeviceList {
    raw: NonNull<*mut ibv_device>,
    count: usize,
}

/// A device of a list, which lives as long.
#[derive(Clone, Copy)]
struct ListedDevice<'list> {
    raw: NonNull<ibv_device>,
    _list: PhantomData<&'list DeviceList>,
}

impl DeviceList {
    /// Lists the devices (`ibv_get_device_list`).
    fn get() -> Result<Self> {
        let mut count = 0;
        // SAFETY: `count` is a live local; the call writes one integer to it and returns a list it allocated, or NULL.
        let raw = unsafe { rdma_sys::ibv_get_device_list(&raw mut count) };
        let errno = sys::last_errno();
        match NonNull::new(raw) {
            Some(raw) => Ok(Self { raw, count: usize::try_from(count).unwrap_or(0) }),
            None => Err(match errno {
                errno::ENOSYS | errno::ENODEV => Error::NoDevice,
                errno => Error::verb("list RDMA devices", "ibv_get_device_list", errno),
            }),
        }
    }

    fn devices(&self) -> impl Iterator<Item = ListedDevice<'_>> {
        (0..self.count).filter_map(|index| {
            // SAFETY: the list holds `count` pointers (its own call said so), and `index` is below that.
            let entry = unsafe { self.raw.add(index) };
            // SAFETY: `entry` lies within the list, which is freed only by our drop.
            let raw = NonNull::new(unsafe { entry.read() })?;
            Some(ListedDevice { raw, _list: PhantomData })
        })
    }
}

impl Drop for DeviceList {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_get_device_list` and is freed once, here; no entry outlives the borrow of its list.
        unsafe { rdma_sys::ibv_free_device_list(self.raw.as_ptr()) };
    }
}

impl ListedDevice<'_> {
    fn name(self) -> Option<String> {
        // SAFETY: the device is of a list that is not freed before `'list` ends.
        unsafe { name_of(self.raw) }
    }

    /// Opens the device; its context outlives the list (`ibv_open_device(3)`).
    fn open(self) -> *mut ibv_context {
        // SAFETY: the device is of a list that is not freed before `'list` ends.
        unsafe { rdma_sys::ibv_open_device(self.raw.as_ptr()) }
    }
}

/// Copies a device's name (`ibv_get_device_name`).
///
/// # Safety
///
/// `device` is of a list that is not freed, or of an open context, until the call returns.
unsafe fn name_of(device: NonNull<ibv_device>) -> Option<String> {
    // SAFETY: the device is alive (the caller's promise).
    let name = unsafe { rdma_sys::ibv_get_device_name(device.as_ptr()) };
    if name.is_null() {
        return None;
    }
    // SAFETY: libibverbs keeps the name NUL-terminated inside the device, which outlives this copy.
    let name = unsafe { CStr::from_ptr(name) };
    Some(name.to_string_lossy().into_owned())
}

/// An owner of open contexts, which closes none while it lives.
pub(crate) trait ContextOwner: Debug + Send + Sync {}

/// An open device. Everything made on it holds an `Arc` of it.
#[derive(Debug)]
pub struct Device {
    context: NonNull<ibv_context>,
    /// The owner of the context; `None` if we opened it.
    owner: Option<Arc<dyn ContextOwner>>,
}

// SAFETY: libibverbs is thread-safe ("libibverbs.md" of rdma-core); the pointer is used only in calls to it and to read
// `device`, which `ibv_open_device` set once; a context of ours is closed once, by the last owner.
unsafe impl Send for Device {}
// SAFETY: as for Send: no field is changed after construction.
unsafe impl Sync for Device {}

/// A device's port, and its address in the table of GIDs.
#[derive(Clone, Debug)]
pub struct Port {
    /// Number, from 1.
    pub number: u8,
    /// Address: of IPv4 a mapped one.
    pub gid: Ipv6Addr,
    /// Place of the address in the port's table.
    pub gid_index: u8,
    /// The InfiniBand MTU in bytes.
    pub mtu_bytes: u32,
}

/// Limits of a device, in the units of what they limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceLimits {
    /// Requests of a queue.
    pub max_qp_wr: u32,
    /// Scatter/gather entries of a request.
    pub max_sge: u32,
    /// Entries of a completion queue.
    pub max_cqe: u32,
    /// READs and atomics that a queue pair may have outstanding at its peer.
    pub max_reads_at_once: u32,
    /// Bytes of a message, of the port that has the shortest.
    pub max_message_bytes: u32,
}

impl Device {
    /// Opens the device called `name` (`ibv_open_device`).
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`]; [`Error::Verb`] naming `ibv_open_device`: ENODEV if no device has that name, EACCES.
    pub fn open(name: &str) -> Result<Arc<Self>> {
        let failed = |errno| Error::verb(format!("open {name}"), "ibv_open_device", errno);
        let list = DeviceList::get()?;
        let found = list.devices().find(|device| device.name().as_deref() == Some(name));
        let context = found.ok_or_else(|| failed(errno::ENODEV))?.open();
        let errno = sys::last_errno();
        let context = NonNull::new(context).ok_or_else(|| failed(errno))?;
        tracing::debug!("ibv_open_device: {name}");
        Ok(Arc::new(Self { context, owner: None }))
    }

    /// Opens the device that answers to `address` of this host; the port is the one that has it.
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`]; [`Error::NoDeviceAt`] if none has that address; [`Error::Verb`] naming `ibv_open_device`,
    /// `ibv_query_device` or `ibv_query_port`.
    pub fn with_address(address: IpAddr) -> Result<(Arc<Self>, Port)> {
        for name in names()? {
            let device = Self::open(&name)?;
            for number in 1..=device.ports()? {
                if let Some(port) = device.port_with(number, gid_of(address))? {
                    tracing::debug!("{name} has {address}: port {number}, GID index {}", port.gid_index);
                    return Ok((device, port));
                }
            }
        }
        Err(Error::NoDeviceAt { address })
    }

    /// Keeps the device of a context that `owner` opened.
    ///
    /// # Safety
    ///
    /// `context` is open as long as `owner` lives.
    pub(crate) unsafe fn of_context(
        context: NonNull<ibv_context>,
        owner: Arc<dyn ContextOwner>,
    ) -> Arc<Self> {
        Arc::new(Self { context, owner: Some(owner) })
    }

    /// C's pointer, valid while `self` is.
    #[must_use]
    pub fn as_raw(&self) -> *mut ibv_context {
        self.context.as_ptr()
    }

    /// The name, such as `rxe0`.
    #[must_use]
    pub fn name(&self) -> String {
        // SAFETY: the context is open (we own it, or hold the Arc of its owner).
        let device = unsafe { (*self.as_raw()).device };
        let Some(device) = NonNull::new(device) else { return String::new() };
        // SAFETY: the device is that of an open context.
        unsafe { name_of(device) }.unwrap_or_default()
    }

    /// The device's limits (`ibv_query_device`, `ibv_query_port`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming the call.
    pub fn limits(&self) -> Result<DeviceLimits> {
        let attr = self.attributes()?;
        let positive = |number: i32| u32::try_from(number).unwrap_or(0);
        let mut max_message_bytes = u32::MAX;
        for number in 1..=attr.phys_port_cnt {
            max_message_bytes = max_message_bytes.min(self.port_attributes(number)?.max_msg_sz);
        }
        Ok(DeviceLimits {
            max_qp_wr: positive(attr.max_qp_wr),
            max_sge: positive(attr.max_sge),
            max_cqe: positive(attr.max_cqe),
            max_reads_at_once: positive(attr.max_qp_rd_atom.min(attr.max_qp_init_rd_atom)),
            max_message_bytes,
        })
    }

    /// Abilities that not each device has (`ibv_query_device_ex`, or `ibv_query_device` where that is missing).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming the call.
    pub fn abilities(&self) -> Result<DeviceAbilities> {
        // SAFETY: the structure is integers only, for which all zeros is a valid value.
        let mut attr = unsafe { mem::zeroed::<rdma_sys::ibv_device_attr_ex>() };
        // SAFETY: the context is open (as above).
        let returned = unsafe { extended::query_device_ex(self.as_raw(), &mut attr) };
        if returned == libc::EOPNOTSUPP {
            let flags = self.attributes()?.device_cap_flags;
            return Ok(DeviceAbilities::of_flags(u64::from(flags), 0));
        }
        sys::check_errno(returned, "ibv_query_device_ex", || "query device".into())?;
        let flags = u64::from(attr.orig_attr.device_cap_flags) | attr.device_cap_flags_ex;
        Ok(DeviceAbilities::of_flags(flags, attr.odp_caps.general_caps))
    }

    /// Counts its ports (`ibv_query_device`).
    fn ports(&self) -> Result<u8> {
        Ok(self.attributes()?.phys_port_cnt)
    }

    fn attributes(&self) -> Result<rdma_sys::ibv_device_attr> {
        // SAFETY: the structure is integers only, for which all zeros is a valid value.
        let mut attr = unsafe { mem::zeroed::<rdma_sys::ibv_device_attr>() };
        // SAFETY: the context is open (as above) and `attr` is a live local that the call fills.
        let returned = unsafe { rdma_sys::ibv_query_device(self.as_raw(), &raw mut attr) };
        sys::check_errno(returned, "ibv_query_device", || "query device".into())?;
        Ok(attr)
    }

    /// Looks for `gid` in the table of port `number` (`ibv_query_port`).
    fn port_with(&self, number: u8, gid: Ipv6Addr) -> Result<Option<Port>> {
        let attr = self.port_attributes(number)?;
        // `enum ibv_mtu`: 1 is 256 bytes, each further one doubles.
        let mtu_bytes = 128_u32.checked_shl(attr.active_mtu).unwrap_or(0);
        let last = u8::try_from(attr.gid_tbl_len).unwrap_or(u8::MAX);
        let found = (0..last).find(|&index| self.gid(number, index) == Some(gid));
        Ok(found.map(|gid_index| Port { number, gid, gid_index, mtu_bytes }))
    }

    /// Asks for the attributes of port `number` (`ibv_query_port`).
    fn port_attributes(&self, number: u8) -> Result<rdma_sys::ibv_port_attr> {
        // SAFETY: the structure is integers only, for which all zeros is a valid value; the call below leaves the members
        // of later versions alone.
        let mut attr = unsafe { mem::zeroed::<rdma_sys::ibv_port_attr>() };
        let compatible = (&raw mut attr).cast();
        // SAFETY: the context is open; the call fills the beginning of `attr`, which the compatible structure is.
        let returned = unsafe { rdma_sys::ibv_query_port(self.as_raw(), number, compatible) };
        sys::check_errno(returned, "ibv_query_port", || format!("query port {number}"))?;
        Ok(attr)
    }

    /// An entry of a port's table; `None` if it is empty, or of RoCE version 1 (`ibv_query_gid`).
    fn gid(&self, port: u8, index: u8) -> Option<Ipv6Addr> {
        let mut gid = rdma_sys::ibv_gid { raw: [0; 16] };
        // SAFETY: the context is open and `gid` is a live local that the call fills.
        let returned =
            unsafe { rdma_sys::ibv_query_gid(self.as_raw(), port, i32::from(index), &raw mut gid) };
        // SAFETY: both members of the union are 16 bytes of integers.
        let gid = Ipv6Addr::from(unsafe { gid.raw });
        (returned == 0 && !gid.is_unspecified() && self.is_version_2(port, index)).then_some(gid)
    }

    /// Reads the entry's version from sysfs; verbs have no classic call for it.
    fn is_version_2(&self, port: u8, index: u8) -> bool {
        let path = format!("/sys/class/infiniband/{}/ports/{port}/gid_attrs/types/{index}", self.name());
        fs::read_to_string(path).is_ok_and(|text| text.trim() == "RoCE v2")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.owner.is_some() {
            return;
        }
        // SAFETY: `context` came from `ibv_open_device` and is freed once, here. What was made on it holds our Arc, so none
        // is left.
        let returned = unsafe { rdma_sys::ibv_close_device(self.context.as_ptr()) };
        sys::log_drop(sys::check_minus_one(returned, "ibv_close_device", || "close device".into()));
    }
}

/// The address as a table of GIDs has it.
pub(crate) fn gid_of(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(v6, |v4| v4.to_ipv6_mapped()),
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

    #[test]
    fn device_that_is_not_there_is_named() {
        let error = Device::open("no-such-device").unwrap_err();
        assert!(matches!(error, Error::NoDevice | Error::Verb { errno: errno::ENODEV, .. }), "{error}");
    }

    #[test]
    fn addresses_are_looked_for_as_the_table_has_them() {
        for address in ["198.51.100.2", "::ffff:198.51.100.2"] {
            assert_eq!(gid_of(address.parse().unwrap()).to_string(), "::ffff:198.51.100.2");
        }
        assert_eq!(gid_of("2001:db8::2".parse().unwrap()).to_string(), "2001:db8::2");
    }
}
