//! Work requests, built from what differs between them; the rest is fixed to what works everywhere.
//!
//! Fixed: one scatter/gather entry, no inline data (rxe of rdma-core 44 gets it wrong), all are signalled. Classic verbs
//! only: `rdma-sys` finds no extended ones.

use std::mem;
use std::sync::Arc;

use crate::completion::WrOpcode;
use crate::error::{Error, Result};
use crate::mr::MemoryRegion;
use crate::rdma_sys::{atomic_t, ibv_send_wr, rdma_t};
use crate::remote_region::RemoteRegion;

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

    /// Its virtual address.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.region.address() + self.offset as u64
    }

    /// Key of local work requests.
    #[must_use]
    pub fn lkey(&self) -> u32 {
        self.region.lkey()
    }

    /// Returns its first `length_bytes` bytes, or all if it is shorter.
    #[must_use]
    pub fn first(&self, length_bytes: u32) -> Self {
        Self { length_bytes: length_bytes.min(self.length_bytes), ..self.clone() }
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
    /// Addend, or the number compared with.
    pub(crate) compare_add: u64,
    pub(crate) swap: u64,
}

/// A request for the send queue in C's layout, without its number, its flags and its local data. `imm` is in host order.
pub(crate) fn send_wr(
    opcode: WrOpcode,
    remote: Option<RemoteRegion>,
    imm: Option<u32>,
    Operands { compare_add, swap }: Operands,
) -> ibv_send_wr {
    // SAFETY: the structure is integers, pointers that may be null, and unions of them: all zeros is a valid value.
    let mut wr = unsafe { mem::zeroed::<ibv_send_wr>() };
    wr.opcode = opcode.raw();
    if let Some(imm) = imm {
        wr.imm_data_invalidated_rkey_union.imm_data = imm.to_be();
    }
    let (remote_addr, rkey) = remote.map_or((0, 0), |remote| (remote.address, remote.rkey));
    match opcode {
        WrOpcode::AtomicCmpAndSwp | WrOpcode::AtomicFetchAndAdd => {
            wr.wr.atomic = atomic_t { remote_addr, compare_add, swap, rkey };
        }
        _ => wr.wr.rdma = rdma_t { remote_addr, rkey },
    }
    wr
}

/// Length of what an atomic operation works on, in bytes; its address is a multiple of it.
pub const ATOMIC_BYTES: usize = 8;

impl SendRequest {
    fn new(opcode: WrOpcode, local: RegionRange, remote: Option<&RemoteRegion>) -> Self {
        Self { opcode, local, remote: remote.copied(), imm: None, operands: Operands::default() }
    }

    /// The operation.
    #[must_use]
    pub fn opcode(&self) -> WrOpcode {
        self.opcode
    }

    /// The local memory: source, or sink of a READ or atomic.
    #[must_use]
    pub fn local(&self) -> &RegionRange {
        &self.local
    }

    /// The peer's memory, of the operations that name it.
    #[must_use]
    pub fn remote(&self) -> Option<&RemoteRegion> {
        self.remote.as_ref()
    }

    /// The immediate in host order, of the operations that have one.
    #[must_use]
    pub fn imm(&self) -> Option<u32> {
        self.imm
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
