//! The outcome of a run with faults: as the protocol demands, or a surprise.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use roce::capture::Reader;
use roce::{Fate, Report, Severity};
use serde::{Deserialize, Serialize};

use crate::explore::placement::{Demand, Placement};
use crate::judge::diagnosis::rxe;
use crate::judge::verdict::{Failure, Reason, Verdict};
use crate::run::evidence::RunEvidence;
use crate::scenario::fault::Fault;
use crate::wire::capture::CAPTURE;

/// What a kernel says of a management datagram that was changed so that its receiver cannot see it by the ICRC.
const KERNEL_SEES: &str = "MAD received with unsupported base version";

/// Kernel complaints that docs/findings.md knows, by a part of a line, and their names there.
const KNOWN_COMPLAINTS: [(&str, &str); 1] = [("rxe_completer+", "CompleterWarns")];

/// The longest recovery, in seconds: beyond rdma_cm's wait for an answer, 4.2 s, asked twice, and beyond the retries of a
/// connection that it makes, 2.1 s each.
const RECOVERY_S: f64 = 10.0;

/// Less than this is the computer's own unevenness, in seconds.
const STALL_S: f64 = 0.5;

/// What a run with faults came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ended otherwise than the protocol demands.
    Surprise,
    /// Data was changed on the way so that no receiver can see it, and no program noticed.
    Undetected,
    /// A program failed, as it may.
    Failed,
    /// Packets were sent again, or time was lost, and it ended as without the fault.
    Recovered,
    /// Nothing was sent again, and no time was lost.
    Unharmed,
    /// The packet of a fault never came in this run.
    NotMet,
}

impl Outcome {
    /// Every outcome, the worst first.
    pub const ALL: [Outcome; 6] = [
        Outcome::Surprise,
        Outcome::Undetected,
        Outcome::Failed,
        Outcome::Recovered,
        Outcome::Unharmed,
        Outcome::NotMet,
    ];

    /// A word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Surprise => "SURPRISE",
            Outcome::Undetected => "UNDETECTED",
            Outcome::Failed => "failed",
            Outcome::Recovered => "recovered",
            Outcome::Unharmed => "unharmed",
            Outcome::NotMet => "not met",
        }
    }

    /// Whether a person has to look at it.
    pub const fn is_news(self) -> bool {
        matches!(self, Outcome::Surprise | Outcome::Undetected)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The run that others are compared with: without faults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Seconds from the server's start to both programs' end.
    pub seconds: f64,
    /// RoCEv2 packets.
    pub packets: u64,
}

/// A run with faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The faults.
    pub placement: Placement,
    /// What it came to.
    pub outcome: Outcome,
    /// Why that is a surprise, or what failed; empty otherwise.
    pub why: String,
    /// Known deviations of SoftRoCE that it shows, by name.
    pub deviations: Vec<String>,
    /// Request packets that were sent again.
    pub sent_again: u64,
    /// RoCEv2 packets of the run.
    pub packets: u64,
    /// Seconds that it took longer than the run without faults.
    pub stall_s: f64,
    /// Where it is kept.
    pub artifacts: PathBuf,
}

/// Judges a run with faults. Its scenario has no findings and any counters to expect, and no trace to be held to.
pub fn judge(
    placement: &Placement,
    baseline: Baseline,
    evidence: &RunEvidence,
    seen: Option<&AlteredWire>,
    verdict: &Verdict,
) -> Tried {
    let programs = evidence.seconds.get("programs").copied().unwrap_or_default();
    let retransmissions = seen.map(|wire| wire.report.retransmissions).unwrap_or_default();
    // Copies are what the fault `duplicate` makes.
    let sent_again = retransmissions.total() - retransmissions.duplicate;
    let stall_s = (programs - baseline.seconds).max(0.0);
    let is_met = evidence
        .met
        .as_ref()
        .is_none_or(|met| met.hits.iter().take(placement.faults.len()).all(|hits| *hits > 0));
    let demand = placement.demand();
    let objections = objections(demand, seen, verdict);
    let has_failed = verdict.failures.iter().any(|failure| failure.reason == Reason::App);
    let is_late = demand == Demand::Recovers && stall_s > RECOVERY_S * placement.faults.len() as f64;
    let (outcome, why) = match objections.into_iter().next() {
        Some(objection) => (Outcome::Surprise, objection),
        None if is_late => {
            (Outcome::Surprise, format!("it took {stall_s:.1} s longer than without the fault"))
        }
        None if !is_met => (Outcome::NotMet, String::new()),
        None if has_failed => (Outcome::Failed, verdict.headline_text()),
        None if placement.faults.iter().any(Fault::changes_data) => {
            (Outcome::Undetected, "both programs ended well with data that was changed on the way".to_owned())
        }
        None if sent_again > 0 || stall_s >= STALL_S => (Outcome::Recovered, String::new()),
        None => (Outcome::Unharmed, String::new()),
    };
    let told = verdict.failures.iter().flat_map(|failure| known_complaints(&failure.text));
    let deviations =
        verdict.notes.iter().map(|note| note.cause.name()).chain(told.map(str::to_owned)).collect();
    Tried {
        placement: placement.clone(),
        outcome,
        why,
        deviations,
        sent_again,
        packets: verdict.packets,
        stall_s,
        artifacts: verdict.artifacts.clone(),
    }
}

/// Lists what contradicts the protocol, the gravest first.
fn objections(demand: Demand, seen: Option<&AlteredWire>, verdict: &Verdict) -> Vec<String> {
    let is_never_met = verdict.failures.iter().any(|failure| failure.text.contains("never matched"));
    let counts = |failure: &Failure| match failure.reason {
        // The wire's rules are judged below.
        Reason::Rule | Reason::Wire => false,
        // Where a receiver is deceived programs may fail, and their words agree with no wire.
        Reason::App | Reason::Agreement => demand == Demand::Recovers,
        Reason::Setup => !is_never_met,
        Reason::Dmesg => {
            // The kernel's lines are below a first one that says whose they are.
            let mut lines = failure.text.lines().skip(1).peekable();
            let is_new = demand == Demand::Recovers
                || lines.peek().is_none()
                || lines.any(|line| !line.contains(KERNEL_SEES));
            is_new && known_complaints(&failure.text).next().is_none()
        }
        Reason::Boot | Reason::Capture | Reason::Timeout => true,
    };
    let told = |failure: &Failure| match verdict.causes.first() {
        Some(cause) => format!("{}: {}", cause.cause, cause.sentence),
        None => {
            let lines: Vec<&str> = failure.text.lines().take(2).collect();
            format!("{}: {}", failure.reason, lines.join(": "))
        }
    };
    let mut objections: Vec<String> =
        verdict.failures.iter().filter(|failure| counts(failure)).map(told).collect();
    if let (Some(wire), Demand::Recovers) = (seen, demand) {
        let broken = wire.report.findings.iter().filter(|finding| {
            finding.severity == Severity::Error
                && !rxe::is_read_again(&wire.report, finding)
                && !wire.altered.contains(&finding.packet)
        });
        objections.extend(broken.map(|finding| wire.report.known().finding(finding)));
    }
    objections
}

/// Names of the known complaints in a text.
fn known_complaints(text: &str) -> impl Iterator<Item = &'static str> {
    let is_there = move |(part, name): (&str, &'static str)| text.contains(part).then_some(name);
    KNOWN_COMPLAINTS.into_iter().filter_map(is_there)
}

/// The capture of a run with faults.
#[derive(Debug)]
pub struct AlteredWire {
    /// All that it holds.
    pub report: Report,
    /// Numbers of the packets that the faults changed: what is wrong with them is the faults' doing.
    pub altered: HashSet<u64>,
}

impl AlteredWire {
    /// Reads the capture of a run; `None` where it cannot be read, which its verdict says.
    pub fn read(evidence: &RunEvidence, artifacts: &Path) -> Option<AlteredWire> {
        let report = evidence.decode(artifacts).ok()?;
        let mut reader = Reader::new(File::open(artifacts.join(CAPTURE)).ok()?).ok()?;
        let mut altered = HashSet::new();
        while let Some(record) = reader.next().ok()? {
            if matches!(record.fate(), Fate::Corrupted | Fate::Truncated | Fate::AlteredOf { .. }) {
                altered.insert(record.number);
            }
        }
        Some(AlteredWire { report, altered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use crate::scenario::fault::Met;

    /// What a run with this fault comes to, that met its packet so often and failed these checks.
    fn outcome(fault: &str, hits: u64, failed: &[Reason]) -> Outcome {
        let fault: Fault = fault.parse().unwrap();
        let placement = Placement { faults: vec![fault.clone()], packets: vec![1], stands_for: 1 };
        let mut evidence = RunEvidence::new(&Scenario::new("x", "a".to_owned(), "b".to_owned()));
        evidence.scenario.faults = vec![fault];
        evidence.met = Some(Met { hits: vec![hits], ..Met::default() });
        let failures = failed.iter().map(|&reason| Failure { reason, text: "why".to_owned() }).collect();
        let verdict = Verdict { failures, ..Verdict::default() }.concluded();
        let baseline = Baseline { seconds: 1.0, packets: 12 };
        judge(&placement, baseline, &evidence, None, &verdict).outcome
    }

    const LOST: &str = "action=\"drop\",opcode=\"RC RDMA WRITE Only\"";
    const FORGED: &str = "action=\"corrupt\",field=\"rkey\",reseal=true";
    const FORGED_DATA: &str = "action=\"corrupt\",field=\"payload\",reseal=true";

    #[test]
    fn failure_is_a_surprise_where_the_protocol_recovers_and_none_where_a_receiver_is_deceived() {
        assert_eq!(outcome(LOST, 1, &[]), Outcome::Unharmed);
        assert_eq!(outcome(LOST, 1, &[Reason::App]), Outcome::Surprise);
        assert_eq!(outcome(FORGED, 1, &[Reason::App]), Outcome::Failed);
        assert_eq!(outcome(FORGED, 1, &[Reason::Rule]), Outcome::Unharmed);
    }

    #[test]
    fn hang_and_kernel_complaint_are_surprises_whatever_the_fault() {
        for reason in [Reason::Timeout, Reason::Dmesg, Reason::Capture] {
            assert_eq!(outcome(FORGED, 1, &[reason]), Outcome::Surprise);
        }
    }

    #[test]
    fn known_complaint_of_a_kernel_is_no_surprise() {
        let text = "client: 2 lines\n<4> ---[ cut here ]---\n<4> WARNING: at rxe_comp.c:827 rxe_completer+0xb9f/0xe40";
        assert_eq!(known_complaints(text).collect::<Vec<_>>(), ["CompleterWarns"]);
        let failure = Failure { reason: Reason::Dmesg, text: text.to_owned() };
        let verdict = Verdict { failures: vec![failure], ..Verdict::default() }.concluded();
        assert_eq!(objections(Demand::Ends, None, &verdict), [""; 0]);
    }

    #[test]
    fn changed_data_that_no_program_noticed_is_told() {
        assert_eq!(outcome(FORGED_DATA, 1, &[]), Outcome::Undetected);
        assert_eq!(outcome(FORGED_DATA, 1, &[Reason::App]), Outcome::Failed);
    }

    #[test]
    fn fault_whose_packet_never_came_proves_nothing() {
        assert_eq!(outcome(LOST, 0, &[]), Outcome::NotMet);
    }
}
