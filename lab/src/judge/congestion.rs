//! Congestion of a run: what its limited ports marked and dropped, and the notifications that answer marks.
//!
//! In: the evidence and its capture. Out: objections, and words for the proof. A receiver of marked packets may answer with CNPs,
//! and one that got none must not. SoftRoCE does neither: it does not look at the mark, sends no CNP, and drops one that
//! comes, uncounted (`rxe_recv.c` and `rxe_opcode.c` of the kernel know no such opcode).

use std::collections::BTreeMap;
use std::path::Path;

use roce::wire::Opcode;

use crate::base::error::Result;
use crate::base::role::Role;
use crate::run::evidence::RunEvidence;
use crate::scenario::expect::ExpectPort;
use crate::wire::capture::{CAPTURE, each_packet};
use crate::wire::limits::PortCount;

/// The ECN bits of a packet that says "congestion experienced".
const EXPERIENCED: u8 = 3;

/// Marks and notifications of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Congestion {
    ports: Vec<PortCount>,
    /// Marked packets that reached each node.
    marked: BTreeMap<Role, u64>,
    /// CNPs that each node sent.
    notified: BTreeMap<Role, u64>,
}

impl Congestion {
    /// Finds them in a run; `None` where no port was limited.
    ///
    /// # Errors
    ///
    /// The capture cannot be read.
    pub(super) fn of(evidence: &RunEvidence, artifacts: &Path) -> Result<Option<Congestion>> {
        if evidence.scenario.ports.is_empty() {
            return Ok(None);
        }
        let mut found = Congestion { ports: evidence.ports.clone(), ..Congestion::default() };
        each_packet(&artifacts.join(CAPTURE), |_, is_sent, is_delivered, packet| {
            let receiver = evidence.owner(packet.destination).filter(|_| is_delivered);
            if let Some(receiver) = receiver.filter(|_| packet.ecn == EXPERIENCED) {
                *found.marked.entry(receiver).or_default() += 1;
            }
            let sender = evidence.owner(packet.source).filter(|_| is_sent);
            if let Some(sender) = sender.filter(|_| packet.opcode() == Some(Opcode::CNP)) {
                *found.notified.entry(sender).or_default() += 1;
            }
        })?;
        Ok(Some(found))
    }

    fn cnps(&self) -> u64 {
        self.notified.values().sum()
    }

    /// Differences from what is expected, and notifications of nodes that had no reason.
    pub(super) fn objections(&self, evidence: &RunEvidence) -> Vec<String> {
        let expect = &evidence.scenario.expect;
        let mut found = Vec::new();
        for (name, expected) in &expect.ports {
            let ExpectPort { frames, marked, dropped } = expected;
            let Some(port) = self.ports.iter().find(|port| port.to == *name) else {
                found.push(format!("the port to {name} told nothing"));
                continue;
            };
            for (what, expected, counted) in [
                ("passed it", frames, port.frames),
                ("were marked at it", marked, port.marked),
                ("found no room at it", dropped, port.dropped),
            ] {
                if let Some(expected) = expected.filter(|expected| !expected.is(counted)) {
                    found.push(format!("the port to {name}: {counted} frames {what}, expected {expected}"));
                }
            }
        }
        if let Some(expected) = expect.cnps.filter(|expected| !expected.is(self.cnps())) {
            found.push(format!("{} CNPs were sent, expected {expected}", self.cnps()));
        }
        for (role, count) in self.notified.iter().filter(|(role, _)| !self.marked.contains_key(role)) {
            found.push(format!("{role} sent {count} CNPs, and no marked packet had reached it"));
        }
        found
    }

    /// Words for the proof of a green run.
    pub(super) fn words(&self) -> String {
        let mut parts: Vec<String> = self.ports.iter().map(|port| format!("port to {port}")).collect();
        if !self.marked.is_empty() {
            parts.push(match self.cnps() {
                0 => "no CNP answered the marks".to_owned(),
                count => format!("{count} CNPs answered the marks"),
            });
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use roce::capture::Writer;
    use roce::synth::Pair;

    use super::*;
    use crate::scenario::Scenario;
    use crate::scenario::counters::{Count, CountInWords};
    use crate::scenario::fault::Action;
    use crate::scenario::port::LimitedPort;
    use crate::wire::alter::alter;

    /// Objections to a run in which a client's WRITE was marked or not, and the server sent a CNP or not.
    fn found(is_marked: bool, has_cnp: bool, change: impl FnOnce(&mut RunEvidence)) -> (Vec<String>, String) {
        let (pair, artifacts) = (Pair::new(1), tempfile::tempdir().unwrap());
        let write = pair.request(0x0a, 0).reth(0, 1, 4).payload(b"text").build();
        let cnp = Pair { active: pair.passive, passive: pair.active, ..pair };
        let cnp = cnp.request(0x81, 0).bth(|bth| bth.becn = true).payload(&[0; 16]).build();
        let mut records = Vec::new();
        match alter(Action::MarkEcn, &write).filter(|_| is_marked) {
            Some(marked) => {
                records.push((write, "fate=queue-marked"));
                records.push((marked, "fate=altered-of #1"));
            }
            None => records.push((write, "fate=queued 5 us")),
        }
        if has_cnp {
            records.push((cnp, "fate=forwarded"));
        }
        let mut writer = Writer::new(Vec::new(), &["server", "client"]).unwrap();
        for (frame, fate) in &records {
            writer.write(0, 0, frame, fate).unwrap();
        }
        std::fs::write(artifacts.path().join(CAPTURE), writer.finish().unwrap()).unwrap();
        let mut scenario = Scenario::new("x", "a".to_owned(), "b".to_owned());
        scenario.ports = vec![LimitedPort { to: vec![Role::Server], ..LimitedPort::of_rate(8) }];
        let mut evidence = RunEvidence::new(&scenario);
        evidence.addresses =
            [(Role::Server, pair.passive.address), (Role::Client, pair.active.address)].into();
        let (to, marked) = ("server".to_owned(), u64::from(is_marked));
        evidence.ports =
            vec![PortCount { to, frames: 9, marked, dropped: 2, queue_bytes_max: 7, ..PortCount::default() }];
        change(&mut evidence);
        let congestion = Congestion::of(&evidence, artifacts.path()).unwrap().unwrap();
        (congestion.objections(&evidence), congestion.words())
    }

    #[test]
    fn notification_needs_a_mark_and_a_mark_no_notification() {
        let (objections, words) = found(true, false, |_| ());
        assert_eq!(objections, [""; 0]);
        let port = "port to server: 9 frames, 1 marked, 2 dropped, at most 7 bytes waited";
        assert_eq!(words, format!("{port}; no CNP answered the marks"));
        let (objections, words) = found(true, true, |_| ());
        assert_eq!((objections, words), (Vec::new(), format!("{port}; 1 CNPs answered the marks")));
        let (objections, _) = found(false, true, |_| ());
        assert_eq!(objections, ["server sent 1 CNPs, and no marked packet had reached it"]);
    }

    #[test]
    fn counts_that_were_not_expected_are_told() {
        let (objections, _) = found(true, true, |evidence| {
            let expect = &mut evidence.scenario.expect;
            let (some, zero) = (Some(Count::InWords(CountInWords::Some)), Some(Count::Exactly(0)));
            let server = ExpectPort { frames: some, marked: zero, dropped: zero };
            expect.ports = [("server".to_owned(), server), ("client".to_owned(), server)].into();
            expect.cnps = zero;
        });
        assert_eq!(
            objections,
            [
                "the port to client told nothing",
                "the port to server: 1 frames were marked at it, expected 0",
                "the port to server: 2 frames found no room at it, expected 0",
                "1 CNPs were sent, expected 0",
            ]
        );
    }
}
