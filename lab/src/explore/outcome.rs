//! The outcome of a run with faults: as the protocol demands, or a surprise.

use std::fmt;
use std::path::PathBuf;

use roce::{Report, Severity};
use serde::{Deserialize, Serialize};

use crate::explore::placement::{Demand, Placement};
use crate::judge::diagnosis::rxe;
use crate::judge::verdict::{Failure, Reason, Verdict};
use crate::run::evidence::RunEvidence;
use crate::scenario::fault::Fault;

/// Words of a kernel about a management datagram that was changed so that its receiver cannot see it by the ICRC.
const KERNEL_SEES: &str = "MAD received with unsupported base version";

/// Warnings of kernels that docs/findings.md knows, by the function that prints them, and their names there.
const KNOWN_COMPLAINTS: [(&str, &str); 2] =
    [("rxe_completer+", "CompleterWarns"), ("rxe_mr_copy+", "CopyWithoutMemoryWarns")];

/// The longest recovery, in seconds: beyond rdma_cm's wait for an answer, 4.2 s, asked twice, and beyond the retries of a
/// connection that it makes, 2.1 s each.
const RECOVERY_S: f64 = 10.0;

/// Outcome of a run with faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ended otherwise than the protocol demands.
    Surprise,
    /// Data was changed on the way so that no receiver can see it, and no program noticed.
    Undetected,
    /// Its machines stood still, or it took long where a run without the fault did as well: a busy computer's doing.
    Disturbed,
    /// A program failed, as it may.
    Failed,
    /// Packets were sent again, and it ended as without the fault.
    Recovered,
    /// Nothing was sent again.
    Unharmed,
    /// The packet of a fault never came in this run.
    NotMet,
}

impl Outcome {
    /// Every outcome, the worst first.
    pub const ALL: [Outcome; 7] = [
        Outcome::Surprise,
        Outcome::Undetected,
        Outcome::Disturbed,
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
            Outcome::Disturbed => "disturbed",
            Outcome::Failed => "failed",
            Outcome::Recovered => "recovered",
            Outcome::Unharmed => "unharmed",
            Outcome::NotMet => "not met",
        }
    }

    /// A sign for it, where a word is too long.
    pub const fn sign(self) -> char {
        match self {
            Outcome::Surprise => '!',
            Outcome::Undetected => '?',
            Outcome::Disturbed => '~',
            Outcome::Failed => 'x',
            Outcome::Recovered => 'r',
            Outcome::Unharmed => '.',
            Outcome::NotMet => '-',
        }
    }

    /// True if the run proves what its faults come to.
    pub const fn is_proven(self) -> bool {
        !matches!(self, Outcome::Disturbed | Outcome::NotMet)
    }

    /// True if a person has to look at it.
    pub const fn is_news(self) -> bool {
        matches!(self, Outcome::Surprise | Outcome::Undetected)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Cost of a run, by what made packets come again: the wire decides it, no clock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// Nothing was sent again.
    Nothing,
    /// Packets were sent again at once: a NAK or a missing response asked for them.
    Again,
    /// A requester's ACK timeout ran out, half a second or more.
    Timeout,
    /// Connection management sent a message again, four seconds or more.
    Management,
}

impl Cost {
    /// Every cost, the least first.
    pub const ALL: [Cost; 4] = [Cost::Nothing, Cost::Again, Cost::Timeout, Cost::Management];

    /// Returns the greatest cost that a capture shows. A copy is the network's, and what a requester repeats though it was
    /// answered is its timer's.
    fn of(report: &Report) -> Cost {
        let again = &report.retransmissions;
        match again.total() - again.duplicate - again.spurious {
            _ if report.management_again() > 0 => Cost::Management,
            _ if again.timeout > 0 => Cost::Timeout,
            0 => Cost::Nothing,
            _ => Cost::Again,
        }
    }

    /// A sign for it.
    pub const fn sign(self) -> char {
        match self {
            Cost::Nothing => ' ',
            Cost::Again => '+',
            Cost::Timeout => 't',
            Cost::Management => 'm',
        }
    }

    /// Some words for it.
    pub const fn words(self) -> &'static str {
        match self {
            Cost::Nothing => "nothing sent again",
            Cost::Again => "sent again at once",
            Cost::Timeout => "an ACK timeout",
            Cost::Management => "connection management's timer",
        }
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
    /// Its outcome.
    pub outcome: Outcome,
    /// Cost of that.
    pub cost: Cost,
    /// Reason that it is a surprise, or the failure; empty otherwise.
    pub why: String,
    /// Known deviations of SoftRoCE that it shows, by name.
    pub deviations: Vec<String>,
    /// Request packets that were sent again.
    pub sent_again: u64,
    /// RoCEv2 packets of the run.
    pub packets: u64,
    /// Seconds that it took longer than the run without faults.
    pub stall_s: f64,
    /// True if it says nothing yet: it is a surprise for its time alone, which a busy computer takes as well, or its machines stood still.
    #[serde(default)]
    pub is_late: bool,
    /// Directory in which it is kept.
    pub artifacts: PathBuf,
}

/// Judges a run with faults. Its scenario has no findings and any counters to expect, and no trace to be held to.
pub fn judge(
    placement: &Placement,
    baseline: Baseline,
    evidence: &RunEvidence,
    report: Option<&Report>,
    verdict: &Verdict,
) -> Tried {
    let programs = evidence.seconds.get("programs").copied().unwrap_or_default();
    let retransmissions = report.map(|report| report.retransmissions).unwrap_or_default();
    let cost = report.map_or(Cost::Nothing, Cost::of);
    // Copies are what the fault `duplicate` makes.
    let sent_again = retransmissions.total() - retransmissions.duplicate;
    let stall_s = (programs - baseline.seconds).max(0.0);
    let is_met = evidence
        .met
        .as_ref()
        .is_none_or(|met| met.hits.iter().take(placement.faults.len()).all(|hits| *hits > 0));
    let demand = placement.demand();
    let objections = objections(demand, report, verdict);
    let has_objections = !objections.is_empty();
    let has_failed = verdict.failures.iter().any(|failure| failure.reason == Reason::App);
    let is_late = demand == Demand::Recovers && stall_s > RECOVERY_S * placement.faults.len() as f64;
    let (outcome, why) = match objections.into_iter().next() {
        Some(objection) if verdict.is_disturbed => (Outcome::Disturbed, objection),
        Some(objection) => (Outcome::Surprise, objection),
        None if is_late => {
            (Outcome::Surprise, format!("it took {stall_s:.1} s longer than without the fault"))
        }
        None if !is_met => (Outcome::NotMet, String::new()),
        None if has_failed => (Outcome::Failed, verdict.headline_text()),
        None if placement.faults.iter().any(Fault::changes_data) => {
            (Outcome::Undetected, "both programs ended well with data that was changed on the way".to_owned())
        }
        None if cost > Cost::Nothing => (Outcome::Recovered, String::new()),
        None => (Outcome::Unharmed, String::new()),
    };
    let told = verdict.failures.iter().flat_map(|failure| known_complaints(&failure.text));
    let deviations =
        verdict.notes.iter().map(|note| note.cause.name()).chain(told.map(str::to_owned)).collect();
    Tried {
        placement: placement.clone(),
        outcome,
        cost,
        why,
        deviations,
        sent_again,
        packets: verdict.packets,
        stall_s,
        is_late: if has_objections { verdict.is_disturbed } else { is_late },
        artifacts: verdict.artifacts.clone(),
    }
}

/// Lists what contradicts the protocol, the gravest first.
fn objections(demand: Demand, report: Option<&Report>, verdict: &Verdict) -> Vec<String> {
    let counts = |failure: &Failure| match failure.reason {
        // The wire's rules are judged below.
        Reason::Rule | Reason::Wire => false,
        // Where a receiver is deceived programs may fail, and their words agree with no wire.
        Reason::App | Reason::Agreement => demand == Demand::Recovers,
        Reason::Setup => !is_of_a_fault_not_met(failure),
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
    if let (Some(report), Demand::Recovers) = (report, demand) {
        // What is wrong with a packet that a fault changed is the fault's doing.
        let altered = report.altered_packets();
        let broken = report.findings.iter().filter(|finding| {
            finding.severity == Severity::Error
                && !rxe::is_read_again(report, finding)
                && !altered.contains(&finding.packet)
        });
        objections.extend(broken.map(|finding| report.known().finding(finding)));
    }
    objections
}

/// Returns true if a check failed since a fault's packet never came.
pub(super) fn is_of_a_fault_not_met(failure: &Failure) -> bool {
    failure.reason == Reason::Setup && failure.text.contains("never matched")
}

/// Names of the known complaints in a text.
pub(crate) fn known_complaints(text: &str) -> impl Iterator<Item = &'static str> {
    let has_worse = ["BUG:", "Oops"].iter().any(|word| text.contains(word));
    let is_there = move |(function, name): (&str, &'static str)| {
        let warns = text.lines().any(|line| line.contains("WARNING:") && line.contains(function));
        (warns && !has_worse).then_some(name)
    };
    KNOWN_COMPLAINTS.into_iter().filter_map(is_there)
}

/// Name of the known complaint whose function a kernel panicked in, where it only warns on a later one.
pub(crate) fn known_panic(text: &str) -> Option<&'static str> {
    let mut lines = text.lines().filter(|line| line.contains("its kernel panicked"));
    lines.find_map(|line| {
        let mut known = KNOWN_COMPLAINTS.iter();
        known.find(|(function, _)| line.contains(&format!("in {function}"))).map(|(_, name)| *name)
    })
}

#[cfg(test)]
impl Tried {
    /// A run with one fault on one packet, which was unharmed.
    pub(super) fn with(fault: &str) -> Tried {
        Tried {
            placement: Placement { faults: vec![fault.parse().unwrap()], packets: vec![1], stands_for: 1 },
            outcome: Outcome::Unharmed,
            cost: Cost::Nothing,
            why: String::new(),
            deviations: Vec::new(),
            sent_again: 0,
            packets: 7,
            stall_s: 0.0,
            is_late: false,
            artifacts: PathBuf::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use crate::scenario::fault::Met;

    /// Outcome of a run with this fault, that met its packet so often and failed these checks.
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
    fn run_that_took_long_is_late_and_one_that_fails_besides_is_not_only_that() {
        let late = |failed: &[Reason]| {
            let mut evidence = RunEvidence::new(&Scenario::new("x", "a".to_owned(), "b".to_owned()));
            evidence.seconds.insert("programs".to_owned(), 12.0);
            let failures = failed.iter().map(|&reason| Failure { reason, text: "why".to_owned() }).collect();
            let verdict = Verdict { failures, ..Verdict::default() }.concluded();
            let fault: Fault = LOST.parse().unwrap();
            let placement = Placement { faults: vec![fault], packets: vec![1], stands_for: 1 };
            let tried = judge(&placement, Baseline { seconds: 1.0, packets: 12 }, &evidence, None, &verdict);
            (tried.outcome, tried.is_late)
        };
        assert_eq!(late(&[]), (Outcome::Surprise, true));
        assert_eq!(late(&[Reason::App]), (Outcome::Surprise, false));
    }

    #[test]
    fn run_whose_machines_stood_still_is_disturbed_and_proves_nothing() {
        let failures = vec![Failure { reason: Reason::App, text: "why".to_owned() }];
        let evidence = RunEvidence::new(&Scenario::new("x", "a".to_owned(), "b".to_owned()));
        let placement = Placement { faults: vec![LOST.parse().unwrap()], packets: vec![1], stands_for: 1 };
        let judged = |is_disturbed| {
            let verdict = Verdict { failures: failures.clone(), is_disturbed, ..Verdict::default() };
            judge(&placement, Baseline { seconds: 1.0, packets: 12 }, &evidence, None, &verdict.concluded())
        };
        assert_eq!((judged(false).outcome, judged(false).is_late), (Outcome::Surprise, false));
        assert_eq!((judged(true).outcome, judged(true).is_late), (Outcome::Disturbed, true));
        assert!(!Outcome::Disturbed.is_proven() && !Outcome::Disturbed.is_news());
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
        let oops = "<1> BUG: kernel NULL pointer dereference\n<4> RIP: 0010:rxe_completer+0x27/0xe40";
        assert_eq!(known_complaints(oops).count(), 0);
        let failure = Failure { reason: Reason::Dmesg, text: text.to_owned() };
        let verdict = Verdict { failures: vec![failure], ..Verdict::default() }.concluded();
        assert_eq!(objections(Demand::Ends, None, &verdict), [""; 0]);
    }

    #[test]
    fn panic_is_known_by_the_function_of_its_fault_and_no_other_line() {
        let of = |function: &str| {
            format!(
                "node server ended: its kernel panicked: Fatal exception: BUG, in {function}\n  | its console ends:"
            )
        };
        assert_eq!(known_panic(&of("rxe_mr_copy+0x49/0x1a0 [rdma_rxe]")), Some("CopyWithoutMemoryWarns"));
        assert_eq!(known_panic(&of("rxe_requester+0x1/0x2")), None);
        assert_eq!(known_panic("node server ended: exit status: 0\n  | in rxe_mr_copy+0x49"), None);
    }

    #[test]
    fn changed_data_that_no_program_noticed_is_told() {
        assert_eq!(outcome(FORGED_DATA, 1, &[]), Outcome::Undetected);
        assert_eq!(outcome(FORGED_DATA, 1, &[Reason::App]), Outcome::Failed);
    }

    /// The report of SENDs with these PSNs, seconds apart, and of these acknowledgements behind them.
    fn report(sends: &[u32], frames: &[Vec<u8>]) -> Report {
        let pair = roce::synth::Pair::new(1);
        let sends = sends.iter().map(|n| pair.request(0x04, *n).ack_request().payload(b"four").build());
        let mut analysis = roce::Analysis::new(roce::Names::new());
        for (number, frame) in (1..).zip(sends.chain(frames.iter().cloned())) {
            analysis.push(&roce::capture::Record::ethernet(number, number * 1_000_000_000, &frame));
        }
        analysis.finish()
    }

    #[test]
    fn cost_is_what_made_packets_come_again() {
        let pair = roce::synth::Pair::new(1);
        let ack = |n| pair.response(0x11, n).aeth(0x1f, n + 1).build();
        assert_eq!(Cost::of(&report(&[0, 1], &[ack(1)])), Cost::Nothing);
        assert_eq!(Cost::of(&report(&[0, 0], &[ack(0)])), Cost::Timeout);
        let nak = pair.response(0x11, 1).aeth(0x60, 1).build();
        let again = pair.request(0x04, 1).ack_request().payload(b"four").build();
        let frames = [nak, again, ack(1)];
        assert_eq!(Cost::of(&report(&[0, 1], &frames)), Cost::Again);
        assert_eq!(Cost::of(&report(&[], &[pair.req(7471, &[]), pair.req(7471, &[])])), Cost::Management);
    }

    #[test]
    fn fault_whose_packet_never_came_proves_nothing() {
        assert_eq!(outcome(LOST, 0, &[]), Outcome::NotMet);
    }
}
