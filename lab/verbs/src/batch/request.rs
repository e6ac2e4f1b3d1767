//! A work request of a list: its operation, its data and its flags.

use crate::batch::attached::{AttachedAddress, AttachedRange};
use crate::completion::WrOpcode;
use crate::rdma_sys::ibv_send_flags;
use crate::remote_region::RemoteRegion;
use crate::work_request::{ATOMIC_BYTES, FlushPart, FlushPlacement, Operands};

/// Local data of a work request.
#[derive(Clone, Copy, Debug)]
pub(super) enum LocalData<'data> {
    /// Memory that the device reads or writes, in this order.
    Gathered(&'data [AttachedRange]),
    /// Bytes that the call copies.
    Inline(&'data [u8]),
}

/// The receiver of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct DatagramTarget {
    /// The way to it.
    pub address: AttachedAddress,
    /// Number of its queue pair, 24 bits.
    pub qp_num: u32,
    /// Key that its queue pair takes datagrams with, 32 bits.
    pub q_key: u32,
}

/// The way to the one peer that a queue pair of datagrams was connected with.
#[derive(Clone, Copy, Debug)]
pub struct DatagramPath {
    /// The peer.
    pub target: DatagramTarget,
    /// The most bytes of a datagram: the path MTU.
    pub mtu_bytes: u32,
}

/// A work request for the send queue, to be put into a [`RequestList`](super::RequestList). Signalled unless
/// [`BatchRequest::unsignalled`].
#[derive(Clone, Copy, Debug)]
pub struct BatchRequest<'data> {
    pub(super) opcode: WrOpcode,
    pub(super) local: LocalData<'data>,
    pub(super) remote: Option<RemoteRegion>,
    pub(super) imm: Option<u32>,
    pub(super) invalidated: Option<u32>,
    pub(super) operands: Operands,
    pub(super) target: Option<DatagramTarget>,
    pub(super) flags: u32,
}

impl<'data> BatchRequest<'data> {
    fn new(opcode: WrOpcode, local: LocalData<'data>, remote: Option<&RemoteRegion>) -> Self {
        let flags = ibv_send_flags::IBV_SEND_SIGNALED.0
            | match local {
                LocalData::Gathered(_) => 0,
                LocalData::Inline(_) => ibv_send_flags::IBV_SEND_INLINE.0,
            };
        let (remote, operands) = (remote.copied(), Operands::default());
        Self { opcode, local, remote, imm: None, invalidated: None, operands, target: None, flags }
    }

    /// WRITE: the ranges of `local`, one after the other, to the start of `remote`.
    #[must_use]
    pub fn write(local: &'data [AttachedRange], remote: &RemoteRegion) -> Self {
        Self::new(WrOpcode::RdmaWrite, LocalData::Gathered(local), Some(remote))
    }

    /// WRITE of `bytes`, which the call copies, to the start of `remote`.
    #[must_use]
    pub fn write_inline(bytes: &'data [u8], remote: &RemoteRegion) -> Self {
        Self::new(WrOpcode::RdmaWrite, LocalData::Inline(bytes), Some(remote))
    }

    /// SEND: the ranges of `local`, one after the other, to a RECV of the peer.
    #[must_use]
    pub fn send(local: &'data [AttachedRange]) -> Self {
        Self::new(WrOpcode::Send, LocalData::Gathered(local), None)
    }

    /// SEND of `bytes`, which the call copies, to a RECV of the peer.
    #[must_use]
    pub fn send_inline(bytes: &'data [u8]) -> Self {
        Self::new(WrOpcode::Send, LocalData::Inline(bytes), None)
    }

    /// READ: the start of `remote` into the ranges of `local`, one after the other.
    #[must_use]
    pub fn read(local: &'data [AttachedRange], remote: &RemoteRegion) -> Self {
        Self::new(WrOpcode::RdmaRead, LocalData::Gathered(local), Some(remote))
    }

    /// FetchAdd: adds `add` to the 8 bytes at `remote`, wrapping; what they were comes into `local`, in host order.
    #[must_use]
    pub fn fetch_add(local: &'data [AttachedRange], remote: &RemoteRegion, add: u64) -> Self {
        let operands = Operands { compare_add: add, swap: 0 };
        Self { operands, ..Self::new(WrOpcode::AtomicFetchAndAdd, LocalData::Gathered(local), Some(remote)) }
    }

    /// CmpSwap: if the 8 bytes at `remote` equal `compare`, they become `swap`; what they were comes into `local`, in
    /// host order.
    #[must_use]
    pub fn cmp_swap(local: &'data [AttachedRange], remote: &RemoteRegion, compare: u64, swap: u64) -> Self {
        let operands = Operands { compare_add: compare, swap };
        Self { operands, ..Self::new(WrOpcode::AtomicCmpAndSwp, LocalData::Gathered(local), Some(remote)) }
    }

    /// Local invalidation: this side's memory window with the key `rkey` is bound no longer. Of windows of type 2.
    #[must_use]
    pub fn local_invalidate(rkey: u32) -> Self {
        Self { invalidated: Some(rkey), ..Self::new(WrOpcode::LocalInv, LocalData::Gathered(&[]), None) }
    }

    /// FLUSH: completes when the WRITEs before it have reached `placement` in `part` of `remote`. Of queue pairs that were
    /// created for it.
    #[must_use]
    pub fn flush(remote: &RemoteRegion, placement: FlushPlacement, part: FlushPart) -> Self {
        let operands = Operands::flush(placement, part);
        Self { operands, ..Self::new(WrOpcode::Flush, LocalData::Gathered(&[]), Some(remote)) }
    }

    /// ATOMIC WRITE: these bytes, which the call copies, become those at `remote`, all at once. Of queue pairs that were
    /// created for it.
    #[must_use]
    pub fn atomic_write(bytes: &'data [u8; ATOMIC_BYTES], remote: &RemoteRegion) -> Self {
        let made = Self::new(WrOpcode::AtomicWrite, LocalData::Inline(bytes), Some(remote));
        Self { flags: made.flags & !ibv_send_flags::IBV_SEND_INLINE.0, ..made }
    }

    /// Makes a SEND invalidate the peer's memory window with the key `rkey` when it arrives; other operations are left as
    /// they are.
    #[must_use]
    pub fn invalidating(mut self, rkey: u32) -> Self {
        if self.opcode == WrOpcode::Send {
            (self.opcode, self.invalidated) = (WrOpcode::SendWithInv, Some(rkey));
        }
        self
    }

    /// Adds an immediate, in host order, to a WRITE or SEND; other operations have none and are left as they are.
    #[must_use]
    pub fn with_imm(mut self, imm: u32) -> Self {
        match self.opcode {
            WrOpcode::RdmaWrite => self.opcode = WrOpcode::RdmaWriteWithImm,
            WrOpcode::Send => self.opcode = WrOpcode::SendWithImm,
            WrOpcode::RdmaWriteWithImm | WrOpcode::SendWithImm => {}
            _ => return self,
        }
        self.imm = Some(imm);
        self
    }

    /// Sends a SEND to `target`, as each of a queue pair of datagrams has to; of no account to connected ones and to other
    /// operations.
    #[must_use]
    pub fn to(mut self, target: DatagramTarget) -> Self {
        if matches!(self.opcode, WrOpcode::Send | WrOpcode::SendWithImm) {
            self.target = Some(target);
        }
        self
    }

    /// Asks for no completion if the request succeeds; the completion of a later one covers it. At least one in the
    /// length of the send queue must be signalled, or its places are never free again.
    #[must_use]
    pub fn unsignalled(mut self) -> Self {
        self.flags &= !ibv_send_flags::IBV_SEND_SIGNALED.0;
        self
    }

    /// Lets the request begin only when all READs and atomics before it are done (IBV_SEND_FENCE).
    #[must_use]
    pub fn fenced(mut self) -> Self {
        self.flags |= ibv_send_flags::IBV_SEND_FENCE.0;
        self
    }

    /// The operation.
    #[must_use]
    pub fn opcode(&self) -> WrOpcode {
        self.opcode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immediate_changes_the_operation_that_has_one() {
        let remote = RemoteRegion { address: 0x1000, rkey: 1, length_bytes: None };
        let write = BatchRequest::write(&[], &remote).with_imm(5);
        assert_eq!((write.opcode(), write.imm), (WrOpcode::RdmaWriteWithImm, Some(5)));
        let send = BatchRequest::send_inline(b"x").with_imm(5);
        assert_eq!((send.opcode(), send.imm), (WrOpcode::SendWithImm, Some(5)));
        let invalidating = BatchRequest::send_inline(b"x").invalidating(7);
        assert_eq!((invalidating.opcode(), invalidating.invalidated), (WrOpcode::SendWithInv, Some(7)));
        assert_eq!(write.invalidating(7).opcode(), WrOpcode::RdmaWriteWithImm);
        let read = BatchRequest::read(&[], &remote).with_imm(5);
        assert_eq!((read.opcode(), read.imm), (WrOpcode::RdmaRead, None));
    }

    #[test]
    fn flags_are_the_header_s() {
        assert_eq!(BatchRequest::send(&[]).flags, 2);
        assert_eq!(BatchRequest::send_inline(b"x").flags, 2 | 8);
        assert_eq!(BatchRequest::send_inline(b"x").unsignalled().flags, 8);
        assert_eq!(BatchRequest::send(&[]).unsignalled().fenced().flags, 1);
        let remote = RemoteRegion { address: 0x1000, rkey: 1, length_bytes: None };
        assert_eq!(BatchRequest::atomic_write(&[0; 8], &remote).flags, 2);
    }
}
