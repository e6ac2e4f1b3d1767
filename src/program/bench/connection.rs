//! One queue pair of a bench, on either side: what it posts and how it waits.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use verbs::batch::{AttachedRange, AttachedRegion, BatchCompletion, BatchRequest, RecvList};
use verbs::completion::WrOpcode;
use verbs::deadline::Deadline;
use verbs::device::{self, Device};
use verbs::endpoint::{Endpoint, EndpointBuilder};
use verbs::mr::{Access, MemoryRegion};
use verbs::qp::ServiceType;
use verbs::remote_region::RemoteRegion;

use crate::bench::plan::{BenchOperation, BenchPlan, BenchService, WaitStyle};
use crate::error::{Error, Result};

/// Memory of the peer for SENDs, which name none.
pub(super) const NOWHERE: RemoteRegion = RemoteRegion { address: 0, rkey: 0, length_bytes: None };

/// Bytes before the payload of a datagram that has arrived, for a global route header.
const GRH_BYTES: usize = 40;

/// Completions that are taken at once, as perftest does.
const AT_ONCE: usize = 16;

/// Polls between two looks whether the peer is there and time is left.
const POLLS: u32 = 1024;

/// A queue pair with what a bench needs of it.
#[derive(Debug)]
pub(super) struct BenchConnection {
    pub(super) endpoint: Endpoint,
    /// The memory that the peer's messages come to, and that answers come to.
    pub(super) region: Arc<MemoryRegion>,
    /// The memory that this side's requests name: of a WRITE ping-pong and of datagrams another than messages come to.
    pub(super) source: Vec<AttachedRange>,
    source_region: Arc<MemoryRegion>,
    plan: BenchPlan,
    limit: Duration,
    places: Vec<BatchCompletion>,
    recvs: RecvList,
    /// RECVs that are still to be posted, of all that the plan has.
    recvs_left: u64,
}

/// Completions of one look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CompletionCount {
    pub(super) sends: u64,
    pub(super) recvs: u64,
}

impl BenchConnection {
    /// The builder of a queue pair for `plan`.
    pub(super) fn builder(plan: &BenchPlan) -> EndpointBuilder {
        let builder = EndpointBuilder::new().max_send_wr(plan.send_queue()).max_recv_wr(plan.recvs().max(1));
        let builder = builder.max_sge(u32::from(plan.ranges)).service(match plan.service {
            BenchService::Rc => ServiceType::Rc,
            BenchService::Uc => ServiceType::Uc,
            BenchService::Ud => ServiceType::Ud,
        });
        builder.max_inline_bytes(if plan.is_inline() { plan.size_bytes } else { 0 })
    }

    /// Registers memory and posts the RECVs that the plan has; to be called before the connection stands.
    pub(super) fn new(
        mut endpoint: Endpoint,
        plan: &BenchPlan,
        access: Access,
        limit: Duration,
    ) -> Result<Self> {
        // A datagram arrives behind room for a global route header.
        let is_datagrams = plan.service == BenchService::Ud;
        let arriving = plan.size_bytes as usize + if is_datagrams { GRH_BYTES } else { 0 };
        let region = endpoint.register(arriving, access)?;
        let source_region = match plan.polls_memory() || is_datagrams {
            true => endpoint.register(plan.size_bytes as usize, Access::SOURCE)?,
            false => Arc::clone(&region),
        };
        let work = endpoint.work_mut();
        let arrival = ranges(&work.attach(&region), arriving, plan)?;
        let source = ranges(&work.attach(&source_region), plan.size_bytes as usize, plan)?;
        let mut recvs = work.recv_list();
        for _ in 0..plan.recvs() {
            recvs.push(&arrival)?;
        }
        let places = BatchCompletion::places(AT_ONCE);
        let receives = plan.operation.consumes_a_recv();
        let recvs_left = if receives { u64::from(plan.messages) } else { 0 };
        let plan = *plan;
        let mut made =
            Self { endpoint, region, source, source_region, plan, limit, places, recvs, recvs_left };
        made.post_recvs(u64::from(plan.recvs()))?;
        Ok(made)
    }

    /// One message of the plan: of `inline` if there is something, else of `local`.
    pub(super) fn request<'data>(
        &self,
        local: &'data [AttachedRange],
        inline: Option<&'data [u8]>,
        remote: &RemoteRegion,
    ) -> BatchRequest<'data> {
        let write = || match inline {
            Some(bytes) => BatchRequest::write_inline(bytes, remote),
            None => BatchRequest::write(local, remote),
        };
        let send = || match inline {
            Some(bytes) => BatchRequest::send_inline(bytes),
            None => BatchRequest::send(local),
        };
        match (self.plan.operation, self.endpoint.work().datagram_path()) {
            (BenchOperation::Write, _) => write(),
            (BenchOperation::WriteImm, _) => write().with_imm(0),
            (BenchOperation::Send, None) => send(),
            (BenchOperation::Send, Some(path)) => send().to(path.target),
            (BenchOperation::Read, _) => BatchRequest::read(local, remote),
            (BenchOperation::FetchAdd, _) => BatchRequest::fetch_add(local, remote, 1),
            (BenchOperation::CmpSwap, _) => BatchRequest::cmp_swap(local, remote, 0, 1),
        }
    }

    /// Checks that a message of the plan fits into a datagram, if that is what it is.
    pub(super) fn check_datagrams(&self) -> Result<()> {
        let limit = self.endpoint.work().datagram_path().map(|path| u64::from(path.mtu_bytes));
        let asked = u64::from(self.plan.size_bytes);
        match limit {
            Some(limit) if asked > limit => Err(Error::BeyondLimit {
                what: "--size",
                asked,
                who: "a datagram to this server".into(),
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// Posts RECVs, as many as are still wanted and at most `count`.
    pub(super) fn post_recvs(&mut self, count: u64) -> Result<()> {
        let count = count.min(self.recvs_left);
        self.endpoint.work_mut().post_recv_list(&mut self.recvs, count as usize)?;
        self.recvs_left -= count;
        Ok(())
    }

    /// Waits for completions as the plan says.
    pub(super) fn wait(&mut self) -> Result<CompletionCount> {
        let count = match self.plan.waiting {
            WaitStyle::Events => self.endpoint.wait_batch(&mut self.places, &Deadline::after(self.limit))?,
            WaitStyle::Yield | WaitStyle::Poll => self.spin()?,
        };
        self.judge(count)
    }

    /// Takes completions that are there.
    pub(super) fn look(&mut self) -> Result<CompletionCount> {
        let count = self.endpoint.work_mut().poll_batch(&mut self.places)?;
        self.judge(count)
    }

    fn spin(&mut self) -> Result<usize> {
        let mut patience = Patience::new(self.plan.waiting, self.limit, "completions");
        loop {
            let count = self.endpoint.work_mut().poll_batch(&mut self.places)?;
            if count > 0 {
                return Ok(count);
            }
            patience.again(&mut self.endpoint)?;
        }
    }

    /// Waits until the byte at the end of the region is `expected`.
    pub(super) fn wait_for_byte(&mut self, expected: u8) -> Result<()> {
        let last = self.region.length_bytes() - 1;
        let mut patience = Patience::new(self.plan.waiting, self.limit, "the peer's WRITE");
        while self.region.byte(last)? != expected {
            patience.again(&mut self.endpoint)?;
        }
        Ok(())
    }

    /// Sets the last byte of the messages that this side sends.
    pub(super) fn set_last_byte(&self, byte: u8) -> Result<()> {
        Ok(self.source_region.copy_in(self.source_region.length_bytes() - 1, &[byte])?)
    }

    fn judge(&self, count: usize) -> Result<CompletionCount> {
        let mut taken = CompletionCount::default();
        for completion in &self.places[..count] {
            if let Some(failure) = completion.failure(posted(self.plan.operation)) {
                return Err(failure.into());
            }
            if completion.is_recv() {
                taken.recvs += 1;
            } else {
                taken.sends += 1;
            }
        }
        Ok(taken)
    }
}

/// The ranges of a message of `size` bytes: equal shares, the last has what is left.
fn ranges(region: &AttachedRegion, size: usize, plan: &BenchPlan) -> Result<Vec<AttachedRange>> {
    let count = usize::from(plan.ranges);
    let share = size / count;
    let range = |number: usize| {
        let end = if number + 1 == count { size } else { (number + 1) * share };
        Ok(region.range(number * share, end - number * share)?)
    };
    (0..count).map(range).collect()
}

/// The limit of a loop that polls.
struct Patience {
    waiting: WaitStyle,
    limit: Duration,
    awaited: &'static str,
    deadline: Option<Deadline>,
    polls: u32,
    peer_has_left: bool,
}

impl Patience {
    fn new(waiting: WaitStyle, limit: Duration, awaited: &'static str) -> Self {
        Self { waiting, limit, awaited, deadline: None, polls: 0, peer_has_left: false }
    }

    /// Called between two polls: fails when the limit is reached, or the peer has left and the poll after that found nothing.
    fn again(&mut self, endpoint: &mut Endpoint) -> Result<()> {
        if self.peer_has_left {
            return Err(verbs::Error::Disconnected { awaited: self.awaited.into() }.into());
        }
        self.polls += 1;
        match self.waiting {
            WaitStyle::Poll => std::hint::spin_loop(),
            WaitStyle::Yield | WaitStyle::Events => thread::yield_now(),
        }
        if !self.polls.is_multiple_of(POLLS) {
            return Ok(());
        }
        let deadline = *self.deadline.get_or_insert_with(|| Deadline::after(self.limit));
        if deadline.passed() {
            return Err(verbs::Error::timeout(self.awaited, &deadline).into());
        }
        // What came between the last poll and this look is there still, so one more poll follows.
        self.peer_has_left = endpoint.peer_has_left()?;
        Ok(())
    }
}

/// The opcode that is posted for an operation.
fn posted(operation: BenchOperation) -> WrOpcode {
    match operation {
        BenchOperation::Write => WrOpcode::RdmaWrite,
        BenchOperation::WriteImm => WrOpcode::RdmaWriteWithImm,
        BenchOperation::Read => WrOpcode::RdmaRead,
        BenchOperation::Send => WrOpcode::Send,
        BenchOperation::FetchAdd => WrOpcode::AtomicFetchAndAdd,
        BenchOperation::CmpSwap => WrOpcode::AtomicCmpAndSwp,
    }
}

/// Checks a plan against this host's devices, of which any may be used; returns how many READs and atomics may be
/// outstanding.
pub(super) fn check_limits(plan: &BenchPlan) -> Result<u8> {
    let mut reads_at_once = u32::from(u8::MAX);
    for name in device::names()? {
        let limits = Device::open(&name)?.limits()?;
        let checked = [
            ("--size", plan.size_bytes, limits.max_message_bytes),
            ("--ranges", u32::from(plan.ranges), limits.max_sge),
            ("--depth", plan.send_queue(), limits.max_qp_wr),
            ("--depth", plan.send_queue().saturating_add(plan.recvs()), limits.max_cqe),
        ];
        for (what, asked, limit) in checked {
            if asked > limit {
                let (asked, limit) = (u64::from(asked), u64::from(limit));
                return Err(Error::BeyondLimit { what, asked, who: name, limit });
            }
        }
        reads_at_once = reads_at_once.min(limits.max_reads_at_once);
    }
    Ok(u8::try_from(reads_at_once.clamp(1, plan.depth.max(1))).unwrap_or(u8::MAX))
}
