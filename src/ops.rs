//! The operations: WRITE, WRITE with immediate, READ, RECV, and the wait for their completions.
//!
//! An [`Endpoint`] is a queue pair with what it has in flight. Each posted work request keeps its memory region until its
//! completion was taken, or the queue pair is destroyed. Waiting polls the completion queue, arms it, polls again, and
//! then sleeps on completion channel and CM events together, so that a disconnect ends it. When a wait fails, the queue
//! pair goes to the error state and everything in flight is flushed before the error is returned.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdma_sys::{
    ibv_qp_attr, ibv_qp_attr_mask, ibv_qp_init_attr, ibv_qp_state, ibv_recv_wr, ibv_send_flags, ibv_send_wr,
    ibv_sge, ibv_wc, ibv_wc_flags, rdma_t,
};

use crate::builders::{Observer, QueuePair, RegionRange, SendRequest};
use crate::completion::{Completion, Side, WcOpcode, WcStatus, WrOpcode};
use crate::deadline::{Deadline, Seconds};
use crate::error::{CmEventKind, Error, Result};
use crate::mem::{Access, MemoryRegion};
use crate::private_data::RemoteRegion;
use crate::sys;

/// How long flushing a queue pair in the error state may take: the device does it by itself, within milliseconds.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// One end of a connection: a queue pair, its identifier, and what it has in flight.
pub struct Endpoint {
    // First, so that it is dropped first: after that no device writes to what is in flight.
    qp: QueuePair,
    in_flight: BTreeMap<u64, InFlight>,
    /// Taken from the queue, not yet waited for.
    completed: BTreeMap<u64, Completion>,
    next_wr_id: u64,
    peer_qp_num: Option<u32>,
    disconnected: bool,
    observer: Observer,
}

/// What a completion does not say about its work request, and the memory it must not outlive.
struct InFlight {
    /// `None` for a RECV.
    posted: Option<WrOpcode>,
    length_bytes: u32,
    imm: Option<u32>,
    _memory: Option<RegionRange>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("qp_num", &self.qp.number())
            .field("peer_qp_num", &self.peer_qp_num)
            .field("in_flight", &self.in_flight.len())
            .field("disconnected", &self.disconnected)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(crate) fn new(qp: QueuePair, observer: Observer) -> Self {
        Self {
            qp,
            in_flight: BTreeMap::new(),
            completed: BTreeMap::new(),
            next_wr_id: 1,
            peer_qp_num: None,
            disconnected: false,
            observer,
        }
    }

    /// Number of the queue pair, 24 bits.
    #[must_use]
    pub fn qp_num(&self) -> u32 {
        self.qp.number()
    }

    /// Number of the peer's queue pair, once CM said it.
    #[must_use]
    pub fn peer_qp_num(&self) -> Option<u32> {
        self.peer_qp_num
    }

    pub(crate) fn set_peer_qp_num(&mut self, number: Option<u32>) {
        self.peer_qp_num = number.or(self.peer_qp_num);
    }

    pub(crate) fn qp(&self) -> &QueuePair {
        &self.qp
    }

    pub(crate) fn disconnected(&self) -> bool {
        self.disconnected
    }

    pub(crate) fn set_disconnected(&mut self) {
        self.disconnected = true;
    }

    /// Registers zeroed memory in the protection domain of this endpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Allocation`] for no memory or a length of zero; [`Error::Verb`] naming `ibv_reg_mr`: ENOMEM above
    /// RLIMIT_MEMLOCK, EPERM if that is zero, EINVAL for an access without its local counterpart.
    pub fn register(&self, length_bytes: usize, access: Access) -> Result<Arc<MemoryRegion>> {
        MemoryRegion::register(self.qp.pd(), length_bytes, access)
    }

    /// WRITEs `local` to the start of `remote` and waits for the completion.
    ///
    /// # Errors
    ///
    /// Those of [`Endpoint::post_send`] and [`Endpoint::wait`].
    pub fn write(
        &mut self,
        local: RegionRange,
        remote: &RemoteRegion,
        deadline: &Deadline,
    ) -> Result<Completion> {
        let wr_id = self.post_send(SendRequest::write(local, remote))?;
        self.wait(wr_id, deadline)
    }

    /// WRITEs `local` to the start of `remote` with the immediate `imm` (host order) and waits for the completion.
    ///
    /// # Errors
    ///
    /// Those of [`Endpoint::post_send`] and [`Endpoint::wait`].
    pub fn write_with_imm(
        &mut self,
        local: RegionRange,
        remote: &RemoteRegion,
        imm: u32,
        deadline: &Deadline,
    ) -> Result<Completion> {
        let wr_id = self.post_send(SendRequest::write_with_imm(local, remote, imm))?;
        self.wait(wr_id, deadline)
    }

    /// READs the start of `remote` into `local` and waits for the completion.
    ///
    /// # Errors
    ///
    /// Those of [`Endpoint::post_send`] and [`Endpoint::wait`].
    pub fn read(
        &mut self,
        local: RegionRange,
        remote: &RemoteRegion,
        deadline: &Deadline,
    ) -> Result<Completion> {
        let wr_id = self.post_send(SendRequest::read(local, remote))?;
        self.wait(wr_id, deadline)
    }

    /// Posts a work request to the send queue (`ibv_post_send`), signalled; returns its identifier for [`Endpoint::wait`].
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_post_send`: ENOMEM if the queue is full, EINVAL before the connection stands.
    pub fn post_send(&mut self, request: SendRequest) -> Result<u64> {
        let wr_id = self.next_wr_id;
        let mut sge = scatter_gather(&request.local);
        // SAFETY: the structure is integers, pointers that may be null, and unions of them: all zeros is a valid value.
        let mut wr = unsafe { mem::zeroed::<ibv_send_wr>() };
        wr.wr_id = wr_id;
        wr.sg_list = &raw mut sge;
        wr.num_sge = 1;
        wr.opcode = request.opcode.raw();
        wr.send_flags = ibv_send_flags::IBV_SEND_SIGNALED.0;
        if let Some(imm) = request.imm {
            wr.imm_data_invalidated_rkey_union.imm_data = imm.to_be();
        }
        wr.wr.rdma = rdma_t { remote_addr: request.remote_address, rkey: request.rkey };
        let mut bad = ptr::null_mut();

        tracing::debug!(
            "ibv_post_send: wr_id {wr_id}, {}, {} bytes at {:#x} lkey {:#x}, remote {:#x} rkey {:#x}{}",
            request.opcode,
            request.local.length_bytes(),
            request.local.address(),
            request.local.lkey(),
            request.remote_address,
            request.rkey,
            request.imm.map(|imm| format!(", imm {imm}")).unwrap_or_default(),
        );
        let opcode = request.opcode;
        // Before the call: from then on the device may access the memory, whatever the call returns.
        self.in_flight.insert(
            wr_id,
            InFlight {
                posted: Some(opcode),
                length_bytes: request.local.length_bytes(),
                imm: request.imm,
                _memory: Some(request.local),
            },
        );
        // SAFETY: the queue pair is alive (we own it); work request and list live through the call, which copies them; the
        // memory they name is registered in this protection domain or refused by the device, and is kept by `in_flight`.
        let returned = unsafe { rdma_sys::ibv_post_send(self.qp.as_ptr(), &raw mut wr, &raw mut bad) };
        let posted = sys::check_errno(returned, "ibv_post_send", || format!("post {opcode} (wr_id {wr_id})"));
        self.posted(wr_id, posted)
    }

    /// Posts a RECV (`ibv_post_recv`), for what the peer sends into `local`, or for a WRITE with immediate, which needs no
    /// memory here; returns its identifier for [`Endpoint::wait`]. To be called before `accept` and `connect`.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_post_recv`: ENOMEM if the queue is full.
    pub fn post_recv(&mut self, local: Option<RegionRange>) -> Result<u64> {
        let wr_id = self.next_wr_id;
        let mut sge = local.as_ref().map(scatter_gather);
        let mut wr = ibv_recv_wr {
            wr_id,
            next: ptr::null_mut(),
            sg_list: sge.as_mut().map_or(ptr::null_mut(), ptr::from_mut),
            num_sge: i32::from(local.is_some()),
        };
        let mut bad = ptr::null_mut();
        let length_bytes = local.as_ref().map_or(0, RegionRange::length_bytes);
        tracing::debug!("ibv_post_recv: wr_id {wr_id}, {length_bytes} bytes");
        self.in_flight.insert(wr_id, InFlight { posted: None, length_bytes, imm: None, _memory: local });
        // SAFETY: the queue pair is alive (we own it); work request and list live through the call, which copies them; the
        // memory they name is kept by `in_flight`.
        let returned = unsafe { rdma_sys::ibv_post_recv(self.qp.as_ptr(), &raw mut wr, &raw mut bad) };
        let posted = sys::check_errno(returned, "ibv_post_recv", || format!("post RECV (wr_id {wr_id})"));
        self.posted(wr_id, posted)
    }

    fn posted(&mut self, wr_id: u64, posted: Result<()>) -> Result<u64> {
        if let Err(error) = posted {
            // The whole list was this one work request, and it was refused.
            self.in_flight.remove(&wr_id);
            return Err(error);
        }
        self.next_wr_id += 1;
        Ok(wr_id)
    }

    /// Waits for the completion of a posted work request and returns it if it is a success.
    ///
    /// # Errors
    ///
    /// [`Error::Completion`] for an error status, [`Error::Timeout`], [`Error::Disconnected`], [`Error::CmEvent`] if the
    /// device goes away; [`Error::Verb`] naming `ibv_poll_cq`, `ibv_req_notify_cq` or `ibv_get_cq_event`. After any of
    /// them the queue pair is in the error state and nothing is in flight any more.
    pub fn wait(&mut self, wr_id: u64, deadline: &Deadline) -> Result<Completion> {
        let result = self.wait_any_status(wr_id, deadline).and_then(Error::check_completion);
        if result.is_err() {
            self.flush();
        }
        result
    }

    fn wait_any_status(&mut self, wr_id: u64, deadline: &Deadline) -> Result<Completion> {
        let awaited = self.awaited(wr_id);
        loop {
            self.poll_all()?;
            if let Some(completion) = self.completed.remove(&wr_id) {
                return Ok(completion);
            }
            if self.disconnected {
                return Err(Error::Disconnected { awaited });
            }
            self.qp.cq().req_notify()?;
            // What came between the poll and the request makes no event.
            if self.poll_all()? > 0 {
                continue;
            }
            let fds = [self.qp.cq().fd(), self.qp.id().fd()];
            if !sys::wait_readable(&fds, deadline)? {
                return Err(Error::timeout(awaited, deadline));
            }
            self.qp.cq().drain_events()?;
            self.take_cm_event(&awaited, deadline)?;
        }
    }

    /// Takes one CM event if there is one; DISCONNECTED is only noted: completions that came before it still count.
    fn take_cm_event(&mut self, awaited: &str, deadline: &Deadline) -> Result<()> {
        let Some(event) = self.qp.id().next_event()? else {
            return Ok(());
        };
        match event.kind {
            CmEventKind::Disconnected => self.disconnected = true,
            CmEventKind::DeviceRemoval => {
                return Err(Error::CmEvent {
                    awaited: awaited.to_owned(),
                    event: event.kind,
                    status: event.status,
                    elapsed: deadline.elapsed(),
                    hint: Some("the RDMA device went away: see `rdma link`".into()),
                });
            }
            kind => tracing::debug!("ignored CM event {kind} while waiting for {awaited}"),
        }
        Ok(())
    }

    /// Takes all completions that are there; returns how many.
    fn poll_all(&mut self) -> Result<usize> {
        let mut count = 0;
        while let Some(wc) = self.qp.cq().poll()? {
            count += 1;
            let Some(in_flight) = self.in_flight.remove(&wc.wr_id) else {
                tracing::warn!("ignored a completion of wr_id {}, which is not in flight", wc.wr_id);
                continue;
            };
            let completion = to_completion(&wc, &in_flight, self.peer_qp_num);
            tracing::debug!("{completion}");
            (self.observer)(&completion);
            self.completed.insert(wc.wr_id, completion);
        }
        Ok(count)
    }

    fn awaited(&self, wr_id: u64) -> String {
        match self.in_flight.get(&wr_id).map(|in_flight| in_flight.posted) {
            Some(Some(opcode)) => format!("the completion of {opcode} (wr_id {wr_id})"),
            Some(None) => format!("the completion of RECV (wr_id {wr_id})"),
            None => format!("the completion of wr_id {wr_id}"),
        }
    }

    /// Moves the queue pair to the error state and waits until everything in flight was flushed.
    ///
    /// Trouble is logged: the caller has a first error to return. What is not flushed in time stays in flight, and its
    /// memory with it, until the queue pair is destroyed.
    fn flush(&mut self) {
        if let Err(error) = self.to_error_state() {
            tracing::warn!("{error}");
        }
        self.finish_flush();
    }

    /// Waits until everything in flight was flushed; the queue pair is in the error state already, as after
    /// `rdma_disconnect`. Trouble is logged.
    pub(crate) fn finish_flush(&mut self) {
        if let Err(error) = self.wait_flushed(&Deadline::after(FLUSH_LIMIT)) {
            tracing::warn!("{error}");
        }
    }

    fn to_error_state(&self) -> Result<()> {
        // SAFETY: the structure is integers only, for which all zeros is a valid value.
        let mut attr = unsafe { mem::zeroed::<ibv_qp_attr>() };
        attr.qp_state = ibv_qp_state::IBV_QPS_ERR;
        let mask = ibv_qp_attr_mask::IBV_QP_STATE.0 as i32;
        // SAFETY: the queue pair is alive (we own it) and `attr` lives through the call; the mask names the one member set.
        let returned = unsafe { rdma_sys::ibv_modify_qp(self.qp.as_ptr(), &raw mut attr, mask) };
        sys::check_errno(returned, "ibv_modify_qp", || {
            format!("move qp {} to the error state", self.qp.number())
        })?;
        tracing::debug!("ibv_modify_qp: qp {} to ERR", self.qp.number());
        Ok(())
    }

    fn wait_flushed(&mut self, deadline: &Deadline) -> Result<()> {
        loop {
            self.poll_all()?;
            if self.in_flight.is_empty() {
                return Ok(());
            }
            self.qp.cq().req_notify()?;
            if self.poll_all()? > 0 {
                continue;
            }
            if !sys::wait_readable(&[self.qp.cq().fd()], deadline)? {
                let awaited = format!("{} work requests to be flushed", self.in_flight.len());
                return Err(Error::timeout(awaited, deadline));
            }
            self.qp.cq().drain_events()?;
        }
    }

    /// Logs the queue pair's attributes, if anybody listens (`ibv_query_qp`).
    pub(crate) fn log_attributes(&self) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        // SAFETY: the structure is integers only, for which all zeros is a valid value.
        let mut attr = unsafe { mem::zeroed::<ibv_qp_attr>() };
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
            unsafe { rdma_sys::ibv_query_qp(self.qp.as_ptr(), &raw mut attr, mask.0 as i32, &raw mut init) };
        let number = self.qp.number();
        match sys::check_errno(returned, "ibv_query_qp", || format!("query qp {number}")) {
            Ok(()) => log_qp(number, &attr),
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if !self.in_flight.is_empty() {
            tracing::debug!("dropping qp {} with {} in flight", self.qp.number(), self.in_flight.len());
        }
    }
}

fn scatter_gather(range: &RegionRange) -> ibv_sge {
    ibv_sge { addr: range.address(), length: range.length_bytes(), lkey: range.lkey() }
}

fn to_completion(wc: &ibv_wc, in_flight: &InFlight, peer_qp_num: Option<u32>) -> Completion {
    let status = WcStatus::from_raw(wc.status);
    let success = status == WcStatus::Success;
    let completion = Completion {
        side: if in_flight.posted.is_some() { Side::Requester } else { Side::Responder },
        opcode: in_flight.posted.map_or(WcOpcode::Recv, WrOpcode::completes_as),
        status,
        wr_id: wc.wr_id,
        qp_num: wc.qp_num,
        peer_qp_num,
        posted: in_flight.posted,
        length_bytes: if success { in_flight.length_bytes } else { 0 },
        imm: in_flight.imm.filter(|_| success),
        vendor_err: wc.vendor_err,
    };
    if !success {
        // C defines no other member then.
        return completion;
    }
    let opcode = WcOpcode::from_raw(wc.opcode);
    if in_flight.posted.is_some() {
        return Completion { opcode, ..completion };
    }
    let has_imm = wc.wc_flags & ibv_wc_flags::IBV_WC_WITH_IMM.0 != 0;
    let imm = has_imm.then(|| {
        // SAFETY: both members of the union are 32-bit integers; the flag says that this one was meant.
        u32::from_be(unsafe { wc.imm_data_invalidated_rkey_union.imm_data })
    });
    Completion { opcode, length_bytes: wc.byte_len, imm, ..completion }
}

fn log_qp(number: u32, attr: &ibv_qp_attr) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wc(status: u32, opcode: u32, flags: u32) -> ibv_wc {
        // SAFETY: the structure is integers only, for which all zeros is a valid value.
        let mut wc = unsafe { mem::zeroed::<ibv_wc>() };
        wc.wr_id = 1;
        wc.status = status;
        wc.opcode = opcode;
        wc.byte_len = 22;
        wc.qp_num = 17;
        wc.wc_flags = flags;
        wc.imm_data_invalidated_rkey_union.imm_data = 22_u32.to_be();
        wc
    }

    fn recv() -> InFlight {
        InFlight { posted: None, length_bytes: 4096, imm: None, _memory: None }
    }

    #[test]
    fn receive_completion_tells_its_own_length_and_immediate() {
        // rxe sets IBV_WC_GRH (1) beside IBV_WC_WITH_IMM (2).
        let completion = to_completion(&wc(0, 129, 3), &recv(), Some(18));
        assert_eq!(completion.opcode, WcOpcode::RecvRdmaWithImm);
        assert_eq!((completion.length_bytes, completion.imm), (22, Some(22)));
        assert_eq!((completion.side, completion.posted), (Side::Responder, None));
    }

    #[test]
    fn immediate_counts_only_with_its_flag() {
        assert_eq!(to_completion(&wc(0, 128, 1), &recv(), None).imm, None);
    }

    #[test]
    fn send_completion_is_completed_from_what_was_posted() {
        let posted = InFlight {
            posted: Some(WrOpcode::RdmaWriteWithImm),
            length_bytes: 18,
            imm: Some(18),
            _memory: None,
        };
        let completion = to_completion(&wc(0, 1, 0), &posted, Some(18));
        assert_eq!(completion.opcode, WcOpcode::RdmaWrite);
        assert_eq!((completion.length_bytes, completion.imm), (18, Some(18)));
    }

    #[test]
    fn failed_completion_believes_nothing_but_its_status() {
        let completion = to_completion(&wc(5, 77, 3), &recv(), None);
        assert_eq!(completion.status, WcStatus::WrFlushErr);
        assert_eq!(completion.opcode, WcOpcode::Recv);
        assert_eq!((completion.length_bytes, completion.imm), (0, None));
    }
}
