//! Runs without a tried fault: what the others are compared with. A pair of programs whose runs differ is not deterministic by
//! itself, and is named as that.

use std::collections::BTreeSet;
use std::path::Path;

use roce::Report;

use crate::base::error::{Error, Result};
use crate::base::progress::Step;
use crate::explore::outcome::{self, Baseline};
use crate::explore::packets::{self, Target};
use crate::judge;
use crate::judge::snapshot::Accepted;
use crate::judge::verdict::Verdict;
use crate::run::evidence::RunEvidence;
use crate::run::setup::Setup;
use crate::run::{Case, run};
use crate::scenario::Scenario;
use crate::trial::artifacts;

/// Runs that have to be alike before any with a fault says something.
const RUNS: usize = 3;

/// Messages that either side may send first.
const DISCONNECTS: [&str; 2] = ["CM DREQ", "CM DREP"];

/// Differences between two runs that are told.
const TOLD: usize = 3;

/// Runs a scenario as it is, several times, and lists the packets that every run has; an acknowledgement that not all have is
/// left out.
///
/// # Errors
///
/// The scenario fails as it is, or does not put the same packets on the wire each time.
pub fn measured(setup: &Setup, scenario: &Scenario, directory: &Path) -> Result<(Baseline, Vec<Target>)> {
    let name = &scenario.name;
    let step = Step::begin(format!("{name} without a tried fault, {RUNS} times"));
    let mut runs = Vec::new();
    for number in 1..=RUNS {
        runs.push(one(setup, scenario, &directory.join(format!("baseline-{number}")))?);
    }
    let (seconds, mut targets) = runs.swap_remove(0);
    let differences: Vec<String> = runs
        .iter()
        .flat_map(|(_, others)| differences(&targets, others))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if !differences.is_empty() {
        let shown = differences[..differences.len().min(TOLD)].join("\n");
        return Err(Error::usage(format!(
            "not deterministic by itself: {RUNS} runs of {name} without a tried fault are not alike"
        ))
        .detail(format!("{} differences\n{shown}\nruns: {}", differences.len(), directory.display()))
        .next("explore programs that do the same in each run: fixed sizes and counts, one operation at a time, no time limit that ends them"));
    }
    let is_everywhere = |target: &Target| {
        let has = |others: &Vec<Target>| others.iter().any(|other| name_of(other) == name_of(target));
        !target.is_acknowledgement() || runs.iter().all(|(_, others)| has(others))
    };
    targets.retain(is_everywhere);
    let baseline = Baseline { seconds, packets: targets.iter().map(|target| target.stands_for).sum() };
    step.done(&format!("{} packets, {} kinds of them", baseline.packets, targets.len()));
    Ok((baseline, targets))
}

/// Makes one run and judges it without a trace to be held to.
///
/// # Errors
///
/// The artifacts cannot be written.
pub fn attempt(
    setup: &Setup,
    scenario: &Scenario,
    artifacts: &Path,
) -> Result<(RunEvidence, Verdict, Option<Report>)> {
    let _slot = setup.slot()?;
    let case = Case { scenario, programs: &setup.programs, snapshot: None, replay: "", accept: "" };
    let evidence = run(&setup.provider, &case, artifacts)?;
    let (verdict, report) = judge::judge_with_report(&evidence, artifacts, &Accepted::NotDemanded);
    Ok((evidence, verdict, report))
}

/// One such run: how long its programs took, and its packets.
fn one(setup: &Setup, scenario: &Scenario, artifacts: &Path) -> Result<(f64, Vec<Target>)> {
    let (evidence, verdict, _) = attempt(setup, scenario, artifacts)?;
    artifacts::keep(&verdict, artifacts)?;
    // Faults of the scenario's own may wait for what a tried one leads to.
    if verdict.failures.iter().any(|failure| !outcome::is_of_a_fault_not_met(failure)) {
        return Err(Error::setup(format!("it fails without a tried fault\n{verdict}"))
            .next("mend that first: what a fault adds cannot be told"));
    }
    let targets = packets::packets(&evidence, artifacts)?;
    Ok((evidence.seconds.get("programs").copied().unwrap_or_default(), targets))
}

fn name_of(target: &Target) -> String {
    format!("{}, {} bytes", target.matcher(), target.bytes)
}

/// Packets that one of two runs has and the other has not. In which order packets of both directions come is timing's, and so
/// is who disconnects first; which packets are acknowledged, the responder's.
fn differences(one: &[Target], other: &[Target]) -> Vec<String> {
    let names = |targets: &[Target]| {
        let is_decided = |target: &&Target| {
            !target.is_acknowledgement() && !DISCONNECTS.contains(&target.kind.to_string().as_str())
        };
        targets.iter().filter(is_decided).map(name_of).collect::<BTreeSet<_>>()
    };
    let (one, other) = (names(one), names(other));
    one.symmetric_difference(&other).map(|packet| format!("only some runs have {packet}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(packets: &[(&str, &str, Option<u32>, usize)]) -> Vec<Target> {
        let of = |(number, (kind, to, psn, bytes)): (u64, &(&str, &str, Option<u32>, usize))| Target {
            number,
            kind: kind.parse().unwrap(),
            to: to.parse().unwrap(),
            psn: *psn,
            nth: None,
            bytes: *bytes,
            fields: Vec::new(),
            stands_for: 1,
        };
        (1..).zip(packets).map(of).collect()
    }

    #[test]
    fn runs_are_alike_whatever_their_order_and_whoever_acknowledges_or_disconnects() {
        let send = ("RC SEND Only", "server.qp1", Some(0), 80);
        let one =
            targets(&[send, ("RC Acknowledge", "client.qp1", None, 60), ("CM DREQ", "client", None, 300)]);
        let other = targets(&[("CM DREQ", "server", None, 300), send]);
        assert_eq!(differences(&one, &other), [""; 0]);
    }

    #[test]
    fn packet_of_another_length_or_place_is_a_difference() {
        let one = targets(&[("RC SEND Only", "server.qp1", Some(0), 80)]);
        let longer = targets(&[("RC SEND Only", "server.qp1", Some(0), 84)]);
        let more = targets(&[
            ("RC SEND Only", "server.qp1", Some(0), 80),
            ("RC SEND Only", "server.qp1", Some(1), 80),
        ]);
        assert_eq!(differences(&one, &longer).len(), 2);
        assert_eq!(
            differences(&one, &more),
            ["only some runs have RC SEND Only, to server.qp1, psn 1, 80 bytes"]
        );
    }
}
