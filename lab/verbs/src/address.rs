//! Address handles: where a datagram goes. Source: `ibv_create_ah(3)`.

use std::net::Ipv6Addr;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::device::Port;
use crate::error::Result;
use crate::pd::ProtectionDomain;
use crate::qp_attributes::no_attributes;
use crate::raw::ibv_ah;
use crate::rdma_sys::{ibv_ah_attr, ibv_gid};
use crate::{rdma_sys, sys};

/// The way from a port of this host to a GID, as datagrams name it.
#[derive(Debug)]
pub struct AddressHandle {
    raw: NonNull<ibv_ah>,
    _pd: Arc<ProtectionDomain>,
}

// SAFETY: libibverbs is thread-safe; the pointer is used only in calls to it, and the object is freed once, on drop.
unsafe impl Send for AddressHandle {}
// SAFETY: as for Send: no field is changed after construction.
unsafe impl Sync for AddressHandle {}

impl AddressHandle {
    /// Creates the handle of `gid`, reached from `port` of the domain's device (`ibv_create_ah`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `ibv_create_ah`: EINVAL for a port or entry that the device has not,
    /// ENETUNREACH and its like for an address without a route, ENOMEM.
    pub fn create(pd: &Arc<ProtectionDomain>, port: &Port, gid: Ipv6Addr) -> Result<Arc<Self>> {
        let mut attr = address_of(port, gid);
        // SAFETY: the domain is alive (the caller holds its Arc, and so will we), and `attr` lives through the call.
        let raw = unsafe { rdma_sys::ibv_create_ah(pd.as_raw(), &raw mut attr) };
        let raw = sys::check_null(raw, "ibv_create_ah", || format!("create address handle of {gid}"))?;
        tracing::debug!("ibv_create_ah: {gid}");
        Ok(Arc::new(Self { raw, _pd: Arc::clone(pd) }))
    }

    /// C's pointer, valid while `self` is.
    #[must_use]
    pub fn as_raw(&self) -> *mut ibv_ah {
        self.raw.as_ptr()
    }
}

impl Drop for AddressHandle {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_create_ah` and is freed once, here. Queue pairs whose requests name it hold our Arc, so
        // none is left; the domain lives (we hold its Arc).
        let returned = unsafe { rdma_sys::ibv_destroy_ah(self.raw.as_ptr()) };
        sys::log_drop(sys::check_errno(returned, "ibv_destroy_ah", || "destroy address handle".into()));
    }
}

/// The way to `gid` from `port`, in C's layout.
pub(crate) fn address_of(port: &Port, gid: Ipv6Addr) -> ibv_ah_attr {
    /// As CM has it on RoCE.
    const HOP_LIMIT: u8 = 64;
    let mut address = no_attributes().ah_attr;
    address.is_global = 1;
    address.port_num = port.number;
    address.grh.dgid = ibv_gid { raw: gid.octets() };
    address.grh.sgid_index = port.gid_index;
    address.grh.hop_limit = HOP_LIMIT;
    address
}
