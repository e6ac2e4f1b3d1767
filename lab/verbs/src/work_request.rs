//! Work requests, built from what differs between them; the rest is fixed to what works everywhere.
//!
//! Fixed: at most one scatter/gather entry, no inline data, all are signalled.

use std::mem;
use std::sync::Arc;

use crate::completion::WrOpcode;
use crate::error::{Error, Result};
use crate::extended::FlushTerms;
use crate::mr::{Access, MemoryRegion};
use crate::mw::MemoryWindow;
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

    /// The region, and where in it the range begins, in bytes.
    pub(crate) fn place(&self) -> (&Arc<MemoryRegion>, usize) {
        (&self.region, self.offset)
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
    pub(crate) local: Option<RegionRange>,
    /// Of the operations that name the peer's memory.
    pub(crate) remote: Option<RemoteRegion>,
    /// Host order.
    pub(crate) imm: Option<u32>,
    /// The key that the operation makes invalid.
    pub(crate) invalidated: Option<u32>,
    pub(crate) operands: Operands,
    pub(crate) bind: Option<WindowBind>,
}

/// A bind of a memory window.
#[derive(Clone, Debug)]
pub(crate) struct WindowBind {
    pub(crate) window: Arc<MemoryWindow>,
    pub(crate) range: RegionRange,
    pub(crate) access: Access,
}

/// The operands of an atomic operation; zeros for most others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operands {
    /// Addend, or the number compared with; of a FLUSH the length in bytes, of an ATOMIC WRITE the number.
    pub(crate) compare_add: u64,
    /// Of a FLUSH its terms.
    pub(crate) swap: u64,
}

/// The reach of a FLUSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushPlacement {
    /// Data is visible to all of the peer's host.
    Global,
    /// Data survives a loss of power: of persistent memory alone.
    Persistent,
}

/// The part of the peer's memory that a FLUSH is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushPart {
    /// These many bytes from the start of what is named.
    Range(u64),
    /// The whole region that the key is of.
    Region,
}

impl Operands {
    /// The operands of a FLUSH.
    pub(crate) fn flush(placement: FlushPlacement, part: FlushPart) -> Self {
        let placement = match placement {
            FlushPlacement::Global => 1 << 0,
            FlushPlacement::Persistent => 1 << 1,
        };
        let (selectivity, length_bytes) = match part {
            FlushPart::Range(length_bytes) => (0, length_bytes),
            FlushPart::Region => (1, 0),
        };
        Self { compare_add: length_bytes, swap: FlushTerms { placement, selectivity }.operand() }
    }
}

/// A request for the send queue in C's layout, without its number, its flags and its local data. `imm` is in host order.
pub(crate) fn send_wr(
    opcode: WrOpcode,
    remote: Option<RemoteRegion>,
    imm: Option<u32>,
    invalidated: Option<u32>,
    Operands { compare_add, swap }: Operands,
) -> ibv_send_wr {
    // SAFETY: the structure is integers, pointers that may be null, and unions of them: all zeros is a valid value.
    let mut wr = unsafe { mem::zeroed::<ibv_send_wr>() };
    wr.opcode = opcode.raw();
    if let Some(imm) = imm {
        wr.imm_data_invalidated_rkey_union.imm_data = imm.to_be();
    }
    if let Some(rkey) = invalidated {
        wr.imm_data_invalidated_rkey_union.invalidated_rkey = rkey;
    }
    let (remote_addr, rkey) = remote.map_or((0, 0), |remote| (remote.address, remote.rkey));
    match opcode {
        WrOpcode::AtomicCmpAndSwp | WrOpcode::AtomicFetchAndAdd | WrOpcode::Flush => {
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
        Self { local: Some(local), ..Self::without_data(opcode, remote) }
    }

    fn without_data(opcode: WrOpcode, remote: Option<&RemoteRegion>) -> Self {
        let (remote, operands) = (remote.copied(), Operands::default());
        Self { opcode, local: None, remote, imm: None, invalidated: None, operands, bind: None }
    }

    /// The operation.
    #[must_use]
    pub fn opcode(&self) -> WrOpcode {
        self.opcode
    }

    /// The local memory of the operations that have some: source, or sink of a READ or atomic.
    #[must_use]
    pub fn local(&self) -> Option<&RegionRange> {
        self.local.as_ref()
    }

    /// Payload in bytes; of a FLUSH the range that it is for.
    #[must_use]
    pub fn length_bytes(&self) -> u32 {
        match self.opcode {
            WrOpcode::AtomicWrite => ATOMIC_BYTES as u32,
            // As its request on the wire names it.
            WrOpcode::Flush => u32::try_from(self.operands.compare_add).unwrap_or(u32::MAX),
            _ => self.local.as_ref().map_or(0, RegionRange::length_bytes),
        }
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

    /// SEND with Invalidate: `local` to a RECV of the peer, whose memory window with the key `rkey` is bound no longer
    /// when it arrives.
    #[must_use]
    pub fn send_with_invalidate(local: RegionRange, rkey: u32) -> Self {
        Self { invalidated: Some(rkey), ..Self::new(WrOpcode::SendWithInv, local, None) }
    }

    /// Local invalidation: this side's memory window with the key `rkey` is bound no longer. Of windows of type 2.
    #[must_use]
    pub fn local_invalidate(rkey: u32) -> Self {
        Self { invalidated: Some(rkey), ..Self::without_data(WrOpcode::LocalInv, None) }
    }

    /// Bind of a memory window: a peer may access `range` as `access` says, by the key that [`MemoryWindow::announce`] tells
    /// once it was posted. The region needs [`Access::bind_windows`]. A window of type 2 is bound to the queue pair that it
    /// is posted to, and must not be bound yet.
    #[must_use]
    pub fn bind(window: &Arc<MemoryWindow>, range: RegionRange, access: Access) -> Self {
        let bind = WindowBind { window: Arc::clone(window), range, access };
        Self { bind: Some(bind), ..Self::without_data(WrOpcode::BindMw, None) }
    }

    /// FLUSH: completes when the WRITEs before it have reached `placement` in `part` of `remote`. Of queue pairs that were
    /// created for it.
    #[must_use]
    pub fn flush(remote: &RemoteRegion, placement: FlushPlacement, part: FlushPart) -> Self {
        let operands = Operands::flush(placement, part);
        Self { operands, ..Self::without_data(WrOpcode::Flush, Some(remote)) }
    }

    /// ATOMIC WRITE: `number` becomes the 8 bytes at `remote`, in host order, all at once. Of queue pairs that were created
    /// for it.
    #[must_use]
    pub fn atomic_write(remote: &RemoteRegion, number: u64) -> Self {
        let operands = Operands { compare_add: number, swap: 0 };
        Self { operands, ..Self::without_data(WrOpcode::AtomicWrite, Some(remote)) }
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
