//! Protection domains: what memory regions and queue pairs are used together in.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::device::Device;
use crate::error::Result;
use crate::raw::ibv_pd;
use crate::{rdma_sys, sys};

/// A protection domain. Memory regions and queue pairs hold an `Arc` of it.
#[derive(Debug)]
pub struct ProtectionDomain {
    raw: NonNull<ibv_pd>,
    device: Arc<Device>,
}

// SAFETY: libibverbs is thread-safe (its documentation, "libibverbs.md"); the pointer is used only in calls to it, and
// the object is freed once, by the last owner.
unsafe impl Send for ProtectionDomain {}
// SAFETY: as for Send: no field is changed after construction.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    /// Allocates a protection domain (`ibv_alloc_pd`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `ibv_alloc_pd`: ENOMEM.
    pub fn alloc(device: &Arc<Device>) -> Result<Arc<Self>> {
        // SAFETY: the context is open as long as `device` lives, which outlives the domain: we store its Arc.
        let raw = unsafe { rdma_sys::ibv_alloc_pd(device.as_raw()) };
        let raw = sys::check_null(raw, "ibv_alloc_pd", || "allocate protection domain".into())?;
        tracing::debug!("ibv_alloc_pd: device {}", device.name());
        Ok(Arc::new(Self { raw, device: Arc::clone(device) }))
    }

    /// C's pointer, valid while `self` is.
    #[must_use]
    pub fn as_raw(&self) -> *mut ibv_pd {
        self.raw.as_ptr()
    }

    /// The device that it is on.
    #[must_use]
    pub fn device(&self) -> &Arc<Device> {
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
