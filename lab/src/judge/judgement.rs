//! From a run's evidence to its verdict: every check, each with its reason.
//!
//! A pass needs positive evidence of each: a complete capture, both programs' exit codes and results, a
//! clean kernel log, the snapshot, the rules, and completions that agree with the wire. Reads the artifact
//! directory and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use roce::{Report, Severity};
use serde_json::Value;

use crate::base::role::Role;
use crate::judge::agreement;
use crate::judge::completeness::{self, Completeness};
use crate::judge::snapshot::{self, Accepted};
use crate::judge::verdict::{Failure, Reason, Verdict};
use crate::run::evidence::{Evidence, Failed, FailedKind, NodeEvidence};
use crate::run::kernel_log;
use crate::scenario::Trace;
use crate::scenario::counters::{self, Count};
use crate::wire::capture::decode;

/// What sees the packets of a card that offloads RDMA.
const WAYS: &str =
    "a card that offloads RDMA hides it from its network interface; what sees it, for the hosts file:
a mirror port of the switch, or ibdump, recorded to a file: [capture] mirror = FILE
the RDMA device, where libpcap has RDMA support (mlx5 cards): [capture] interface = \"mlx5_0\"
the interface, once the driver's sniffer is on: ethtool --set-priv-flags INTERFACE sniffer on (MLNX_OFED)";

/// Judges what is kept in `artifacts`, and compares the trace with the accepted one.
pub fn judge(evidence: &Evidence, artifacts: &Path, accepted: &Accepted) -> Verdict {
    let scenario = &evidence.scenario;
    let mut checks = Checks::default();
    if let Some(failed) = &evidence.failure {
        checks.fail(reason_of(failed), failed.text.clone());
    }
    let decoded = decode(artifacts, &evidence.addresses);
    let report = match &decoded {
        Ok(report) => Some(report),
        // Without machines there is no capture; what kept them down is said already.
        Err(_) if evidence.failure.is_some() => None,
        Err(error) => {
            checks.fail(Reason::Capture, error.to_string());
            None
        }
    };
    // What never ran has no exit code and no log to judge.
    if evidence.failure.is_none() || report.is_some() {
        for (&role, node) in &evidence.nodes {
            checks.program(evidence, role, node);
            checks.kernel_log(evidence, role, node);
            let expected = &scenario.expected(role).counters;
            checks.counters(role, node, &evidence.differences.counters(&scenario.name, role, expected));
        }
        checks.faults(evidence);
    }
    let mut proof = String::new();
    if let Some(report) = report {
        proof = checks.completeness(evidence, report, artifacts);
        checks.wire(evidence, report, accepted);
        checks.rules(&scenario.expect.findings, report);
        if scenario.expect.completions {
            checks.agreement(evidence, report);
        }
    }
    // What stood still and passed all the same has proved itself.
    let is_stalled = evidence.nodes.values().any(|node| !kernel_log::stalls(&node.kernel_log).is_empty());
    let is_disturbed = report.is_some_and(|report| is_disturbed(evidence, report))
        || is_stalled && !checks.failures.is_empty();
    Verdict {
        scenario: scenario.name.clone(),
        failures: checks.failures,
        proof,
        packets: report.map_or(0, |report| report.packets),
        findings: report
            .map_or(Vec::new(), |report| report.findings.iter().map(|finding| finding.rule.name()).collect()),
        seconds: evidence.total_seconds(),
        is_disturbed,
        provider: evidence.provider.clone(),
        differs: evidence.differences.declared(),
        provenance: evidence.provenance.clone(),
        artifacts: artifacts.to_owned(),
        replay: evidence.replay.clone(),
        accept: evidence.accept.clone(),
        trace: report.map(|report| rendered(evidence, report)),
        ..Verdict::default()
    }
    .concluded()
}

/// What the snapshot of a scenario holds.
fn rendered(evidence: &Evidence, report: &Report) -> String {
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

/// Whether a requester's ACK timeout ran out and nothing in the scenario explains that.
fn is_disturbed(evidence: &Evidence, report: &Report) -> bool {
    !evidence.scenario.explains_timeouts() && report.retransmissions.timeout > 0
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
    fn program(&mut self, evidence: &Evidence, role: Role, node: &NodeEvidence) {
        let expected = evidence.scenario.expected(role);
        let command = evidence.scenario.command(role);
        if node.is_timed_out {
            let limit = evidence.scenario.timeout_s;
            self.fail(Reason::Timeout, format!("{role}: `{command}` had not ended after {limit} s"));
        }
        let Some(output) = &node.output else {
            if node.is_started && evidence.failure.is_some() {
                // It ran, and what kept it from answering is said already.
                return;
            }
            let server = evidence.nodes.get(&Role::Server).and_then(|server| server.output.as_ref());
            let why = match role {
                Role::Client if server.is_some() => ": the server was not listening any more, or never did",
                _ => "",
            };
            self.fail(Reason::App, format!("{role}: `{command}` never ran{why}"));
            return;
        };
        if output.code != Some(expected.exit) && !node.is_timed_out {
            let code = output.code.map_or("a signal".to_owned(), |code| code.to_string());
            let said = crate::base::command::tail(&output.stderr, 3);
            let (reason, text) = match output.code {
                // What a shell says of a command that it could not start, and the loader of one without its libraries.
                Some(126) => (Reason::Setup, format!("`{command}` is not a program that the node can run")),
                Some(127) => {
                    (Reason::Setup, format!("`{command}`, or a library that it needs, is not on the node"))
                }
                _ => (Reason::App, format!("exit code {code}, expected {}", expected.exit)),
            };
            self.fail(reason, format!("{role}: {text}\n{said}"));
        }
        if expected.result.is_empty() {
            return;
        }
        let results = results(&output.stdout);
        let [result] = &results[..] else {
            self.fail(Reason::App, format!("{role}: {} result lines, expected one", results.len()));
            return;
        };
        let differences: Vec<String> = expected
            .result
            .iter()
            .filter_map(|(key, expected)| {
                let found = result.get(key).unwrap_or(&Value::Null);
                (found != expected).then(|| format!("{key} = {found}, expected {expected}"))
            })
            .collect();
        if !differences.is_empty() {
            self.fail(Reason::App, format!("{role}: its result differs\n{}", differences.join("\n")));
        }
    }

    /// The kernel logged nothing that a healthy one does not.
    fn kernel_log(&mut self, evidence: &Evidence, role: Role, node: &NodeEvidence) {
        let scenario = &evidence.scenario;
        let mut expected = scenario.expected(role).kernel_log.clone();
        let mut missing = kernel_log::missing(&node.kernel_log, &expected);
        missing.retain(|part| !evidence.differences.may_not_log(&scenario.name, part));
        for part in missing {
            self.fail(Reason::Dmesg, format!("{role}: no line with `{part}`, which is expected"));
        }
        if scenario.expected(role).exit != 0 {
            // A program that has to fail may do so by a work request.
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
    fn faults(&mut self, evidence: &Evidence) {
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

    /// The capture holds everything that was sent. Gives what proves that.
    fn completeness(&mut self, evidence: &Evidence, report: &Report, artifacts: &Path) -> String {
        let found = completeness::check(evidence, report, artifacts).unwrap_or_else(|error| Completeness {
            differences: vec![error.to_string()],
            ..Completeness::default()
        });
        let is_lost = found.netem_dropped > Some(0);
        let is_proved = found.differences.is_empty() && (report.packets > 0 || is_lost);
        let (proof, is_uncounted) = (found.proof(), !found.uncounted.is_empty());
        for difference in found.differences {
            self.fail(Reason::Capture, difference);
        }
        // Programs that did not do what they should explain why the wire was silent; so does netem that lost all.
        let is_explained =
            self.failures.iter().any(|failure| matches!(failure.reason, Reason::Timeout | Reason::App))
                || is_lost;
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
    fn wire(&mut self, evidence: &Evidence, report: &Report, accepted: &Accepted) {
        if is_disturbed(evidence, report) {
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
    fn rules(&mut self, expected: &[String], report: &Report) {
        for finding in report.findings.iter().filter(|finding| finding.severity > Severity::Note) {
            if !expected.contains(&finding.rule.name()) {
                self.fail(Reason::Rule, finding.to_string());
            }
        }
        for name in expected {
            if !report.findings.iter().any(|finding| finding.rule.name() == *name) {
                self.fail(Reason::Rule, format!("{name} is expected and was not found"));
            }
        }
    }

    /// What the programs were told is what the wire shows.
    fn agreement(&mut self, evidence: &Evidence, report: &Report) {
        let stdout = evidence
            .nodes
            .iter()
            .filter_map(|(&role, node)| Some((role, node.output.as_ref()?.stdout.as_str())))
            .collect();
        for line in agreement::disagreements(&stdout, &report.messages, &evidence.addresses) {
            self.fail(Reason::Agreement, line);
        }
    }
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
    use crate::base::command::Output;
    use crate::scenario::Scenario;
    use crate::scenario::differences::{Differences, Unlike};

    const FAILED: &str = "<3>[   16.398298] rxe0: qp#18 make_send_cqe: non-flush error status = 10\n";

    /// What a client's kernel log and counters are held against it; there is no capture.
    fn objections(change: impl FnOnce(&mut Evidence)) -> Vec<String> {
        let mut evidence = Evidence::new(&Scenario::new("x", "a".to_owned(), "b".to_owned()));
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
