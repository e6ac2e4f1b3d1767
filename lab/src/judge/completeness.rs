//! Completeness of a capture: exactly what the kernels counted, or, where a device counts no
//! packets, all that its own packets speak of.
//!
//! A capture that has *more* than a receiver counted lacks nothing: rxe drops uncounted what it cannot give to a queue pair.
//! Such packets are told, with the reason that the capture shows ([`Discarded`]).
//!
//! netem stands between rxe and the wire: what it loses was counted and is not in the capture, what it copies was
//! counted once. Its own counters say how many.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use roce::Report;

use crate::base::error::Result;
use crate::base::role::Role;
use crate::run::evidence::RunEvidence;
use crate::scenario::fault::netem::{self, Counted};
use crate::wire::capture::{CAPTURE, each_packet};
use crate::wire::whole;

mod discarded;

pub use discarded::{Discarded, Why};

/// Proof that a capture is complete, or is not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Completeness {
    /// Packets that are missing, or proved by nothing, each in a sentence.
    pub differences: Vec<String>,
    /// Packets that reached a node, and that its device did not take.
    pub discarded: Vec<Discarded>,
    /// Queue pairs of each node that packets are from.
    pub queue_pairs: BTreeMap<Role, BTreeSet<u32>>,
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
        let mut parts: Vec<(&str, u64)> = Vec::new();
        for Discarded { why, count, .. } in &self.discarded {
            match parts.iter_mut().find(|(words, _)| *words == why.words()) {
                Some((_, sum)) => *sum += count,
                None => parts.push((why.words(), *count)),
            }
        }
        let parts: Vec<String> = parts.iter().map(|(words, count)| format!("{count} {words}")).collect();
        if !parts.is_empty() {
            proof.push_str(&format!(" but for {}", parts.join(", ")));
        }
        if self.repeated > 0 {
            proof.push_str(&format!(" but for how often {} requests came again", self.repeated));
        }
        proof
    }

    /// Number of packets that a node's device did not take for a reason of that kind.
    pub fn not_taken(&self, role: Role, is: impl Fn(&Why) -> bool) -> u64 {
        let of_node = self.discarded.iter().filter(|discarded| discarded.role == role && is(&discarded.why));
        of_node.map(|discarded| discarded.count).sum()
    }

    /// The numbers of a node's queue pairs that packets are from.
    pub fn queue_pairs(&self, role: Role) -> Vec<u32> {
        self.queue_pairs.get(&role).into_iter().flatten().copied().collect()
    }
}

/// Holds the capture in `artifacts`, whose report this is, against the counters of all nodes, and against itself
/// where a node's device counts no packets.
///
/// # Errors
///
/// The capture cannot be read again.
pub fn check(evidence: &RunEvidence, report: &Report, artifacts: &Path) -> Result<Completeness> {
    let capture = &artifacts.join(CAPTURE);
    let mut found =
        Completeness { queue_pairs: discarded::queue_pairs(report, evidence), ..Completeness::default() };
    let mut surplus = BTreeMap::new();
    // By its sender: it reaches all others, and by the sender's own kernel that one too, if it is of the group.
    let (mut multicast, mut looped) = (BTreeMap::<Role, u64>::new(), BTreeMap::<Role, u64>::new());
    if report.delivered.keys().any(IpAddr::is_multicast) {
        each_packet(capture, |_, _, is_delivered, packet| {
            if let (true, Some(sender)) = (packet.destination.is_multicast(), evidence.owner(packet.source)) {
                *looped.entry(sender).or_default() += 1;
                *multicast.entry(sender).or_default() += u64::from(is_delivered);
            }
        })?;
    }
    for (role, node) in &evidence.nodes {
        if node.counts_no_packets {
            found.uncounted.push(*role);
            continue;
        }
        if let Some(netem) = node.netem {
            *found.netem_dropped.get_or_insert(0) += netem.dropped;
        }
        let of = |counts: &BTreeMap<IpAddr, u64>, is: &dyn Fn(IpAddr) -> bool| -> u64 {
            counts.iter().filter(|(address, _)| is(**address)).map(|(_, count)| count).sum()
        };
        let sent = of(&report.sent, &|address| evidence.owner(address) == Some(*role));
        let own = of(&report.delivered, &|address| evidence.owner(address) == Some(*role));
        let of_others = multicast.iter().filter(|(sender, _)| *sender != role);
        let delivered = own + of_others.map(|(_, count)| count).sum::<u64>();
        for (what, counted, captured) in [("sent", node.sent, sent), ("received", node.received, delivered)] {
            let Some(counted) = counted else {
                found
                    .differences
                    .push(format!("not proved complete: {role} told no counter of packets {what}"));
                continue;
            };
            let own_copies = looped.get(role).copied().filter(|_| what == "received").unwrap_or(0);
            if captured < counted && counted - captured <= own_copies {
                continue;
            }
            if what == "received" && captured > counted {
                surplus.insert(*role, captured - counted);
                continue;
            }
            let netem = node.netem.filter(|_| what == "sent");
            if !netem::is_explained(&evidence.scenario.faults, counted, netem, captured) {
                let netem = netem.map_or(String::new(), |netem| {
                    let Counted { passed, dropped, waiting, .. } = netem;
                    format!(" netem dropped {dropped}, holds {waiting} and let {passed} pass,")
                });
                let is_not = if captured > counted { "not the device's own" } else { "not complete" };
                found.differences.push(format!(
                    "{is_not}: {role}'s rxe counted {counted} packets {what},{netem} the capture has {captured}"
                ));
            }
        }
    }
    found.discarded = discarded::explain(evidence, report, capture, &surplus)?;
    if !found.uncounted.is_empty() && report.packets > 0 {
        let allowed = whole::Allowed {
            ack_coalescing: evidence.differences.ack_coalescing,
            failed_queue_pairs: evidence.scenario.may_fail_queue_pairs(),
            completions: evidence.scenario.expect.completions,
        };
        let missing = whole::missing(report, capture, allowed)?;
        found.differences.extend(missing.into_iter().map(|what| format!("not complete by PSN: {what}")));
        if let Some(last) = found.differences.last_mut() {
            last.push_str("\nwhat records may lose packets: a small buffer (tcpdump -B), a mirror port that carries more");
        }
        found.repeated = report.retransmissions.total();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use roce::capture::{Reader, Writer};
    use roce::synth::{FrameBuilder, Pair};
    use roce::wire::Opcode;

    use super::*;
    use crate::base::role::Role;
    use crate::scenario::Scenario;

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

    /// Completeness if the server counted so many packets received.
    fn found(received: u64, client_exit: i32) -> Completeness {
        found_with(received, client_exit, |_| ())
    }

    /// The same, of evidence that differs by `change`.
    fn found_with(received: u64, client_exit: i32, change: impl Fn(&mut RunEvidence)) -> Completeness {
        let artifacts = tempfile::tempdir().unwrap();
        let report = refused(artifacts.path());
        let text = format!(
            "summary = \"s\"\nserver = \"a\"\nclient = \"b\"\n[expect.client]\nexit = {client_exit}\n"
        );
        let file = artifacts.path().join("x.toml");
        std::fs::write(&file, text).unwrap();
        let mut evidence = RunEvidence::new(&Scenario::read(&file).unwrap());
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
            assert_eq!(
                netem::is_explained(&scenario(action).faults, 20, Some(netem), captured),
                expected,
                "{netem:?}"
            );
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
    fn capture_that_has_more_than_was_counted_lacks_nothing() {
        let of = |received, exit| {
            let found = found(received, exit);
            assert_eq!(found.differences, [""; 0], "{received}");
            found.discarded.iter().map(|discarded| (discarded.why, discarded.count)).collect::<Vec<_>>()
        };
        // Whatever the exit codes: what came to a queue pair that had failed is dropped uncounted.
        for exit in [0, 3] {
            assert_eq!(of(5, exit), []);
            assert_eq!(of(4, exit), [(Why::QueuePairGone, 1)]);
            assert_eq!(of(3, exit), [(Why::QueuePairGone, 2)]);
            assert_eq!(of(2, exit), [(Why::QueuePairGone, 2), (Why::Unknown, 1)]);
        }
        let proof = found(2, 0).proof();
        let words = "complete by rxe's counters but for 2 to queue pairs that had failed, \
                     1 that a device did not take, for a reason that the capture does not show";
        assert_eq!(proof, words);
        assert_eq!(
            found(6, 3).differences,
            ["not complete: server's rxe counted 6 packets received, the capture has 5"]
        );
        // What a device sent it counts.
        let sent = found_with(5, 0, |evidence| evidence.node(Role::Client).sent = Some(4));
        assert_eq!(
            sent.differences,
            ["not the device's own: client's rxe counted 4 packets sent, the capture has 5"]
        );
    }

    #[test]
    fn packets_of_any_of_its_addresses_are_a_nodes() {
        let found = found_with(5, 0, |evidence| {
            let own = evidence.addresses.clone();
            evidence.addresses =
                Role::BOTH.map(|role| (role, IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, role as u16]))).into();
            for (role, address) in own {
                evidence.node(role).addresses = vec![address];
            }
        });
        assert_eq!(found.differences, [""; 0]);
    }

    #[test]
    fn multicast_may_reach_its_own_sender_and_no_more_than_it_sent() {
        let differences = |client_received| {
            let artifacts = tempfile::tempdir().unwrap();
            let pair = Pair::new(1);
            let group = FrameBuilder::new(pair.active.address, IpAddr::from([239, 1, 1, 1]), Opcode(0x64));
            let datagram = group.destination_qpn(0xff_ffff).deth(1, pair.active.qpn).payload(&[0; 8]);
            let report = report(artifacts.path(), &[datagram.build()]);
            let mut evidence = RunEvidence::new(&Scenario::new("s", "a".to_owned(), "b".to_owned()));
            evidence.addresses =
                [(Role::Server, pair.passive.address), (Role::Client, pair.active.address)].into();
            for (role, sent, received) in [(Role::Server, 0, 1), (Role::Client, 1, client_received)] {
                (evidence.node(role).sent, evidence.node(role).received) = (Some(sent), Some(received));
            }
            check(&evidence, &report, artifacts.path()).unwrap().differences
        };
        assert_eq!((differences(0), differences(1)), (Vec::new(), Vec::new()));
        assert_eq!(
            differences(2),
            ["not complete: client's rxe counted 2 packets received, the capture has 0"]
        );
    }

    /// Completeness of the first sample, without one of its packets, if these nodes count and the others do not.
    fn found_without(at: usize, counting: &[Role]) -> Completeness {
        let artifacts = tempfile::tempdir().unwrap();
        let pair = Pair::new(1);
        let mut frames = pair.write_then_read();
        frames.remove(at);
        let report = report(artifacts.path(), &frames);
        let scenario = Scenario::new("s", "a".to_owned(), "b".to_owned());
        let mut evidence = RunEvidence::new(&scenario);
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
