//! Whether a capture holds everything that was sent: exactly what the kernels counted, or, where a device counts no
//! packets, all that its own packets speak of.
//!
//! rxe counts a packet as received behind its checks of the ICRC and of the queue pair. What reaches a queue pair
//! that has failed, or is gone, is delivered and not counted: a run in which a queue pair is meant to fail may have
//! so many packets fewer on the counter, and not one more.
//!
//! netem stands between rxe and the wire: what it loses was counted and is not in the capture, what it copies was
//! counted once. Its own counters say how many.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::IpAddr;
use std::path::Path;

use roce::capture::Reader;
use roce::wire::{Icrc, NakCode, Packet, Psn, Syndrome};
use roce::{Connection, Report};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;
use crate::run::evidence::Evidence;
use crate::scenario::Scenario;
use crate::scenario::fault::Action;
use crate::scenario::fault::netem::Counted;
use crate::wire::capture::{CAPTURE, decode_file};

mod psn;

/// A queue pair: its node's address and its number.
type QueuePair = (IpAddr, u32);

/// What says that a capture is complete, or is not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Completeness {
    /// What is missing, or proved by nothing, each in a sentence.
    pub differences: Vec<String>,
    /// Packets that reached queue pairs that had failed, and were not counted.
    pub not_taken: u64,
    /// Nodes whose devices count no packets, so that the packets have to prove themselves.
    pub uncounted: Vec<Role>,
    /// Packets that netem lost, where that makes the faults: rxe counted them, and the capture has them not.
    pub netem_dropped: Option<u64>,
    /// Packets that came again, how often of which no PSN tells.
    pub repeated: u64,
}

impl Completeness {
    /// By what it is proved: "rxe's counters".
    pub fn proof(&self) -> String {
        let mut proof = match &self.uncounted[..] {
            [] => "complete by rxe's counters".to_owned(),
            [role] => format!("complete by rxe's counters of {} and by PSN", role.peer()),
            _ => "complete by PSN".to_owned(),
        };
        if let Some(dropped) = self.netem_dropped {
            proof.push_str(&format!(" and netem's, which dropped {dropped}"));
        }
        if self.not_taken > 0 {
            proof.push_str(&format!(" but for {} to queue pairs that had failed", self.not_taken));
        }
        if self.repeated > 0 {
            proof.push_str(&format!(" but for how often {} requests came again", self.repeated));
        }
        proof
    }
}

/// Holds the capture in `artifacts`, whose report this is, against the counters of both nodes, and against itself
/// where a node's device counts no packets.
///
/// # Errors
///
/// The capture cannot be read again.
pub fn check(evidence: &Evidence, report: &Report, artifacts: &Path) -> Result<Completeness> {
    let capture = &artifacts.join(CAPTURE);
    let mut found = Completeness::default();
    for (role, node) in &evidence.nodes {
        if node.counts_no_packets {
            found.uncounted.push(*role);
            continue;
        }
        if let Some(netem) = node.netem {
            *found.netem_dropped.get_or_insert(0) += netem.dropped;
        }
        let address = evidence.addresses.get(role).copied();
        let of = |counts: &BTreeMap<IpAddr, u64>| {
            address.and_then(|address| counts.get(&address)).copied().unwrap_or(0)
        };
        let pairs =
            [("sent", node.sent, of(&report.sent)), ("received", node.received, of(&report.delivered))];
        for (what, counted, captured) in pairs {
            let Some(counted) = counted else {
                found
                    .differences
                    .push(format!("not proved complete: {role} told no counter of packets {what}"));
                continue;
            };
            let short = captured.saturating_sub(counted);
            let is_excused = what == "received"
                && short > 0
                && evidence.scenario.may_fail_queue_pairs()
                && short <= of(&past_the_end(capture, report)?);
            if is_excused {
                found.not_taken += short;
                continue;
            }
            let netem = node.netem.filter(|_| what == "sent");
            if !is_explained(&evidence.scenario, counted, netem, captured) {
                let netem = netem.map_or(String::new(), |netem| {
                    let Counted { passed, dropped, waiting, .. } = netem;
                    format!(" netem dropped {dropped}, holds {waiting} and let {passed} pass,")
                });
                found.differences.push(format!(
                    "not complete: {role}'s rxe counted {counted} packets {what},{netem} the capture has {captured}"
                ));
            }
        }
    }
    if !found.uncounted.is_empty() && report.packets > 0 {
        let allowed = psn::Allowed {
            ack_coalescing: evidence.differences.ack_coalescing,
            failed_queue_pairs: evidence.scenario.may_fail_queue_pairs(),
            completions: evidence.scenario.expect.completions,
        };
        let missing = psn::missing(report, capture, allowed)?;
        found.differences.extend(missing.into_iter().map(|what| format!("not complete by PSN: {what}")));
        if let Some(last) = found.differences.last_mut() {
            last.push_str("\nwhat records may lose packets: a small buffer (tcpdump -B), a mirror port that carries more");
        }
        found.repeated = report.retransmissions.total();
    }
    Ok(found)
}

/// Whether as many packets are in the capture as rxe counted; where netem stands between, as many as that let
/// pass, and it must have seen each one that rxe counted, and none twice unless the scenario wants copies.
pub fn is_explained(scenario: &Scenario, counted: u64, netem: Option<Counted>, captured: u64) -> bool {
    let Some(netem) = netem else { return counted == captured };
    let copies_at_most = match scenario.faults.iter().any(|fault| fault.action == Action::Duplicate) {
        true => counted,
        false => 0,
    };
    netem.passed == captured
        && netem.waiting == 0
        && netem.copies(counted).is_some_and(|copies| copies <= copies_at_most)
}

/// Whether a capture has all that its own packets speak of, as far as any run may ask: what is still being written
/// need not be waited for.
///
/// # Errors
///
/// It cannot be read.
pub fn is_whole_by_itself(capture: &Path, addresses: &BTreeMap<Role, IpAddr>) -> Result<bool> {
    let report = decode_file(capture, addresses)?;
    let allowed = psn::Allowed { ack_coalescing: true, failed_queue_pairs: true, completions: true };
    Ok(psn::missing(&report, capture, allowed)?.is_empty())
}

/// How many packets reached each address that its queue pair may not have taken any more.
fn past_the_end(capture: &Path, report: &Report) -> Result<BTreeMap<IpAddr, u64>> {
    let mut ends = Ends::new(&report.connections);
    each_packet(capture, |number, is_sent, _, packet| {
        if is_sent {
            ends.note(number, packet);
        }
    })?;
    let mut counts = BTreeMap::new();
    each_packet(capture, |number, _, is_delivered, packet| {
        if is_delivered && packet.icrc == Icrc::Good && ends.is_past(number, packet) {
            *counts.entry(packet.destination).or_default() += 1;
        }
    })?;
    Ok(counts)
}

/// Gives each RoCEv2 packet with its number, whether it was sent there and whether it was delivered.
fn each_packet(path: &Path, mut take: impl FnMut(u64, bool, bool, &Packet<'_>)) -> Result<()> {
    let failed = |source| Error::capture(format!("failed to read {}", path.display())).source(source);
    let mut reader = Reader::new(File::open(path).at("failed to open", path)?).map_err(failed)?;
    while let Some(record) = reader.next().map_err(failed)? {
        if let Some(packet) = record.frame().packet() {
            let fate = record.fate();
            take(record.number, fate.is_sent(), fate.is_delivered(), packet);
        }
    }
    Ok(())
}

/// The last sign of life of each queue pair.
struct Ends {
    peers: HashMap<QueuePair, QueuePair>,
    /// The number of the last packet that it sent.
    last: HashMap<QueuePair, u64>,
    /// The PSN of the request that it refused.
    refused: HashMap<QueuePair, Psn>,
}

impl Ends {
    fn new(connections: &[Connection]) -> Ends {
        let mut peers = HashMap::new();
        for Connection { active, passive, .. } in connections {
            if let (Some(a), Some(b)) = (active.qpn, passive.qpn) {
                peers.insert((active.address, a), (passive.address, b));
                peers.insert((passive.address, b), (active.address, a));
            }
        }
        Ends { peers, last: HashMap::new(), refused: HashMap::new() }
    }

    /// Takes note of a packet that was sent.
    fn note(&mut self, number: u64, packet: &Packet<'_>) {
        let Some(bth) = packet.bth else { return };
        let Some(&sender) = self.peers.get(&(packet.destination, bth.destination_qpn())) else { return };
        self.last.insert(sender, number);
        let is_fatal = packet.aeth.is_some_and(
            |aeth| matches!(aeth.syndrome(), Syndrome::Nak(code) if code != NakCode::PsnSequenceError),
        );
        if is_fatal {
            self.refused.entry(sender).or_insert(bth.psn());
        }
    }

    /// Whether a packet came behind its queue pair's last sign of life, or behind the request that it refused.
    fn is_past(&self, number: u64, packet: &Packet<'_>) -> bool {
        let Some(bth) = packet.bth else { return false };
        let receiver = (packet.destination, bth.destination_qpn());
        let is_behind =
            self.peers.contains_key(&receiver) && self.last.get(&receiver).is_none_or(|last| number > *last);
        let is_refused = bth.opcode().is_request()
            && self.refused.get(&receiver).is_some_and(|refused| bth.psn().distance(*refused) > 0);
        is_behind || is_refused
    }
}

#[cfg(test)]
mod tests {
    use roce::capture::Writer;
    use roce::synth::Pair;

    use super::*;
    use crate::base::role::Role;

    /// A WRITE of three packets whose first is refused, and a connection that was made before.
    fn refused(artifacts: &Path) -> Report {
        let pair = Pair::new(1);
        let frames = [
            pair.req(7471, &[]),
            pair.rep(&[]),
            pair.rtu(),
            pair.request(0x06, 0).reth(0, 1, 3072).payload(&[0; 1024]).build(),
            pair.request(0x07, 1).payload(&[0; 1024]).build(),
            pair.response(0x11, 0).aeth(0x62, 0).build(),
            pair.request(0x08, 2).payload(&[0; 1024]).build(),
        ];
        report(artifacts, &frames)
    }

    /// The report on a capture of these frames, written there.
    fn report(artifacts: &Path, frames: &[Vec<u8>]) -> Report {
        let mut writer = Writer::new(Vec::new(), &["server", "client"]).unwrap();
        for frame in frames {
            writer.write(0, 0, frame, "fate=forwarded").unwrap();
        }
        std::fs::write(artifacts.join(CAPTURE), writer.finish().unwrap()).unwrap();
        let mut analysis = roce::Analysis::new(roce::Names::new());
        let file = File::open(artifacts.join(CAPTURE)).unwrap();
        let mut reader = Reader::new(file).unwrap();
        while let Some(record) = reader.next().unwrap() {
            analysis.push(&record);
        }
        analysis.finish()
    }

    /// What is found if the server counted so many packets received.
    fn found(received: u64, client_exit: i32) -> Completeness {
        found_with(received, client_exit, |_| ())
    }

    /// The same, of evidence that differs by `change`.
    fn found_with(received: u64, client_exit: i32, change: impl Fn(&mut Evidence)) -> Completeness {
        let artifacts = tempfile::tempdir().unwrap();
        let report = refused(artifacts.path());
        let text = format!(
            "summary = \"s\"\nserver = \"a\"\nclient = \"b\"\n[expect.client]\nexit = {client_exit}\n"
        );
        let file = artifacts.path().join("x.toml");
        std::fs::write(&file, text).unwrap();
        let mut evidence = Evidence::new(&Scenario::read(&file).unwrap());
        let pair = Pair::new(1);
        evidence.addresses =
            [(Role::Server, pair.passive.address), (Role::Client, pair.active.address)].into();
        (evidence.node(Role::Server).sent, evidence.node(Role::Server).received) = (Some(2), Some(received));
        (evidence.node(Role::Client).sent, evidence.node(Role::Client).received) = (Some(5), Some(2));
        change(&mut evidence);
        check(&evidence, &report, artifacts.path()).unwrap()
    }

    #[test]
    fn netem_explains_what_it_counted_and_nothing_else() {
        let scenario = |action: &str| {
            let mut scenario = Scenario::new("x", String::new(), String::new());
            scenario.faults.extend(action.parse::<crate::scenario::fault::Fault>());
            scenario
        };
        let (loss, copies) = ("action=\"drop\",probability=0.1", "action=\"duplicate\",probability=0.1");
        for (action, passed, dropped, waiting, captured, expected) in [
            (loss, 17, 3, 0, 17, true),
            // One is missing in the capture, one was never at netem, one is still there, one was made by nobody.
            (loss, 17, 3, 0, 16, false),
            (loss, 16, 3, 0, 16, false),
            (loss, 16, 3, 1, 16, false),
            (loss, 18, 3, 0, 18, false),
            (copies, 24, 0, 0, 24, true),
            (copies, 41, 0, 0, 41, false),
        ] {
            let netem = Counted { passed, dropped, waiting, reordered: 0 };
            assert_eq!(is_explained(&scenario(action), 20, Some(netem), captured), expected, "{netem:?}");
        }
        let found = |sent| {
            found_with(5, 3, |evidence| {
                let client = evidence.node(Role::Client);
                client.sent = Some(sent);
                client.netem = Some(Counted { passed: 5, dropped: 3, ..Counted::default() });
            })
        };
        assert_eq!(found(8).proof(), "complete by rxe's counters and netem's, which dropped 3");
        assert_eq!(found(8).differences, [""; 0]);
        assert_eq!(
            found(9).differences,
            [
                "not complete: client's rxe counted 9 packets sent, netem dropped 3, holds 0 and let 5 pass, the capture has 5"
            ]
        );
    }

    #[test]
    fn what_came_behind_a_refusal_may_be_missing_and_nothing_else() {
        assert_eq!(found(5, 3), Completeness::default());
        assert_eq!(found(4, 3), Completeness { not_taken: 1, ..Completeness::default() });
        assert_eq!(found(3, 3), Completeness { not_taken: 2, ..Completeness::default() });
        for (received, exit) in [(2, 3), (6, 3), (4, 0)] {
            assert_eq!(
                found(received, exit).differences,
                [format!(
                    "not complete: server's rxe counted {received} packets received, the capture has 5"
                )]
            );
        }
    }

    /// What is found of the first sample, without one of its packets, if these nodes count and the others do not.
    fn found_without(at: usize, counting: &[Role]) -> Completeness {
        let artifacts = tempfile::tempdir().unwrap();
        let pair = Pair::new(1);
        let mut frames = pair.write_then_read();
        frames.remove(at);
        let report = report(artifacts.path(), &frames);
        let scenario = Scenario::new("s", "a".to_owned(), "b".to_owned());
        let mut evidence = Evidence::new(&scenario);
        evidence.addresses =
            [(Role::Server, pair.passive.address), (Role::Client, pair.active.address)].into();
        for role in Role::BOTH {
            evidence.node(role).counts_no_packets = !counting.contains(&role);
        }
        for role in counting {
            let packets = |of: &BTreeMap<IpAddr, u64>| of.get(&evidence.addresses[role]).copied();
            let (sent, received) = (packets(&report.sent), packets(&report.delivered));
            (evidence.node(*role).sent, evidence.node(*role).received) = (sent, received);
        }
        check(&evidence, &report, artifacts.path()).unwrap()
    }

    #[test]
    fn node_that_counts_no_packets_needs_the_packets_own_proof() {
        let is_red = |counting: &[Role]| !found_without(4, counting).differences.is_empty();
        assert!(is_red(&[]) && is_red(&[Role::Server]) && is_red(&[Role::Client]));
        assert!(!is_red(&Role::BOTH), "counters stay the proof where they are");
        let proof = |uncounted: &[Role], repeated| {
            Completeness { uncounted: uncounted.to_vec(), repeated, ..Completeness::default() }.proof()
        };
        assert_eq!(proof(&[], 0), "complete by rxe's counters");
        assert_eq!(proof(&[Role::Server], 0), "complete by rxe's counters of client and by PSN");
        assert_eq!(proof(&Role::BOTH, 2), "complete by PSN but for how often 2 requests came again");
    }
}
