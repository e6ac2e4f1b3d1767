//! Endpoints: one end of a connection, which posts work requests and waits for their completions.
//!
//! Waiting polls the completion queue, arms it, polls again, and then sleeps on completion channel and link together,
//! so that a disconnect ends it. When a wait fails, the queue pair goes to the error state and everything in flight is
//! flushed before the error is returned.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::BatchCompletion;
use crate::completion::Completion;
use crate::cq::CompletionQueue;
use crate::deadline::Deadline;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::extended::SendOperations;
use crate::link::{ConnectParams, Link};
use crate::mr::{Access, MemoryRegion};
use crate::pd::ProtectionDomain;
use crate::qp::{Capacity, QueueCompletions, QueuePair, ServiceType};
use crate::sys;
use crate::work_queue::{Observer, WorkQueue};
use crate::work_request::{RegionRange, SendRequest};

/// Limit of a completion after the peer has left: the device has all that it needs for it.
pub(crate) const LAST_COMPLETION_LIMIT: Duration = Duration::from_millis(200);

/// Builds an [`Endpoint`]: a queue pair with its own protection domain, completion queue and channel.
#[derive(Clone)]
pub struct EndpointBuilder {
    service: ServiceType,
    capacity: Capacity,
    observer: Observer,
    domain: Option<Arc<ProtectionDomain>>,
}

impl Default for EndpointBuilder {
    fn default() -> Self {
        let (service, capacity) = (ServiceType::Rc, Capacity::default());
        Self { service, capacity, observer: Arc::new(|_| {}), domain: None }
    }
}

impl fmt::Debug for EndpointBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointBuilder").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl EndpointBuilder {
    /// Room for one work request on each queue, and nobody told of completions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the service of the queue pair: reliable connections, or without CM unreliable ones or datagrams, each of which then goes to
    /// the one peer ([`WorkQueue::datagram_path`]).
    #[must_use]
    pub fn service(mut self, service: ServiceType) -> Self {
        self.service = service;
        self
    }

    /// Sets how many work requests the send queue holds.
    #[must_use]
    pub fn max_send_wr(mut self, count: u32) -> Self {
        self.capacity.max_send_wr = count;
        self
    }

    /// Sets how many RECVs the receive queue holds.
    #[must_use]
    pub fn max_recv_wr(mut self, count: u32) -> Self {
        self.capacity.max_recv_wr = count;
        self
    }

    /// Sets how many scatter/gather entries a request has, of either queue.
    #[must_use]
    pub fn max_sge(mut self, count: u32) -> Self {
        (self.capacity.max_send_sge, self.capacity.max_recv_sge) = (count, count);
        self
    }

    /// Sets how many bytes of inline data a request has.
    #[must_use]
    pub fn max_inline_bytes(mut self, bytes: u32) -> Self {
        self.capacity.max_inline_bytes = bytes;
        self
    }

    /// Sets the operations that the queue pair posts by `ibv_wr_*`; FLUSH and ATOMIC WRITE need it.
    #[must_use]
    pub fn operations(mut self, operations: SendOperations) -> Self {
        self.capacity.operations = operations;
        self
    }

    /// Sets who is told of each completion.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Completion) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Sets the protection domain, which must be of the same device: all endpoints in it may use its memory regions, and so may
    /// their peers. Without it each endpoint has one of its own.
    #[must_use]
    pub fn domain(mut self, domain: Arc<ProtectionDomain>) -> Self {
        self.domain = Some(domain);
        self
    }

    /// Checks that a transport makes queue pairs of this service, of those `made` by `call`.
    pub(crate) fn demand_service(&self, made: &[ServiceType], call: &'static str) -> Result<ServiceType> {
        match made.contains(&self.service) {
            true => Ok(self.service),
            false => {
                let action = format!("connect queue pairs of the service {}", self.service.name());
                Err(Error::verb(action, call, libc::EINVAL))
            }
        }
    }

    /// Builds everything on `device`; `create` makes the queue pair of its parts.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `ibv_alloc_pd`, `ibv_create_comp_channel`, `ibv_create_cq`, `rdma_create_qp` or
    /// `ibv_create_qp`: ENOMEM, EINVAL for queues longer than the device has.
    pub(crate) fn build(
        &self,
        device: &Arc<Device>,
        create: impl FnOnce(Arc<ProtectionDomain>, QueueCompletions, &Capacity) -> Result<QueuePair>,
    ) -> Result<WorkQueue> {
        let pd = match &self.domain {
            Some(domain) => Arc::clone(domain),
            None => ProtectionDomain::alloc(device)?,
        };
        // Room for every work request's completion: the queue cannot overflow.
        let cq = CompletionQueue::create(device, self.capacity.completions())?;
        let qp = create(pd, cq.into(), &self.capacity)?;
        Ok(WorkQueue::new(qp, Arc::clone(&self.observer)))
    }
}

/// The pace of a number of work requests.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Maximum in flight; 0 is treated as 1.
    pub depth: usize,
    /// Wait before each is posted.
    pub pause: Duration,
    /// The limit of each wait for a completion.
    pub limit: Duration,
}

/// One end of a connection: a queue pair with what it has in flight, and its link to the peer.
#[derive(Debug)]
pub struct Endpoint {
    // Before the link, which may own the identifier that the queue pair was made for.
    work: WorkQueue,
    link: Box<dyn Link>,
    disconnected: bool,
}

impl Endpoint {
    /// Joins a queue pair and the link that brings it into its states.
    #[must_use]
    pub fn new(work: WorkQueue, link: Box<dyn Link>) -> Self {
        Self { work, link, disconnected: false }
    }

    /// Number of the queue pair, 24 bits.
    #[must_use]
    pub fn qp_num(&self) -> u32 {
        self.work.qp().number()
    }

    /// Number of the peer's queue pair, once it is known.
    #[must_use]
    pub fn peer_qp_num(&self) -> Option<u32> {
        self.work.peer_qp_num()
    }

    /// The queue pair.
    #[must_use]
    pub fn qp(&self) -> &QueuePair {
        self.work.qp()
    }

    /// The queue pair with what it has in flight.
    #[must_use]
    pub fn work(&self) -> &WorkQueue {
        &self.work
    }

    /// The queue pair with what it has in flight, to post lists to it and poll it in batches.
    #[must_use]
    pub fn work_mut(&mut self) -> &mut WorkQueue {
        &mut self.work
    }

    /// Registers zeroed memory in the protection domain of this endpoint.
    ///
    /// # Errors
    ///
    /// Errors of [`MemoryRegion::register`].
    pub fn register(&self, length_bytes: usize, access: Access) -> Result<Arc<MemoryRegion>> {
        self.work.qp().pd().register(length_bytes, access)
    }

    /// Registers memory that holds `bytes`, to be sent from; of at least one byte, since no region is empty.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::register`].
    pub fn register_source(&self, bytes: &[u8]) -> Result<Arc<MemoryRegion>> {
        let region = self.register(bytes.len().max(1), Access::SOURCE)?;
        region.copy_in(0, bytes)?;
        Ok(region)
    }

    /// Accepts the client and waits until the connection stands. RECVs must be posted before.
    ///
    /// With CM the client's RTU proves that it stands. If that is lost or late, so do the completion of a RECV and the
    /// client's DREQ; otherwise CM sends its REP again and draws another RTU.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `rdma_accept`: EINVAL if the client has gone meanwhile; [`Error::Timeout`];
    /// [`Error::CmEvent`] for REJECTED, UNREACHABLE and CONNECT_ERROR. Without CM [`Error::Verb`] naming `ibv_modify_qp`,
    /// [`Error::Disconnected`] if the client has gone meanwhile, [`Error::Tcp`].
    pub fn accept(&mut self, params: &ConnectParams, deadline: &Deadline) -> Result<()> {
        self.disconnected |= self.link.accept(&mut self.work, params, deadline)?;
        self.work.qp().log_attributes();
        Ok(())
    }

    /// Posts a work request to the send queue, signalled; returns its identifier for [`Endpoint::wait`].
    ///
    /// # Errors
    ///
    /// Errors of [`WorkQueue::post_send`].
    pub fn post_send(&mut self, request: SendRequest) -> Result<u64> {
        self.work.post_send(request)
    }

    /// Posts a RECV, for what the peer sends into `local`, or for a WRITE with immediate, which needs no memory here;
    /// returns its identifier for [`Endpoint::wait`]. To be called before `accept` and `connect`.
    ///
    /// # Errors
    ///
    /// Errors of [`WorkQueue::post_recv`].
    pub fn post_recv(&mut self, local: Option<RegionRange>) -> Result<u64> {
        self.work.post_recv(local)
    }

    /// Posts `request` and waits for its completion.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::post_send`] and [`Endpoint::wait`].
    pub fn execute(&mut self, request: SendRequest, deadline: &Deadline) -> Result<Completion> {
        let wr_id = self.post_send(request)?;
        self.wait(wr_id, deadline)
    }

    /// Posts `requests` in their order, as many at a time as `pace` says, and waits for the completion of each.
    ///
    /// # Errors
    ///
    /// The first of `requests`, [`Endpoint::post_send`], [`Endpoint::wait`] and [`Endpoint::linger`]; nothing is in
    /// flight any more.
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
                self.work.flush();
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
            sys::wait_readable(&[self.link.as_fd()], &deadline)?;
        }
        Ok(())
    }

    /// Waits for the completion of a posted work request and returns it if it is a success.
    ///
    /// # Errors
    ///
    /// [`Error::Completion`] for an error status, [`Error::Timeout`], [`Error::Disconnected`], [`Error::CmEvent`] if the
    /// device goes away; [`Error::Verb`] naming `ibv_poll_cq`, `ibv_req_notify_cq` or `ibv_get_cq_event`. After any of
    /// them the queue pair is in the error state and nothing is in flight any more.
    pub fn wait(&mut self, wr_id: u64, deadline: &Deadline) -> Result<Completion> {
        let result = self.wait_any_status(wr_id, deadline).and_then(Completion::into_result);
        if result.is_err() {
            self.work.flush();
        }
        result
    }

    /// Takes the completion of `wr_id` if it is there, whatever its status.
    #[cfg(feature = "tokio")]
    pub(crate) fn try_completion(&mut self, wr_id: u64) -> Result<Option<Completion>> {
        self.work.poll()?;
        Ok(self.work.take(wr_id))
    }

    /// The descriptors that are readable when there may be something to take.
    #[cfg(feature = "tokio")]
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = std::os::fd::BorrowedFd<'_>> {
        [Some(self.work.as_fd()), self.work.qp().bell(), Some(self.link.as_fd())].into_iter().flatten()
    }

    fn wait_any_status(&mut self, wr_id: u64, deadline: &Deadline) -> Result<Completion> {
        let awaited = self.work.awaited(wr_id);
        loop {
            self.work.poll()?;
            if let Some(completion) = self.work.take(wr_id) {
                return Ok(completion);
            }
            self.work.qp().cq().req_notify()?;
            // What came between the poll and the request makes no event.
            if self.work.poll()? > 0 {
                continue;
            }
            if self.disconnected {
                // What was acknowledged before the peer left completes, though CM may be faster to tell that it has.
                if self.work.qp().wait(None, &Deadline::after(LAST_COMPLETION_LIMIT))? {
                    continue;
                }
                return Err(Error::Disconnected { awaited });
            }
            if !self.work.qp().wait(Some(self.link.as_fd()), deadline)? {
                return Err(Error::timeout(awaited, deadline));
            }
            self.take_link_event(&awaited, deadline)?;
        }
    }

    /// Takes completions of list-posted requests as [`WorkQueue::poll_batch`] does, and sleeps until there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`], [`Error::Disconnected`] if the peer left and nothing more completes, [`Error::CmEvent`] if the
    /// device goes away, [`Error::Verb`] naming `ibv_poll_cq`, `ibv_req_notify_cq` or `ibv_get_cq_event`. The queue pair
    /// stays in its state.
    pub fn wait_batch(&mut self, into: &mut [BatchCompletion], deadline: &Deadline) -> Result<usize> {
        const AWAITED: &str = "completions";
        loop {
            let mut count = self.work.poll_batch(into)?;
            if count == 0 {
                self.work.qp().cq().req_notify()?;
                // What came between the poll and the request makes no event.
                count = self.work.poll_batch(into)?;
            }
            if count > 0 {
                return Ok(count);
            }
            if self.disconnected {
                if self.work.qp().wait(None, &Deadline::after(LAST_COMPLETION_LIMIT))? {
                    continue;
                }
                return Err(Error::Disconnected { awaited: AWAITED.into() });
            }
            if !self.work.qp().wait(Some(self.link.as_fd()), deadline)? {
                return Err(Error::timeout(AWAITED, deadline));
            }
            self.take_link_event(AWAITED, deadline)?;
        }
    }

    /// Looks whether the peer has left, without waiting: for loops that poll.
    ///
    /// # Errors
    ///
    /// [`Error::CmEvent`] if the device goes away, [`Error::Verb`] naming `rdma_get_cm_event`.
    pub fn peer_has_left(&mut self) -> Result<bool> {
        if !self.disconnected {
            self.take_link_event("the peer to stay", &Deadline::never())?;
        }
        Ok(self.disconnected)
    }

    /// Ends the connection and waits until the peer agreed (`rdma_disconnect`, DISCONNECTED).
    ///
    /// If the peer was first, as a C peer may be, this answers it. RECVs that are still posted are flushed.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `rdma_disconnect`, [`Error::Timeout`], [`Error::CmEvent`] if the device goes away.
    pub fn disconnect(&mut self, deadline: &Deadline) -> Result<()> {
        // An event that is waiting already decides whether this sends DREQ or DREP.
        self.link.disconnect(self.work.qp())?;
        self.await_disconnected("the peer to agree to disconnect (DISCONNECTED)", deadline)?;
        self.work.finish_flush();
        Ok(())
    }

    /// Waits until the peer ends the connection, then answers it (DISCONNECTED, `rdma_disconnect`). For the passive side.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`], [`Error::Verb`] naming `rdma_disconnect`, [`Error::CmEvent`] if the device goes away.
    pub fn wait_disconnected(&mut self, deadline: &Deadline) -> Result<()> {
        self.await_disconnected("the peer to disconnect (DISCONNECTED)", deadline)?;
        // The kernel answers the DREQ with a DREP only now; the state that DISCONNECTED left makes the call send that.
        self.link.disconnect(self.work.qp())?;
        self.work.finish_flush();
        Ok(())
    }

    /// Waits until the peer has left.
    fn await_disconnected(&mut self, awaited: &str, deadline: &Deadline) -> Result<()> {
        loop {
            self.take_link_event(awaited, deadline)?;
            if self.disconnected {
                return Ok(());
            }
            if !sys::wait_readable(&[self.link.as_fd()], deadline)? {
                return Err(Error::timeout(awaited, deadline));
            }
        }
    }

    /// Takes one event of the link, if there is one. That the peer has left is only noted: completions that came before
    /// it still count.
    fn take_link_event(&mut self, awaited: &str, deadline: &Deadline) -> Result<()> {
        self.disconnected |= self.link.peer_left(awaited, deadline)?;
        Ok(())
    }
}
