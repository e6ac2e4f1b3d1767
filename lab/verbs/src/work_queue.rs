//! A queue pair with what it has in flight: posting, taking completions, flushing.
//!
//! Each posted work request keeps its memory region until its completion was taken, or the queue pair is destroyed.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{BatchCompletion, BatchState, DatagramPath, RECV_MARK, invalidated_rkey, is_of_a_batch};
use crate::completion::{Completion, CompletionSide, WcOpcode, WcStatus, WrOpcode};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::extended::has_posted_nothing;
use crate::mw::{Binding, MemoryWindow, WindowType};
use crate::qp::{QueuePair, ServiceType};
use crate::rdma_sys::{ibv_mw_bind, ibv_recv_wr, ibv_send_flags, ibv_send_wr, ibv_sge, ibv_wc, ibv_wc_flags};
use crate::work_request::{RegionRange, SendRequest, WindowBind, send_wr};
use crate::{rdma_sys, sys};

/// Limit of flushing a queue pair in the error state: the device does it by itself, within milliseconds.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// A function that is told of each completion as it is taken.
pub type Observer = Arc<dyn Fn(&Completion) + Send + Sync>;

/// A queue pair with its work requests in flight and the completions that were taken and not asked for.
pub struct WorkQueue {
    // First, so that it is dropped first: after that no device writes to what is in flight.
    qp: QueuePair,
    in_flight: BTreeMap<u64, InFlight>,
    /// Taken from the queue, not yet asked for.
    completed: BTreeMap<u64, Completion>,
    next_wr_id: u64,
    peer_qp_num: Option<u32>,
    datagram_path: Option<DatagramPath>,
    observer: Observer,
    /// Windows of type 2 that were bound through this queue pair, which the device keeps as long as they are.
    windows: Vec<Arc<MemoryWindow>>,
    /// Behind the queue pair, so that it is dropped after it: the memory of list-posted requests.
    pub(crate) batch: BatchState,
}

/// The part of a work request that its completion does not tell, and the memory that must outlive it.
struct InFlight {
    /// `None` for a RECV.
    posted: Option<WrOpcode>,
    length_bytes: u32,
    imm: Option<u32>,
    _memory: Option<RegionRange>,
    /// A window that is being bound, and what it was bound to before.
    bind: Option<(Arc<MemoryWindow>, Binding)>,
}

impl fmt::Debug for WorkQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueue")
            .field("qp_num", &self.qp.number())
            .field("peer_qp_num", &self.peer_qp_num)
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}

impl WorkQueue {
    /// Takes `qp` over, with nothing in flight; `observer` is told of each completion.
    #[must_use]
    pub fn new(qp: QueuePair, observer: Observer) -> Self {
        Self {
            qp,
            in_flight: BTreeMap::new(),
            completed: BTreeMap::new(),
            next_wr_id: 1,
            peer_qp_num: None,
            datagram_path: None,
            observer,
            windows: Vec::new(),
            batch: BatchState::new(),
        }
    }

    /// The queue pair.
    #[must_use]
    pub fn qp(&self) -> &QueuePair {
        &self.qp
    }

    /// Number of the peer's queue pair, once it is known.
    #[must_use]
    pub fn peer_qp_num(&self) -> Option<u32> {
        self.peer_qp_num
    }

    /// Sets the number of the peer's queue pair, which completions are to tell; `None` changes nothing.
    pub fn set_peer_qp_num(&mut self, number: Option<u32>) {
        self.peer_qp_num = number.or(self.peer_qp_num);
    }

    /// The way to the peer, which each datagram has to name; `None` on a connected queue pair, and before the peer is known.
    #[must_use]
    pub fn datagram_path(&self) -> Option<DatagramPath> {
        self.datagram_path
    }

    pub(crate) fn set_datagram_path(&mut self, path: DatagramPath) {
        self.datagram_path = Some(path);
    }

    /// Counts the work requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Posts a work request to the send queue (`ibv_post_send`, or `ibv_wr_*` on a queue pair that was created for them; a
    /// window of type 1 by `ibv_bind_mw`), signalled; returns its identifier.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming the call: ENOMEM or ENOSPC if the queue is full, EINVAL before the connection stands, on a
    /// queue pair of datagrams, which takes lists alone, or for a window or region of another domain, EOPNOTSUPP for an
    /// operation that the queue pair was not created for. [`Error::WindowGone`].
    pub fn post_send(&mut self, request: SendRequest) -> Result<u64> {
        if self.qp.service() == ServiceType::Ud {
            // The provider would follow an address handle that is not there.
            return Err(Error::verb(
                "post what names no receiver of a datagram",
                "ibv_post_send",
                libc::EINVAL,
            ));
        }
        let wr_id = self.next_wr_id;
        let number = request.operands.compare_add.to_ne_bytes();
        let mut sge = match request.opcode {
            // Read by the call: it needs no registered memory.
            WrOpcode::AtomicWrite => Some(ibv_sge {
                addr: number.as_ptr().expose_provenance() as u64,
                length: number.len() as u32,
                lkey: 0,
            }),
            _ => request.local.as_ref().and_then(scatter_gather),
        };
        let mut wr =
            send_wr(request.opcode, request.remote, request.imm, request.invalidated, request.operands);
        wr.wr_id = wr_id;
        (wr.sg_list, wr.num_sge) = list(sge.as_mut());
        wr.send_flags = ibv_send_flags::IBV_SEND_SIGNALED.0;
        tracing::debug!(
            "ibv_post_send: qp {}, wr_id {wr_id}, {}, {} bytes at {:#x} lkey {:#x}, remote {:#x} rkey {:#x}{}",
            self.qp.number(),
            request.opcode,
            request.length_bytes(),
            request.local.as_ref().map_or(0, RegionRange::address),
            request.local.as_ref().map_or(0, RegionRange::lkey),
            request.remote.map_or(0, |remote| remote.address),
            request.remote.map_or(0, |remote| remote.rkey),
            request.imm.map(|imm| format!(", imm {imm}")).unwrap_or_default(),
        );
        let opcode = request.opcode;
        if let Some(bind) = &request.bind {
            return self.post_bind(wr, bind);
        }
        // Before the call: the device may access the memory before it returns.
        self.in_flight.insert(
            wr_id,
            InFlight {
                posted: Some(opcode),
                length_bytes: request.length_bytes(),
                imm: request.imm,
                _memory: request.local,
                bind: None,
            },
        );
        // SAFETY: request and list live through the call; the memory they name is registered in this protection domain or
        // refused by the device, and is kept by `in_flight`, or is `number`, which the call copies.
        let (posted, is_refused) = unsafe { self.hand_over(&mut wr) };
        self.posted(wr_id, posted, is_refused)
    }

    /// Posts a bind, which is made of a window under its lock.
    fn post_bind(&mut self, mut wr: ibv_send_wr, bind: &WindowBind) -> Result<u64> {
        let WindowBind { window, range, access } = bind;
        let wr_id = wr.wr_id;
        let (region, offset) = range.place();
        let pd = self.qp.pd();
        if !Arc::ptr_eq(window.pd(), pd) || !Arc::ptr_eq(region.pd(), pd) {
            let action = "bind a memory window of one domain to a region or through a queue pair of another";
            return Err(Error::verb(action, "ibv_post_send", libc::EINVAL));
        }
        let mut is_refused = true;
        let bound = window.bind_by(region, (offset, range.length_bytes()), *access, |made| {
            let posted;
            (posted, is_refused) = match window.kind() {
                WindowType::One => {
                    let mut bind =
                        ibv_mw_bind { wr_id, send_flags: wr.send_flags, bind_info: made.bind_info };
                    // SAFETY: queue pair, window and region are alive and of one domain (checked); the structure lives
                    // through the call, which copies it. The window's key changes under its lock, which we are called under.
                    let returned = unsafe { rdma_sys::ibv_bind_mw(self.qp.as_raw(), made.mw, &raw mut bind) };
                    let action = || format!("bind a memory window (wr_id {wr_id})");
                    // It names no request as refused. A region that was not bound is not accessed through the window either.
                    (sys::check_errno(returned, "ibv_bind_mw", action), true)
                }
                WindowType::Two => {
                    wr.bind_mw_tso_union.bind_mw = made;
                    // SAFETY: the request has no list; window and region are alive, and the window keeps the region.
                    unsafe { self.hand_over(&mut wr) }
                }
            };
            posted
        });
        let posted = match bound {
            Ok(before) => {
                let bind = Some((Arc::clone(window), before));
                let posted = Some(WrOpcode::BindMw);
                self.in_flight
                    .insert(wr_id, InFlight { posted, length_bytes: 0, imm: None, _memory: None, bind });
                if window.kind() == WindowType::Two
                    && !self.windows.iter().any(|kept| Arc::ptr_eq(kept, window))
                {
                    self.windows.push(Arc::clone(window));
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        self.posted(wr_id, posted, is_refused)
    }

    /// Gives one request to the provider; returns what came of it, and whether it has certainly not been taken.
    ///
    /// # Safety
    ///
    /// Request and list are whole; the memory that they name outlives the completion, or the call if it copies it; a window
    /// or a handle that they name is alive.
    unsafe fn hand_over(&self, wr: &mut ibv_send_wr) -> (Result<()>, bool) {
        let (opcode, wr_id) = (WrOpcode::from_raw(wr.opcode), wr.wr_id);
        if let Some(extended) = self.qp.extended() {
            // SAFETY: the queue pair is alive (we own it) and nobody else posts to it (`self` is theirs who call); the rest
            // is the caller's promise.
            let posted = unsafe { extended.post(wr) };
            let is_refused = posted.as_ref().err().is_some_and(has_posted_nothing);
            return (posted, is_refused);
        }
        if matches!(opcode, WrOpcode::Flush | WrOpcode::AtomicWrite) {
            return (Err(beyond_classic(opcode)), true);
        }
        let mut bad = ptr::null_mut();
        // SAFETY: the queue pair is alive (we own it); the rest is the caller's promise.
        let returned = unsafe { rdma_sys::ibv_post_send(self.qp.as_raw(), wr, &raw mut bad) };
        let posted = sys::check_errno(returned, "ibv_post_send", || format!("post {opcode} (wr_id {wr_id})"));
        (posted, ptr::eq(bad, wr))
    }

    /// Posts a RECV (`ibv_post_recv`), for what the peer sends into `local`, or for a WRITE with immediate, which needs no
    /// memory here; returns its identifier for [`WorkQueue::take`]. To be called before `accept` and `connect`.
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
        tracing::debug!("ibv_post_recv: qp {}, wr_id {wr_id}, {length_bytes} bytes", self.qp.number());
        self.in_flight
            .insert(wr_id, InFlight { posted: None, length_bytes, imm: None, _memory: local, bind: None });
        // SAFETY: the queue pair is alive (we own it); work request and list live through the call, which copies them; the
        // memory they name is kept by `in_flight`.
        let returned = unsafe { rdma_sys::ibv_post_recv(self.qp.as_raw(), &raw mut wr, &raw mut bad) };
        let posted = sys::check_errno(returned, "ibv_post_recv", || format!("post RECV (wr_id {wr_id})"));
        self.posted(wr_id, posted, ptr::eq(bad, &raw const wr))
    }

    /// Ends the posting of one work request.
    fn posted(&mut self, wr_id: u64, posted: Result<()>, is_refused: bool) -> Result<u64> {
        // Whatever came of it: no identifier is used twice.
        self.next_wr_id += 1;
        if may_let_go(&posted, is_refused) {
            self.in_flight.remove(&wr_id);
        }
        posted.map(|()| wr_id)
    }

    /// Takes all completions that are there; returns how many. They are kept: those of list-posted requests for
    /// [`WorkQueue::poll_batch`], others for [`WorkQueue::take`].
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_poll_cq`.
    pub fn poll(&mut self) -> Result<usize> {
        let mut count = 0;
        while let Some(wc) = self.qp.poll()? {
            count += 1;
            if is_of_a_batch(wc.wr_id) {
                self.note_batch(wc.wr_id);
                self.batch.early.push_back(BatchCompletion(wc));
            } else {
                self.keep(&wc);
            }
        }
        Ok(count)
    }

    /// Keeps the completion of a request that was posted by itself, for [`WorkQueue::take`].
    pub(crate) fn keep(&mut self, wc: &ibv_wc) {
        let Some(mut in_flight) = self.in_flight.remove(&wc.wr_id) else {
            tracing::warn!("ignored a completion of wr_id {}, which is not in flight", wc.wr_id);
            return;
        };
        let completion = to_completion(wc, &in_flight, self.peer_qp_num);
        if let Some((window, before)) = in_flight.bind.take()
            && completion.status != WcStatus::Success
        {
            window.restore(before);
        }
        tracing::debug!("{completion}");
        (self.observer)(&completion);
        self.completed.insert(wc.wr_id, completion);
    }

    /// Notes that a list-posted request has completed.
    pub(crate) fn note_batch(&mut self, wr_id: u64) {
        let number = wr_id & !RECV_MARK;
        match wr_id & RECV_MARK == RECV_MARK {
            true => self.batch.recvs.complete(number),
            false => self.batch.sends.complete(number),
        }
    }

    /// Returns the completion of `wr_id`, if [`WorkQueue::poll`] has taken it, whatever its status.
    pub fn take(&mut self, wr_id: u64) -> Option<Completion> {
        self.completed.remove(&wr_id)
    }

    /// True if a completion was taken, not asked for, and is of a work request that was not flushed: the peer has spoken.
    pub(crate) fn has_heard(&self) -> bool {
        let is_data = |status| status != WcStatus::WrFlushErr;
        self.completed.values().any(|completion| is_data(completion.status))
            || self.batch.early.iter().any(|completion| is_data(completion.status()))
    }

    /// Names the completion of `wr_id`, for the message of a wait that fails.
    pub(crate) fn awaited(&self, wr_id: u64) -> String {
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
    pub(crate) fn flush(&mut self) {
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
            self.poll()?;
            if self.in_flight.is_empty() {
                return Ok(());
            }
            self.qp.cq().req_notify()?;
            if self.poll()? > 0 {
                continue;
            }
            if !self.qp.wait(None, deadline)? {
                let awaited = format!("{} work requests to be flushed", self.in_flight.len());
                return Err(Error::timeout(awaited, deadline));
            }
        }
    }
}

impl AsFd for WorkQueue {
    /// The descriptor of its completion channel.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.qp.cq().as_fd()
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // Before the queue pair, which the device does not let go while a window is bound to it.
        for window in &self.windows {
            window.free();
        }
        if !self.in_flight.is_empty() {
            tracing::debug!("dropping qp {} with {} in flight", self.qp.number(), self.in_flight.len());
        }
    }
}

/// The error of an operation that only `ibv_wr_*` can post, on a classic queue pair.
pub(crate) fn beyond_classic(opcode: WrOpcode) -> Error {
    let action = format!("post {opcode}, which the queue pair was not created for");
    Error::verb(action, "ibv_post_send", libc::EOPNOTSUPP)
}

/// True if a post has failed and the device has not got the request, so that its memory may be let go.
///
/// A failed call that names the request as refused has not taken it. One that names nothing may have: rxe's doorbell comes
/// last. Then the memory is kept until the queue pair is destroyed.
fn may_let_go(posted: &Result<()>, is_refused: bool) -> bool {
    posted.is_err() && is_refused
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
        side: if in_flight.posted.is_some() { CompletionSide::Requester } else { CompletionSide::Responder },
        opcode: in_flight.posted.map_or(WcOpcode::Recv, WrOpcode::completes_as),
        status,
        wr_id: wc.wr_id,
        qp_num: wc.qp_num,
        peer_qp_num,
        posted: in_flight.posted,
        length_bytes: if success { in_flight.length_bytes } else { 0 },
        imm: in_flight.imm.filter(|_| success),
        vendor_err: wc.vendor_err,
        invalidated_rkey: None,
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
    let invalidated_rkey = invalidated_rkey(wc);
    Completion { opcode, length_bytes: wc.byte_len, imm, invalidated_rkey, ..completion }
}

#[cfg(test)]
mod tests {
    use std::mem;

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
        InFlight { posted: None, length_bytes: 4096, imm: None, _memory: None, bind: None }
    }

    #[test]
    fn memory_is_let_go_only_if_the_device_has_not_got_it() {
        let failed = || Err(Error::verb("post", "ibv_post_send", libc::ENOMEM));
        assert!(may_let_go(&failed(), true));
        assert!(!may_let_go(&failed(), false));
        assert!(!may_let_go(&Ok(()), false));
    }

    #[test]
    fn receive_completion_tells_its_own_length_and_immediate() {
        // rxe sets IBV_WC_GRH (1) beside IBV_WC_WITH_IMM (2).
        let completion = to_completion(&wc(0, 129, 3), &recv(), Some(18));
        assert_eq!(completion.opcode, WcOpcode::RecvRdmaWithImm);
        assert_eq!((completion.length_bytes, completion.imm), (22, Some(22)));
        assert_eq!((completion.side, completion.posted), (CompletionSide::Responder, None));
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
            bind: None,
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
