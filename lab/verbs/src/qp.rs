//! Reliably connected queue pairs: made by CM or by hand, brought into a state, looked at.
//!
//! Source: `rdma_create_qp(3)`, `ibv_create_qp(3)`, `ibv_modify_qp(3)`, `ibv_query_qp(3)`.

use std::mem;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdma_sys::{
    ibv_qp, ibv_qp_attr, ibv_qp_attr_mask, ibv_qp_cap, ibv_qp_init_attr, ibv_qp_state, ibv_qp_type,
};

use crate::deadline::Seconds;
use crate::device::{CompletionQueue, Device, ProtectionDomain};
use crate::error::Result;
use crate::sys;

/// A reliably connected queue pair. One that CM brings into its states belongs to its identifier in librdmacm, and to
/// this value here.
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
    pub(crate) fn create(
        pd: Arc<ProtectionDomain>,
        cq: Arc<CompletionQueue>,
        max_send_wr: u32,
        max_recv_wr: u32,
    ) -> Result<Self> {
        let mut attr = ibv_qp_init_attr {
            qp_context: ptr::null_mut(),
            send_cq: cq.as_ptr(),
            recv_cq: cq.as_ptr(),
            srq: ptr::null_mut(),
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
        let (call, raw) = match pd.device() {
            Device::Cm(id) => {
                let (id, call) = (id.as_ptr(), "rdma_create_qp");
                // SAFETY: identifier, domain and queue are alive and on one device; the queue pair keeps all three: we store
                // the Arcs of `pd`, which has the identifier's, and of `cq`. `attr` lives through the call.
                let returned = unsafe { rdma_sys::rdma_create_qp(id, pd.as_ptr(), &raw mut attr) };
                sys::check_minus_one(returned, call, action)?;
                // SAFETY: the identifier is alive, and the call above has set its queue pair.
                (call, unsafe { (*id).qp })
            }
            Device::Open(_) => {
                // SAFETY: domain and queue are alive and on one device, and kept by the queue pair: we store their Arcs;
                // `attr` lives through the call.
                ("ibv_create_qp", unsafe { rdma_sys::ibv_create_qp(pd.as_ptr(), &raw mut attr) })
            }
        };
        let raw = sys::check_null(raw, call, action)?;
        // SAFETY: the queue pair was just created.
        let number = unsafe { (*raw.as_ptr()).qp_num };
        tracing::debug!("{call}: RC, qp {number}, {max_send_wr} send, {max_recv_wr} recv");
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

    /// Moves it to the error state: what is posted is flushed.
    pub(crate) fn to_error_state(&self) -> Result<()> {
        let mut attr = no_attributes();
        attr.qp_state = ibv_qp_state::IBV_QPS_ERR;
        self.modify(attr, ibv_qp_attr_mask::IBV_QP_STATE, "ERR")
    }

    /// Sets the attributes that `mask` names (`ibv_modify_qp`); `state` is the one it is in afterwards.
    pub(crate) fn modify(&self, mut attr: ibv_qp_attr, mask: ibv_qp_attr_mask, state: &str) -> Result<()> {
        let number = self.number;
        // SAFETY: the queue pair is alive (we own it), and `attr`, a whole structure, lives through the call.
        let returned = unsafe { rdma_sys::ibv_modify_qp(self.as_ptr(), &raw mut attr, mask.0 as i32) };
        sys::check_errno(returned, "ibv_modify_qp", || format!("bring qp {number} into the state {state}"))?;
        tracing::debug!("ibv_modify_qp: qp {number} to {state}");
        Ok(())
    }

    /// Logs its attributes, if anybody listens (`ibv_query_qp`).
    pub(crate) fn log_attributes(&self) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let mut attr = no_attributes();
        // SAFETY: the structure is integers and pointers that may be null: all zeros is a valid value.
        let mut init = unsafe { mem::zeroed::<ibv_qp_init_attr>() };
        // All that rxe and hardware know without asking for more: state, path, PSNs, limits and timers.
        let mask = ibv_qp_attr_mask::IBV_QP_STATE
            | ibv_qp_attr_mask::IBV_QP_AV
            | ibv_qp_attr_mask::IBV_QP_PATH_MTU
            | ibv_qp_attr_mask::IBV_QP_TIMEOUT
            | ibv_qp_attr_mask::IBV_QP_RETRY_CNT
            | ibv_qp_attr_mask::IBV_QP_RNR_RETRY
            | ibv_qp_attr_mask::IBV_QP_RQ_PSN
            | ibv_qp_attr_mask::IBV_QP_SQ_PSN
            | ibv_qp_attr_mask::IBV_QP_MAX_QP_RD_ATOMIC
            | ibv_qp_attr_mask::IBV_QP_MAX_DEST_RD_ATOMIC
            | ibv_qp_attr_mask::IBV_QP_MIN_RNR_TIMER
            | ibv_qp_attr_mask::IBV_QP_DEST_QPN;
        // SAFETY: the queue pair is alive (we own it) and both structures are live locals that the call fills.
        let returned =
            unsafe { rdma_sys::ibv_query_qp(self.as_ptr(), &raw mut attr, mask.0 as i32, &raw mut init) };
        let number = self.number;
        match sys::check_errno(returned, "ibv_query_qp", || format!("query qp {number}")) {
            Ok(()) => log(number, &attr),
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        match self.pd.device() {
            // SAFETY: `raw` came from `ibv_create_qp` through `rdma_create_qp` on this identifier and is freed once, here, by
            // the counterpart of that call; queue, domain and identifier are alive (our fields).
            Device::Cm(id) => unsafe { rdma_sys::rdma_destroy_qp(id.as_ptr()) },
            Device::Open(_) => {
                // SAFETY: `raw` came from `ibv_create_qp` and is freed once, here; queue and domain are alive (our fields).
                let returned = unsafe { rdma_sys::ibv_destroy_qp(self.raw.as_ptr()) };
                sys::log_drop(sys::check_errno(returned, "ibv_destroy_qp", || "destroy queue pair".into()));
            }
        }
    }
}

/// Attributes that are all zero, to be filled.
pub(crate) fn no_attributes() -> ibv_qp_attr {
    // SAFETY: the structure is integers, and a union of bytes and integers, for which all zeros is a valid value.
    unsafe { mem::zeroed::<ibv_qp_attr>() }
}

fn log(number: u32, attr: &ibv_qp_attr) {
    let state = match attr.qp_state {
        ibv_qp_state::IBV_QPS_RESET => "RESET".to_owned(),
        ibv_qp_state::IBV_QPS_INIT => "INIT".to_owned(),
        ibv_qp_state::IBV_QPS_RTR => "RTR".to_owned(),
        ibv_qp_state::IBV_QPS_RTS => "RTS".to_owned(),
        ibv_qp_state::IBV_QPS_SQD => "SQD".to_owned(),
        ibv_qp_state::IBV_QPS_SQE => "SQE".to_owned(),
        ibv_qp_state::IBV_QPS_ERR => "ERR".to_owned(),
        unknown => format!("UNKNOWN({unknown:#x})"),
    };
    // `enum ibv_mtu`: 1 is 256 bytes, each further one doubles.
    let mtu_bytes = 128_u64.checked_shl(attr.path_mtu).unwrap_or(0);
    tracing::debug!("qp {number}: state {state}, peer qp {}, path MTU {mtu_bytes} bytes", attr.dest_qp_num);
    tracing::debug!(
        "qp {number}: sq_psn {:#08x}, rq_psn {:#08x}, max_rd_atomic {}, max_dest_rd_atomic {}",
        attr.sq_psn,
        attr.rq_psn,
        attr.max_rd_atomic,
        attr.max_dest_rd_atomic
    );
    // Table "Timeout" of ibv_modify_qp(3): 4.096 us times two to the power; 0 means no limit.
    let timeout = match attr.timeout {
        0 => "none".to_owned(),
        power => Seconds(Duration::from_secs_f64(4.096e-6 * f64::from(power).exp2())).to_string(),
    };
    tracing::debug!(
        "qp {number}: timeout {timeout}, retry_cnt {}, rnr_retry {}, min_rnr_timer {}",
        attr.retry_cnt,
        attr.rnr_retry,
        attr.min_rnr_timer
    );
}
