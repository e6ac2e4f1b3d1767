//! In what a run on one guest departs from the same scenario's on another, and on what ground.
//!
//! Pure: facts of two runs go in. Texts are without what varies from run to run, so that the same departure of many scenarios is
//! one text.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use similar::{DiffOp, TextDiff};

use crate::base::role::Role;
use crate::scenario::counters::{Count, Counters};
use crate::trial::matrix::facts::RunFacts;

/// Lines of a trace that are told of one run.
const LINES: usize = 6;

/// Part of a run in which it departs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepartureKind {
    /// A line of the trace.
    Trace,
    /// A rule that the wire breaks.
    Finding,
    /// Packets that were sent again.
    Recovery,
    /// A counter of the device.
    Counter,
    /// A line of a kernel's log.
    KernelLog,
}

impl fmt::Display for DepartureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DepartureKind::Trace => "trace",
            DepartureKind::Finding => "finding",
            DepartureKind::Recovery => "recovery",
            DepartureKind::Counter => "counter",
            DepartureKind::KernelLog => "kernel log",
        })
    }
}

/// Ground of a departure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// It is declared of the guest, for this reason.
    Declared(String),
    /// The scenario leaves it open: timing decides.
    Open,
    /// Nothing says so.
    Undeclared,
}

/// One departure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Departure {
    /// The part of the run.
    pub kind: DepartureKind,
    /// The departure, in words.
    pub text: String,
    /// Its ground.
    pub ground: Ground,
}

/// Finds in what `run` departs from `other`. What nothing declares is open if the run `passed`: its verdict has held it against
/// the scenario, and the scenario does not mind.
pub fn departures(run: &RunFacts, other: &RunFacts, passed: bool) -> Vec<Departure> {
    let unsaid = if passed { Ground::Open } else { Ground::Undeclared };
    let mut found = traces(run, other, &unsaid);
    let (mine, theirs) = (&run.findings, &other.findings);
    let told =
        |name: &String, what: &str| departure(DepartureKind::Finding, format!("{what} {name}"), &unsaid);
    found.extend(mine.difference(theirs).map(|name| told(name, "breaks")));
    found.extend(theirs.difference(mine).map(|name| told(name, "does not break")));
    let classes: BTreeSet<&str> = run.recovery.keys().chain(other.recovery.keys()).copied().collect();
    for class in classes {
        let [mine, theirs] = [run, other].map(|facts| facts.recovery.get(class).copied().unwrap_or(0));
        if mine != theirs {
            let text = format!("sent again by {class}: {mine}, there {theirs}");
            found.push(departure(DepartureKind::Recovery, text, &unsaid));
        }
    }
    for role in Role::BOTH {
        counters(run, other, role, &unsaid, &mut found);
        kernel_logs(run, other, role, &unsaid, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn departure(kind: DepartureKind, text: String, ground: &Ground) -> Departure {
    Departure { kind, text, ground: ground.clone() }
}

fn traces(run: &RunFacts, other: &RunFacts, unsaid: &Ground) -> Vec<Departure> {
    let lines = changed_lines(&other.trace, &run.trace);
    let declared = run.declared.why_traces_differ(&other.trace, &run.trace);
    let ground = declared.map_or_else(|| unsaid.clone(), Ground::Declared);
    let mut found: Vec<Departure> =
        lines.iter().take(LINES).map(|text| departure(DepartureKind::Trace, text.clone(), &ground)).collect();
    if lines.len() > LINES {
        let text = format!("{} more lines", lines.len() - LINES);
        found.push(departure(DepartureKind::Trace, text, &ground));
    }
    found
}

/// Lines in which a trace differs from another, each as words; the count of packets in its first line is told by the others.
fn changed_lines(other: &str, trace: &str) -> Vec<String> {
    let [theirs, mine] = [other, trace].map(|text| text.lines().skip(1).collect::<Vec<_>>());
    let diff = TextDiff::from_slices(&theirs, &mine);
    let mut found = Vec::new();
    for op in diff.ops() {
        let (old, new) = (&theirs[op.old_range()], &mine[op.new_range()]);
        if matches!(op, DiffOp::Equal { .. }) {
            continue;
        }
        let both = old.len().min(new.len());
        found.extend(old.iter().zip(new).map(|(old, new)| pieces(old, new)));
        found.extend(old[both..].iter().map(|line| format!("lacks `{}`", squeezed(line))));
        found.extend(new[both..].iter().map(|line| format!("has `{}`", squeezed(line))));
    }
    found.dedup();
    found
}

/// The pieces in which two lines differ that are alike otherwise.
fn pieces(old: &str, new: &str) -> String {
    let [old, new] = [old, new].map(squeezed);
    let (theirs, mine): (Vec<&str>, Vec<&str>) = (old.split(", ").collect(), new.split(", ").collect());
    let changed: Vec<(&str, &str)> =
        theirs.iter().copied().zip(mine.iter().copied()).filter(|(a, b)| a != b).collect();
    match changed[..] {
        [(theirs, mine)] if old.matches(", ").count() == new.matches(", ").count() => {
            format!("`{mine}`, there `{theirs}`")
        }
        _ => format!("`{new}`, there `{old}`"),
    }
}

/// A line with one space where there are more.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn counters(run: &RunFacts, other: &RunFacts, role: Role, unsaid: &Ground, found: &mut Vec<Departure>) {
    let scenario = &run.scenario;
    for name in Counters::TROUBLES {
        let of = |facts: &RunFacts| facts.counters.get(&role)?.get(name).copied();
        let (mine, theirs) = (of(run).unwrap_or(0), of(other).unwrap_or(0));
        if mine == theirs {
            continue;
        }
        let is_open = matches!(scenario.expected(role).counters.get(name), Some(Count::InWords(_)));
        let ground = match run.declared.why_counter_differs(&scenario.name, role, name) {
            Some(why) => Ground::Declared(why.to_owned()),
            None if is_open => Ground::Open,
            None => unsaid.clone(),
        };
        found.push(departure(
            DepartureKind::Counter,
            format!("{role} counts {name} {mine}, there {theirs}"),
            &ground,
        ));
    }
}

fn kernel_logs(run: &RunFacts, other: &RunFacts, role: Role, unsaid: &Ground, found: &mut Vec<Departure>) {
    let none = BTreeSet::new();
    let [mine, theirs] = [run, other].map(|facts| facts.kernel_log.get(&role).unwrap_or(&none));
    let more = mine.difference(theirs).map(|text| (format!("{role} logs `{text}`"), text));
    let fewer = theirs.difference(mine).map(|text| (format!("{role} does not log `{text}`"), text));
    for (words, text) in more.chain(fewer) {
        let why = run.declared.why_not_logged(&run.scenario.name, text);
        let ground = why.map_or_else(|| unsaid.clone(), |why| Ground::Declared(why.to_owned()));
        found.push(departure(DepartureKind::KernelLog, words, &ground));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::scenario::differences::Differences;

    fn facts() -> RunFacts {
        RunFacts {
            scenario: Scenario::new("refused", "s".to_owned(), "c".to_owned()),
            declared: Differences::default(),
            trace: "roce trace 1: 4 packets\n\
                client > server  REQ   path  MTU 1024 bytes, P_Key 0xffff, ACK timeout 17 (537 ms)\n\
                client.qp1 > server.qp1 RC RDMA WRITE Only  client+0\n\
                server.qp1 > client.qp1 RC Acknowledge      client+0\n"
                .to_owned(),
            counters: BTreeMap::new(),
            kernel_log: BTreeMap::new(),
            recovery: BTreeMap::new(),
            findings: BTreeSet::new(),
        }
    }

    use crate::scenario::Scenario;

    fn only(found: Vec<Departure>) -> (DepartureKind, String, Ground) {
        let [Departure { kind, text, ground }] = &found[..] else { panic!("{found:#?}") };
        (*kind, text.clone(), ground.clone())
    }

    #[test]
    fn same_run_departs_in_nothing() {
        assert_eq!(departures(&facts(), &facts(), true), []);
    }

    #[test]
    fn declared_value_of_a_trace_is_told_with_its_reason_and_another_is_undeclared() {
        let declared = toml::from_str("ack_timeout = 19\nwhy.ack_timeout = 'longer'").unwrap();
        let mut run = RunFacts { declared, ..facts() };
        run.trace = run.trace.replace("ACK timeout 17 (537 ms)", "ACK timeout 19 (2.15 s)");
        let expected = "`ACK timeout 19 (2.15 s)`, there `ACK timeout 17 (537 ms)`".to_owned();
        let ground = Ground::Declared("ack_timeout: longer".to_owned());
        assert_eq!(only(departures(&run, &facts(), true)), (DepartureKind::Trace, expected, ground));
        run.trace = run.trace.replace("P_Key 0xffff", "P_Key 0x8001");
        assert!(matches!(only(departures(&run, &facts(), false)).2, Ground::Undeclared));
    }

    #[test]
    fn packet_more_or_less_is_a_line() {
        let mut run = facts();
        run.trace.push_str("server.qp1 > client.qp1 RC Acknowledge      client+1\n");
        let (kind, text, ground) = only(departures(&run, &facts(), false));
        assert_eq!((kind, ground), (DepartureKind::Trace, Ground::Undeclared));
        assert_eq!(text, "has `server.qp1 > client.qp1 RC Acknowledge client+1`");
        assert!(only(departures(&facts(), &run, false)).1.starts_with("lacks `server.qp1"));
    }

    #[test]
    fn counters_kernel_lines_recovery_and_findings_are_told_by_node() {
        let (mut run, mut other) = (facts(), facts());
        run.declared = toml::from_str(
            "[[kernel]]\nreason = 'silent'\nkernel_log = ['make_send_cqe']\n\
             [[kernel]]\nreason = 'uncounted'\ncounters.client = { completer_retry_err = 'any' }",
        )
        .unwrap();
        other.counters.insert(Role::Client, [("completer_retry_err".to_owned(), 1)].into());
        other.kernel_log.insert(Role::Client, ["rxeN: make_send_cqe: N".to_owned()].into());
        run.kernel_log.insert(Role::Server, ["Oops".to_owned()].into());
        run.recovery.insert("timeout", 2);
        run.findings.insert("RequestPsnGap".to_owned());
        let found: Vec<String> = departures(&run, &other, false)
            .into_iter()
            .map(|Departure { kind, text, ground }| format!("{kind}: {text}: {ground:?}"))
            .collect();
        assert_eq!(
            found,
            [
                "finding: breaks RequestPsnGap: Undeclared",
                "recovery: sent again by timeout: 2, there 0: Undeclared",
                "counter: client counts completer_retry_err 0, there 1: Declared(\"uncounted\")",
                "kernel log: client does not log `rxeN: make_send_cqe: N`: Declared(\"silent\")",
                "kernel log: server logs `Oops`: Undeclared",
            ]
        );
    }
}
