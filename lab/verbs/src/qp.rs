//! Queue pairs: made by hand or for CM, brought into a state, looked at.
//!
//! Source: `rdma_create_qp(3)`, `ibv_create_qp(3)`, `ibv_modify_qp(3)`, `ibv_query_qp(3)`.

use std::fmt::Debug;
use std::mem;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use crate::abilities::DeviceAbilities;
use crate::batch::BatchCompletion;
use crate::completion::WrOpcode;
use crate::cq::CompletionQueue;
use crate::deadline::{Deadline, Seconds};
use crate::device::Device;
use crate::error::Result;
use crate::extended::{self, ExtendedQueue, SendOperations};
use crate::pd::ProtectionDomain;
use crate::qp_attributes::no_attributes;
use crate::raw::ibv_qp;
use crate::rdma_sys::{
    ibv_qp_attr, ibv_qp_attr_mask, ibv_qp_cap, ibv_qp_init_attr, ibv_qp_state, ibv_qp_type, ibv_wc,
};
use crate::shared_cq::{SharedCompletionQueue, silence};
use crate::srq::SharedReceiveQueue;
use crate::{rdma_sys, sys};

/// Lengths of a queue pair's queues, in work requests, and the most that one of them holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capacity {
    /// Requests of the send queue.
    pub max_send_wr: u32,
    /// RECVs of the receive queue.
    pub max_recv_wr: u32,
    /// Scatter/gather entries of a request of the send queue.
    pub max_send_sge: u32,
    /// Scatter/gather entries of a RECV.
    pub max_recv_sge: u32,
    /// Inline data of a request in bytes.
    pub max_inline_bytes: u32,
    /// Operations that it is to post by `ibv_wr_*`; without any it is a classic queue pair.
    pub operations: SendOperations,
}

impl Default for Capacity {
    /// One of each, of one entry, and nothing inline.
    fn default() -> Self {
        Self {
            max_send_wr: 1,
            max_recv_wr: 1,
            max_send_sge: 1,
            max_recv_sge: 1,
            max_inline_bytes: 0,
            operations: SendOperations::default(),
        }
    }
}

impl Capacity {
    /// Entries of a completion queue that cannot overflow.
    #[must_use]
    pub fn completions(&self) -> u32 {
        self.max_send_wr.saturating_add(self.max_recv_wr)
    }
}

/// The service of a queue pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// Reliable connection.
    #[default]
    Rc,
    /// Unreliable connection: SEND and WRITE, nothing acknowledged.
    Uc,
    /// Unreliable datagrams: SEND, of at most the path MTU, to whom each names.
    Ud,
}

impl ServiceType {
    fn raw(self) -> u32 {
        match self {
            Self::Rc => ibv_qp_type::IBV_QPT_RC,
            Self::Uc => ibv_qp_type::IBV_QPT_UC,
            Self::Ud => ibv_qp_type::IBV_QPT_UD,
        }
    }

    /// The service of C's number; reliable connections, if it is none of ours.
    fn from_raw(raw: u32) -> Self {
        [Self::Uc, Self::Ud].into_iter().find(|service| service.raw() == raw).unwrap_or_default()
    }

    /// The standard's abbreviation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rc => "RC",
            Self::Uc => "UC",
            Self::Ud => "UD",
        }
    }
}

/// The queue that completions of a queue pair come to: one of its own, or one that it shares.
#[derive(Debug)]
pub enum QueueCompletions {
    /// Of this queue pair alone.
    Own(CompletionQueue),
    /// Of others as well.
    Shared(Arc<SharedCompletionQueue>),
}

impl From<CompletionQueue> for QueueCompletions {
    fn from(cq: CompletionQueue) -> Self {
        Self::Own(cq)
    }
}

impl From<Arc<SharedCompletionQueue>> for QueueCompletions {
    fn from(shared: Arc<SharedCompletionQueue>) -> Self {
        Self::Shared(shared)
    }
}

impl QueueCompletions {
    /// The device's queue.
    pub(crate) fn queue(&self) -> &CompletionQueue {
        match self {
            Self::Own(cq) => cq,
            Self::Shared(shared) => shared.queue(),
        }
    }
}

/// An owner of queue pairs in C that only it can destroy: a CM identifier.
pub(crate) trait QueuePairOwner: Debug + Send + Sync {
    /// Destroys its queue pair; called once, by the drop of the [`QueuePair`] that it was handed to.
    fn destroy_queue_pair(&self);
}

/// A queue pair, with the queue that its completions come to. One that CM brings into its states
/// belongs to its identifier in librdmacm, and to this value here.
#[derive(Debug)]
pub struct QueuePair {
    raw: NonNull<ibv_qp>,
    number: u32,
    /// The owner in C; `None` if it was made by hand.
    owner: Option<Arc<dyn QueuePairOwner>>,
    service: ServiceType,
    /// The part that `ibv_wr_*` work on, if it was created for them.
    extended: Option<ExtendedQueue>,
    completions: QueueCompletions,
    /// Rings when another queue pair has taken a completion of this one from the queue that they share.
    bell: Option<Arc<OwnedFd>>,
    /// The queue that it takes RECVs from, if that is not its own.
    _srq: Option<Arc<SharedReceiveQueue>>,
    pd: Arc<ProtectionDomain>,
}

// SAFETY: libibverbs is thread-safe; the pointer is used only in calls to it, and the object is freed once, on drop.
unsafe impl Send for QueuePair {}
// SAFETY: as for Send; providers lock a queue pair's queues themselves.
unsafe impl Sync for QueuePair {}

impl QueuePair {
    /// Creates a queue pair of a reliable connection in the state RESET (`ibv_create_qp`). `cq` must be on the device of `pd`.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `ibv_create_qp`: EINVAL for queues, lists or inline data longer than
    /// the device has or a queue of another device, ENOMEM.
    pub fn create(
        pd: &Arc<ProtectionDomain>,
        cq: impl Into<QueueCompletions>,
        capacity: &Capacity,
    ) -> Result<Self> {
        Self::create_as(ServiceType::Rc, pd, cq, capacity, None)
    }

    /// Creates a queue pair of `service` in the state RESET (`ibv_create_qp`), which takes its RECVs from `srq` if there is
    /// one. `cq` and `srq` must be on the device and of the domain `pd`.
    ///
    /// # Errors
    ///
    /// Errors of [`QueuePair::create`], and EINVAL for a shared queue of another domain; with
    /// [`Capacity::operations`] [`Error::NotOffered`](crate::Error::NotOffered) for one that the device does not have,
    /// and naming `ibv_create_qp_ex` EOPNOTSUPP for one that its provider does not have for this service.
    pub fn create_as(
        service: ServiceType,
        pd: &Arc<ProtectionDomain>,
        cq: impl Into<QueueCompletions>,
        capacity: &Capacity,
        srq: Option<&Arc<SharedReceiveQueue>>,
    ) -> Result<Self> {
        let (call, completions) = ("ibv_create_qp", cq.into());
        let cq = completions.queue();
        let is_of_the_domain = srq.is_none_or(|srq| Arc::ptr_eq(srq.pd(), pd));
        if !Arc::ptr_eq(pd.device(), cq.device()) || !is_of_the_domain {
            return Err(crate::Error::verb(action(capacity), call, libc::EINVAL));
        }
        check_operations(pd.device(), capacity)?;
        let mut attr = attributes(cq, capacity);
        attr.qp_type = service.raw();
        attr.srq = srq.map_or(ptr::null_mut(), |srq| srq.as_raw());
        let raw = if capacity.operations.is_empty() {
            // SAFETY: domain and queue are alive and on one device (checked), and kept by the queue pair: we store the one's
            // Arc and own the other; `attr` lives through the call.
            let raw = unsafe { rdma_sys::ibv_create_qp(pd.as_raw(), &raw mut attr) };
            sys::check_null(raw, call, || action(capacity))?
        } else {
            let mut attr = extended::extended_attributes(&attr, pd.as_raw(), capacity.operations);
            let context = pd.device().as_raw();
            // SAFETY: as above; the context is that of the domain's device, which is open.
            unsafe { extended::create_qp_ex(context, &mut attr, || action(capacity)) }?
        };
        // SAFETY: the call made it of these parts, for these operations, and we have the only pointer to it.
        let mut made = unsafe { Self::made(raw, call, capacity, None, completions, Arc::clone(pd)) }?;
        made._srq = srq.map(Arc::clone);
        Ok(made)
    }

    /// Takes over the queue pair that `call` created, of these parts.
    ///
    /// # Safety
    ///
    /// `raw` is alive, made of `pd` and the queue of `completions`, by the extended call with the operations of `capacity` if there are any, and
    /// nobody else destroys it: `owner` does when it is asked to, and is there
    /// if `ibv_destroy_qp` may not be used.
    pub(crate) unsafe fn made(
        raw: NonNull<ibv_qp>,
        call: &str,
        capacity: &Capacity,
        owner: Option<Arc<dyn QueuePairOwner>>,
        completions: QueueCompletions,
        pd: Arc<ProtectionDomain>,
    ) -> Result<Self> {
        // SAFETY: the queue pair is alive (the caller's promise), and its number is set for good.
        let number = unsafe { (*raw.as_ptr()).qp_num };
        let Capacity { max_send_wr, max_recv_wr, .. } = capacity;
        // SAFETY: as above; its type too is set for good.
        let service = ServiceType::from_raw(unsafe { (*raw.as_ptr()).qp_type });
        tracing::debug!("{call}: {}, qp {number}, {max_send_wr} send, {max_recv_wr} recv", service.name());
        let mut made =
            Self { raw, number, owner, service, extended: None, completions, bell: None, _srq: None, pd };
        if let QueueCompletions::Shared(shared) = &made.completions {
            made.bell = Some(shared.join(number, capacity.completions())?);
        }
        if !capacity.operations.is_empty() {
            // SAFETY: the queue pair is alive, made by an extended call with these operations (the caller's promise), and the
            // value is a field of its owner.
            made.extended = Some(unsafe { ExtendedQueue::of(raw, capacity.operations) }?);
        }
        Ok(made)
    }

    /// The part that `ibv_wr_*` work on, if it was created for them.
    pub(crate) fn extended(&self) -> Option<&ExtendedQueue> {
        self.extended.as_ref()
    }

    /// Operations that it posts by `ibv_wr_*`; none of a classic one.
    #[must_use]
    pub fn operations(&self) -> SendOperations {
        self.extended.map_or_else(SendOperations::default, |extended| extended.operations())
    }

    /// C's pointer, valid while `self` is.
    #[must_use]
    pub fn as_raw(&self) -> *mut ibv_qp {
        self.raw.as_ptr()
    }

    /// The number, 24 bits.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> ServiceType {
        self.service
    }

    /// The queue that its completions come to.
    #[must_use]
    pub fn cq(&self) -> &CompletionQueue {
        self.completions.queue()
    }

    /// Takes one of its completions, if there is one.
    pub(crate) fn poll(&self) -> Result<Option<ibv_wc>> {
        match &self.completions {
            QueueCompletions::Own(cq) => cq.poll(),
            QueueCompletions::Shared(shared) => shared.poll(self.number),
        }
    }

    /// Takes its completions, as many as there are and fit, into the beginning of `into`.
    pub(crate) fn poll_into(&self, into: &mut [BatchCompletion]) -> Result<usize> {
        match &self.completions {
            QueueCompletions::Own(cq) => cq.poll_into(into),
            QueueCompletions::Shared(shared) => shared.poll_into(self.number, into),
        }
    }

    /// The descriptor that is readable when another has taken a completion of this queue pair; of a shared queue alone.
    pub(crate) fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.bell.as_ref().map(|bell| bell.as_fd())
    }

    /// Waits until completions may have come, or `other` is readable: false if the deadline passed first. Events of the
    /// channel are taken.
    pub(crate) fn wait(&self, other: Option<BorrowedFd<'_>>, deadline: &Deadline) -> Result<bool> {
        let channel = self.cq().as_fd();
        let fds = [Some(channel), self.bell(), other];
        // Nothing is allocated for the two that are usual.
        let is_readable = match fds {
            [Some(channel), None, None] => sys::wait_readable(&[channel], deadline)?,
            [Some(channel), None, Some(other)] => sys::wait_readable(&[channel, other], deadline)?,
            _ => sys::wait_readable(&fds.into_iter().flatten().collect::<Vec<_>>(), deadline)?,
        };
        if is_readable {
            self.take_events()?;
        }
        Ok(is_readable)
    }

    /// Takes all events of the completion channel.
    pub(crate) fn take_events(&self) -> Result<()> {
        if let Some(bell) = &self.bell {
            silence(bell);
        }
        match &self.completions {
            QueueCompletions::Own(cq) => cq.drain_events(),
            QueueCompletions::Shared(shared) => shared.drain_events(),
        }
    }

    /// The domain whose memory regions it may use.
    #[must_use]
    pub fn pd(&self) -> &Arc<ProtectionDomain> {
        &self.pd
    }

    /// Moves it to the error state: what is posted is flushed.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `ibv_modify_qp`.
    pub fn to_error_state(&self) -> Result<()> {
        let mut attr = no_attributes();
        attr.qp_state = ibv_qp_state::IBV_QPS_ERR;
        self.modify(attr, ibv_qp_attr_mask::IBV_QP_STATE, "ERR")
    }

    /// Sets the attributes that `mask` names (`ibv_modify_qp`); `state` is the one it is in afterwards.
    pub(crate) fn modify(&self, mut attr: ibv_qp_attr, mask: ibv_qp_attr_mask, state: &str) -> Result<()> {
        let number = self.number;
        // SAFETY: the queue pair is alive (we own it), and `attr`, a whole structure, lives through the call.
        let returned = unsafe { rdma_sys::ibv_modify_qp(self.as_raw(), &raw mut attr, mask.0 as i32) };
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
            unsafe { rdma_sys::ibv_query_qp(self.as_raw(), &raw mut attr, mask.0 as i32, &raw mut init) };
        let number = self.number;
        match sys::check_errno(returned, "ibv_query_qp", || format!("query qp {number}")) {
            Ok(()) => log(number, &attr),
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

impl QueuePair {
    /// Destroys it in C; called once, by the drop.
    fn destroy(&self) {
        if let Some(owner) = &self.owner {
            owner.destroy_queue_pair();
            return;
        }
        // SAFETY: `raw` came from `ibv_create_qp` and is freed once, here; queue and domain are alive (our fields).
        let returned = unsafe { rdma_sys::ibv_destroy_qp(self.raw.as_ptr()) };
        sys::log_drop(sys::check_errno(returned, "ibv_destroy_qp", || "destroy queue pair".into()));
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        match &self.completions {
            QueueCompletions::Own(_) => self.destroy(),
            QueueCompletions::Shared(shared) => shared.leave(self.number, || self.destroy()),
        }
    }
}

/// Checks that the device has the operations that a queue pair is to be created for.
pub(crate) fn check_operations(device: &Device, capacity: &Capacity) -> Result<()> {
    let wanted = |opcode| capacity.operations.contains(opcode);
    let (flush, atomic_write) = (wanted(WrOpcode::Flush), wanted(WrOpcode::AtomicWrite));
    if !flush && !atomic_write {
        return Ok(());
    }
    let has = device.abilities()?;
    let demand = DeviceAbilities::demand;
    demand(!flush || has.flush_global || has.flush_persistent, device.name(), "FLUSH", "6.2")?;
    demand(!atomic_write || has.atomic_write, device.name(), "ATOMIC WRITE", "6.2")
}

/// Names the creation of a queue pair, for the message of a call that fails.
pub(crate) fn action(capacity: &Capacity) -> String {
    let Capacity { max_send_wr, max_recv_wr, .. } = capacity;
    format!("create RC queue pair of {max_send_wr} send and {max_recv_wr} receive requests")
}

/// Attributes of a new queue pair, in C's layout; valid while `cq` is.
pub(crate) fn attributes(cq: &CompletionQueue, capacity: &Capacity) -> ibv_qp_init_attr {
    ibv_qp_init_attr {
        qp_context: ptr::null_mut(),
        send_cq: cq.as_raw(),
        recv_cq: cq.as_raw(),
        srq: ptr::null_mut(),
        cap: ibv_qp_cap {
            max_send_wr: capacity.max_send_wr,
            max_recv_wr: capacity.max_recv_wr,
            max_send_sge: capacity.max_send_sge,
            max_recv_sge: capacity.max_recv_sge,
            max_inline_data: capacity.max_inline_bytes,
        },
        qp_type: ibv_qp_type::IBV_QPT_RC,
        sq_sig_all: 0,
    }
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
