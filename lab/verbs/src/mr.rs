//! Memory regions: page-aligned bytes that a device, and with the right access a peer, may read and write.
//!
//! The region owns its bytes and never lends them: they go in and come out by copy.

use std::alloc::{self, Layout};
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering, fence};

use crate::abilities::DeviceAbilities;
use crate::error::{Error, Result};
use crate::pd::ProtectionDomain;
use crate::raw::ibv_mr;
use crate::rdma_sys::ibv_access_flags;
use crate::remote_region::RemoteRegion;
use crate::{rdma_sys, sys};

/// `IBV_ACCESS_FLUSH_GLOBAL`, which rdma-core 44's header has not.
pub(crate) const ACCESS_FLUSH_GLOBAL: u32 = 1 << 8;
/// `IBV_ACCESS_FLUSH_PERSISTENT`.
pub(crate) const ACCESS_FLUSH_PERSISTENT: u32 = 1 << 9;

/// Rights of a device and a peer in a memory region. The device may always read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The device may write: RECV, and the sink of a READ.
    pub local_write: bool,
    /// A peer may WRITE; needs `local_write`.
    pub remote_write: bool,
    /// A peer may READ.
    pub remote_read: bool,
    /// A peer may CmpSwap and FetchAdd; needs `local_write`.
    pub remote_atomic: bool,
    /// Memory windows may be bound to it.
    pub bind_windows: bool,
    /// A peer may FLUSH it, to be seen by all of this host.
    pub flush_global: bool,
    /// A peer may FLUSH it, to survive a loss of power: persistent memory alone.
    pub flush_persistent: bool,
    /// Pages are pinned when they are used, not when they are registered (on-demand paging).
    pub on_demand: bool,
}

impl Access {
    /// Source of a WRITE or SEND.
    pub const SOURCE: Self = Self {
        local_write: false,
        remote_write: false,
        remote_read: false,
        remote_atomic: false,
        bind_windows: false,
        flush_global: false,
        flush_persistent: false,
        on_demand: false,
    };
    /// Sink of a READ, of an atomic, or of a RECV.
    pub const SINK: Self = Self { local_write: true, ..Self::SOURCE };
    /// Target of a client's WRITEs and READs.
    pub const REMOTE: Self = Self { remote_write: true, remote_read: true, ..Self::SINK };
    /// Target of atomics.
    pub const ATOMIC: Self = Self { remote_atomic: true, ..Self::SINK };
    /// Memory that windows are bound to, which then say what a peer may do.
    pub const WINDOWS: Self = Self { bind_windows: true, ..Self::SINK };

    /// C's flags.
    pub(crate) fn flags(self) -> u32 {
        let mut flags = 0;
        if self.bind_windows {
            flags |= ibv_access_flags::IBV_ACCESS_MW_BIND.0;
        }
        if self.on_demand {
            flags |= ibv_access_flags::IBV_ACCESS_ON_DEMAND.0;
        }
        if self.flush_global {
            flags |= ACCESS_FLUSH_GLOBAL;
        }
        if self.flush_persistent {
            flags |= ACCESS_FLUSH_PERSISTENT;
        }
        if self.local_write {
            flags |= ibv_access_flags::IBV_ACCESS_LOCAL_WRITE.0;
        }
        if self.remote_write {
            flags |= ibv_access_flags::IBV_ACCESS_REMOTE_WRITE.0;
        }
        if self.remote_read {
            flags |= ibv_access_flags::IBV_ACCESS_REMOTE_READ.0;
        }
        if self.remote_atomic {
            flags |= ibv_access_flags::IBV_ACCESS_REMOTE_ATOMIC.0;
        }
        flags
    }
}

/// A registered memory region with its bytes.
#[derive(Debug)]
pub struct MemoryRegion {
    raw: NonNull<ibv_mr>,
    lkey: u32,
    rkey: u32,
    /// Freed by our drop, once they are deregistered.
    bytes: ManuallyDrop<PageBytes>,
    pd: Arc<ProtectionDomain>,
}

// SAFETY: libibverbs is thread-safe; the pointer is used only to deregister, once; keys and bytes are plain data.
unsafe impl Send for MemoryRegion {}
// SAFETY: the bytes are accessed only as atomics, so threads may share them with each other and with the device.
unsafe impl Sync for MemoryRegion {}

impl MemoryRegion {
    /// Registers `length_bytes` zeroed bytes (`ibv_reg_mr`).
    ///
    /// # Errors
    ///
    /// [`Error::Allocation`] for no memory or a length of zero; [`Error::NotOffered`] for FLUSH or on-demand paging that the
    /// device does not have; [`Error::Verb`] naming `ibv_reg_mr`: ENOMEM above
    /// RLIMIT_MEMLOCK, EINVAL for an access without its local counterpart.
    pub fn register(pd: &Arc<ProtectionDomain>, length_bytes: usize, access: Access) -> Result<Arc<Self>> {
        check_offered(pd, access)?;
        let bytes = PageBytes::zeroed(length_bytes)?;
        let flags = access.flags();
        let action = || format!("register {length_bytes}-byte memory region");
        // SAFETY: the domain is alive (the caller holds its Arc, and so will we); `bytes` owns `length_bytes` bytes at that
        // address, which our drop frees only once they are deregistered.
        let raw = unsafe {
            rdma_sys::ibv_reg_mr(pd.as_raw(), bytes.address.as_ptr().cast(), length_bytes, flags as i32)
        };
        let raw = sys::check_null(raw, "ibv_reg_mr", action)?;
        // SAFETY: the registration just succeeded, so `raw` points to a filled `ibv_mr`.
        let lkey = unsafe { (*raw.as_ptr()).lkey };
        // SAFETY: as above.
        let rkey = unsafe { (*raw.as_ptr()).rkey };
        let region = Self { raw, lkey, rkey, bytes: ManuallyDrop::new(bytes), pd: Arc::clone(pd) };
        tracing::debug!(
            "ibv_reg_mr: {length_bytes} bytes at {:#x}, lkey {lkey:#x}, rkey {rkey:#x}, access {flags:#x}",
            region.address()
        );
        Ok(Arc::new(region))
    }

    /// The domain that it is registered in.
    #[must_use]
    pub fn pd(&self) -> &Arc<ProtectionDomain> {
        &self.pd
    }

    /// C's pointer, valid while `self` is.
    #[must_use]
    pub fn as_raw(&self) -> *mut ibv_mr {
        self.raw.as_ptr()
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length_bytes(&self) -> usize {
        self.bytes.length
    }

    /// Its virtual address, which a peer's WRITE and READ name.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.bytes.address.as_ptr().expose_provenance() as u64
    }

    /// Key of local work requests.
    #[must_use]
    pub fn lkey(&self) -> u32 {
        self.lkey
    }

    /// Key of a peer's work requests.
    #[must_use]
    pub fn rkey(&self) -> u32 {
        self.rkey
    }

    /// The region as a peer is told of it; with its length only if the peer asked for one.
    #[must_use]
    pub fn announce(&self, with_length: bool) -> RemoteRegion {
        let length_bytes = with_length.then(|| self.length_bytes() as u64);
        RemoteRegion { address: self.address(), rkey: self.rkey, length_bytes }
    }

    /// Copies `from` to `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::Range`].
    pub fn copy_in(&self, offset: usize, from: &[u8]) -> Result<()> {
        self.check_range(offset, from.len())?;
        for (cell, byte) in self.bytes.cells()[offset..].iter().zip(from) {
            cell.store(*byte, Ordering::Relaxed);
        }
        // Whatever posts these bytes afterwards must not overtake them.
        fence(Ordering::Release);
        Ok(())
    }

    /// Copies `length_bytes` bytes out, from `offset` on. They mean something only after a synchronising event: a
    /// completion, or DISCONNECTED.
    ///
    /// # Errors
    ///
    /// [`Error::Range`].
    pub fn copy_out(&self, offset: usize, length_bytes: usize) -> Result<Vec<u8>> {
        self.check_range(offset, length_bytes)?;
        fence(Ordering::Acquire);
        let cells = &self.bytes.cells()[offset..offset + length_bytes];
        Ok(cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect())
    }

    /// The byte at `offset`, read like [`MemoryRegion::copy_out`] and without memory for it: for loops that look for a
    /// peer's WRITE.
    ///
    /// # Errors
    ///
    /// [`Error::Range`].
    pub fn byte(&self, offset: usize) -> Result<u8> {
        self.check_range(offset, 1)?;
        Ok(self.bytes.cells()[offset].load(Ordering::Acquire))
    }

    /// The number of 8 bytes in host order at `offset`, as atomics have it; read like [`MemoryRegion::copy_out`].
    ///
    /// # Errors
    ///
    /// [`Error::Range`].
    pub fn number(&self, offset: usize) -> Result<u64> {
        let mut number = [0; size_of::<u64>()];
        let bytes = self.copy_out(offset, number.len())?;
        number.copy_from_slice(&bytes);
        Ok(u64::from_ne_bytes(number))
    }

    /// Checks that a range lies within the region.
    pub(crate) fn check_range(&self, offset: usize, length_bytes: usize) -> Result<()> {
        let region_bytes = self.length_bytes();
        match offset.checked_add(length_bytes) {
            Some(end) if end <= region_bytes => Ok(()),
            _ => Err(Error::Range { offset, length_bytes, region_bytes }),
        }
    }
}

impl ProtectionDomain {
    /// Registers `length_bytes` zeroed bytes in this domain.
    ///
    /// # Errors
    ///
    /// Errors of [`MemoryRegion::register`].
    pub fn register(self: &Arc<Self>, length_bytes: usize, access: Access) -> Result<Arc<MemoryRegion>> {
        MemoryRegion::register(self, length_bytes, access)
    }
}

impl Drop for MemoryRegion {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_reg_mr` and is freed once, here. Work requests in flight hold our Arc, so none is
        // left; the domain lives (we hold its Arc), and so do the bytes.
        let returned = unsafe { rdma_sys::ibv_dereg_mr(self.raw.as_ptr()) };
        let deregistered = sys::check_errno(returned, "ibv_dereg_mr", || "deregister memory region".into());
        // SAFETY: the bytes are taken once, here, and `self` is not used after its drop.
        let bytes = unsafe { ManuallyDrop::take(&mut self.bytes) };
        let what = format!("{} bytes at {:p}", bytes.length, bytes.address);
        free_or_leak(deregistered, bytes, &what);
    }
}

/// Checks that the device has the abilities that an access needs.
fn check_offered(pd: &ProtectionDomain, access: Access) -> Result<()> {
    if !(access.flush_global || access.flush_persistent || access.on_demand) {
        return Ok(());
    }
    let has = pd.device().abilities()?;
    let name = || pd.device().name();
    let demand = DeviceAbilities::demand;
    demand(!access.flush_global || has.flush_global, name(), "FLUSH to global visibility", "6.2")?;
    if access.flush_persistent && !has.flush_persistent {
        return Err(Error::NotOffered { device: name(), ability: "FLUSH to persistence", hint: None });
    }
    demand(!access.on_demand || has.on_demand_paging, name(), "on-demand paging", "6.15")
}

/// Frees `memory`, or leaks it if the device may still write to it, and says so.
fn free_or_leak<T>(deregistered: Result<()>, memory: T, what: &str) {
    match deregistered {
        Ok(()) => drop(memory),
        Err(error) => {
            tracing::error!("{error}; {what} are leaked, because the device may still access them");
            mem::forget(memory);
        }
    }
}

/// Zeroed bytes on pages of their own.
#[derive(Debug)]
struct PageBytes {
    address: NonNull<u8>,
    length: usize,
    layout: Layout,
}

impl PageBytes {
    fn zeroed(length: usize) -> Result<Self> {
        let page = rustix::param::page_size();
        let failed = Error::Allocation { length_bytes: length };
        let layout = match Layout::from_size_align(length, page) {
            Ok(layout) if length > 0 => layout.pad_to_align(),
            _ => return Err(failed),
        };
        // SAFETY: `layout` is not of size zero: `length` is above zero and padding only adds.
        let address = unsafe { alloc::alloc_zeroed(layout) };
        match NonNull::new(address) {
            Some(address) => Ok(Self { address, length, layout }),
            None => Err(failed),
        }
    }

    /// The bytes as a device shares them.
    fn cells(&self) -> &[AtomicU8] {
        // SAFETY: the allocation holds `length` initialised bytes (it was zeroed) and lives until our drop; AtomicU8 has the
        // layout of u8 and permits changes by others behind a shared reference; no `&[u8]` to them ever exists.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr().cast(), self.length) }
    }
}

impl Drop for PageBytes {
    fn drop(&mut self) {
        // SAFETY: `address` came from `alloc_zeroed` with this very layout and is freed once, here.
        unsafe { alloc::dealloc(self.address.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_zeroed_and_page_aligned() {
        let bytes = PageBytes::zeroed(5000).unwrap();
        assert_eq!(bytes.address.as_ptr().addr() % rustix::param::page_size(), 0);
        assert_eq!(bytes.cells().len(), 5000);
        assert!(bytes.cells().iter().all(|cell| cell.load(Ordering::Relaxed) == 0));
        assert!(bytes.layout.size() >= 8192);
    }

    #[test]
    fn nothing_and_everything_are_refused() {
        assert!(matches!(PageBytes::zeroed(0), Err(Error::Allocation { length_bytes: 0 })));
        assert!(PageBytes::zeroed(usize::MAX).is_err());
    }

    #[test]
    fn memory_that_could_not_be_deregistered_is_not_freed() {
        let memory = Arc::new(());
        free_or_leak(Err(Error::verb("deregister", "ibv_dereg_mr", libc::EBUSY)), Arc::clone(&memory), "it");
        assert_eq!(Arc::strong_count(&memory), 2);
        free_or_leak(Ok(()), Arc::clone(&memory), "it");
        assert_eq!(Arc::strong_count(&memory), 2);
    }

    #[test]
    fn access_flags_are_the_header_s() {
        assert_eq!(Access::SOURCE.flags(), 0);
        assert_eq!(Access::SINK.flags(), 1);
        assert_eq!(Access::REMOTE.flags(), 1 | 2 | 4);
        assert_eq!(Access::ATOMIC.flags(), 1 | 8);
        assert_eq!(Access::WINDOWS.flags(), 1 | 16);
        let all = Access { flush_global: true, flush_persistent: true, on_demand: true, ..Access::SOURCE };
        assert_eq!(all.flags(), 64 | 256 | 512);
    }
}
