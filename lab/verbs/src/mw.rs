//! Memory windows: rights in a part of a memory region that a peer is given, and that are taken away again without
//! registering anything anew.
//!
//! A window of type 1 is bound by a call and stays bound until it is bound elsewhere or freed. One of type 2 is bound by a
//! work request, to one queue pair; a work request of this side or a SEND with Invalidate of the peer ends that. Source:
//! `ibv_alloc_mw(3)`, `ibv_bind_mw(3)`, `ibv_post_send(3)`.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::mr::{Access, MemoryRegion};
use crate::pd::ProtectionDomain;
use crate::raw::ibv_mw;
use crate::rdma_sys::{bind_mw_t, ibv_mw_bind_info, ibv_mw_type};
use crate::remote_region::RemoteRegion;
use crate::{rdma_sys, sys};

/// The type of a memory window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowType {
    /// Bound by a call, to all queue pairs of its domain.
    One,
    /// Bound by a work request, to the queue pair that this is posted to.
    Two,
}

/// A memory window. A queue pair that it was bound through keeps it, and frees it before it is destroyed itself.
#[derive(Debug)]
pub struct MemoryWindow {
    kind: WindowType,
    bound: Mutex<Bound>,
    pd: Arc<ProtectionDomain>,
}

/// The window in C and its binding.
#[derive(Debug)]
struct Bound {
    /// `None` once it was freed.
    raw: Option<NonNull<ibv_mw>>,
    binding: Binding,
}

/// A window's binding: its key, and the region that it leads to.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    rkey: u32,
    address: u64,
    length_bytes: u64,
    region: Option<Arc<MemoryRegion>>,
}

// SAFETY: libibverbs is thread-safe, the pointer is used under a lock, and the object is freed once.
unsafe impl Send for Bound {}

impl MemoryWindow {
    /// Allocates a window that leads nowhere yet (`ibv_alloc_mw`).
    ///
    /// # Errors
    ///
    /// [`Error::NotOffered`] if the device has no windows of that type; [`Error::Verb`] naming `ibv_alloc_mw`: ENOMEM.
    pub fn alloc(pd: &Arc<ProtectionDomain>, kind: WindowType) -> Result<Arc<Self>> {
        let abilities = pd.device().abilities()?;
        let (has, ability, number) = match kind {
            WindowType::One => {
                (abilities.windows_type_1, "memory windows of type 1", ibv_mw_type::IBV_MW_TYPE_1)
            }
            WindowType::Two => {
                (abilities.windows_type_2, "memory windows of type 2", ibv_mw_type::IBV_MW_TYPE_2)
            }
        };
        crate::abilities::DeviceAbilities::demand(has, pd.device().name(), ability, "5.14")?;
        // SAFETY: the domain is alive (the caller holds its Arc, and so will we).
        let raw = unsafe { rdma_sys::ibv_alloc_mw(pd.as_raw(), number) };
        let errno = sys::last_errno();
        let raw = raw.and_then(NonNull::new);
        let raw = raw.ok_or_else(|| Error::verb("allocate memory window", "ibv_alloc_mw", errno))?;
        // SAFETY: the allocation just succeeded, so `raw` points to a filled `ibv_mw`.
        let rkey = unsafe { (*raw.as_ptr()).rkey };
        tracing::debug!("ibv_alloc_mw: type {kind:?}, rkey {rkey:#x}");
        let binding = Binding { rkey, address: 0, length_bytes: 0, region: None };
        let bound = Mutex::new(Bound { raw: Some(raw), binding });
        Ok(Arc::new(Self { kind, bound, pd: Arc::clone(pd) }))
    }

    /// The type.
    #[must_use]
    pub fn kind(&self) -> WindowType {
        self.kind
    }

    /// The domain.
    #[must_use]
    pub fn pd(&self) -> &Arc<ProtectionDomain> {
        &self.pd
    }

    /// Key of a peer's work requests; each binding has another.
    #[must_use]
    pub fn rkey(&self) -> u32 {
        self.bound().binding.rkey
    }

    /// The part of a region that it was last bound to, as a peer is told of it.
    #[must_use]
    pub fn announce(&self) -> RemoteRegion {
        let Binding { rkey, address, length_bytes, .. } = self.bound().binding;
        RemoteRegion { address, rkey, length_bytes: Some(length_bytes) }
    }

    fn bound(&self) -> MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds to `length_bytes` bytes of `region` from `offset` on, through `post`, which is given C's request and says
    /// whether it was posted; returns the binding that it replaces. The region is kept from then on.
    pub(crate) fn bind_by(
        &self,
        region: &Arc<MemoryRegion>,
        (offset, length_bytes): (usize, u32),
        access: Access,
        post: impl FnOnce(bind_mw_t) -> Result<()>,
    ) -> Result<Binding> {
        let mut bound = self.bound();
        let raw = bound.raw.ok_or(Error::WindowGone)?;
        let info = ibv_mw_bind_info {
            mr: region.as_raw(),
            addr: region.address() + offset as u64,
            length: u64::from(length_bytes),
            mw_access_flags: access.flags(),
        };
        let rkey = next_rkey(bound.binding.rkey);
        post(bind_mw_t { mw: raw.as_ptr(), rkey, bind_info: info })?;
        let rkey = match self.kind {
            // SAFETY: the window is alive (`raw` is there), and its key is changed by calls under this lock alone.
            WindowType::One => unsafe { (*raw.as_ptr()).rkey },
            WindowType::Two => {
                // SAFETY: as above.
                unsafe { (*raw.as_ptr()).rkey = rkey };
                rkey
            }
        };
        let binding =
            Binding { rkey, address: info.addr, length_bytes: info.length, region: Some(Arc::clone(region)) };
        Ok(std::mem::replace(&mut bound.binding, binding))
    }

    /// Goes back to the binding before, after a bind that failed.
    pub(crate) fn restore(&self, binding: Binding) {
        let mut bound = self.bound();
        if let Some(raw) = bound.raw {
            // SAFETY: as in `bind_by`.
            unsafe { (*raw.as_ptr()).rkey = binding.rkey };
        }
        bound.binding = binding;
    }

    /// Frees it (`ibv_dealloc_mw`), once: its rights end. Nothing can be bound through it from then on.
    pub(crate) fn free(&self) {
        let mut bound = self.bound();
        let Some(raw) = bound.raw.take() else { return };
        // SAFETY: `raw` came from `ibv_alloc_mw` and is freed once: it was just taken. The domain lives (we hold its Arc), and
        // so does the region, which the binding keeps.
        let returned = unsafe { rdma_sys::ibv_dealloc_mw(raw.as_ptr()) };
        let freed = sys::check_errno(returned, "ibv_dealloc_mw", || "free memory window".into());
        if freed.is_err() {
            // The device may still let a peer through to the region.
            std::mem::forget(bound.binding.region.take());
        }
        sys::log_drop(freed);
        bound.binding.region = None;
    }
}

impl Drop for MemoryWindow {
    fn drop(&mut self) {
        self.free();
    }
}

/// The key of the next binding: the low eight bits count.
fn next_rkey(rkey: u32) -> u32 {
    rkey & !0xff | rkey.wrapping_add(1) & 0xff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_a_window_changes_in_its_last_byte() {
        assert_eq!(next_rkey(0x1234_5678), 0x1234_5679);
        assert_eq!(next_rkey(0x1234_56ff), 0x1234_5600);
        assert_eq!(next_rkey(u32::MAX), 0xffff_ff00);
    }
}
