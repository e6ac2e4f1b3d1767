//! The operations: work requests are posted, and their completions awaited.
//!
//! An [`Endpoint`] is a queue pair with what it has in flight, and the link that says when the peer leaves. Each posted work request keeps its memory region until its
//! completion was taken, or the queue pair is destroyed. Waiting polls the completion queue, arms it, polls again, and
//! then sleeps on completion channel and link together, so that a disconnect ends it. When a wait fails, the queue
//! pair goes to the error state and everything in flight is flushed before the error is returned.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdma_sys::{atomic_t, ibv_recv_wr, ibv_send_flags, ibv_send_wr, ibv_sge, ibv_wc, ibv_wc_flags, rdma_t};

use crate::builders::{Observer, Operands, RegionRange, SendRequest};
use crate::cm::{CmId, Event};
use crate::completion::{Completion, Side, WcOpcode, WcStatus, WrOpcode};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::link::Link;
use crate::mem::{Access, MemoryRegion};
use crate::qp::QueuePair;
use crate::sys;

/// How long flushing a queue pair in the error state may take: the device does it by itself, within milliseconds.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How a number of work requests are sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many may be in flight; none is as one.
    pub depth: usize,
    /// How long to wait before each is posted.
    pub pause: Duration,
    /// The limit of each wait for a completion.
    pub limit: Duration,
}

/// One end of a connection: a queue pair, its link to the peer, and what it has in flight.
pub struct Endpoint {
    // First, so that it is dropped first: after that no device writes to what is in flight.
    qp: QueuePair,
    link: Link,
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
    pub(crate) fn new(qp: QueuePair, link: Link, observer: Observer) -> Self {
        Self {
            qp,
            link,
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

    /// Number of the peer's queue pair, once it is known.
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

    pub(crate) fn link(&self) -> &Link {
        &self.link
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

    /// Registers memory that holds `bytes`, to be sent from; of at least one byte, since no region is empty.
    ///
    /// # Errors
    ///
    /// Those of [`Endpoint::register`].
    pub fn register_source(&self, bytes: &[u8]) -> Result<Arc<MemoryRegion>> {
        let region = self.register(bytes.len().max(1), Access::SOURCE)?;
        region.copy_in(0, bytes)?;
        Ok(region)
    }

    /// Posts `request` and waits for its completion.
    ///
    /// # Errors
    ///
    /// Those of [`Endpoint::post_send`] and [`Endpoint::wait`].
    pub fn execute(&mut self, request: SendRequest, deadline: &Deadline) -> Result<Completion> {
        let wr_id = self.post_send(request)?;
        self.wait(wr_id, deadline)
    }

    /// Posts `requests` in their order, as many at a time as `pace` says, and waits for the completion of each.
    ///
    /// # Errors
    ///
    /// The first of `requests`, [`Endpoint::post_send`], [`Endpoint::wait`] and [`Endpoint::linger`]; nothing is in flight any more.
    pub fn execute_all(
        &mut self,
        requests: impl IntoIterator<Item = Result<SendRequest>>,
        pace: &Pace,
    ) -> Result<Vec<Completion>> {
        let mut posted = VecDeque::new();
        let mut completions = Vec::new();
        for request in requests {
            while posted.len() >= pace.depth.max(1) {
                completions.extend(self.wait_oldest(&mut posted, pace.limit)?);
            }
            let result = request
                .and_then(|request| self.linger(pace.pause).map(|()| request))
                .and_then(|request| self.post_send(request));
            if result.is_err() {
                self.flush();
            }
            posted.push_back(result?);
        }
        while let Some(completion) = self.wait_oldest(&mut posted, pace.limit)? {
            completions.push(completion);
        }
        Ok(completions)
    }

    fn wait_oldest(&mut self, posted: &mut VecDeque<u64>, limit: Duration) -> Result<Option<Completion>> {
        posted.pop_front().map(|wr_id| self.wait(wr_id, &Deadline::after(limit))).transpose()
    }

    /// Does nothing for a time, but sees the peer leave.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`], [`Error::CmEvent`] if the device goes away.
    pub fn linger(&mut self, time: Duration) -> Result<()> {
        const AWAITED: &str = "the end of its pause";
        let deadline = Deadline::after(time);
        while !deadline.passed() {
            self.take_link_event(AWAITED, &deadline)?;
            if self.disconnected {
                return Err(Error::Disconnected { awaited: AWAITED.into() });
            }
            sys::wait_readable(&[self.link.fd()], &deadline)?;
        }
        Ok(())
    }

    /// Posts a work request to the send queue (`ibv_post_send`), signalled; returns its identifier for [`Endpoint::wait`].
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_post_send`: ENOMEM if the queue is full, EINVAL before the connection stands.
    pub fn post_send(&mut self, request: SendRequest) -> Result<u64> {
        let wr_id = self.next_wr_id;
        let mut sge = scatter_gather(&request.local);
        let opcode_sent = request.opcode;
        #[cfg(feature = "mutants")]
        let opcode_sent = crate::mutant::spoil(opcode_sent, sge.as_mut());
        // SAFETY: the structure is integers, pointers that may be null, and unions of them: all zeros is a valid value.
        let mut wr = unsafe { mem::zeroed::<ibv_send_wr>() };
        wr.wr_id = wr_id;
        (wr.sg_list, wr.num_sge) = list(sge.as_mut());
        wr.opcode = opcode_sent.raw();
        wr.send_flags = ibv_send_flags::IBV_SEND_SIGNALED.0;
        if let Some(imm) = request.imm {
            wr.imm_data_invalidated_rkey_union.imm_data = imm.to_be();
        }
        let (remote_addr, rkey) = request.remote.map_or((0, 0), |remote| (remote.address, remote.rkey));
        let Operands { compare_add, swap } = request.operands;
        match request.opcode {
            WrOpcode::AtomicCmpAndSwp | WrOpcode::AtomicFetchAndAdd => {
                wr.wr.atomic = atomic_t { remote_addr, compare_add, swap, rkey };
            }
            _ => wr.wr.rdma = rdma_t { remote_addr, rkey },
        }
        let mut bad = ptr::null_mut();

        tracing::debug!(
            "ibv_post_send: wr_id {wr_id}, {}, {} bytes at {:#x} lkey {:#x}, remote {remote_addr:#x} rkey {rkey:#x}{}",
            request.opcode,
            request.local.length_bytes(),
            request.local.address(),
            request.local.lkey(),
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
        let mut sge = local.as_ref().and_then(scatter_gather);
        let (sg_list, num_sge) = list(sge.as_mut());
        let mut wr = ibv_recv_wr { wr_id, next: ptr::null_mut(), sg_list, num_sge };
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
            let fds = [self.qp.cq().fd(), self.link.fd()];
            if !sys::wait_readable(&fds, deadline)? {
                return Err(Error::timeout(awaited, deadline));
            }
            self.qp.cq().drain_events()?;
            self.take_link_event(&awaited, deadline)?;
        }
    }

    /// Waits for the CM event that answers an accepted client. Data that comes first is told to CM, which then says
    /// ESTABLISHED.
    ///
    /// A device may announce such data itself (IBV_EVENT_COMM_EST); rxe does not, so completions are looked at.
    pub(crate) fn wait_confirmation(
        &mut self,
        id: &CmId,
        awaited: &str,
        deadline: &Deadline,
    ) -> Result<Event> {
        let mut is_told = false;
        loop {
            if let Some(event) = id.next_event()? {
                return Ok(event);
            }
            self.qp.cq().req_notify()?;
            self.poll_all()?;
            // A flushed RECV received nothing.
            let mut taken = self.completed.values();
            if !is_told && taken.any(|completion| completion.status != WcStatus::WrFlushErr) {
                id.notify_established();
                is_told = true;
            }
            if !sys::wait_readable(&[self.qp.cq().fd(), id.fd()], deadline)? {
                return Err(Error::timeout(awaited, deadline));
            }
            self.qp.cq().drain_events()?;
        }
    }

    /// Waits until the peer has left.
    pub(crate) fn await_disconnected(&mut self, awaited: &str, deadline: &Deadline) -> Result<()> {
        loop {
            self.take_link_event(awaited, deadline)?;
            if self.disconnected {
                return Ok(());
            }
            if !sys::wait_readable(&[self.link.fd()], deadline)? {
                return Err(Error::timeout(awaited, deadline));
            }
        }
    }

    /// Takes what the link has to say, if anything. That the peer has left is only noted: completions that came before it
    /// still count.
    fn take_link_event(&mut self, awaited: &str, deadline: &Deadline) -> Result<()> {
        self.disconnected |= self.link.peer_left(awaited, deadline)?;
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
        if let Err(error) = self.qp.to_error_state() {
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
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if !self.in_flight.is_empty() {
            tracing::debug!("dropping qp {} with {} in flight", self.qp.number(), self.in_flight.len());
        }
    }
}

/// The entry of a range; none if it is empty, since some devices take a length of zero for 2 GiB.
fn scatter_gather(range: &RegionRange) -> Option<ibv_sge> {
    let length = range.length_bytes();
    (length > 0).then(|| ibv_sge { addr: range.address(), length, lkey: range.lkey() })
}

/// A list of at most one entry, as C has it; valid while the entry is.
fn list(sge: Option<&mut ibv_sge>) -> (*mut ibv_sge, i32) {
    sge.map_or((ptr::null_mut(), 0), |sge| (ptr::from_mut(sge), 1))
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
