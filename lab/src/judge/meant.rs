//! What makes a red run green, if it is meant as it was: options of `run`, or lines of a scenario.
//!
//! Whatever is found is tried: the run is judged once more with it, and only what is green then is told.

use std::path::Path;

use roce::{Report, Severity};

use crate::base::role::Role;
use crate::judge::diagnosis::rxe;
use crate::judge::judgement::judge;
use crate::judge::snapshot::Accepted;
use crate::judge::verdict::{Meant, Reason};
use crate::run::evidence::RunEvidence;
use crate::scenario::counters::{Count, Counters};

/// The expectations that make a run green but for its trace; `None` where there are none, or none is missing.
pub fn meant(evidence: &RunEvidence, artifacts: &Path, accepted: &Accepted) -> Option<Meant> {
    let mut wanted = evidence.clone();
    let mut meant = Meant::default();
    let report = evidence.decode(artifacts).ok()?;
    for role in Role::BOTH {
        exit(evidence, role, &mut wanted, &mut meant)?;
    }
    findings(evidence, &report, &mut wanted, &mut meant);
    if report.retransmissions.timeout > 0 && !evidence.scenario.explains_timeouts() {
        wanted.scenario.expect.timeouts = true;
        meant.options.push("--timeouts".to_owned());
        meant.lines.push("[expect] timeouts = true".to_owned());
    }
    for role in Role::BOTH {
        counters(evidence, role, &mut wanted, &mut meant);
    }
    if meant.options.is_empty() {
        return None;
    }
    let verdict = judge(&wanted, artifacts, accepted);
    verdict.failures.iter().all(|failure| failure.reason == Reason::Wire).then_some(meant)
}

/// An exit code that was not the expected one, of a program that ended by itself.
fn exit(evidence: &RunEvidence, role: Role, wanted: &mut RunEvidence, meant: &mut Meant) -> Option<()> {
    let node = evidence.nodes.get(&role)?;
    let code = node.output.as_ref()?.code;
    if node.is_timed_out || node.is_stopped {
        return None;
    }
    if evidence.has_ended_well(role) {
        return Some(());
    }
    let code = code?;
    match role {
        Role::Server => wanted.scenario.expect.server.exit = code,
        Role::Client => wanted.scenario.expect.client.exit = code,
    }
    meant.options.push(format!("--{role}-exit {code}"));
    meant.lines.push(format!("[expect.{role}] exit = {code}"));
    Some(())
}

/// Rules that were broken and not expected.
fn findings(evidence: &RunEvidence, report: &Report, wanted: &mut RunEvidence, meant: &mut Meant) {
    let expected = &mut wanted.scenario.expect.findings;
    let before = expected.len();
    for finding in &report.findings {
        let is_held_against = finding.severity > Severity::Note
            && !rxe::is_read_again(report, finding)
            && !rxe::ended_in_flight(evidence, finding);
        let name = finding.rule.name();
        if is_held_against && !expected.contains(&name) {
            meant.options.push(format!("--finding {name}"));
            expected.push(name);
        }
    }
    if expected.len() > before {
        meant.lines.push(format!("[expect] findings = {expected:?}"));
    }
}

/// Counters of trouble that moved on otherwise than expected.
fn counters(evidence: &RunEvidence, role: Role, wanted: &mut RunEvidence, meant: &mut Meant) {
    let Some(node) = evidence.nodes.get(&role) else { return };
    let expected = match role {
        Role::Server => &mut wanted.scenario.expect.server.counters,
        Role::Client => &mut wanted.scenario.expect.client.counters,
    };
    let mut lines = Vec::new();
    for (name, moved) in &node.counters {
        let count = expected.get(name).copied().unwrap_or(Count::Exactly(0));
        if Counters::TROUBLES.contains(&name.as_str()) && !count.is(*moved) {
            expected.insert(name.clone(), Count::Exactly(*moved));
            meant.options.push(format!("--counter {role}.{name}={moved}"));
            lines.push(format!("{name} = {moved}"));
        }
    }
    if !lines.is_empty() {
        meant.lines.push(format!("[expect.{role}] counters = {{ {} }}", lines.join(", ")));
    }
}
