//! Verbs calls, completions and CM events as programs log them, matched with the wire.
//!
//! In: the text of a program that logs lines as `[SECONDS] WORDS`, by a clock of its own, and an analysed capture. Out: bounds of what its clock has to be
//! moved by to be the capture's. They follow from the run itself: nothing is posted after its packet, nothing completes before its answer, and a RECV is
//! posted after the last request that found none. A program without such lines has no calls.

use std::collections::HashMap;

use roce::{PacketLine, Part, Report, Side};

use crate::answers::{LinkedLines, Reception};
use crate::frames::Capture;

/// Calls that are kept of one program.
const MOST: usize = 20_000;

/// CallKind of a logged line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Something is made or looked up; not on the ladder.
    Setup,
    /// A work request is posted.
    Posted,
    /// A completion was taken.
    Completed,
    /// The same, of a work request that failed.
    Failed,
    /// Connection management tells something.
    Event,
    /// Connection management is told something.
    Connection,
    /// A queue pair changes its state.
    State,
}

/// A logged line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoggedCall {
    /// Time in nanoseconds by the program's own clock.
    pub(crate) time_ns: i64,
    pub(crate) kind: CallKind,
    pub(crate) text: String,
}

/// A memory region that a program registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) va: u64,
    pub(crate) length_bytes: u64,
    pub(crate) rkey: u32,
}

/// Calls of one program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    pub(crate) node: String,
    pub(crate) calls: Vec<LoggedCall>,
    pub(crate) left_out: usize,
}

impl Calls {
    /// Reads the log of the program on `node`; lines of other shapes are passed over.
    pub fn of_log(node: impl Into<String>, log: &str) -> Self {
        let mut found = Self { node: node.into(), ..Self::default() };
        for call in log.lines().filter_map(call) {
            if found.calls.len() < MOST { found.calls.push(call) } else { found.left_out += 1 }
        }
        found
    }

    /// True if the program logged nothing of its calls.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Memory regions that the program registered, as it logs `ibv_reg_mr`.
    pub(crate) fn registered(&self) -> impl Iterator<Item = Registered> {
        self.calls.iter().filter_map(|call| {
            let text = call.text.strip_prefix("ibv_reg_mr: ")?;
            let hexadecimal = |name: &str| {
                let (_, rest) = text.split_once(&format!("{name} 0x"))?;
                u64::from_str_radix(rest.split(|it: char| !it.is_ascii_hexdigit()).next()?, 16).ok()
            };
            let length_bytes = text.split_once(" bytes")?.0.parse().ok()?;
            let rkey = u32::try_from(hexadecimal("rkey")?).ok()?;
            Some(Registered { va: hexadecimal("at")?, length_bytes, rkey })
        })
    }

    /// Matches the program's clock with the capture's.
    pub(crate) fn offset(&self, capture: &Capture, linked: &LinkedLines) -> ClockOffset {
        let mut bounds = ClockBounds::default();
        bounds.of_work(self, &capture.report, &deliveries(linked));
        bounds.of_management(self, capture, linked);
        ClockOffset::between(bounds.least, bounds.most)
    }

    /// Times by the capture's clock at which the program posted a RECV of queue pair `qp`, where its clock is matched.
    pub(crate) fn receives_posted(&self, qp: u64, offset: ClockOffset) -> impl Iterator<Item = i128> {
        let posted = self.calls.iter().filter(move |call| {
            call.kind == CallKind::Posted
                && call.text.starts_with(POST_RECV)
                && number(&call.text, "qp") == Some(qp)
        });
        offset
            .ns()
            .into_iter()
            .flat_map(move |ns| posted.clone().map(move |call| i128::from(call.time_ns) + ns))
    }
}

/// Beginning of the line by which a program logs a RECV that it posts.
const POST_RECV: &str = "ibv_post_recv";

/// Delivery of a message's requests at its responder.
#[derive(Debug, Clone, Copy, Default)]
struct Delivery {
    /// The last request that was taken, in nanoseconds of the capture's clock.
    taken_ns: Option<u64>,
    /// The same, where it ended the message on a reliable connection: its RECV was there.
    ended_ns: Option<u64>,
    /// The last request for which there was no RECV.
    not_ready_ns: Option<u64>,
}

/// Deliveries by message.
fn deliveries(LinkedLines { lines, links }: &LinkedLines) -> HashMap<usize, Delivery> {
    let mut found: HashMap<usize, Delivery> = HashMap::new();
    for (line, link) in lines.iter().zip(links) {
        let (Some(message), Part::Request) = (link.message, line.part) else { continue };
        let delivery = found.entry(message).or_default();
        match link.arrival {
            Reception::Taken => {
                delivery.taken_ns = Some(line.timestamp_ns);
                let ends = line.words.contains("Last") || line.words.contains("Only");
                delivery.ended_ns = delivery.taken_ns.filter(|_| ends && line.words.starts_with("RC"));
            }
            Reception::NotReady => delivery.not_ready_ns = Some(line.timestamp_ns),
            _ => {}
        }
    }
    found
}

fn call(line: &str) -> Option<LoggedCall> {
    let (stamp, text) = line.trim_start().strip_prefix('[')?.split_once(']')?;
    let (seconds, fraction) = stamp.trim().split_once('.')?;
    let text = text.trim();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    let time_ns = seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    Some(LoggedCall { time_ns, kind: kind(text)?, text: text.to_owned() })
}

fn kind(text: &str) -> Option<CallKind> {
    let call = text.split([':', ' ']).next().unwrap_or_default();
    Some(match call {
        "ibv_post_send" | "ibv_post_recv" => CallKind::Posted,
        "completion" if text.contains(" SUCCESS") => CallKind::Completed,
        "completion" => CallKind::Failed,
        "CM" if text.starts_with("CM event ") => CallKind::Event,
        "rdma_connect" | "rdma_accept" | "rdma_reject" | "rdma_notify" | "rdma_disconnect" => {
            CallKind::Connection
        }
        "ibv_modify_qp" => CallKind::State,
        "qp" if text.contains(": state ") => CallKind::State,
        "qp" => CallKind::Setup,
        _ if call.starts_with("ibv_") || call.starts_with("rdma_") => CallKind::Setup,
        _ => return None,
    })
}

/// The number behind `name` in a logged line: 17 of `qp 17, wr_id 1`.
fn number(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(&format!("{name} "))?;
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// ClockBounds of what is added to a program's time to have the capture's, in nanoseconds.
#[derive(Debug, Default)]
struct ClockBounds {
    least: Option<i128>,
    most: Option<i128>,
}

impl ClockBounds {
    /// Takes note that something happened on the wire no earlier than the call.
    fn not_before(&mut self, call: &LoggedCall, wire_ns: u64) {
        let bound = i128::from(wire_ns) - i128::from(call.time_ns);
        self.most = Some(self.most.map_or(bound, |most| most.min(bound)));
    }

    /// Takes note that something happened on the wire no later than the call.
    fn not_after(&mut self, call: &LoggedCall, wire_ns: u64) {
        let bound = i128::from(wire_ns) - i128::from(call.time_ns);
        self.least = Some(self.least.map_or(bound, |least| least.max(bound)));
    }

    /// Work requests of each queue pair, in order, against its messages.
    fn of_work(&mut self, program: &Calls, report: &Report, deliveries: &HashMap<usize, Delivery>) {
        let mut sent: HashMap<u64, Vec<&roce::Message>> = HashMap::new();
        let mut received: HashMap<u64, Vec<Delivery>> = HashMap::new();
        for (index, message) in report.messages.iter().enumerate() {
            if report.names.get(message.requester) == program.node
                && let Some(qpn) = message.requester_qpn
            {
                sent.entry(qpn.into()).or_default().push(message);
            }
            let takes_a_receive = message.kind.to_string().contains("SEND") || message.immediate.is_some();
            if report.names.get(message.responder) == program.node && takes_a_receive {
                let delivery = deliveries.get(&index).copied().unwrap_or_default();
                received.entry(message.responder_qpn.into()).or_default().push(delivery);
            }
        }
        let [mut posted, mut offered, mut taken]: [HashMap<u64, usize>; 3] = Default::default();
        let mut work: HashMap<(u64, u64), &roce::Message> = HashMap::new();
        for call in &program.calls {
            let (Some(qp), Some(wr_id)) = (number(&call.text, "qp"), number(&call.text, "wr_id")) else {
                continue;
            };
            match call.kind {
                CallKind::Posted if call.text.starts_with("ibv_post_send") => {
                    let index = posted.entry(qp).or_default();
                    if let Some(message) = sent.get(&qp).and_then(|messages| messages.get(*index)) {
                        self.not_before(call, message.sent_ns);
                        work.insert((qp, wr_id), message);
                    }
                    *index += 1;
                }
                // There is none before the last request that found none, and one before the request that was taken.
                CallKind::Posted if call.text.starts_with(POST_RECV) => {
                    let delivery = next(&mut offered, &received, qp);
                    if let Some(ns) = delivery.not_ready_ns {
                        self.not_after(call, ns);
                    }
                    if let Some(ns) = delivery.ended_ns {
                        self.not_before(call, ns);
                    }
                }
                CallKind::Completed if call.text.contains(": RECV") => {
                    if let Some(ns) = next(&mut taken, &received, qp).taken_ns {
                        self.not_after(call, ns);
                    }
                }
                CallKind::Completed => {
                    let message = work.get(&(qp, wr_id));
                    let is_done = |message: &&&roce::Message| message.outcome.is_done();
                    if let Some(end) = message.filter(is_done).and_then(|message| message.ended_ns) {
                        self.not_after(call, end);
                    }
                }
                _ => {}
            }
        }
    }

    /// The first call and event of each kind of connection management, against the first of its packets.
    fn of_management(&mut self, program: &Calls, capture: &Capture, LinkedLines { lines, .. }: &LinkedLines) {
        let times: HashMap<u64, u64> =
            capture.frames.iter().map(|frame| (frame.number, frame.timestamp_ns)).collect();
        let report = &capture.report;
        let first_packet = |words: &[&str], is_its: &dyn Fn(&PacketLine) -> bool| {
            let line = lines.iter().find(|line| words.contains(&&*line.words) && is_its(line))?;
            times.get(&line.number).copied()
        };
        let is_from = |line: &PacketLine| report.names.get(line.ends[0]) == program.node;
        let is_to = |line: &PacketLine| report.names.get(line.ends[1]) == program.node;
        let first = |start: &str| program.calls.iter().find(|call| call.text.starts_with(start));
        // What ends a connection the system sends without a call as well, so that of several connections it may be another's.
        let ends = |connection: &&roce::Connection| {
            Side::BOTH
                .into_iter()
                .any(|side| report.names.get(connection.endpoint(side).address) == program.node)
        };
        let is_only = report.connections.iter().filter(ends).count() == 1;
        // Who is told that the peer disconnects answers by the same call.
        for (call, words) in [
            ("rdma_connect", &["CM REQ"][..]),
            ("rdma_accept", &["CM REP"]),
            ("rdma_reject", &["CM REJ"]),
            ("rdma_disconnect", &["CM DREQ", "CM DREP"]),
        ] {
            let is_sure = is_only || !matches!(call, "rdma_disconnect" | "rdma_reject");
            if let (true, Some(call), Some(time)) = (is_sure, first(call), first_packet(words, &is_from)) {
                self.not_before(call, time);
            }
        }
        // A DREQ of the peer makes the event, and to its own DREQ the peer's DREP does (`cma_ib_handler`); its own DREQ makes none. The passive side is
        // established by the RTU, or by what the peer sends on the queue pair before an RTU arrives.
        for (event, causes) in [
            ("CONNECT_REQUEST", &["CM REQ"][..]),
            ("ESTABLISHED", &["CM REP", "CM RTU", ""]),
            ("REJECTED", &["CM REJ"]),
            ("DISCONNECTED, status 0", &["CM DREQ", "CM DREP"]),
        ] {
            let arrives = |line: &&PacketLine| {
                let is_cause = |words: &&str| match words.is_empty() {
                    true => line.part == Part::Request,
                    false => line.words == **words,
                };
                is_to(line) && line.fate.is_delivered() && causes.iter().any(is_cause)
            };
            let cause = lines.iter().find(arrives).and_then(|line| times.get(&line.number));
            if let (Some(call), Some(time)) = (first(&format!("CM event {event}")), cause) {
                self.not_after(call, *time);
            }
        }
    }
}

/// The next of a queue pair's deliveries.
fn next(at: &mut HashMap<u64, usize>, received: &HashMap<u64, Vec<Delivery>>, qp: u64) -> Delivery {
    let index = at.entry(qp).or_default();
    *index += 1;
    received.get(&qp).and_then(|deliveries| deliveries.get(*index - 1)).copied().unwrap_or_default()
}

/// Offset that is added to a program's time to have the capture's, and how well that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockOffset {
    /// Nothing on the wire tells it.
    Unknown,
    /// As it is at least.
    AtLeast(i128),
    /// As it is at most.
    AtMost(i128),
    /// Known to so many nanoseconds, more or less.
    Within { offset_ns: i128, uncertainty_ns: i128 },
    /// The bounds contradict each other by so much: the clocks do not run alike, or a call was taken for another.
    Contradicted { offset_ns: i128, by_ns: i128 },
}

impl ClockOffset {
    fn between(least: Option<i128>, most: Option<i128>) -> Self {
        match (least, most) {
            (None, None) => Self::Unknown,
            (Some(least), None) => Self::AtLeast(least),
            (None, Some(most)) => Self::AtMost(most),
            (Some(least), Some(most)) if least > most => {
                Self::Contradicted { offset_ns: i128::midpoint(least, most), by_ns: least - most }
            }
            (Some(least), Some(most)) => Self::Within {
                offset_ns: i128::midpoint(least, most),
                uncertainty_ns: (most - least + 1) / 2,
            },
        }
    }

    /// The offset in nanoseconds, if anything is known of it.
    pub(crate) fn ns(self) -> Option<i128> {
        match self {
            Self::Unknown => None,
            Self::AtLeast(ns) | Self::AtMost(ns) => Some(ns),
            Self::Within { offset_ns, .. } | Self::Contradicted { offset_ns, .. } => Some(offset_ns),
        }
    }

    /// By how much it may be wrong, in nanoseconds; `None` where the wire does not bound it on both sides.
    pub(crate) fn uncertainty_ns(self) -> Option<i128> {
        match self {
            Self::Unknown | Self::AtLeast(_) | Self::AtMost(_) => None,
            Self::Within { uncertainty_ns: ns, .. } | Self::Contradicted { by_ns: ns, .. } => Some(ns),
        }
    }

    /// Words for how well it is known, as the end of a sentence that begins with the program.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Unknown => {
                "its clock could not be matched: none of its calls has a packet in the capture".to_owned()
            }
            Self::AtLeast(_) => {
                "its times are the earliest that the wire allows; nothing bounds them from above".to_owned()
            }
            Self::AtMost(_) => {
                "its times are the latest that the wire allows; nothing bounds them from below".to_owned()
            }
            Self::Within { uncertainty_ns, .. } => format!("matched to ±{}", duration(uncertainty_ns)),
            Self::Contradicted { by_ns, .. } => {
                format!(
                    "matched to about {}: its calls and the wire contradict each other by that much",
                    duration(by_ns)
                )
            }
        }
    }
}

/// A point in time for people, to the microsecond, so that neighbours of a list differ: `1.609213 s`.
pub(crate) fn stamp(ns: i128) -> String {
    format!("{:.6} s", ns as f64 / 1e9)
}

/// A duration for people: `12.3 µs`.
pub(crate) fn duration(ns: i128) -> String {
    let size = ns.unsigned_abs();
    let value = ns as f64;
    match size {
        0..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", value / 1e6),
        _ => format!("{:.3} s", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use roce::capture::Record;
    use roce::synth::Pair;
    use roce::{Analysis, Names};

    use super::*;
    use crate::Collector;

    /// A frame each 10 ms.
    fn capture(frames: &[Vec<u8>]) -> Capture {
        let (mut analysis, mut collector) = (Analysis::new(Names::new()), Collector::new());
        for (number, frame) in (1..).zip(frames) {
            let record = Record::ethernet(number, number * 10_000_000, frame);
            let frame = record.frame();
            collector.push(&record, &frame);
            analysis.push_frame(&record, &frame);
        }
        collector.finish("a", analysis.finish())
    }

    fn offset(calls: &Calls, capture: &Capture) -> ClockOffset {
        calls.offset(capture, &LinkedLines::of(&capture.report))
    }

    #[test]
    fn lines_of_calls_are_read_and_others_passed_over() {
        let log = "connected\n  [0.000500] rdma_connect: 198.51.100.2:7471\n[1.5] completion wr_id 1: RDMA_WRITE SUCCESS, 18 bytes, qp 17\n\
                   \x20 [0.1] something else\n[   12.3] eth0: up\n[1.2.3] ibv_x\n[-1.0] ibv_x\n[99999999999999999999.0] ibv_x\n[0.000000] ibv_alloc_pd: device rxe0\n";
        let calls = Calls::of_log("client", log).calls;
        let read: Vec<(i64, CallKind)> = calls.iter().map(|call| (call.time_ns, call.kind)).collect();
        assert_eq!(
            read,
            [(500_000, CallKind::Connection), (1_500_000_000, CallKind::Completed), (0, CallKind::Setup)]
        );
        assert_eq!((number(&calls[1].text, "qp"), number(&calls[1].text, "wr_id")), (Some(17), Some(1)));
    }

    #[test]
    fn clock_is_bounded_by_what_cannot_be_otherwise() {
        let pair = Pair::new(1);
        let capture = capture(&pair.write_then_read());
        let report = &capture.report;
        let message = &report.messages[0];
        let (qp, node) = (message.requester_qpn.unwrap(), report.names.get(message.requester));
        // The program's clock began 5 ms into the capture; it posts 2 ms before the packet and hears of the end 4 ms after the answer.
        let own = |wire_ns: u64, by_ms: i64| (wire_ns as i64 - 5_000_000 + by_ms * 1_000_000) as f64 / 1e9;
        let log = format!(
            "[{:.6}] ibv_post_send: qp {qp}, wr_id 1, RDMA_WRITE, 18 bytes\n[{:.6}] completion wr_id 1: RDMA_WRITE SUCCESS, 18 bytes, qp {qp}\n",
            own(message.sent_ns, -2),
            own(message.ended_ns.unwrap(), 4)
        );
        let calls = Calls::of_log(node.clone(), &log);
        assert_eq!(
            offset(&calls, &capture),
            ClockOffset::Within { offset_ns: 4_000_000, uncertainty_ns: 3_000_000 }
        );
        assert_eq!(offset(&calls, &capture).words(), "matched to ±3.00 ms");
        // A CM event narrows it: the REQ is the first packet, at 10 ms.
        let connect = format!("[{:.6}] rdma_connect: x\n", own(10_000_000, -1));
        let both = offset(&Calls::of_log(node, &(connect + &log)), &capture);
        assert_eq!(both, ClockOffset::Within { offset_ns: 3_500_000, uncertainty_ns: 2_500_000 });
        assert_eq!(offset(&Calls::of_log("nobody", &log), &capture), ClockOffset::Unknown);
    }

    #[test]
    fn disconnected_comes_after_the_peers_drep_or_dreq() {
        let pair = Pair::new(1);
        let frames = pair.write_then_read();
        let capture = capture(&frames);
        let lines = capture.report.packet_lines();
        let at = |words: &str| {
            let line = lines.iter().find(|line| line.words == words).unwrap();
            (line.timestamp_ns as i64, capture.report.names.get(line.ends[0]))
        };
        let ((dreq_ns, active), (drep_ns, passive)) = (at("CM DREQ"), at("CM DREP"));
        assert!(dreq_ns < drep_ns && active != passive);
        let log = "[1.000000] CM event DISCONNECTED, status 0\n";
        for (node, cause_ns) in [(active.clone(), drep_ns), (passive, dreq_ns)] {
            let found = offset(&Calls::of_log(node, log), &capture);
            assert_eq!(found, ClockOffset::AtLeast(i128::from(cause_ns - 1_000_000_000)));
        }
        // A DREQ that is never answered ends with an error, which has no packet.
        let unanswered = Calls::of_log(active, "[1.000000] CM event DISCONNECTED, status -110\n");
        assert_eq!(offset(&unanswered, &capture), ClockOffset::Unknown);
    }

    #[test]
    fn registered_regions_are_read_from_the_log() {
        let log = "[1.0] ibv_reg_mr: 4096 bytes at 0x55e875c5b000, lkey 0x583, rkey 0x584, access 0x7\n[1.1] ibv_reg_mr: x\n";
        let registered: Vec<Registered> = Calls::of_log("server", log).registered().collect();
        assert_eq!(registered, [Registered { va: 0x55e8_75c5_b000, length_bytes: 4096, rkey: 0x584 }]);
    }

    #[test]
    fn bounds_that_contradict_are_told() {
        let offset = ClockOffset::between(Some(3_000), Some(1_000));
        assert_eq!(offset, ClockOffset::Contradicted { offset_ns: 2_000, by_ns: 2_000 });
        assert!(offset.words().contains("about 2.0 µs"), "{}", offset.words());
        assert_eq!(
            [ClockOffset::between(Some(1), None), ClockOffset::between(None, Some(1))].map(ClockOffset::ns),
            [Some(1); 2]
        );
    }
}
