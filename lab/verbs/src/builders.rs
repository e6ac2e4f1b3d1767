//! Queue pairs and work requests, built from what differs between them; the rest is fixed to what works everywhere.
//!
//! Fixed: RC, no inline data (rxe of rdma-core 44 gets it wrong), a completion only for signalled work requests, of which
//! all are. Classic verbs only: `rdma-sys` finds no extended ones.

use std::fmt;
use std::sync::Arc;

use crate::completion::{Completion, WrOpcode};
use crate::device::{CompletionQueue, Device, ProtectionDomain};
use crate::error::{Error, Result};
use crate::mem::MemoryRegion;
use crate::private_data::RemoteRegion;
use crate::qp::QueuePair;

/// Told of each completion as it is taken.
pub type Observer = Arc<dyn Fn(&Completion) + Send + Sync>;

/// Builds an [`Endpoint`](crate::ops::Endpoint): a queue pair with its own protection domain, completion queue and channel.
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

    pub(crate) fn observer_of_completions(&self) -> Observer {
        Arc::clone(&self.observer)
    }

    /// Builds everything on `device`.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_alloc_pd`, `ibv_create_comp_channel`, `ibv_create_cq`, `rdma_create_qp` or
    /// `ibv_create_qp`: ENODEV if an identifier is bound to no device, ENOMEM, EINVAL for queues longer than the device
    /// has.
    pub(crate) fn build(&self, device: Device) -> Result<QueuePair> {
        let pd = ProtectionDomain::alloc(device)?;
        // Room for every work request's completion: the queue cannot overflow.
        let entries = self.max_send_wr.saturating_add(self.max_recv_wr);
        let cq = CompletionQueue::create(pd.device(), entries)?;
        QueuePair::create(pd, cq, self.max_send_wr, self.max_recv_wr)
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

    /// Copies its bytes out. They mean something only after a synchronising event.
    ///
    /// # Errors
    ///
    /// None: a range lies within its region.
    pub fn copy_out(&self) -> Result<Vec<u8>> {
        self.region.copy_out(self.offset, self.length_bytes as usize)
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
    /// Of the operations that name the peer's memory.
    pub(crate) remote: Option<RemoteRegion>,
    /// Host order.
    pub(crate) imm: Option<u32>,
    pub(crate) operands: Operands,
}

/// The operands of an atomic operation; zeros for all others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operands {
    /// What is added, or compared with.
    pub(crate) compare_add: u64,
    pub(crate) swap: u64,
}

/// Length of what an atomic operation works on, in bytes; its address is a multiple of it.
pub const ATOMIC_BYTES: usize = 8;

impl SendRequest {
    fn new(opcode: WrOpcode, local: RegionRange, remote: Option<&RemoteRegion>) -> Self {
        Self { opcode, local, remote: remote.copied(), imm: None, operands: Operands::default() }
    }

    /// WRITE: `local` to the start of `remote`.
    #[must_use]
    pub fn write(local: RegionRange, remote: &RemoteRegion) -> Self {
        Self::new(WrOpcode::RdmaWrite, local, Some(remote))
    }

    /// WRITE with immediate: `local` to the start of `remote`, and `imm`, in host order, to a RECV of the peer.
    #[must_use]
    pub fn write_with_imm(local: RegionRange, remote: &RemoteRegion, imm: u32) -> Self {
        Self { imm: Some(imm), ..Self::new(WrOpcode::RdmaWriteWithImm, local, Some(remote)) }
    }

    /// READ: the start of `remote` into `local`.
    #[must_use]
    pub fn read(local: RegionRange, remote: &RemoteRegion) -> Self {
        Self::new(WrOpcode::RdmaRead, local, Some(remote))
    }

    /// SEND: `local` to a RECV of the peer.
    #[must_use]
    pub fn send(local: RegionRange) -> Self {
        Self::new(WrOpcode::Send, local, None)
    }

    /// SEND with immediate: `local` and `imm`, in host order, to a RECV of the peer.
    #[must_use]
    pub fn send_with_imm(local: RegionRange, imm: u32) -> Self {
        Self { imm: Some(imm), ..Self::new(WrOpcode::SendWithImm, local, None) }
    }

    /// CmpSwap: if the 8 bytes at `remote` equal `compare`, they become `swap`; what they were comes into `local`, in
    /// host order.
    #[must_use]
    pub fn cmp_swap(local: RegionRange, remote: &RemoteRegion, compare: u64, swap: u64) -> Self {
        let operands = Operands { compare_add: compare, swap };
        Self { operands, ..Self::new(WrOpcode::AtomicCmpAndSwp, local, Some(remote)) }
    }

    /// FetchAdd: adds `add` to the 8 bytes at `remote`, wrapping; what they were comes into `local`, in host order.
    #[must_use]
    pub fn fetch_add(local: RegionRange, remote: &RemoteRegion, add: u64) -> Self {
        let operands = Operands { compare_add: add, swap: 0 };
        Self { operands, ..Self::new(WrOpcode::AtomicFetchAndAdd, local, Some(remote)) }
    }
}
