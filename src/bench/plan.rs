//! The plan of a bench: what is measured, with which messages, how many at a time; and its bytes for the server.
//!
//! Bytes are big-endian. The plan takes [`PLAN_BYTES`]; behind it a REQ has the client's region where the server writes too.

use clap::ValueEnum;
use serde::Serialize;

/// Length of a plan's bytes.
pub const PLAN_BYTES: usize = 28;

/// "RBN1": a bench of version 1.
const MAGIC: u32 = 0x5242_4e31;

/// The operation that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BenchOperation {
    /// WRITE into the server's memory
    Write,
    /// WRITE with immediate, received by a RECV
    WriteImm,
    /// READ of the server's memory
    Read,
    /// SEND to a RECV
    Send,
    /// FetchAdd on 8 bytes of the server's memory
    FetchAdd,
    /// CmpSwap on 8 bytes of the server's memory
    CmpSwap,
}

impl BenchOperation {
    const ALL: [Self; 6] =
        [Self::Write, Self::WriteImm, Self::Read, Self::Send, Self::FetchAdd, Self::CmpSwap];

    /// True if each message consumes a RECV of the receiver.
    #[must_use]
    pub fn consumes_a_recv(self) -> bool {
        matches!(self, Self::WriteImm | Self::Send)
    }

    /// True if the responder answers with data: the requester's memory is written, and a message's latency is its round trip.
    #[must_use]
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Read | Self::FetchAdd | Self::CmpSwap)
    }

    /// True if a request names memory of the peer.
    #[must_use]
    pub fn names_memory(self) -> bool {
        self != Self::Send
    }

    /// True of FetchAdd and CmpSwap.
    #[must_use]
    pub fn is_atomic(self) -> bool {
        matches!(self, Self::FetchAdd | Self::CmpSwap)
    }

    /// The name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::WriteImm => "write-imm",
            Self::Read => "read",
            Self::Send => "send",
            Self::FetchAdd => "fetch-add",
            Self::CmpSwap => "cmp-swap",
        }
    }
}

/// The quantity that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Bytes and messages a second, many messages in flight
    Bandwidth,
    /// Time of a message, one in flight: half the round trip, or the whole of READs and atomics
    Latency,
}

/// The service of the queue pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BenchService {
    /// Reliable connections
    #[default]
    Rc,
    /// Unreliable connections: nothing is acknowledged, and what is lost stays lost; with --no-cm
    Uc,
    /// Unreliable datagrams: SENDs of one packet each, unacknowledged as well; with --no-cm
    Ud,
}

impl BenchService {
    const ALL: [Self; 3] = [Self::Rc, Self::Uc, Self::Ud];

    /// The name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rc => "rc",
            Self::Uc => "uc",
            Self::Ud => "ud",
        }
    }

    /// True if what a message loses on its way stays lost.
    #[must_use]
    pub fn is_unreliable(self) -> bool {
        self != Self::Rc
    }
}

/// Way in which a side waits for completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WaitStyle {
    /// Sleep until the completion channel says that there is one
    Events,
    /// Poll, and let others run between
    Yield,
    /// Poll and do nothing else, as perftest does
    Poll,
}

/// A plan that both sides follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchPlan {
    /// The operation.
    pub operation: BenchOperation,
    /// The quantity.
    pub quantity: Quantity,
    /// Way in which both sides wait.
    pub waiting: WaitStyle,
    /// Length of a message in bytes.
    pub size_bytes: u32,
    /// Messages of each queue pair.
    pub messages: u32,
    /// The most messages in flight on each queue pair.
    pub depth: u32,
    /// Queue pairs.
    pub queue_pairs: u8,
    /// Each how many-th request is signalled, and the last.
    pub signal_every: u16,
    /// Requests that one call posts.
    pub post_list: u16,
    /// The most bytes that are sent inline.
    pub inline_bytes: u16,
    /// Ranges of memory that a message is gathered from and scattered to.
    pub ranges: u8,
    /// Service of the queue pairs.
    pub service: BenchService,
}

/// A mistake in a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The bytes are not a plan.
    #[error("the client told no plan of a bench; is it rdma_bench_client, of the same version?")]
    NoPlan,
    /// The options contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

impl BenchPlan {
    /// Checks that the options fit each other.
    ///
    /// # Errors
    ///
    /// [`PlanError::Contradiction`], with the options.
    pub fn check(&self) -> Result<(), PlanError> {
        let failed = |text: String| Err(PlanError::Contradiction(text));
        let Self { size_bytes, depth, signal_every, post_list, .. } = *self;
        if self.operation.is_atomic() && size_bytes != 8 {
            return failed(format!("an atomic works on 8 bytes: --size {size_bytes} cannot be"));
        }
        if size_bytes == 0 {
            return failed("--size 0: a bench needs a byte at least".into());
        }
        if self.messages == 0 || self.queue_pairs == 0 || depth == 0 {
            return failed("--iterations, --depth and --queue-pairs begin at 1".into());
        }
        let is_bandwidth = self.quantity == Quantity::Bandwidth;
        if is_bandwidth && u32::from(signal_every) > depth {
            return failed(format!(
                "--signal-every {signal_every} is more than --depth {depth}: the queue would fill and nothing tell that it is done"
            ));
        }
        if self.service == BenchService::Uc && self.operation.is_answered() {
            let name = self.operation.name();
            return failed(format!("--op {name}: unreliable connections (--service uc) have no answers"));
        }
        if self.service == BenchService::Ud && self.operation != BenchOperation::Send {
            let name = self.operation.name();
            return failed(format!("--op {name}: datagrams (--service ud) are SENDs: give --op send"));
        }
        if self.ranges == 0 || u32::from(self.ranges) > size_bytes {
            return failed(format!(
                "--ranges {}: a message of {size_bytes} bytes has 1 to as many",
                self.ranges
            ));
        }
        if self.ranges > 1 && (self.is_inline() || self.operation.is_atomic()) {
            return failed(format!("--ranges {}: inline data and atomics are one range", self.ranges));
        }
        if is_bandwidth && u32::from(post_list) > depth {
            return failed(format!("--post-list {post_list} is more than --depth {depth}"));
        }
        if self.quantity == Quantity::Latency && self.waiting == WaitStyle::Events && self.polls_memory() {
            return failed(
                "--wait events: the latency of a WRITE is seen in memory, which makes no event; use yield or poll".into(),
            );
        }
        Ok(())
    }

    /// True if arrival is seen in memory alone.
    #[must_use]
    pub fn polls_memory(&self) -> bool {
        self.quantity == Quantity::Latency && self.operation == BenchOperation::Write
    }

    /// True if the server sends too, as the client does.
    #[must_use]
    pub fn is_ping_pong(&self) -> bool {
        self.quantity == Quantity::Latency && !self.operation.is_answered()
    }

    /// True if messages of this plan go inline.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        !self.operation.is_answered() && self.size_bytes <= u32::from(self.inline_bytes)
    }

    /// Length of a requester's send queue. A ping-pong has one in flight, and places of others whose completion is still to
    /// come.
    #[must_use]
    pub fn send_queue(&self) -> u32 {
        match self.quantity {
            Quantity::Bandwidth => self.depth,
            Quantity::Latency => 2 * u32::from(self.signal_every) + 2,
        }
    }

    /// RECVs that a receiver keeps posted on each queue pair.
    #[must_use]
    pub fn recvs(&self) -> u32 {
        /// As perftest has it.
        const RECVS: u32 = 512;
        match (self.operation.consumes_a_recv(), self.quantity) {
            (false, _) => 0,
            (true, Quantity::Latency) => 2,
            (true, Quantity::Bandwidth) => RECVS.max(2 * self.depth).min(self.messages),
        }
    }

    /// Emits the plan.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; PLAN_BYTES] {
        let mut bytes = [0; PLAN_BYTES];
        bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[4] = self.operation as u8;
        bytes[5] = self.quantity as u8;
        bytes[6] = self.waiting as u8;
        bytes[7] = self.queue_pairs;
        bytes[8..12].copy_from_slice(&self.size_bytes.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.messages.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.depth.to_be_bytes());
        bytes[20..22].copy_from_slice(&self.signal_every.to_be_bytes());
        bytes[22..24].copy_from_slice(&self.post_list.to_be_bytes());
        bytes[24..26].copy_from_slice(&self.inline_bytes.to_be_bytes());
        bytes[26] = self.ranges;
        bytes[27] = self.service as u8;
        bytes
    }

    /// Reads a plan at the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`PlanError`]: the bytes are no plan, or its options contradict each other.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PlanError> {
        let bytes: &[u8; PLAN_BYTES] =
            bytes.get(..PLAN_BYTES).and_then(|bytes| bytes.try_into().ok()).ok_or(PlanError::NoPlan)?;
        let long = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let short = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        if long(0) != MAGIC {
            return Err(PlanError::NoPlan);
        }
        let plan = Self {
            operation: *BenchOperation::ALL.get(usize::from(bytes[4])).ok_or(PlanError::NoPlan)?,
            quantity: match bytes[5] {
                0 => Quantity::Bandwidth,
                1 => Quantity::Latency,
                _ => return Err(PlanError::NoPlan),
            },
            waiting: match bytes[6] {
                0 => WaitStyle::Events,
                1 => WaitStyle::Yield,
                2 => WaitStyle::Poll,
                _ => return Err(PlanError::NoPlan),
            },
            queue_pairs: bytes[7],
            size_bytes: long(8),
            messages: long(12),
            depth: long(16),
            signal_every: short(20),
            post_list: short(22),
            inline_bytes: short(24),
            ranges: bytes[26],
            service: *BenchService::ALL.get(usize::from(bytes[27])).ok_or(PlanError::NoPlan)?,
        };
        plan.check()?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> BenchPlan {
        BenchPlan {
            operation: BenchOperation::Send,
            quantity: Quantity::Bandwidth,
            waiting: WaitStyle::Poll,
            size_bytes: 65536,
            messages: 1000,
            depth: 128,
            queue_pairs: 4,
            signal_every: 32,
            post_list: 16,
            inline_bytes: 220,
            ranges: 1,
            service: BenchService::Rc,
        }
    }

    #[test]
    fn plan_survives_its_bytes() {
        for operation in BenchOperation::ALL {
            let size_bytes = if operation.is_atomic() { 8 } else { 65536 };
            let plan = BenchPlan { operation, size_bytes, ..plan() };
            assert_eq!(BenchPlan::from_bytes(&plan.to_bytes()), Ok(plan));
        }
        for service in BenchService::ALL {
            let plan = BenchPlan { service, ..plan() };
            assert_eq!(BenchPlan::from_bytes(&plan.to_bytes()), Ok(plan));
        }
        let longer = [&plan().to_bytes()[..], &[7; 12]].concat();
        assert_eq!(BenchPlan::from_bytes(&longer), Ok(plan()));
    }

    #[test]
    fn other_bytes_are_no_plan() {
        let bytes = plan().to_bytes();
        for length in 0..PLAN_BYTES {
            assert_eq!(BenchPlan::from_bytes(&bytes[..length]), Err(PlanError::NoPlan), "{length}");
        }
        for at in [0, 4, 5, 6, 27] {
            let mut bytes = bytes;
            bytes[at] = 0xff;
            assert_eq!(BenchPlan::from_bytes(&bytes), Err(PlanError::NoPlan), "{at}");
        }
    }

    #[test]
    fn contradictions_name_their_options() {
        for (plan, named) in [
            (BenchPlan { operation: BenchOperation::FetchAdd, ..plan() }, "--size 65536"),
            (BenchPlan { size_bytes: 0, ..plan() }, "--size 0"),
            (BenchPlan { ranges: 0, ..plan() }, "--ranges 0"),
            (BenchPlan { size_bytes: 3, ranges: 4, inline_bytes: 0, ..plan() }, "--ranges 4"),
            (BenchPlan { size_bytes: 220, ranges: 2, ..plan() }, "--ranges 2"),
            (BenchPlan { signal_every: 129, ..plan() }, "--signal-every 129"),
            (BenchPlan { post_list: 200, ..plan() }, "--post-list 200"),
            (BenchPlan { messages: 0, ..plan() }, "--iterations"),
            (
                BenchPlan { operation: BenchOperation::Read, service: BenchService::Uc, ..plan() },
                "--service uc",
            ),
            (
                BenchPlan {
                    operation: BenchOperation::Write,
                    quantity: Quantity::Latency,
                    waiting: WaitStyle::Events,
                    ..plan()
                },
                "--wait events",
            ),
        ] {
            let error = plan.check().unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            assert_eq!(BenchPlan::from_bytes(&plan.to_bytes()), Err(error));
        }
    }

    #[test]
    fn receiver_has_room_for_more_than_is_in_flight() {
        assert_eq!(plan().recvs(), 512);
        assert_eq!(BenchPlan { depth: 1000, messages: 5000, ..plan() }.recvs(), 2000);
        assert_eq!(BenchPlan { messages: 5, ..plan() }.recvs(), 5);
        assert_eq!(BenchPlan { operation: BenchOperation::Read, ..plan() }.recvs(), 0);
    }
}
