//! The page of a run, and the index of an invocation: what a browser shows of the artifacts.
//!
//! A page is made of what the artifacts hold, and a page that cannot be made fails no run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use roce_page::{
    Calls, Capture, Cause, Collector, Counter, Index, IndexRow, Page, Run, RunState, RunText, Traces,
};

use crate::base::cache::write_whole;
use crate::base::command;
use crate::base::error::{Error, Result};
use crate::base::progress::say;
use crate::base::role::Role;
use crate::judge::diagnosis::Diagnosis;
use crate::judge::verdict::Verdict;
use crate::run::evidence::{self, RunEvidence};
use crate::scenario::network::Network;
use crate::wire::capture;

/// The page's file in an artifact directory.
pub const FILE: &str = "report.html";

/// The index's file in an invocation's directory.
pub const INDEX_FILE: &str = "index.html";

/// Packets of a capture that a page shows.
const PACKETS_MAX: usize = 50_000;

/// Writes the page of a run into `directory`; a page that cannot be made is a line of progress.
pub fn keep(verdict: &Verdict, directory: &Path) {
    if let Err(error) =
        page(verdict, directory).and_then(|html| write_whole(&directory.join(FILE), html.as_bytes()))
    {
        say(&format!("{}: no page of this run: {error}", verdict.scenario));
    }
}

/// Writes the index of an invocation's directory, with a sentence about all verdicts on top.
///
/// # Errors
///
/// The directory cannot be written.
pub fn keep_index<'v>(
    run: &Path,
    summary: String,
    verdicts: impl Iterator<Item = &'v Verdict>,
) -> Result<()> {
    let entries = verdicts.map(|verdict| entry(run, verdict)).collect();
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    let index = Index { title: format!("Runs of {name}"), summary, table: None, entries };
    write_whole(&run.join(INDEX_FILE), index.to_html().as_bytes())
}

/// The page to open for what is in `directory`: its index, else its own.
///
/// # Errors
///
/// There is neither.
pub fn find(directory: &Path) -> Result<PathBuf> {
    let files = [INDEX_FILE, FILE].map(|file| directory.join(file));
    files.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        Error::usage(format!("no page is kept in {}", directory.display()))
            .next("name the directory of an invocation, as in …/runs/latest, or of one run in it")
    })
}

fn entry(run: &Path, verdict: &Verdict) -> IndexRow {
    // One that was judged again is kept under its own name.
    let own = verdict.artifacts.strip_prefix(run).map(Path::to_owned);
    let directory =
        own.unwrap_or_else(|_| verdict.artifacts.file_name().map(PathBuf::from).unwrap_or_default());
    let page = directory.join(FILE);
    let link = run.join(&page).is_file().then(|| page.to_string_lossy().into_owned());
    IndexRow {
        name: verdict.scenario.clone(),
        state: state(verdict),
        headline: headline(verdict),
        packets: verdict.packets,
        findings: verdict.findings.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect(),
        link: link.filter(|_| !directory.as_os_str().is_empty()),
        seconds: if verdict.not_run.is_some() { String::new() } else { format!("{:.1}", verdict.seconds) },
    }
}

fn state(verdict: &Verdict) -> RunState {
    match verdict {
        Verdict { not_run: Some(_), .. } => RunState::NotRun,
        Verdict { is_superseded: true, .. } => RunState::Disturbed,
        Verdict { passed: true, .. } => RunState::Passed,
        _ => RunState::Failed,
    }
}

/// The cause or the first failed check, or what proves that all passed.
fn headline(verdict: &Verdict) -> String {
    match &verdict.not_run {
        Some(why) => why.clone(),
        None if verdict.failures.is_empty() => verdict.proof.clone(),
        None => verdict.headline_text(),
    }
}

fn page(verdict: &Verdict, directory: &Path) -> Result<String> {
    let ran = evidence::first_of([directory, &verdict.artifacts]);
    let evidence = ran.map(RunEvidence::read).transpose()?;
    let capture = match (ran, &evidence) {
        (Some(ran), Some(evidence)) => capture(&ran.join(capture::CAPTURE), evidence),
        _ => Capture::none(),
    };
    let mut page = Page::new(verdict.scenario.as_str(), &capture).run(run(verdict, evidence.as_ref()));
    if let (Some(accepted), Some(trace)) = (&verdict.accepted, &verdict.trace) {
        page = page.traces(Traces {
            before_name: "accepted".to_owned(),
            before: accepted.clone(),
            after_name: "found".to_owned(),
            after: trace.clone(),
        });
    }
    Ok(page.to_html())
}

/// A run's capture; one that is missing or damaged has a remark, and what can be read of it.
fn capture(path: &Path, evidence: &RunEvidence) -> Capture {
    let name = capture::CAPTURE;
    let read = || -> Result<Capture> {
        let mut reader = capture::open(path)?;
        let mut analysis = roce::Analysis::of_first(evidence.names(), PACKETS_MAX);
        let mut collector = Collector::new();
        let stopped = loop {
            match reader.next() {
                Ok(Some(record)) => {
                    let frame = record.frame();
                    if !analysis.is_full() {
                        collector.push(&record, &frame);
                    }
                    analysis.push_frame(&record, &frame);
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let capture = collector.finish(name, analysis.finish());
        Ok(match stopped {
            None => capture,
            Some(error) => {
                capture.remark(format!("Of the capture there is only the part before a fault: {error}."))
            }
        })
    };
    read().unwrap_or_else(|error| {
        let what = error.to_string();
        Capture::none().remark(format!("There is no capture: {}.", what.lines().next().unwrap_or_default()))
    })
}

fn run(verdict: &Verdict, evidence: Option<&RunEvidence>) -> Run {
    let cause = |diagnosis: &Diagnosis| {
        let next = format!("next: {}", diagnosis.next);
        let lines = std::iter::once(&diagnosis.sentence).chain(&diagnosis.evidence).chain([&next]);
        let text = lines.map(String::as_str).collect::<Vec<_>>().join("\n");
        Cause { check: diagnosis.cause.to_string(), text }
    };
    let causes = verdict.causes.iter().map(cause);
    let failures = verdict
        .failures
        .iter()
        .map(|failure| Cause { check: failure.reason.to_string(), text: failure.text.clone() });
    let mut facts: Vec<(String, String)> = Vec::new();
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.push((name.to_owned(), value));
        }
    };
    if !verdict.failures.is_empty() {
        fact("what passed", verdict.proof.clone());
    }
    fact("proven", verdict.proven.clone());
    for note in &verdict.notes {
        fact("note", format!("{}: {}", note.cause, note.sentence));
    }
    fact("machines", verdict.provider.clone());
    for (role, provenance) in &verdict.provenance {
        fact(role.name(), provenance.to_string());
    }
    for port in &verdict.ports {
        fact("limited port", port.to_string());
    }
    fact("declared to differ", verdict.differs.clone());
    fact(
        "time",
        if verdict.seconds > 0.0 {
            format!("{:.1} s, machines included", verdict.seconds)
        } else {
            String::new()
        },
    );
    fact("artifacts", verdict.artifacts.display().to_string());
    fact("run it again", verdict.replay.clone());
    if verdict.can_be_accepted() && !verdict.passed && !verdict.accept.is_empty() {
        fact("if it is meant", format!("{} {}", verdict.replay, verdict.accept));
    }
    Run {
        state: state(verdict),
        headline: headline(verdict),
        summary: evidence.map_or_else(String::new, |evidence| evidence.scenario.summary.clone()),
        ends: evidence.map(ends).unwrap_or_default(),
        faults: evidence.map(faults).unwrap_or_default(),
        expected: evidence.map(|evidence| expected(evidence, verdict)).unwrap_or_default(),
        data: evidence.map(data).unwrap_or_default(),
        causes: causes.chain(failures).collect(),
        expected_causes: verdict.expected_causes.iter().map(cause).collect(),
        facts,
        nodes: roles(evidence).iter().map(|role| role.name().to_owned()).collect(),
        counters: evidence.map(counters).unwrap_or_default(),
        calls: evidence.map(calls).unwrap_or_default(),
        outputs: evidence.map(outputs).unwrap_or_default(),
    }
}

/// Ends of the programs.
fn ends(evidence: &RunEvidence) -> Vec<String> {
    let of = |role: &Role| {
        let output = evidence.nodes.get(role)?.output.as_ref()?;
        let is_meant =
            output.code.is_some_and(|code| code != 0 && code == evidence.scenario.expected(*role).exit);
        Some(format!("{role}: {}{}", output.ending(), if is_meant { ", as expected" } else { "" }))
    };
    roles(Some(evidence)).iter().filter_map(of).collect()
}

/// Words of what the scenario makes go wrong: its faults, or else programs that are expected to fail.
fn faults(evidence: &RunEvidence) -> Vec<String> {
    let scenario = &evidence.scenario;
    let mut found: Vec<String> =
        scenario.faults.iter().map(|fault| format!("the switch is told to {fault}")).collect();
    found.extend(scenario.ports.iter().map(|port| format!("a limited port: {port}")));
    found.extend(scenario.network.filtered.map(|role| format!("a filter on the {role}")));
    found.extend(scenario.restart.map(|role| format!("the {role}'s program is started anew")));
    let is_odd = |role: &Role| {
        let expect = scenario.expected(*role);
        expect.exit != 0 || !expect.counters.is_empty()
    };
    let is_expected = !scenario.expect.findings.is_empty() || scenario.roles().iter().any(is_odd);
    if found.is_empty() && is_expected && scenario.network == Network::default() {
        let programs: Vec<String> =
            scenario.roles().iter().map(|role| format!("{role}: {}", scenario.command(*role))).collect();
        found.push(format!("by the programs; the switch disturbs nothing ({})", programs.join("; ")));
    }
    found
}

/// Failures that were expected and came.
fn expected(evidence: &RunEvidence, verdict: &Verdict) -> Vec<String> {
    let scenario = &evidence.scenario;
    let mut found = Vec::new();
    for role in scenario.roles() {
        let output = evidence.nodes.get(role).and_then(|node| node.output.as_ref());
        let Some(output) = output else { continue };
        let exit = scenario.expected(*role).exit;
        if exit != 0 && output.code == Some(exit) {
            let status = result(output).and_then(|result| Some(result.get("status")?.as_str()?.to_owned()));
            let status = status.map_or_else(String::new, |status| format!(" ({status})"));
            found.push(format!("the {role} exits with {exit}{status}"));
        }
    }
    for role in scenario.roles() {
        let counters =
            scenario.expected(*role).counters.iter().map(|(name, count)| format!("{name} {count}"));
        let counters: Vec<String> = counters.collect();
        if verdict.passed && !counters.is_empty() {
            found.push(format!("the {role}'s rxe counts {}", counters.join(", ")));
        }
    }
    let came = |name: &&String| verdict.findings.contains(name);
    let broken: Vec<&str> = scenario.expect.findings.iter().filter(came).map(String::as_str).collect();
    if !broken.is_empty() {
        found.push(format!("a rule is broken: {}", broken.join(", ")));
    }
    found
}

/// The last result that a program printed as JSON.
fn result(output: &command::Output) -> Option<serde_json::Map<String, serde_json::Value>> {
    let of = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).ok()?.get("result")?.as_object().cloned()
    };
    output.stdout.lines().rev().find_map(of)
}

/// Words of the programs on the data.
fn data(evidence: &RunEvidence) -> Vec<String> {
    let of = |role: &Role| {
        let result = result(evidence.nodes.get(role)?.output.as_ref()?)?;
        let tells = |name: &str| {
            let data = ["sent_bytes", "received_bytes", "written_bytes", "read_bytes", "verified", "crc32"];
            data.contains(&name) || ["text", "imm", "error"].contains(&name)
        };
        let words = |(name, value): (&String, &serde_json::Value)| {
            let name = name.replace('_', " ");
            match value {
                serde_json::Value::Null => None,
                serde_json::Value::Bool(true) => Some(name),
                serde_json::Value::Bool(false) => Some(format!("not {name}")),
                serde_json::Value::String(text) => Some(format!("{name}: {text}")),
                value => Some(format!("{name}: {value}")),
            }
        };
        let told: Vec<String> = result.iter().filter(|(name, _)| tells(name)).filter_map(words).collect();
        (!told.is_empty()).then(|| format!("{role}: {}", told.join(", ")))
    };
    roles(Some(evidence)).iter().filter_map(of).collect()
}

/// The nodes of a run.
fn roles(evidence: Option<&RunEvidence>) -> &'static [Role] {
    evidence.map_or(Role::first(Role::BOTH.len()), |evidence| evidence.scenario.roles())
}

/// The counters that moved on any node, and then those that did not.
fn counters(evidence: &RunEvidence) -> Vec<Counter> {
    let of = |role: &Role| evidence.nodes.get(role);
    let roles = roles(Some(evidence));
    let names: BTreeSet<&String> =
        roles.iter().filter_map(of).flat_map(|node| node.counters.keys()).collect();
    let counter = |name: &String| Counter {
        name: name.clone(),
        values: roles.iter().map(|role| of(role)?.counters.get(name).copied()).collect(),
    };
    let mut counters: Vec<Counter> = names.into_iter().map(counter).collect();
    counters.sort_by_key(|counter| counter.values.iter().all(|value| value.unwrap_or(0) == 0));
    counters
}

/// Verbs calls and completions that the programs logged, with times of their own clocks.
fn calls(evidence: &RunEvidence) -> Vec<Calls> {
    let of = |role: &Role| Some((*role, evidence.nodes.get(role)?.output.as_ref()?));
    roles(Some(evidence))
        .iter()
        .filter_map(of)
        .map(|(role, output)| Calls::of_log(role.name(), &output.stderr))
        .collect()
}

/// Outputs of the programs and logs of the kernels.
fn outputs(evidence: &RunEvidence) -> Vec<RunText> {
    let mut outputs = Vec::new();
    for &role in roles(Some(evidence)) {
        let Some(node) = evidence.nodes.get(&role) else { continue };
        let title = format!("{role}: {}", evidence.scenario.command(role));
        let output = match &node.output {
            None => RunText {
                title,
                remark: "not started, or never heard of again".to_owned(),
                text: String::new(),
            },
            Some(output @ command::Output { stdout, stderr, .. }) => {
                let late = if node.is_timed_out { ", stopped at the limit" } else { "" };
                RunText {
                    title,
                    remark: format!("{}{late}", output.ending()),
                    text: format!("{stdout}{stderr}"),
                }
            }
        };
        outputs.push(output);
    }
    for &role in roles(Some(evidence)) {
        let Some(node) = evidence.nodes.get(&role) else { continue };
        let lines = node.kernel_log.lines().count();
        let remark = format!("{lines} line{}", if lines == 1 { "" } else { "s" });
        outputs.push(RunText { title: format!("{role}: kernel log"), remark, text: node.kernel_log.clone() });
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::verdict::Reason;
    use crate::scenario::Scenario;

    #[test]
    fn run_without_a_capture_has_a_page_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let mut evidence = RunEvidence::new(&Scenario::new("x", "a <b>".to_owned(), "b".to_owned()));
        evidence.node(Role::Server).kernel_log = "<3>[ 1.0] </script>\n".to_owned();
        evidence.write(directory.path()).unwrap();
        let verdict = Verdict::failed("x", Reason::Boot, "no machine came up\nmore");
        keep(&Verdict { artifacts: directory.path().to_owned(), ..verdict }, directory.path());
        let html = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(html.contains("BOOT: no machine came up") && html.contains("There is no capture"), "{html}");
        assert!(html.contains("server: a &lt;b&gt;") && html.contains("[ 1.0] &lt;/script&gt;"));
    }

    #[test]
    fn ends_of_the_programs_stand_at_the_top_whatever_the_verdict() {
        let mut evidence = RunEvidence::new(&Scenario::new("x", "a".to_owned(), "b".to_owned()));
        evidence.scenario.expect.client.exit = 3;
        let output = |code| Some(command::Output { code, stdout: String::new(), stderr: String::new() });
        for (role, code) in [(Role::Server, Some(7)), (Role::Client, Some(3))] {
            evidence.node(role).output = output(code);
        }
        assert_eq!(ends(&evidence), ["server: exit code 7", "client: exit code 3, as expected"]);
        evidence.node(Role::Client).output = output(None);
        assert_eq!(ends(&evidence)[1], "client: ended by a signal");
    }

    #[test]
    fn what_is_wrong_on_purpose_what_came_of_it_and_the_data_are_told() {
        let mut evidence = RunEvidence::new(&Scenario::new("x", "a".to_owned(), "b --wrong rkey".to_owned()));
        assert!(faults(&evidence).is_empty() && data(&evidence).is_empty());
        evidence.scenario.expect.client.exit = 3;
        assert_eq!(
            faults(&evidence),
            ["by the programs; the switch disturbs nothing (server: a; client: b --wrong rkey)"]
        );
        evidence.scenario.faults = vec!["action=\"drop\",opcode=\"CM RTU\",nth=1".parse().unwrap()];
        assert_eq!(faults(&evidence), ["the switch is told to drop CM RTU, nth 1"]);
        let result = r#"{"result":{"program":"b","ok":false,"status":"REM_ACCESS_ERR","read_bytes":18,"verified":true,"crc32":"7f","imm":null,"error":"it still holds \"x\""}}"#;
        let stdout = format!("{{\"completion\":{{}}}}\n{result}\n");
        evidence.node(Role::Client).output =
            Some(command::Output { code: Some(3), stdout, stderr: String::new() });
        assert_eq!(
            data(&evidence),
            ["client: read bytes: 18, verified, crc32: 7f, error: it still holds \"x\""]
        );
        evidence.scenario.expect.findings = vec!["RequestRefused".to_owned(), "PadNotZero".to_owned()];
        let verdict = Verdict { findings: vec!["RequestRefused".to_owned()], ..Verdict::default() };
        assert_eq!(
            expected(&evidence, &verdict),
            ["the client exits with 3 (REM_ACCESS_ERR)", "a rule is broken: RequestRefused"]
        );
    }

    #[test]
    fn trace_that_differs_stands_beside_the_accepted_one() {
        let directory = tempfile::tempdir().unwrap();
        let verdict = Verdict {
            accepted: Some("same\nREQ one\n".to_owned()),
            trace: Some("same\nREQ two\n".to_owned()),
            ..Verdict::failed("x", Reason::Wire, "the trace differs")
        };
        let html = page(&verdict, directory.path()).unwrap();
        assert!(
            html.contains("1 row changed")
                && html.contains("<del>one</del>")
                && html.contains("<ins>two</ins>"),
            "{html}"
        );
    }

    #[test]
    fn index_leads_to_the_pages_of_its_runs() {
        let run = tempfile::tempdir().unwrap();
        for (name, reason) in [("good", None), ("bad", Some(Reason::App))] {
            let directory = run.path().join(name);
            let verdict = match reason {
                Some(reason) => Verdict::failed(name, reason, "wrong"),
                None => Verdict { scenario: name.to_owned(), ..Verdict::default() }.concluded(),
            };
            let verdict = Verdict { artifacts: directory.clone(), ..verdict };
            crate::trial::artifacts::keep(&verdict, &directory).unwrap();
        }
        crate::trial::results::Results::merge(run.path()).unwrap().keep().unwrap();
        let html = std::fs::read_to_string(find(run.path()).unwrap()).unwrap();
        assert!(html.contains("href=\"./good/report.html\"") && html.contains("APP: wrong"), "{html}");
        assert!(find(&run.path().join("none")).is_err());
    }
}
