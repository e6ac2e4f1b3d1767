//! From a run's evidence to its verdict: every check, each with its reason.
//!
//! A pass needs positive evidence of each: a complete capture, both programs' exit codes and results, a
//! clean kernel log, the snapshot, the rules, and completions that agree with the wire. Reads the artifact
//! directory and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use roce::{Report, Severity};
use serde_json::Value;

use crate::base::command::Output;
use crate::base::role::Role;
use crate::judge::agreement;
use crate::judge::completeness::{self, Completeness};
use crate::judge::congestion::Congestion;
use crate::judge::snapshot::{self, Accepted};
use crate::judge::verdict::{Failure, Reason, Verdict};
use crate::run::evidence::{Failed, FailedKind, NodeEvidence, RunEvidence};
use crate::run::kernel_log;
use crate::scenario::Trace;
use crate::scenario::counters::{self, Count};

use crate::judge::diagnosis::{self, Diagnosis, rxe};
use crate::scenario::cause::{Cause, Rank};

/// Last lines of each output of a program that failed.
const LAST_LINES: usize = 3;

/// Ways to see the packets of a card that offloads RDMA.
const WAYS: &str =
    "a card that offloads RDMA hides it from its network interface; what sees it, for the hosts file:
a mirror port of the switch, or ibdump, recorded to a file: [capture] mirror = FILE
the RDMA device, where libpcap has RDMA support (mlx5 cards): [capture] interface = \"mlx5_0\"
the interface, once the driver's sniffer is on: ethtool --set-priv-flags INTERFACE sniffer on (MLNX_OFED)";

/// Judges what is kept in `artifacts`, and compares the trace with the accepted one.
pub fn judge(evidence: &RunEvidence, artifacts: &Path, accepted: &Accepted) -> Verdict {
    judge_with_report(evidence, artifacts, accepted).0
}

/// The same, with the report of the capture that the verdict is about; `None` where that could not be read.
pub fn judge_with_report(
    evidence: &RunEvidence,
    artifacts: &Path,
    accepted: &Accepted,
) -> (Verdict, Option<Report>) {
    let scenario = &evidence.scenario;
    let mut checks = Checks::default();
    if let Some(failed) = &evidence.failure {
        checks.fail(reason_of(failed), failed.text.clone());
    }
    let decoded = evidence.decode(artifacts);
    let report = match &decoded {
        Ok(report) => Some(report),
        // Without machines there is no capture; what kept them down is said already.
        Err(_) if evidence.failure.is_some() => None,
        Err(error) => {
            checks.fail(Reason::Capture, error.to_string());
            None
        }
    };
    let completeness = report.map(|report| whole(evidence, report, artifacts)).unwrap_or_default();
    let found = diagnosis::diagnose(evidence, report, &completeness, artifacts).unwrap_or_else(|error| {
        checks.fail(Reason::Capture, error.to_string());
        Vec::new()
    });
    let (notes, causes): (Vec<Diagnosis>, Vec<Diagnosis>) =
        found.into_iter().partition(|diagnosis| diagnosis.cause.is_deviation());
    let told = Told::new(evidence, report, accepted, &notes, &causes);
    // What never ran has no exit code and no log to judge.
    if evidence.failure.is_none() || report.is_some() {
        let is_stopped = evidence.nodes.get(&Role::Server).is_some_and(|node| node.is_stopped);
        let mut order = scenario.roles().to_vec();
        if is_stopped {
            order.rotate_left(1);
        }
        for (role, node) in order.into_iter().filter_map(|role| Some((role, evidence.nodes.get(&role)?))) {
            checks.program(evidence, role, node);
            checks.kernel_log(evidence, role, node);
            let expected = &scenario.expected(role).counters;
            let mut expected = evidence.differences.counters(&scenario.name, role, expected);
            for cause in notes.iter().map(|note| note.cause).filter(|cause| told.is_tolerated(*cause)) {
                expected = rxe::tolerated(cause, &expected);
            }
            checks.counters(role, node, &expected);
        }
        checks.faults(evidence);
    }
    let congestion = report.and_then(|_| checks.congestion(evidence, artifacts));
    let mut proof = String::new();
    if let Some(report) = report {
        proof = checks.completeness(evidence, report, completeness, !causes.is_empty());
        checks.wire(evidence, report, accepted, told.is_disturbed);
        checks.rules(evidence, report);
        if scenario.expect.completions {
            checks.agreement(evidence, report);
        }
    }
    if evidence.failure.is_none() {
        checks.causes(&scenario.expect.causes, &causes);
    }
    if !scenario.expect.causes.is_empty() && !proof.is_empty() {
        proof.push_str(&format!("; as expected: {}", scenario.expect.causes.join(", ")));
    }
    // What stood still and passed all the same has proved itself.
    let is_stalled = evidence.nodes.values().any(|node| !kernel_log::stalls(&node.kernel_log).is_empty());
    let is_uneven = causes.iter().any(|diagnosis| diagnosis.cause == Cause::ClockNotMeasured);
    // Where a program failed as well the wire is not all that differs.
    let is_of_wire = |failure: &Failure| matches!(failure.reason, Reason::Wire | Reason::Agreement);
    let is_other_wire = matches!(accepted, Accepted::Trace(_))
        && checks.failures.iter().any(|failure| failure.reason == Reason::Wire)
        && checks.failures.iter().all(is_of_wire)
        && report.is_some_and(|report| {
            told.is_repeated_for_nothing || has_more_for_nothing(evidence, report, accepted)
        });
    let is_disturbed = told.is_disturbed
        || is_other_wire
        || is_uneven
        || is_stalled && !checks.failures.is_empty() && !told.is_explained;
    let is_of_programs = evidence.failure.as_ref().is_none_or(|failed| failed.kind == FailedKind::Timeout);
    let is_expected = |diagnosis: &&Diagnosis| scenario.expect.causes.contains(&diagnosis.cause.name());
    let expected_causes = causes.iter().filter(is_expected).cloned().collect();
    let causes = match checks.are_about_programs() && is_of_programs {
        true => heading(causes, &scenario.expect.causes, is_disturbed),
        false => Vec::new(),
    };
    let proven = match (report, checks.failures.is_empty()) {
        (Some(report), true) => {
            let congestion = congestion.map(|found| format!("; {}", found.words()));
            proven(evidence, report, accepted) + &congestion.unwrap_or_default()
        }
        _ => String::new(),
    };
    let verdict = Verdict {
        scenario: scenario.name.clone(),
        failures: checks.failures,
        proven,
        causes,
        expected_causes,
        notes,
        proof,
        packets: report.map_or(0, |report| report.packets),
        findings: report
            .map_or(Vec::new(), |report| report.findings.iter().map(|finding| finding.rule.name()).collect()),
        seconds: evidence.total_seconds(),
        is_disturbed,
        provider: evidence.provider.clone(),
        differs: evidence.differences.declared(),
        provenance: evidence.provenance.clone(),
        ports: evidence.ports.clone(),
        artifacts: artifacts.to_owned(),
        replay: evidence.replay.clone(),
        accept: evidence.accept.clone(),
        trace: report.map(|report| rendered(evidence, report)),
        accepted: match accepted {
            Accepted::Trace(text) => Some(text.clone()),
            Accepted::Missing | Accepted::NotDemanded => None,
        },
        ..Verdict::default()
    };
    (verdict.concluded(), decoded.ok())
}

/// Completeness of the capture; an error on the way is a difference.
fn whole(evidence: &RunEvidence, report: &Report, artifacts: &Path) -> Completeness {
    completeness::check(evidence, report, artifacts).unwrap_or_else(|error| Completeness {
        differences: vec![error.to_string()],
        ..Completeness::default()
    })
}

/// Proofs of a green run beside that its capture is complete, and checks that it was not asked for.
fn proven(evidence: &RunEvidence, report: &Report, accepted: &Accepted) -> String {
    let scenario = &evidence.scenario;
    let exits = Role::BOTH.map(|role| scenario.expected(role).exit);
    let mut parts = match exits {
        [0, 0] if scenario.nodes > exits.len() => {
            vec![format!("the programs on all {} nodes ended with 0", scenario.nodes)]
        }
        [0, 0] => vec!["both programs ended with 0".to_owned()],
        [server, client] => vec![format!("server ended with {server}, client with {client}, as expected")],
    };
    let answered = report.messages.iter().filter(|message| message.outcome.is_done());
    parts.push(format!("messages: {}, answered: {}", report.messages.len(), answered.count()));
    parts.push(match &scenario.expect.findings[..] {
        [] => "no rule broken".to_owned(),
        expected => format!("rules broken as expected: {}", expected.join(", ")),
    });
    parts.push("counters and kernel logs as expected".to_owned());
    let mut not_compared = Vec::new();
    match accepted {
        Accepted::NotDemanded => not_compared.push("the trace"),
        _ => parts.push("trace as accepted".to_owned()),
    }
    match scenario.expect.completions {
        true => parts.push("completions as on the wire".to_owned()),
        false => not_compared.push("completions"),
    }
    let mut text = parts.join("; ");
    if !not_compared.is_empty() {
        text.push_str(&format!("; not compared: {}", not_compared.join(", ")));
    }
    text
}

/// The causes that head the verdict: those that nobody expected, and none that a disturbed run may have for that alone.
fn heading(causes: Vec<Diagnosis>, expected: &[String], is_disturbed: bool) -> Vec<Diagnosis> {
    let is_new = |diagnosis: &Diagnosis| !expected.contains(&diagnosis.cause.name());
    let counts = |diagnosis: &Diagnosis| !is_disturbed || diagnosis.cause.rank() <= Rank::Told;
    causes.into_iter().filter(|diagnosis| is_new(diagnosis) && counts(diagnosis)).collect()
}

/// True if a trace is longer than the accepted one, and something in it came again for nothing: it may differ for that alone.
fn has_more_for_nothing(evidence: &RunEvidence, report: &Report, accepted: &Accepted) -> bool {
    let Accepted::Trace(accepted) = accepted else { return false };
    report.retransmissions.spurious > 0
        && rendered(evidence, report).lines().count() > accepted.lines().count()
}

/// Words of the diagnosis about requests that came again.
struct Told {
    /// They came again for nothing: rxe's timer, or a machine that stood still where no trace is compared.
    is_repeated_for_nothing: bool,
    /// A direct cause is known, which explains them.
    is_explained: bool,
    /// A requester's ACK timeout ran out, and nothing explains that.
    is_disturbed: bool,
}

impl Told {
    fn new(
        evidence: &RunEvidence,
        report: Option<&Report>,
        accepted: &Accepted,
        notes: &[Diagnosis],
        causes: &[Diagnosis],
    ) -> Told {
        let is_told = |cause: Cause| notes.iter().any(|note| note.cause == cause);
        let is_repeated_for_nothing = is_told(Cause::SpuriousTimer)
            || is_told(Cause::MachineStoodStill) && *accepted == Accepted::NotDemanded;
        // A machine that stood still answers late; what nothing ever answers is no matter of time.
        let is_never = |cause: Cause| matches!(cause, Cause::RequestUnanswered | Cause::RetriesWithoutEnd);
        let is_explained =
            causes.iter().any(|diagnosis| diagnosis.cause.rank() <= Rank::Told || is_never(diagnosis.cause));
        let has_timeouts = report.is_some_and(|report| report.retransmissions.timeout > 0);
        let is_disturbed = has_timeouts
            && !evidence.scenario.explains_timeouts()
            && !is_repeated_for_nothing
            && !is_explained;
        Told { is_repeated_for_nothing, is_explained, is_disturbed }
    }

    /// True if the counters that a deviation moves on are held against nobody.
    fn is_tolerated(&self, cause: Cause) -> bool {
        cause != Cause::MachineStoodStill || self.is_repeated_for_nothing
    }
}

/// Text of the snapshot of a scenario.
fn rendered(evidence: &RunEvidence, report: &Report) -> String {
    match evidence.scenario.trace {
        Trace::Full => report.trace(),
        Trace::Summary => report.summary(),
    }
}

fn reason_of(failed: &Failed) -> Reason {
    match failed.kind {
        FailedKind::Setup => Reason::Setup,
        FailedKind::Boot => Reason::Boot,
        FailedKind::Capture => Reason::Capture,
        FailedKind::Timeout => Reason::Timeout,
    }
}

#[derive(Debug, Default)]
struct Checks {
    failures: Vec<Failure>,
}

impl Checks {
    fn fail(&mut self, reason: Reason, text: impl Into<String>) {
        self.failures.push(Failure { reason, text: text.into() });
    }

    /// The program ended in time, with the expected exit code and result.
    fn program(&mut self, evidence: &RunEvidence, role: Role, node: &NodeEvidence) {
        let expected = evidence.scenario.expected(role);
        let command = evidence.scenario.command(role);
        if node.is_timed_out && !evidence.differences.may_hang(&evidence.scenario.name, role) {
            let limit = evidence.scenario.timeout_s;
            let said = node.output.as_ref().map_or(String::new(), last_lines);
            let commands: Vec<&str> = evidence.scenario.commands_of(role).collect();
            let commands = commands.join("`, `");
            self.fail(Reason::Timeout, format!("{role}: `{commands}` had not ended after {limit} s\n{said}"));
        }
        let Some(output) = &node.output else {
            if node.is_started && evidence.failure.is_some() {
                // It ran, and what kept it from answering is said already.
                return;
            }
            let server = evidence.nodes.get(&Role::Server).and_then(|server| server.output.as_ref());
            let why = match role {
                client if client.is_client() && server.is_some() => {
                    ": the server was not listening any more, or never did"
                }
                _ => "",
            };
            self.fail(Reason::App, format!("{role}: `{command}` never ran{why}"));
            return;
        };
        let has_ended_well = evidence.has_ended_well(role);
        if node.is_stopped && !has_ended_well {
            let client = if role == Role::Server { "the client had ended" } else { "its peer had ended" };
            self.fail(
                Reason::App,
                format!("{role}: `{command}` was stopped: {client}\n{}", last_lines(output)),
            );
        } else if !has_ended_well && !node.is_timed_out {
            let failed = node.each.iter().position(|output| output.code != Some(expected.exit));
            let ended = failed.map_or(output, |index| &node.each[index]);
            let which =
                failed.map_or(String::new(), |index| format!(" {} of {}", index + 1, node.each.len()));
            let command = evidence.scenario.commands_of(role).nth(failed.unwrap_or(0)).unwrap_or(command);
            let code = ended.code.map_or("a signal".to_owned(), |code| code.to_string());
            let said = last_lines(ended);
            let (reason, text) = match ended.code {
                // What a shell says of a command that it could not start, and the loader of one without its libraries.
                Some(126) => (Reason::Setup, format!("`{command}` is not a program that the node can run")),
                Some(127) => {
                    (Reason::Setup, format!("`{command}`, or a library that it needs, is not on the node"))
                }
                _ => (Reason::App, format!("exit code {code}, expected {}", expected.exit)),
            };
            self.fail(reason, format!("{role}{which}: {text}\n{said}"));
        }
        if expected.result.is_empty() {
            return;
        }
        if node.each.is_empty() {
            self.result(&role.to_string(), &output.stdout, &expected.result);
        }
        for (index, output) in node.each.iter().enumerate() {
            self.result(&format!("{role} {}", index + 1), &output.stdout, &expected.result);
        }
    }

    /// The result line of one program has the expected members.
    fn result(&mut self, who: &str, stdout: &str, expected: &BTreeMap<String, Value>) {
        let results = results(stdout);
        let [result] = &results[..] else {
            self.fail(Reason::App, format!("{who}: {} result lines, expected one", results.len()));
            return;
        };
        let differences: Vec<String> = expected
            .iter()
            .filter_map(|(key, expected)| {
                let found = result.get(key).unwrap_or(&Value::Null);
                (found != expected).then(|| format!("{key} = {found}, expected {expected}"))
            })
            .collect();
        if !differences.is_empty() {
            self.fail(Reason::App, format!("{who}: its result differs\n{}", differences.join("\n")));
        }
    }

    /// The kernel logged nothing that a healthy one does not.
    fn kernel_log(&mut self, evidence: &RunEvidence, role: Role, node: &NodeEvidence) {
        let scenario = &evidence.scenario;
        let mut expected = scenario.expected(role).kernel_log.clone();
        let mut missing = kernel_log::missing(&node.kernel_log, &expected);
        missing.retain(|part| !evidence.differences.may_not_log(&scenario.name, part));
        for part in missing {
            self.fail(Reason::Dmesg, format!("{role}: no line with `{part}`, which is expected"));
        }
        let has_failed =
            node.output.as_ref().is_some_and(|output| output.code != Some(0)) || node.is_timed_out;
        if scenario.expected(role).exit != 0 || has_failed {
            // A program that has to fail, or did and is red for that, may do so by a work request.
            expected.extend(kernel_log::FAILED_REQUESTS.map(str::to_owned));
        }
        let objections = kernel_log::objections(&node.kernel_log, &expected);
        if !objections.is_empty() {
            let shown = &objections[..objections.len().min(5)];
            self.fail(Reason::Dmesg, format!("{role}: {} lines\n{}", objections.len(), shown.join("\n")));
        }
    }

    /// The device counted the trouble that is expected, and no other.
    fn counters(&mut self, role: Role, node: &NodeEvidence, expected: &BTreeMap<String, Count>) {
        let objections = counters::objections(&node.counters, expected);
        if !objections.is_empty() {
            let text = format!("{role}: rxe's counters are not as expected\n{}", objections.join("\n"));
            self.fail(Reason::Agreement, text);
        }
    }

    /// Every fault met the packets that it is about.
    fn faults(&mut self, evidence: &RunEvidence) {
        let Some(met) = &evidence.met else { return };
        for (index, fault) in evidence.scenario.faults.iter().enumerate() {
            if met.hits.get(index).is_none_or(|hits| *hits == 0) {
                let passed: Vec<String> =
                    met.passed.iter().map(|(what, count)| format!("{count} {what}")).collect();
                let number = index + 1;
                let text =
                    format!("fault {number} never matched: {fault}\nwhat passed: {}", passed.join("; "));
                self.fail(Reason::Setup, text);
            }
        }
    }

    /// The limited ports counted what is expected, and nobody notified of congestion without a reason.
    fn congestion(&mut self, evidence: &RunEvidence, artifacts: &Path) -> Option<Congestion> {
        match Congestion::of(evidence, artifacts) {
            Ok(found) => {
                for objection in found.iter().flat_map(|found| found.objections(evidence)) {
                    self.fail(Reason::Agreement, objection);
                }
                found
            }
            Err(error) => {
                self.fail(Reason::Capture, error.to_string());
                None
            }
        }
    }

    /// The capture holds everything that was sent. Gives what proves that. Where a cause is known, it explains a silent wire.
    fn completeness(
        &mut self,
        evidence: &RunEvidence,
        report: &Report,
        found: Completeness,
        has_cause: bool,
    ) -> String {
        let is_lost = found.netem_dropped > Some(0);
        let is_proved = found.differences.is_empty() && (report.packets > 0 || is_lost || has_cause);
        let (proof, is_uncounted) = (found.proof(), !found.uncounted.is_empty());
        for difference in found.differences {
            self.fail(Reason::Capture, difference);
        }
        // Programs that did not do what they should explain why the wire was silent; so does netem that lost all.
        let is_explained =
            self.failures.iter().any(|failure| matches!(failure.reason, Reason::Timeout | Reason::App))
                || is_lost
                || has_cause;
        if report.packets == 0 && is_uncounted {
            self.fail(Reason::Capture, format!("the capture has no RoCEv2 packet\n{WAYS}"));
        } else if report.packets == 0 && !is_explained {
            self.fail(Reason::Capture, "the capture has no RoCEv2 packet");
        }
        match (is_proved, evidence.differences.declared()) {
            (false, _) => String::new(),
            (true, declared) if declared.is_empty() => format!("{} packets, {proof}", report.packets),
            (true, declared) => {
                format!("{} packets, {proof}; declared to differ: {declared}", report.packets)
            }
        }
    }

    /// The trace is the reviewed one.
    fn wire(&mut self, evidence: &RunEvidence, report: &Report, accepted: &Accepted, is_disturbed: bool) {
        if is_disturbed {
            let count = report.retransmissions.timeout;
            self.fail(
                Reason::Wire,
                format!("disturbed: {count} retransmissions by timeout, and no fault to cause them"),
            );
        }
        match accepted {
            Accepted::NotDemanded => {}
            Accepted::Missing => self.fail(Reason::Wire, "there is no snapshot of this trace"),
            Accepted::Trace(snapshot) => {
                let (declared, trace) = (&evidence.differences, rendered(evidence, report));
                let compared = [snapshot, &trace].map(|text| declared.taken_out_of(text));
                if let Some(difference) = snapshot::difference(&compared[0], &compared[1]) {
                    let mut text = format!("the trace differs from its snapshot\n{difference}");
                    if let Some(would_do) = declared.would_do(snapshot, &trace)
                        && evidence.provider.starts_with("ssh")
                    {
                        text.push_str(
                            "\nif that is these hosts' cards, declare it in the hosts file: [differences]\n",
                        );
                        text.push_str(&would_do);
                    }
                    self.fail(Reason::Wire, text);
                }
            }
        }
    }

    /// The wire breaks the expected rules and no other; a note is about the capture, or worth knowing, and held against nobody.
    fn rules(&mut self, evidence: &RunEvidence, report: &Report) {
        let expected = &evidence.scenario.expect.findings;
        let may = &evidence.scenario.expect.may;
        let counts = |finding: &&roce::Finding| {
            finding.severity > Severity::Note
                && !rxe::is_read_again(report, finding)
                && !rxe::ended_in_flight(evidence, finding)
        };
        for finding in report.findings.iter().filter(counts) {
            let name = finding.rule.name();
            if !expected.contains(&name) && !may.contains(&name) {
                self.fail(Reason::Rule, report.known().finding(finding));
            }
        }
        for name in expected {
            if !report.findings.iter().any(|finding| finding.rule.name() == *name) {
                self.fail(Reason::Rule, format!("{name} is expected and was not found"));
            }
        }
    }

    /// The causes are the expected ones, where any are.
    fn causes(&mut self, expected: &[String], found: &[Diagnosis]) {
        if expected.is_empty() {
            return;
        }
        let found: Vec<String> = found.iter().map(|diagnosis| diagnosis.cause.name()).collect();
        if !expected.iter().all(|name| found.contains(name))
            || !found.iter().all(|name| expected.contains(name))
        {
            let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            self.fail(Reason::Rule, format!("the causes are {}, expected {}", list(&found), list(expected)));
        }
    }

    /// True if a program or a rule is among what failed: what has a cause.
    fn are_about_programs(&self) -> bool {
        self.failures.iter().any(|failure| {
            matches!(failure.reason, Reason::Setup | Reason::Timeout | Reason::App | Reason::Rule)
        })
    }

    /// Compares the programs' completions with the wire.
    fn agreement(&mut self, evidence: &RunEvidence, report: &Report) {
        let stdout = evidence
            .nodes
            .iter()
            .filter_map(|(&role, node)| Some((role, node.output.as_ref()?.stdout.as_str())))
            .collect();
        for line in agreement::disagreements(&stdout, &report.messages, &|address| evidence.owner(address)) {
            self.fail(Reason::Agreement, line);
        }
    }
}

/// The last lines of both outputs of a program, each named.
fn last_lines(output: &Output) -> String {
    let mut lines = Vec::new();
    for (what, text) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        // A shell's last word on what the lab stopped is none of the program's.
        let is_own = |line: &&str| !matches!(line.trim(), "" | "Terminated" | "Killed");
        let written: Vec<&str> = text.lines().filter(is_own).collect();
        let last = &written[written.len().saturating_sub(LAST_LINES)..];
        lines.extend(last.iter().map(|line| format!("{what}: {}", diagnosis::facts::shown(line))));
    }
    lines.join("\n")
}

/// The results in a program's standard output.
fn results(stdout: &str) -> Vec<Value> {
    stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?.get_mut("result").map(Value::take))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use crate::scenario::differences::{Differences, Unlike};

    const FAILED: &str = "<3>[   16.398298] rxe0: qp#18 make_send_cqe: non-flush error status = 10\n";

    /// Objections to a client's kernel log and counters; there is no capture.
    fn objections(change: impl FnOnce(&mut RunEvidence)) -> Vec<String> {
        let mut evidence = RunEvidence::new(&Scenario::new("x", "a".to_owned(), "b".to_owned()));
        for role in Role::BOTH {
            evidence.node(role).output =
                Some(Output { code: Some(0), stdout: String::new(), stderr: String::new() });
        }
        change(&mut evidence);
        let artifacts = tempfile::tempdir().unwrap();
        let verdict = judge(&evidence, artifacts.path(), &Accepted::NotDemanded);
        let about = [Reason::Dmesg, Reason::Agreement];
        let failures = verdict.failures.into_iter().filter(|failure| about.contains(&failure.reason));
        failures.map(|failure| failure.text.lines().last().unwrap_or_default().to_owned()).collect()
    }

    /// The checks of programs that fail once `change` was made.
    fn app(change: impl FnOnce(&mut RunEvidence)) -> Vec<String> {
        let mut evidence = RunEvidence::new(&Scenario::new("x", "a".to_owned(), "b".to_owned()));
        let output = |code, stdout: &str| Output {
            code: Some(code),
            stdout: stdout.to_owned(),
            stderr: String::new(),
        };
        evidence.node(Role::Server).has_ended(output(0, ""), false);
        let each = vec![output(0, "{\"result\":{\"ok\":true}}\n"), output(4, "lost\n"), output(0, "")];
        evidence.node(Role::Client).have_ended(each, 0, false);
        change(&mut evidence);
        let artifacts = tempfile::tempdir().unwrap();
        let verdict = judge(&evidence, artifacts.path(), &Accepted::NotDemanded);
        let failures = verdict.failures.into_iter().filter(|failure| failure.reason == Reason::App);
        failures.map(|failure| failure.text).collect()
    }

    #[test]
    fn failed_one_of_several_clients_is_numbered() {
        let of = |exit, result: &[(&str, bool)]| {
            app(|evidence| {
                evidence.scenario.expect.client.exit = exit;
                let result = result.iter().map(|(key, value)| ((*key).to_owned(), Value::Bool(*value)));
                evidence.scenario.expect.client.result = result.collect();
            })
        };
        assert_eq!(of(0, &[]), ["client 2 of 3: exit code 4, expected 0\nstdout: lost"]);
        let with_results = of(0, &[("ok", true)]);
        assert_eq!(
            with_results[1..],
            ["client 2: 0 result lines, expected one", "client 3: 0 result lines, expected one"]
        );
    }

    #[test]
    fn trace_that_is_longer_by_repetitions_for_nothing_is_told() {
        let evidence = RunEvidence::new(&Scenario::new("x", "a".to_owned(), "b".to_owned()));
        let report = |again: usize| {
            let pair = roce::synth::Pair::new(1);
            let send = || pair.request(0x04, 0).payload(b"four").ack_request().build();
            let ack = pair.response(0x11, 0).aeth(0x1f, 1).build();
            let mut analysis = roce::Analysis::new(roce::Names::new());
            for (number, frame) in (1..).zip(vec![vec![send(), ack]; again + 1].concat()) {
                let record = roce::capture::Record::ethernet(number, number * 1_000_000, &frame);
                analysis.push_frame(&record, &record.frame());
            }
            analysis.finish()
        };
        let of = |accepted: usize, found: usize| {
            has_more_for_nothing(&evidence, &report(found), &Accepted::Trace(report(accepted).trace()))
        };
        assert_eq!([of(0, 1), of(1, 2), of(0, 0), of(1, 1), of(1, 0)], [true, true, false, false, false]);
        assert!(!has_more_for_nothing(&evidence, &report(1), &Accepted::NotDemanded));
    }

    #[test]
    fn failed_work_request_is_explained_by_a_program_that_has_to_fail() {
        let of = |exit| {
            objections(|evidence| {
                evidence.scenario.expect.client.exit = exit;
                evidence.node(Role::Client).kernel_log = FAILED.to_owned();
            })
        };
        assert_eq!(of(3), [""; 0]);
        assert_eq!(of(0), [FAILED.trim_end()]);
    }

    #[test]
    fn program_that_cannot_measure_its_clock_is_told_and_the_run_is_disturbed() {
        let of = |stderr: &str| {
            let mut evidence = RunEvidence::new(&Scenario::new("x", "a".to_owned(), "b".to_owned()));
            for role in Role::BOTH {
                let stderr = if role == Role::Client { stderr.to_owned() } else { String::new() };
                let output = Output { code: Some(1), stdout: String::new(), stderr };
                evidence.node(role).has_ended(output, false);
            }
            let artifacts = tempfile::tempdir().unwrap();
            let verdict = judge(&evidence, artifacts.path(), &Accepted::NotDemanded);
            (verdict.is_disturbed, verdict.causes.iter().map(|found| found.cause).collect::<Vec<_>>())
        };
        assert_eq!(of("Correlation coefficient r^2: 0.828799 < 0.9"), (true, vec![Cause::ClockNotMeasured]));
        assert_eq!(of("Can't produce a report"), (false, vec![Cause::ClientFailed]));
    }

    #[test]
    fn what_a_kernel_does_otherwise_is_no_objection_where_it_is_declared() {
        let unlike: Unlike = toml::from_str(
            "reason = 'r'\nscenarios = ['x']\nkernel_log = ['make_send_cqe']\n\
             counters.client = { completer_retry_err = 0 }",
        )
        .unwrap();
        let of = |declared: &[Unlike]| {
            objections(|evidence| {
                evidence.differences = Differences { kernel: declared.to_vec(), ..Differences::default() };
                let client = &mut evidence.scenario.expect.client;
                client.kernel_log = vec!["make_send_cqe: non-flush error status = 10".to_owned()];
                client.counters = [("completer_retry_err".to_owned(), Count::Exactly(1))].into();
                evidence.node(Role::Client).counters = [("completer_retry_err".to_owned(), 0)].into();
            })
        };
        assert_eq!(of(&[]).len(), 2, "{:?}", of(&[]));
        assert_eq!(of(std::slice::from_ref(&unlike)), [""; 0]);
        assert_eq!(of(&[Unlike { scenarios: vec!["y".to_owned()], ..unlike }]).len(), 2);
    }
}
