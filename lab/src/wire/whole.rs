//! Whether a capture lacks nothing, by what its own packets say of each other: for cards that count no packets.
//!
//! Connection management says where the requests of a queue pair begin, each request how many PSNs it and its answers
//! take, each answer what was sent before it. A packet that is missing leaves a hole in that. What leaves none:
//! a message with all of its answers at the very end of a connection, whole connections (the programs' completions
//! tell of both), and how often something came again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;

use roce::flow::Tracker;
use roce::wire::{Icrc, NakCode, Operation, Packet, Syndrome, TransportService};
use roce::{Connection, Names, Report, Rule, Side, StreamId};

use crate::base::error::Result;
use crate::base::role::Role;
use crate::wire::capture::{decode_file, each_packet};

/// Most connections that are followed; a report has forgotten some of more.
const CONNECTIONS: usize = 1 << 20;

/// Holes of one kind that are named; of more, how many there are.
const NAMED_MAX: usize = 4;

/// Findings that speak of a packet which the capture has not, has too late, or has damaged.
const LOSSES: [Rule; 14] = [
    Rule::IcrcMismatch,
    Rule::MalformedPacket,
    Rule::RequestPsnGap,
    Rule::CaptureLostPackets,
    Rule::CaptureOneDirection,
    Rule::ReadResponsePsnGap,
    Rule::AtomicAckMissing,
    Rule::AckForUnsentPsn,
    Rule::RequestNotAnswered,
    Rule::OpcodeOutOfSequence,
    Rule::MsnBeyondCompleted,
    Rule::NakWithoutGap,
    Rule::NakWithoutRetransmission,
    Rule::CmOutOfSequence,
];

/// The run's words on its capture.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allowed {
    /// One acknowledgement may stand for several requests that asked for one.
    pub(crate) ack_coalescing: bool,
    /// A queue pair may fail, and leave what it was asked unanswered.
    pub(crate) failed_queue_pairs: bool,
    /// The programs tell their completions, which are held against the wire: the end of a connection without
    /// connection management.
    pub(crate) completions: bool,
}

/// Whether a capture has all that its own packets speak of, as far as any run may ask: what is still being written
/// need not be waited for.
///
/// # Errors
///
/// It cannot be read.
pub fn is_whole_by_itself(capture: &Path, addresses: &BTreeMap<Role, IpAddr>) -> Result<bool> {
    let report = decode_file(capture, addresses)?;
    let allowed = Allowed { ack_coalescing: true, failed_queue_pairs: true, completions: true };
    Ok(missing(&report, capture, allowed)?.is_empty())
}

/// Lists what is missing of a capture, whose report this is, each in a sentence; nothing where it is
/// proved complete.
///
/// # Errors
///
/// The capture cannot be read again.
pub(crate) fn missing(report: &Report, capture: &Path, allowed: Allowed) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    if report.connections.is_empty() {
        missing.push("it has no connection".to_owned());
    }
    if report.connections_dropped + report.requests_dropped > 0 {
        missing.push("it has more connections, or requests without an answer, than are followed".to_owned());
    }
    for rule in LOSSES {
        if let Some(finding) = report.findings.iter().find(|finding| finding.rule == rule) {
            missing.push(format!("it shows a loss: {}", report.known().finding(finding)));
        }
    }
    let seen = SeenPackets::read(report, capture)?;
    missing.extend(seen.unprovable());
    for (id, connection) in report.connection_ids().zip(&report.connections) {
        let has_management = connection.port_space.is_some();
        if has_management || seen.has_management {
            missing.extend(
                missing_management(connection).map(|what| format!("connection {}: {what}", id.index() + 1)),
            );
        } else if !allowed.completions {
            missing.push(format!(
                "connection {}: without connection management and completions nothing says where it ends",
                id.index() + 1
            ));
        }
        for requester in Side::BOTH {
            if let Some(requests) = seen.requests.get(&StreamId { connection: id, requester }) {
                let node = report.names.get(connection.endpoint(requester).address);
                let found = requests.missing(&node, connection.path_mtu_bytes, has_management, allowed);
                missing.extend(found);
            }
        }
    }
    Ok(missing)
}

/// Lists what is missing between REQ and the end of a connection.
fn missing_management(connection: &Connection) -> Option<String> {
    let has = |side, name| connection.management.contains(&(side, name));
    let both = [Side::Active, Side::Passive];
    if has(Side::Active, "REQ") && both.into_iter().any(|side| has(side, "REJ")) {
        return None;
    }
    let mut lacks: Vec<&str> = [(Side::Active, "REQ"), (Side::Passive, "REP"), (Side::Active, "RTU")]
        .into_iter()
        .filter(|(side, name)| !has(*side, name))
        .map(|(_, name)| name)
        .collect();
    // Either side ends it, or both at a time; each is answered by the other. Where the two cross, one answer ends both: whom
    // it reaches before its own answer owes none any more.
    let is_asked = both.map(|side| has(side, "DREQ"));
    let is_answered = both.map(|side| has(side.other(), "DREP"));
    if is_answered.iter().zip(is_asked).any(|(answered, asked)| *answered && !asked) || is_asked == [false; 2]
    {
        lacks.push("DREQ");
    }
    let is_owed = is_asked.iter().zip(is_answered).any(|(asked, answered)| *asked && !answered);
    if (is_owed && is_asked != [true; 2]) || is_answered == [false; 2] {
        lacks.push("DREP");
    }
    (!lacks.is_empty()).then(|| format!("no {} is there", lacks.join(", ")))
}

/// The packets of a capture by what they say of others.
#[derive(Debug, Default)]
struct SeenPackets {
    has_management: bool,
    requests: HashMap<StreamId, Requests>,
    /// Packets of which no other tells, by what they are.
    others: BTreeMap<String, u64>,
}

impl SeenPackets {
    fn read(report: &Report, capture: &Path) -> Result<SeenPackets> {
        let mut seen = SeenPackets::default();
        let mut tracker = Tracker::new(CONNECTIONS);
        let mut names = report.names.clone();
        each_packet(capture, |_, is_sent, _, packet| {
            if is_sent && !matches!(packet.icrc, Icrc::Bad { .. }) {
                seen.take(&mut tracker, &mut names, packet);
            }
        })?;
        // The report has the connections in the same order, without those that turned out to be directions of others.
        let own: HashMap<_, _> =
            tracker.connections().map(|(id, _)| id).zip(report.connection_ids()).collect();
        let requests = std::mem::take(&mut seen.requests).into_iter();
        seen.requests = requests
            .filter_map(|(stream, requests)| {
                let StreamId { connection, requester } = tracker.resolve_stream(stream);
                Some((StreamId { connection: *own.get(&connection)?, requester }, requests))
            })
            .collect();
        Ok(seen)
    }

    fn take(&mut self, tracker: &mut Tracker, names: &mut Names, packet: &Packet<'_>) {
        let sighting = tracker.see(packet, names);
        if packet.mad().is_some_and(|mad| mad.is_ok_and(|mad| mad.is_cm())) {
            self.has_management = true;
            return;
        }
        let Some(opcode) = packet.opcode() else { return };
        // A card or switch sends as many congestion notifications as it likes; nothing counts them.
        if opcode.operation() == Operation::Cnp {
            return;
        }
        let place = sighting.and_then(|sighting| Some((sighting.connection?, sighting.distance?)));
        let (TransportService::Rc | TransportService::Xrc, Some(((connection, sender), at))) =
            (opcode.transport(), place)
        else {
            *self.others.entry(opcode.to_string()).or_default() += 1;
            return;
        };
        let requester = if opcode.is_response() { sender.other() } else { sender };
        let requests = self.requests.entry(StreamId { connection, requester }).or_default();
        match opcode.is_response() {
            true => requests.answer(at, packet),
            false => requests.request(at, packet),
        }
    }

    fn unprovable(&self) -> impl Iterator<Item = String> {
        self.others.iter().map(|(opcode, count)| format!("{count} {opcode}: no PSN says how many there were"))
    }
}

/// The requests of one queue pair, by distance from its first PSN, and their answers.
#[derive(Debug, Default)]
struct Requests {
    asked: BTreeMap<i64, SeenRequest>,
    /// Positive acknowledgements.
    acknowledged: BTreeSet<i64>,
    /// READ responses and results of atomics.
    responded: BTreeSet<i64>,
    /// The highest of both, with its MSN if it has one.
    last_answer: Option<(i64, Option<u32>)>,
    /// Where the responder refused for good.
    refused: Option<i64>,
    /// Where it was last not ready.
    not_ready: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct SeenRequest {
    /// Bytes that a READ asks for, whose answers take a PSN for each path MTU of them.
    read_bytes: Option<u32>,
    /// Whether it is answered by READ responses or the result of an atomic.
    has_responses: bool,
    asks_for_ack: bool,
    begins_message: bool,
    ends_message: bool,
}

impl SeenRequest {
    /// PSNs that it takes.
    fn psns(&self, mtu: Option<u32>) -> i64 {
        self.read_bytes.zip(mtu).map_or(1, |(bytes, mtu)| i64::from(bytes.div_ceil(mtu.max(1)).max(1)))
    }
}

impl Requests {
    fn request(&mut self, at: i64, packet: &Packet<'_>) {
        let (Some(bth), Some(opcode)) = (packet.bth, packet.opcode()) else { return };
        let operation = opcode.operation();
        let bytes = packet.reth.map_or(0, |reth| reth.dma_length());
        let request = SeenRequest {
            read_bytes: (operation == Operation::ReadRequest).then_some(bytes),
            has_responses: matches!(
                operation,
                Operation::ReadRequest | Operation::CmpSwap | Operation::FetchAdd
            ),
            asks_for_ack: bth.ack_request(),
            begins_message: opcode.place().starts(),
            ends_message: opcode.place().ends(),
        };
        // What comes again asks for no more than the first time.
        self.asked.entry(at).or_insert(request);
    }

    fn answer(&mut self, at: i64, packet: &Packet<'_>) {
        let is_acknowledge =
            packet.opcode().is_some_and(|opcode| opcode.operation() == Operation::Acknowledge);
        let aeth = packet.aeth.map(|aeth| (aeth.syndrome(), aeth.msn()));
        match aeth {
            Some((Syndrome::Nak(code), _)) if code != NakCode::PsnSequenceError => {
                self.refused = Some(self.refused.map_or(at, |refused| refused.min(at)));
                return;
            }
            Some((Syndrome::RnrNak { .. }, _)) => {
                self.not_ready = Some(at);
                return;
            }
            // The request comes again, or is found missing.
            Some((Syndrome::Nak(_) | Syndrome::Unknown(_), _)) => return,
            _ => {}
        }
        match is_acknowledge {
            true => self.acknowledged.insert(at),
            false => self.responded.insert(at),
        };
        let answer = (at, aeth.map(|(_, msn)| msn));
        if self.last_answer.is_none_or(|last| last <= answer) {
            self.last_answer = Some(answer);
        }
    }

    fn missing(&self, node: &str, mtu: Option<u32>, has_management: bool, allowed: Allowed) -> Vec<String> {
        let mut holes: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
        let mut hole = |what, from, to| holes.entry(what).or_default().push((from, to));
        let answered = self.last_answer.map_or(i64::MIN, |(at, _)| at);
        // A requester gives up, too, on a responder that is not ready time and again.
        let refused = self.refused.or(self.not_ready.filter(|at| *at > answered));
        let refused = refused.filter(|_| allowed.failed_queue_pairs);
        let mut expected = 0;
        let mut is_open = false;
        for (&at, request) in &self.asked {
            if at > expected {
                hole("requests", expected, at - 1);
            }
            expected = expected.max(at + request.psns(mtu));
            is_open = !request.ends_message;
            let is_refused = refused.is_some_and(|refused| at >= refused);
            if request.has_responses {
                let end = at + request.psns(mtu);
                for psn in (at..end).filter(|psn| !is_refused && !self.responded.contains(psn)) {
                    hole("responses", psn, psn);
                }
            } else if request.asks_for_ack && !is_refused {
                let is_answered = match allowed.ack_coalescing {
                    true => answered >= at,
                    false => self.acknowledged.contains(&at) || self.responded.contains(&at),
                };
                if !is_answered {
                    hole("acknowledgements", at, at);
                }
            }
        }
        if answered >= expected {
            hole("requests", expected, answered);
        } else if is_open && refused.is_none() {
            hole("requests", expected, expected);
        }
        let mut missing: Vec<String> = holes.iter().map(|(what, holes)| named(node, what, holes)).collect();
        if !has_management {
            missing.extend(self.missing_before(node));
        }
        missing
    }

    /// Whether its first requests are missing, where no REQ or REP says which those are: by the count of messages in
    /// its answers.
    fn missing_before(&self, node: &str) -> Option<String> {
        let (_, first) = self.asked.first_key_value()?;
        let ended = |at: i64| self.asked.range(..=at).filter(|(_, request)| request.ends_message).count();
        let is_whole = match self.last_answer {
            Some((at, Some(msn))) => first.begins_message && ended(at) as u32 & 0xff_ffff == msn,
            _ => false,
        };
        (!is_whole).then(|| format!("{node}: no count of messages says that these requests are its first"))
    }
}

/// As in `no responses at client+2..3`.
fn named(node: &str, what: &str, holes: &[(i64, i64)]) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for &(from, to) in holes {
        match runs.last_mut() {
            Some(run) if run.1 + 1 == from => run.1 = to,
            _ => runs.push((from, to)),
        }
    }
    let named: Vec<String> = runs
        .iter()
        .take(NAMED_MAX)
        .map(
            |(from, to)| {
                if from == to { format!("{node}{from:+}") } else { format!("{node}{from:+}..{to}") }
            },
        )
        .collect();
    let more = match runs.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more places"),
    };
    format!("no {what} at {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use roce::capture::Writer;
    use roce::synth::Pair;

    use super::*;
    use crate::base::role::Role;
    use crate::wire::capture::{CAPTURE, decode_file};

    const STRICT: Allowed = Allowed { ack_coalescing: false, failed_queue_pairs: false, completions: false };

    /// What is missing of a capture of these frames.
    fn missing(frames: &[Vec<u8>], allowed: Allowed) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let capture = directory.path().join(CAPTURE);
        let mut writer = Writer::new(Vec::new(), &["server", "client"]).unwrap();
        for (number, frame) in frames.iter().enumerate() {
            writer.write(0, number as u64 * 1_000, frame, "").unwrap();
        }
        fs::write(&capture, writer.finish().unwrap()).unwrap();
        let pair = Pair::new(1);
        let addresses = [(Role::Server, pair.passive.address), (Role::Client, pair.active.address)].into();
        super::missing(&decode_file(&capture, &addresses).unwrap(), &capture, allowed).unwrap()
    }

    /// A connection with these packets in it.
    fn connected(packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let pair = Pair::new(1);
        let begin = vec![pair.req(7471, &[]), pair.rep(&pair.advert()), pair.rtu()];
        [begin, packets, vec![pair.dreq(), pair.drep()]].concat()
    }

    /// A WRITE of three packets, an atomic, a SEND and a READ of three packets, one after the other.
    fn several() -> Vec<Vec<u8>> {
        let pair = Pair::new(1);
        let (va, rkey, piece) = (pair.passive.va, pair.passive.rkey, [0x5a; 1024]);
        vec![
            pair.request(0x06, 0).reth(va, rkey, 3072).payload(&piece).build(),
            pair.request(0x07, 1).payload(&piece).build(),
            pair.request(0x08, 2).ack_request().payload(&piece).build(),
            pair.response(0x11, 2).aeth(0x1f, 1).build(),
            pair.request(0x14, 3).ack_request().atomic_eth(va, rkey, 1, 0).build(),
            pair.response(0x12, 3).aeth(0x1f, 2).header(&[0; 8]).build(),
            pair.request(0x04, 4).ack_request().payload(b"text").build(),
            pair.response(0x11, 4).aeth(0x1f, 3).build(),
            pair.request(0x0c, 5).ack_request().reth(va, rkey, 3072).build(),
            pair.response(0x0d, 5).aeth(0x1f, 4).payload(&piece).build(),
            pair.response(0x0e, 6).payload(&piece).build(),
            pair.response(0x0f, 7).aeth(0x1f, 4).payload(&piece).build(),
        ]
    }

    #[test]
    fn each_packet_that_is_missing_is_missed() {
        let pair = Pair::new(1);
        let last_is_acknowledged = several().drain(..8).collect();
        for frames in [
            pair.write_then_read(),
            pair.write_with_immediate(),
            connected(several()),
            connected(last_is_acknowledged),
        ] {
            assert_eq!(missing(&frames, STRICT), Vec::<String>::new());
            for at in 0..frames.len() {
                let lacking: Vec<_> = [&frames[..at], &frames[at + 1..]].concat();
                assert_ne!(missing(&lacking, STRICT), Vec::<String>::new(), "without frame {at}");
            }
            for end in 0..frames.len() {
                assert_ne!(missing(&frames[..end], STRICT), Vec::<String>::new(), "the first {end} frames");
                assert_ne!(
                    missing(&frames[frames.len() - end..], STRICT),
                    Vec::<String>::new(),
                    "the last {end}"
                );
            }
        }
        assert_eq!(missing(&[], STRICT), ["it has no connection"]);
    }

    #[test]
    fn what_is_missing_is_named_by_its_psn() {
        let frames = Pair::new(1).write_then_read();
        let mut without = frames.clone();
        without.drain(7..9);
        let found = missing(&without, STRICT);
        assert!(found.contains(&"no responses at client+2..3".to_owned()), "{found:?}");
        let without: Vec<_> = [&frames[..4], &frames[5..]].concat();
        assert_eq!(missing(&without, STRICT), ["no acknowledgements at client+0"]);
        let found = missing(&frames[..11], STRICT);
        assert_eq!(found, ["connection 1: no DREP is there"]);
    }

    #[test]
    fn one_answer_ends_both_disconnects_that_crossed() {
        let pair = Pair::new(5);
        let back = Pair { active: pair.passive, passive: pair.active, salt: pair.salt.wrapping_add(2) };
        let begin = &pair.write_with_immediate()[..5];
        let ending = |end: &[Vec<u8>]| missing(&[begin, end].concat(), STRICT);
        let (both, one) = ([pair.drep(), back.drep()], [pair.drep()]);
        for answers in [&both[..], &one] {
            assert_eq!(ending(&[&[pair.dreq(), back.dreq()], answers].concat()), Vec::<String>::new());
        }
        assert_eq!(ending(&[pair.dreq(), back.dreq()]), ["connection 1: no DREP is there"]);
        assert_eq!(ending(&[pair.dreq(), back.drep()]), ["connection 1: no DREQ, DREP is there"]);
    }

    #[test]
    fn acknowledgement_may_stand_for_earlier_ones_where_that_is_declared() {
        let coalescing = Allowed { ack_coalescing: true, ..STRICT };
        let frames = connected(several());
        for (at, is_covered) in [(6, true), (10, true), (8, false), (14, false)] {
            let lacking: Vec<_> = [&frames[..at], &frames[at + 1..]].concat();
            assert_eq!(missing(&lacking, coalescing).is_empty(), is_covered, "without frame {at}");
        }
        let frames = Pair::new(1).write_with_immediate();
        let lacking: Vec<_> = [&frames[..4], &frames[5..]].concat();
        assert_eq!(missing(&lacking, coalescing).len(), 2, "nothing covers the last");
    }

    #[test]
    fn loss_on_the_wire_that_was_mended_is_no_complete_capture() {
        let pair = Pair::new(1);
        let send = |n| pair.request(0x04, n).ack_request().payload(b"text").build();
        let frames = connected(vec![
            send(1),
            pair.response(0x11, 0).aeth(0x60, 0).build(),
            send(0),
            send(1),
            pair.response(0x11, 0).aeth(0x1f, 1).build(),
            pair.response(0x11, 1).aeth(0x1f, 2).build(),
        ]);
        let found = missing(&frames, STRICT);
        assert!(found.iter().any(|what| what.contains("RequestPsnGap")), "{found:?}");
    }

    #[test]
    fn what_follows_a_refusal_may_stay_unanswered_where_queue_pairs_may_fail() {
        let pair = Pair::new(1);
        let write = |n| pair.request(0x0a, n).ack_request().reth(0, 1, 4).payload(b"text").build();
        let frames = connected(vec![write(0), write(1), pair.response(0x11, 0).aeth(0x62, 0).build()]);
        assert_ne!(missing(&frames, STRICT), Vec::<String>::new());
        let failing = Allowed { failed_queue_pairs: true, ..STRICT };
        assert_eq!(missing(&frames, failing), Vec::<String>::new());
        // The refusal itself is an answer that has to be there.
        let lacking: Vec<_> = [&frames[..5], &frames[6..]].concat();
        assert_ne!(missing(&lacking, failing), Vec::<String>::new());
    }

    #[test]
    fn without_connection_management_counts_say_where_it_begins_and_completions_where_it_ends() {
        let completions = Allowed { completions: true, ..STRICT };
        let frames = several();
        assert_eq!(missing(&frames, completions), Vec::<String>::new());
        assert_ne!(missing(&frames, STRICT), Vec::<String>::new());
        for at in 0..frames.len() {
            let lacking: Vec<_> = [&frames[..at], &frames[at + 1..]].concat();
            assert_ne!(missing(&lacking, completions), Vec::<String>::new(), "without frame {at}");
        }
        for begin in 1..frames.len() {
            assert_ne!(missing(&frames[begin..], completions), Vec::<String>::new(), "from frame {begin}");
        }
    }
}
