//! Extended verbs: queue pairs that post by `ibv_wr_*`, and the attributes that only the extended query tells.
//!
//! C has these as inline functions, which go through tables of function pointers: of the context, whose extended part lies
//! in front of it, and of the queue pair. rdma-sys's own versions look for the extended part by a number that no context
//! has, hence these. Source: `infiniband/verbs.h` of rdma-core 44 and 56, `ibv_wr_post(3)`, `ibv_create_qp_ex(3)`.

use std::ffi::{c_int, c_void};
use std::mem::{self, offset_of};
use std::ptr::{self, NonNull};

use crate::completion::WrOpcode;
use crate::error::{Error, Result};
use crate::rdma_sys::{
    ibv_context, ibv_device_attr_ex, ibv_qp, ibv_qp_ex, ibv_qp_init_attr, ibv_qp_init_attr_ex,
    ibv_send_flags, ibv_send_wr, verbs_context,
};
use crate::{rdma_sys, sys};

/// Operations that a queue pair can post by `ibv_wr_*`. Without any it is a classic one, which posts by `ibv_post_send`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOperations(u64);

impl SendOperations {
    /// Operations that every provider of `ibv_wr_*` has for reliable connections, invalidation and windows included.
    pub const RELIABLE: Self = Self(0x3ff);

    /// The set of these operations; those that `ibv_wr_*` has not are left out.
    #[must_use]
    pub fn of(operations: &[WrOpcode]) -> Self {
        Self(operations.iter().fold(0, |bits, operation| bits | Self::bit(*operation)))
    }

    /// The set with these operations added.
    #[must_use]
    pub fn with(self, operations: &[WrOpcode]) -> Self {
        Self(self.0 | Self::of(operations).0)
    }

    /// True if there is none: a classic queue pair.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True if `operation` is among them.
    #[must_use]
    pub fn contains(self, operation: WrOpcode) -> bool {
        let bit = Self::bit(operation);
        bit != 0 && self.0 & bit == bit
    }

    /// The operation's bit of `enum ibv_qp_create_send_ops_flags`; zero without one.
    fn bit(operation: WrOpcode) -> u64 {
        match operation {
            WrOpcode::Unknown(_) => 0,
            WrOpcode::Flush => 1 << 11,
            WrOpcode::AtomicWrite => 1 << 12,
            // Up to SEND with Invalidate they are numbered alike.
            other => 1 << other.raw(),
        }
    }
}

/// The part of a queue pair that `ibv_wr_*` work on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtendedQueue {
    raw: NonNull<ibv_qp_ex>,
    operations: SendOperations,
}

impl ExtendedQueue {
    /// The extended part of `qp`, which was created with `operations` (`ibv_qp_to_qp_ex`).
    ///
    /// # Safety
    ///
    /// The queue pair is alive, was created by `ibv_create_qp_ex` or `rdma_create_qp_ex` with the bits of `operations`, and
    /// outlives the value.
    pub(crate) unsafe fn of(qp: NonNull<ibv_qp>, operations: SendOperations) -> Result<Self> {
        // SAFETY: the queue pair is alive (the caller's promise).
        let raw = unsafe { rdma_sys::ibv_qp_to_qp_ex(qp.as_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| {
            Error::verb("find the extended part of a queue pair", "ibv_qp_to_qp_ex", libc::EOPNOTSUPP)
        })?;
        Ok(Self { raw, operations })
    }

    pub(crate) fn operations(&self) -> SendOperations {
        self.operations
    }

    /// Posts the requests from `head` on (`ibv_wr_start`, an `ibv_wr_*` for each, `ibv_wr_complete`): all of them or none.
    ///
    /// # Safety
    ///
    /// The queue pair is alive and nobody else posts to its send queue meanwhile. `head` leads through `next` to whole
    /// requests, whose entries, windows and address handles are alive, and whose memory outlives their completion, or is
    /// inline and read here. An ATOMIC WRITE has one entry, of 8 bytes of this process. FLUSH has its terms in the
    /// operands of an atomic.
    pub(crate) unsafe fn post(&self, head: *const ibv_send_wr) -> Result<()> {
        // SAFETY: the requests are alive (the caller's promise).
        if let Some(missing) = unsafe { requests(head) }.find(|wr| !self.operations.contains(opcode(wr))) {
            let action = format!("post {}, which the queue pair was not created for", opcode(missing));
            return Err(Error::verb(action, "ibv_wr_start", libc::EOPNOTSUPP));
        }
        let qp = self.raw.as_ptr();
        let entries = WrFunctions::of(self.raw);
        // SAFETY: the queue pair is alive and ours alone (the caller's promise), and a provider fills this entry of each
        // extended one.
        unsafe { rdma_sys::ibv_wr_start(qp) };
        // SAFETY: as `requests` above.
        for wr in unsafe { requests(head) } {
            // SAFETY: the queue is started and ours alone; the rest is the caller's promise.
            if !unsafe { entries.build(wr) } {
                // SAFETY: as `ibv_wr_start`, which this call ends.
                unsafe { rdma_sys::ibv_wr_abort(qp) };
                let action = format!("post {}, for which the provider has no function", opcode(wr));
                return Err(Error::verb(action, "ibv_wr_start", libc::EOPNOTSUPP));
            }
        }
        // SAFETY: as `ibv_wr_start`, which this call ends whatever it returns.
        let returned = unsafe { rdma_sys::ibv_wr_complete(qp) };
        sys::check_errno(returned, "ibv_wr_complete", || "post work requests".into())
    }
}

/// True if a failed post by `ibv_wr_*` has certainly posted nothing: the errors of building it. Others may be of the
/// doorbell, which comes last.
pub(crate) fn has_posted_nothing(error: &Error) -> bool {
    let of_building = [libc::ENOMEM, libc::ENOSPC, libc::EOPNOTSUPP];
    matches!(error, Error::Verb { errno, .. } if of_building.contains(errno))
}

/// The requests of a linked list.
///
/// # Safety
///
/// `head` is null, or leads through `next` to whole requests that outlive the iterator's use.
unsafe fn requests<'list>(head: *const ibv_send_wr) -> impl Iterator<Item = &'list ibv_send_wr> {
    // SAFETY: null, or a whole request (the caller's promise); so is what its `next` leads to.
    let of = |wr: *const ibv_send_wr| unsafe { wr.as_ref() };
    std::iter::successors(of(head), move |wr| of(wr.next))
}

fn opcode(wr: &ibv_send_wr) -> WrOpcode {
    WrOpcode::from_raw(wr.opcode)
}

/// C's functions of one extended queue pair, and the queue pair.
struct WrFunctions {
    qp: *mut ibv_qp_ex,
}

/// Entry of FLUSH: key, address, length, type, level.
type FlushEntry = Option<unsafe extern "C" fn(*mut ibv_qp_ex, u32, u64, usize, u8, u8)>;
/// Entry of ATOMIC WRITE: key, address, the 8 bytes.
type AtomicWriteEntry = Option<unsafe extern "C" fn(*mut ibv_qp_ex, u32, u64, *const c_void)>;

/// Calls one entry of the table of a queue pair; false if the provider has left it empty.
macro_rules! entry {
    ($qp:expr, $entry:expr, $($argument:expr),*) => {
        match $entry {
            Some(function) => {
                // SAFETY: the entry is the provider's own function for this queue pair, which is started and ours alone, and
                // what it is given is alive (the promise of `ExtendedQueue::post`'s caller): numbers, or pointers that it
                // reads before it returns.
                unsafe { function($qp, $($argument),*) };
                true
            }
            None => false,
        }
    };
}

impl WrFunctions {
    fn of(qp: NonNull<ibv_qp_ex>) -> Self {
        Self { qp: qp.as_ptr() }
    }

    /// An entry behind those that the oldest header has, counted from `wr_abort` on.
    ///
    /// # Safety
    ///
    /// The library that made the queue pair has that entry, of type `T`.
    unsafe fn behind_abort<T: Copy>(&self, count: usize) -> T {
        let offset = offset_of!(ibv_qp_ex, wr_abort) + count * size_of::<usize>();
        // SAFETY: entries are only ever added at the end, so its place is the same in each version that has it, and the
        // queue pair, alive, is as long as its library's version makes it.
        unsafe { self.qp.wrapping_byte_add(offset).cast::<T>().read() }
    }

    /// Builds one request; false if the provider has no function for it.
    ///
    /// # Safety
    ///
    /// As for [`ExtendedQueue::post`], between `ibv_wr_start` and `ibv_wr_complete`; the queue pair was created for the
    /// operation.
    unsafe fn build(&self, wr: &ibv_send_wr) -> bool {
        let qp = self.qp;
        // SAFETY: the queue pair is alive and ours alone.
        let table = unsafe { &mut *qp };
        (table.wr_id, table.wr_flags) = (wr.wr_id, wr.send_flags);
        // SAFETY: all members of this union are plain numbers and pointers, of which any bytes are valid.
        let rdma = unsafe { wr.wr.rdma };
        // SAFETY: as above.
        let atomic = unsafe { wr.wr.atomic };
        // SAFETY: both members are 32-bit integers: an immediate in network order, or an rkey.
        let imm_or_rkey = unsafe { wr.imm_data_invalidated_rkey_union.imm_data };
        let (rkey, address) = (rdma.rkey, rdma.remote_addr);
        match opcode(wr) {
            WrOpcode::RdmaWrite => entry!(qp, table.wr_rdma_write, rkey, address) && self.data(wr),
            WrOpcode::RdmaWriteWithImm => {
                entry!(qp, table.wr_rdma_write_imm, rkey, address, imm_or_rkey) && self.data(wr)
            }
            WrOpcode::RdmaRead => entry!(qp, table.wr_rdma_read, rkey, address) && self.data(wr),
            WrOpcode::Send => entry!(qp, table.wr_send,) && self.data(wr),
            WrOpcode::SendWithImm => entry!(qp, table.wr_send_imm, imm_or_rkey) && self.data(wr),
            WrOpcode::SendWithInv => entry!(qp, table.wr_send_inv, imm_or_rkey) && self.data(wr),
            WrOpcode::LocalInv => entry!(qp, table.wr_local_inv, imm_or_rkey),
            WrOpcode::AtomicCmpAndSwp => {
                let (compare, swap) = (atomic.compare_add, atomic.swap);
                entry!(qp, table.wr_atomic_cmp_swp, atomic.rkey, atomic.remote_addr, compare, swap)
                    && self.data(wr)
            }
            WrOpcode::AtomicFetchAndAdd => {
                entry!(qp, table.wr_atomic_fetch_add, atomic.rkey, atomic.remote_addr, atomic.compare_add)
                    && self.data(wr)
            }
            WrOpcode::BindMw => {
                // SAFETY: as the union above.
                let bind = unsafe { wr.bind_mw_tso_union.bind_mw };
                entry!(qp, table.wr_bind_mw, bind.mw, bind.rkey, ptr::from_ref(&bind.bind_info))
            }
            WrOpcode::AtomicWrite => {
                // SAFETY: a library that has created a queue pair for ATOMIC WRITE has its entry, the first added.
                let entry = unsafe { self.behind_abort::<AtomicWriteEntry>(1) };
                // SAFETY: the request has its one entry (the caller's promise).
                let bytes = unsafe { (*wr.sg_list).addr } as usize;
                entry!(qp, entry, rkey, address, ptr::with_exposed_provenance(bytes))
            }
            WrOpcode::Flush => {
                // SAFETY: as above; its entry is the second added.
                let entry = unsafe { self.behind_abort::<FlushEntry>(2) };
                let terms = FlushTerms::of_operands(atomic.swap);
                let length = atomic.compare_add as usize;
                entry!(qp, entry, atomic.rkey, atomic.remote_addr, length, terms.placement, terms.selectivity)
            }
            WrOpcode::Unknown(_) => false,
        }
    }

    /// Sets the local data, and the receiver of a datagram, of the request that was just built.
    fn data(&self, wr: &ibv_send_wr) -> bool {
        let qp = self.qp;
        // SAFETY: the queue pair is alive and ours alone, as in `build`, which calls this.
        let table = unsafe { &*qp };
        // SAFETY: the queue pair is alive; its type was set by its creation.
        if unsafe { (*qp).qp_base.qp_type } == rdma_sys::ibv_qp_type::IBV_QPT_UD {
            // SAFETY: all members of this union are plain numbers and pointers.
            let ud = unsafe { wr.wr.ud };
            if !entry!(qp, table.wr_set_ud_addr, ud.ah, ud.remote_qpn, ud.remote_qkey) {
                return false;
            }
        }
        let count = usize::try_from(wr.num_sge).unwrap_or(0);
        if count == 0 {
            return true;
        }
        // SAFETY: a request's list has as many entries as it says (the caller's promise).
        let entries = unsafe { std::slice::from_raw_parts(wr.sg_list, count) };
        let is_inline = wr.send_flags & ibv_send_flags::IBV_SEND_INLINE.0 != 0;
        match entries {
            [one] if is_inline => {
                let bytes = ptr::with_exposed_provenance_mut::<c_void>(one.addr as usize);
                entry!(qp, table.wr_set_inline_data, bytes, one.length as usize)
            }
            // By itself, since the list's call of rxe in rdma-core 44 has another length.
            [one] => entry!(qp, table.wr_set_sge, one.lkey, one.addr, one.length),
            many => entry!(qp, table.wr_set_sge_list, many.len(), many.as_ptr()),
        }
    }
}

/// Terms of a FLUSH as its two bytes have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlushTerms {
    /// Bits of `enum ibv_placement_type`.
    pub(crate) placement: u8,
    /// Number of `enum ibv_selectivity_level`.
    pub(crate) selectivity: u8,
}

impl FlushTerms {
    /// The terms as an operand of a request, which has no member for them.
    pub(crate) fn operand(self) -> u64 {
        u64::from(self.placement) | u64::from(self.selectivity) << 8
    }

    fn of_operands(operand: u64) -> Self {
        let [placement, selectivity, ..] = operand.to_le_bytes();
        Self { placement, selectivity }
    }
}

/// The extended part of a context, which lies around it; `None` if its library is too old for one.
///
/// # Safety
///
/// The context is open.
unsafe fn extended_context(context: *mut ibv_context) -> Option<NonNull<verbs_context>> {
    // SAFETY: the context is open (the caller's promise).
    let mark = unsafe { (*context).abi_compat };
    if mark.addr() != usize::MAX {
        return None;
    }
    NonNull::new(context.wrapping_byte_sub(offset_of!(verbs_context, context)).cast())
}

/// An entry of the extended part of a context, if its library has it.
macro_rules! context_entry {
    ($context:expr, $entry:ident) => {{
        // SAFETY: the context is open (the caller's promise).
        unsafe { extended_context($context) }.and_then(|extended| {
            // SAFETY: the mark said that the extended part is there; its length is its last member but the context.
            let length = unsafe { (*extended.as_ptr()).sz };
            // Members are added in front, so that what is missing of an older one is its beginning.
            if length < size_of::<verbs_context>() - offset_of!(verbs_context, $entry) {
                return None;
            }
            // SAFETY: it is long enough for this member.
            unsafe { (*extended.as_ptr()).$entry }
        })
    }};
}

/// Creates a queue pair that posts by `ibv_wr_*` (`ibv_create_qp_ex`).
///
/// # Safety
///
/// The context is open, and `attr` a whole structure whose parts are alive.
pub(crate) unsafe fn create_qp_ex(
    context: *mut ibv_context,
    attr: &mut ibv_qp_init_attr_ex,
    action: impl FnOnce() -> String,
) -> Result<NonNull<ibv_qp>> {
    const CALL: &str = "ibv_create_qp_ex";
    let Some(function) = context_entry!(context, create_qp_ex) else {
        return Err(Error::verb(action(), CALL, libc::EOPNOTSUPP));
    };
    // SAFETY: the entry is the library's own function for this context; the rest is the caller's promise.
    let raw = unsafe { function(context, attr) };
    sys::check_null(raw, CALL, action)
}

/// Asks for a device's extended attributes (`ibv_query_device_ex`); returns the error number.
///
/// # Safety
///
/// The context is open.
pub(crate) unsafe fn query_device_ex(context: *mut ibv_context, attr: &mut ibv_device_attr_ex) -> c_int {
    match context_entry!(context, query_device_ex) {
        // SAFETY: the entry is the library's own function for this context; it fills as much of `attr` as we say there is.
        Some(function) => unsafe { function(context, ptr::null(), attr, size_of::<ibv_device_attr_ex>()) },
        None => libc::EOPNOTSUPP,
    }
}

/// The attributes of an extended queue pair: those of a classic one, its domain and its operations.
pub(crate) fn extended_attributes(
    classic: &ibv_qp_init_attr,
    pd: *mut rdma_sys::ibv_pd,
    operations: SendOperations,
) -> ibv_qp_init_attr_ex {
    const WITH_DOMAIN: u32 = 1 << 0;
    const WITH_OPERATIONS: u32 = 1 << 6;
    // SAFETY: the structure is integers and pointers that may be null: all zeros is a valid value.
    let mut attr = unsafe { mem::zeroed::<ibv_qp_init_attr_ex>() };
    (attr.send_cq, attr.recv_cq, attr.srq) = (classic.send_cq, classic.recv_cq, classic.srq);
    (attr.cap, attr.qp_type, attr.sq_sig_all) = (classic.cap, classic.qp_type, classic.sq_sig_all);
    (attr.comp_mask, attr.pd) = (WITH_DOMAIN | WITH_OPERATIONS, pd);
    attr.send_ops_flags = operations.0;
    attr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_the_header_s_bits() {
        use rdma_sys::ibv_qp_create_send_ops_flags as flags;
        let bit = |operation| SendOperations::of(&[operation]).0;
        assert_eq!(bit(WrOpcode::RdmaWrite), u64::from(flags::IBV_QP_EX_WITH_RDMA_WRITE.0));
        assert_eq!(bit(WrOpcode::Send), u64::from(flags::IBV_QP_EX_WITH_SEND.0));
        assert_eq!(bit(WrOpcode::RdmaRead), u64::from(flags::IBV_QP_EX_WITH_RDMA_READ.0));
        assert_eq!(bit(WrOpcode::LocalInv), u64::from(flags::IBV_QP_EX_WITH_LOCAL_INV.0));
        assert_eq!(bit(WrOpcode::BindMw), u64::from(flags::IBV_QP_EX_WITH_BIND_MW.0));
        assert_eq!(bit(WrOpcode::SendWithInv), u64::from(flags::IBV_QP_EX_WITH_SEND_WITH_INV.0));
        assert_eq!(bit(WrOpcode::Unknown(3)), 0);
        assert!(SendOperations::RELIABLE.contains(WrOpcode::SendWithInv));
        assert!(!SendOperations::RELIABLE.contains(WrOpcode::Flush));
        let more = SendOperations::RELIABLE.with(&[WrOpcode::Flush]);
        assert!(more.contains(WrOpcode::Flush) && !more.contains(WrOpcode::AtomicWrite));
        assert!(SendOperations::default().is_empty() && !more.is_empty());
    }

    #[test]
    fn terms_of_a_flush_pass_through_an_operand() {
        let terms = FlushTerms { placement: 3, selectivity: 1 };
        assert_eq!(FlushTerms::of_operands(terms.operand()), terms);
    }
}
