//! Queue pairs and work requests, built from what differs between them; the rest is fixed to what works everywhere.
//!
//! Fixed: RC, no inline data (rxe of rdma-core 44 gets it wrong), a completion only for signalled work requests, of which
//! all are. Classic verbs only: `rdma-sys` finds no extended ones.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use rdma_sys::{ibv_qp, ibv_qp_cap, ibv_qp_init_attr, ibv_qp_type};

use crate::cm::CmId;
use crate::completion::{Completion, WrOpcode};
use crate::device::{CompletionQueue, ProtectionDomain};
use crate::error::{Error, Result};
use crate::mem::MemoryRegion;
use crate::ops::Endpoint;
use crate::private_data::RemoteRegion;
use crate::sys;

/// Told of each completion as it is taken.
pub type Observer = Arc<dyn Fn(&Completion) + Send + Sync>;

/// Builds an [`Endpoint`]: a queue pair with its own protection domain, completion queue and channel.
#[derive(Clone)]
pub struct QueuePairBuilder {
    max_send_wr: u32,
    max_recv_wr: u32,
    observer: Observer,
}

impl Default for QueuePairBuilder {
    fn default() -> Self {
        Self { max_send_wr: 1, max_recv_wr: 1, observer: Arc::new(|_| {}) }
    }
}

impl fmt::Debug for QueuePairBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuePairBuilder")
            .field("max_send_wr", &self.max_send_wr)
            .field("max_recv_wr", &self.max_recv_wr)
            .finish_non_exhaustive()
    }
}

impl QueuePairBuilder {
    /// Room for one work request on each queue, and nobody told of completions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many work requests the send queue holds.
    #[must_use]
    pub fn max_send_wr(mut self, count: u32) -> Self {
        self.max_send_wr = count;
        self
    }

    /// Sets how many RECVs the receive queue holds.
    #[must_use]
    pub fn max_recv_wr(mut self, count: u32) -> Self {
        self.max_recv_wr = count;
        self
    }

    /// Sets who is told of each completion.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Completion) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Builds everything on the device of `id`, which must be bound to one.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_alloc_pd`, `ibv_create_comp_channel`, `ibv_create_cq` or `rdma_create_qp`: ENODEV if
    /// `id` is bound to no device, ENOMEM, EINVAL for queues longer than the device has.
    pub(crate) fn build(&self, id: &Arc<CmId>) -> Result<Endpoint> {
        let pd = ProtectionDomain::alloc(id)?;
        // Room for every work request's completion: the queue cannot overflow.
        let cq = CompletionQueue::create(id, self.max_send_wr.saturating_add(self.max_recv_wr))?;
        let qp = QueuePair::create(pd, cq, self.max_send_wr, self.max_recv_wr)?;
        Ok(Endpoint::new(qp, Arc::clone(&self.observer)))
    }
}

/// A reliably connected queue pair, owned by its identifier in librdmacm and by this value here.
#[derive(Debug)]
pub(crate) struct QueuePair {
    raw: NonNull<ibv_qp>,
    number: u32,
    cq: Arc<CompletionQueue>,
    pd: Arc<ProtectionDomain>,
}

// SAFETY: libibverbs is thread-safe; the pointer is used only in calls to it, and the object is freed once, on drop.
unsafe impl Send for QueuePair {}
// SAFETY: as for Send; providers lock a queue pair's queues themselves.
unsafe impl Sync for QueuePair {}

impl QueuePair {
    fn create(
        pd: Arc<ProtectionDomain>,
        cq: Arc<CompletionQueue>,
        max_send_wr: u32,
        max_recv_wr: u32,
    ) -> Result<Self> {
        let mut attr = ibv_qp_init_attr {
            qp_context: std::ptr::null_mut(),
            send_cq: cq.as_ptr(),
            recv_cq: cq.as_ptr(),
            srq: std::ptr::null_mut(),
            cap: ibv_qp_cap {
                max_send_wr,
                max_recv_wr,
                max_send_sge: 1,
                max_recv_sge: 1,
                max_inline_data: 0,
            },
            qp_type: ibv_qp_type::IBV_QPT_RC,
            sq_sig_all: 0,
        };
        let action =
            || format!("create RC queue pair of {max_send_wr} send and {max_recv_wr} receive requests");
        let id = pd.id().as_ptr();
        // SAFETY: identifier, domain and queue are alive and on one device; the queue pair keeps all three: we store the Arcs
        // of `pd`, which has the identifier's, and of `cq`. `attr` lives through the call.
        let returned = unsafe { rdma_sys::rdma_create_qp(id, pd.as_ptr(), &raw mut attr) };
        sys::check_minus_one(returned, "rdma_create_qp", action)?;
        // SAFETY: the identifier is alive, and the call above has set its queue pair.
        let raw = unsafe { (*id).qp };
        let raw = sys::check_null(raw, "rdma_create_qp", action)?;
        // SAFETY: the queue pair was just created.
        let number = unsafe { (*raw.as_ptr()).qp_num };
        tracing::debug!("rdma_create_qp: RC, qp {number}, {max_send_wr} send, {max_recv_wr} recv");
        Ok(Self { raw, number, cq, pd })
    }

    pub(crate) fn as_ptr(&self) -> *mut ibv_qp {
        self.raw.as_ptr()
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn cq(&self) -> &CompletionQueue {
        &self.cq
    }

    pub(crate) fn pd(&self) -> &Arc<ProtectionDomain> {
        &self.pd
    }

    pub(crate) fn id(&self) -> &CmId {
        self.pd.id()
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ibv_create_qp` through `rdma_create_qp` on this identifier and is freed once, here, by the
        // counterpart of that call; queue, domain and identifier are alive (our fields).
        unsafe { rdma_sys::rdma_destroy_qp(self.id().as_ptr()) };
    }
}

/// A range of a memory region, kept alive with it.
#[derive(Clone, Debug)]
pub struct RegionRange {
    region: Arc<MemoryRegion>,
    offset: usize,
    length_bytes: u32,
}

impl RegionRange {
    /// `length_bytes` bytes of `region`, from `offset` on.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] if they do not lie within it, or are more than a message holds (32 bits).
    pub fn new(region: &Arc<MemoryRegion>, offset: usize, length_bytes: usize) -> Result<Self> {
        region.check_range(offset, length_bytes)?;
        let Ok(length) = u32::try_from(length_bytes) else {
            let region_bytes = region.length_bytes();
            return Err(Error::Range { offset, length_bytes, region_bytes });
        };
        Ok(Self { region: Arc::clone(region), offset, length_bytes: length })
    }

    /// The whole of `region`.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] if it is larger than a message.
    pub fn whole(region: &Arc<MemoryRegion>) -> Result<Self> {
        Self::new(region, 0, region.length_bytes())
    }

    pub(crate) fn address(&self) -> u64 {
        self.region.address() + self.offset as u64
    }

    pub(crate) fn lkey(&self) -> u32 {
        self.region.lkey()
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length_bytes(&self) -> u32 {
        self.length_bytes
    }
}

/// A work request for the send queue.
#[derive(Clone, Debug)]
pub struct SendRequest {
    pub(crate) opcode: WrOpcode,
    pub(crate) local: RegionRange,
    pub(crate) remote_address: u64,
    pub(crate) rkey: u32,
    /// Host order.
    pub(crate) imm: Option<u32>,
}

impl SendRequest {
    /// WRITE: `local` to the start of `remote`.
    #[must_use]
    pub fn write(local: RegionRange, remote: &RemoteRegion) -> Self {
        Self {
            opcode: WrOpcode::RdmaWrite,
            local,
            remote_address: remote.address,
            rkey: remote.rkey,
            imm: None,
        }
    }

    /// WRITE with immediate: `local` to the start of `remote`, and `imm`, in host order, to a RECV of the peer.
    #[must_use]
    pub fn write_with_imm(local: RegionRange, remote: &RemoteRegion, imm: u32) -> Self {
        Self { opcode: WrOpcode::RdmaWriteWithImm, imm: Some(imm), ..Self::write(local, remote) }
    }

    /// READ: the start of `remote` into `local`.
    #[must_use]
    pub fn read(local: RegionRange, remote: &RemoteRegion) -> Self {
        Self { opcode: WrOpcode::RdmaRead, ..Self::write(local, remote) }
    }
}
