//! The results of one invocation, merged from the verdicts that its trials kept.
//!
//! Each trial keeps its verdict and merges all there are by then, so the results are whole whether trials are
//! threads of one process or processes of their own, and after a crash tell what was judged before it. Kept
//! as `results.json` and, for whoever reads JUnit XML, `junit.xml` in the invocation's directory.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};
use serde::{Deserialize, Serialize};

use crate::base::cache::{lock_file, write_whole};
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::invocation;
use crate::judge::verdict::Verdict;
use crate::trial::artifacts::{self, Artifacts, RESULTS, VERDICT};
use crate::trial::page;
use crate::trial::plan::RunPlan;

/// The same as JUnit XML.
pub const JUNIT_FILE: &str = "junit.xml";

/// Class of a run; each counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Every check passed.
    Passed,
    /// A check failed.
    Failed,
    /// Proves nothing, and the scenario was run once more.
    Disturbed,
    /// Not run.
    NotRun,
    /// Planned, and the invocation ended before its turn or in the middle of it.
    Interrupted,
}

impl Class {
    fn of(verdict: &Verdict) -> Class {
        match verdict {
            Verdict { is_interrupted: true, .. } => Class::Interrupted,
            Verdict { not_run: Some(_), .. } => Class::NotRun,
            Verdict { is_superseded: true, .. } => Class::Disturbed,
            Verdict { passed: true, .. } => Class::Passed,
            _ => Class::Failed,
        }
    }

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Class::Passed => "passed",
            Class::Failed => "failed",
            Class::Disturbed => "disturbed",
            Class::NotRun => "not run",
            Class::Interrupted => "interrupted",
        }
    }
}

/// One run of a scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResultRow {
    /// Its class.
    pub class: Class,
    /// All that is known of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Number of runs of each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// See [`Class::Passed`].
    pub passed: usize,
    /// See [`Class::Failed`].
    pub failed: usize,
    /// See [`Class::Disturbed`].
    pub disturbed: usize,
    /// See [`Class::NotRun`].
    pub not_run: usize,
    /// See [`Class::Interrupted`].
    #[serde(default)]
    pub interrupted: usize,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { passed, failed, disturbed, not_run, interrupted } = self;
        write!(f, "{passed} passed, {failed} failed, {disturbed} disturbed, {not_run} not run")?;
        if *interrupted == 0 {
            return Ok(());
        }
        let judged = passed + failed + not_run;
        write!(f, ", interrupted: {judged} of {} have a verdict", judged + interrupted)
    }
}

/// Results of every scenario of an invocation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// The invocation's directory.
    pub run: PathBuf,
    /// Numbers of each class.
    pub totals: Totals,
    /// Result of each, sorted by name.
    pub scenarios: Vec<ResultRow>,
}

impl Results {
    /// Merges the verdicts that are kept in an invocation's directory.
    ///
    /// # Errors
    ///
    /// The directory or a verdict cannot be read.
    pub fn merge(run: &Path) -> Result<Results> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(run).at("failed to list the verdicts in", run)? {
            kept.push(entry.at("failed to list the verdicts in", run)?.path());
        }
        kept.retain(|directory| directory.join(VERDICT).is_file());
        kept.sort();
        let verdicts: Result<Vec<Verdict>> =
            kept.iter().map(|directory| artifacts::verdict(directory)).collect();
        let mut verdicts = verdicts?;
        if let Some(plan) = RunPlan::read(run)? {
            let missing = plan.missing(&verdicts);
            verdicts.extend(missing);
        }
        Ok(Results::of(run, verdicts))
    }

    pub(crate) fn of(run: &Path, verdicts: Vec<Verdict>) -> Results {
        let scenarios: Vec<ResultRow> =
            verdicts.into_iter().map(|verdict| ResultRow { class: Class::of(&verdict), verdict }).collect();
        let count = |class| scenarios.iter().filter(|row| row.class == class).count();
        let totals = Totals {
            passed: count(Class::Passed),
            failed: count(Class::Failed),
            disturbed: count(Class::Disturbed),
            not_run: count(Class::NotRun),
            interrupted: count(Class::Interrupted),
        };
        Results { run: run.to_owned(), totals, scenarios }
    }

    /// True if a run of this scenario is red.
    pub fn has_failed(&self, scenario: &str) -> bool {
        self.scenarios.iter().any(|row| row.class == Class::Failed && row.verdict.scenario == scenario)
    }

    /// True if everything that was planned was run, and nothing failed.
    pub fn are_green(&self) -> bool {
        self.totals.failed == 0 && self.totals.interrupted == 0
    }

    /// Reads the results that an invocation left, or merges what it kept if it left none.
    ///
    /// # Errors
    ///
    /// There are none in that directory, or they cannot be read.
    pub fn read(run: &Path) -> Result<Results> {
        let file = run.join(RESULTS);
        if !file.is_file() {
            let results = Results::merge(run)?;
            return match results.scenarios.is_empty() {
                true => Err(Error::usage(format!("no results are kept in {}", run.display())).next(format!(
                    "name a directory that `{}` made, as in …/runs/latest",
                    invocation::test("")
                ))),
                false => Ok(results),
            };
        }
        let text = fs::read(&file).at("failed to read", &file)?;
        serde_json::from_slice(&text)
            .map_err(|source| Error::setup(format!("{} holds no results", file.display())).source(source))
    }

    /// Writes `results.json`, `junit.xml` and the index of the runs' pages.
    ///
    /// # Errors
    ///
    /// The directory cannot be written.
    pub fn keep(&self) -> Result<()> {
        let failed = |what: &str| Error::setup(format!("failed to write the results as {what}"));
        let json = serde_json::to_vec_pretty(self).map_err(|source| failed("JSON").source(source))?;
        let junit = self.junit().to_string().map_err(|source| failed("JUnit XML").source(source))?;
        write_whole(&self.run.join(RESULTS), &json)?;
        write_whole(&self.run.join(JUNIT_FILE), junit.as_bytes())?;
        page::keep_index(&self.run, self.totals.to_string(), self.scenarios.iter().map(|row| &row.verdict))
    }

    fn junit(&self) -> Report {
        let mut suite = TestSuite::new("scenarios");
        for row in self.scenarios.iter().filter(|row| row.class != Class::Disturbed) {
            let same = |other: &&ResultRow| other.verdict.scenario == row.verdict.scenario;
            let disturbed =
                self.scenarios.iter().filter(|other| other.class == Class::Disturbed).filter(same);
            suite.add_test_case(row.test_case(disturbed.map(ResultRow::test_rerun)));
        }
        suite.set_time(self.scenarios.iter().map(|row| seconds(&row.verdict)).sum::<Duration>());
        let mut report = Report::new("rdma-lab");
        report.add_test_suite(suite);
        report
    }
}

/// A table with a line a run, then the totals and where the results are.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["scenario", "verdict", "packets", "findings", "seconds"].map(str::to_owned);
        let rows: Vec<[String; 5]> =
            std::iter::once(heads).chain(self.scenarios.iter().map(ResultRow::cells)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (name, verdict) = (width(0), width(1));
        for [scenario, what, packets, findings, seconds] in &rows {
            writeln!(f, "{scenario:<name$}  {what:<verdict$}  {packets:>7}  {findings:>8}  {seconds:>7}")?;
        }
        writeln!(f, "\n{}", self.totals)?;
        write!(f, "results in {}: {}, {RESULTS}, {JUNIT_FILE}", self.run.display(), page::INDEX_FILE)
    }
}

impl ResultRow {
    fn test_case(&self, disturbed: impl Iterator<Item = TestRerun>) -> TestCase {
        let verdict = &self.verdict;
        let status = match &verdict.not_run {
            Some(why) if self.class == Class::Interrupted => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_type("INTERRUPTED").set_message(why.as_str());
                status
            }
            Some(why) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(why.as_str());
                status
            }
            None => {
                let mut status = TestCaseStatus::success();
                if self.class == Class::Failed {
                    status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_type(reasons(verdict)).set_message(verdict.headline_text());
                    status.set_description(verdict.to_string());
                }
                status.add_reruns(disturbed);
                status
            }
        };
        let mut case = TestCase::new(verdict.scenario.as_str(), status);
        case.set_classname("lab").set_time(seconds(verdict));
        if self.class == Class::Passed {
            case.set_system_out(verdict.to_string());
        }
        case
    }

    /// A disturbed run, beside the one that counts.
    fn test_rerun(&self) -> TestRerun {
        let mut rerun = TestRerun::new(NonSuccessKind::Failure);
        rerun
            .set_type("DISTURBED")
            .set_message(self.verdict.headline_text())
            .set_time(seconds(&self.verdict));
        rerun.set_description(self.verdict.to_string());
        rerun
    }

    /// Scenario, verdict with its reasons, packets, findings, seconds.
    pub(crate) fn cells(&self) -> [String; 5] {
        let ResultRow { class, verdict } = self;
        let what = match (class, &verdict.not_run) {
            (Class::Failed, _) => format!("{}: {}", class.name(), reasons(verdict)),
            (_, Some(why)) => format!("{}: {why}", class.name()),
            _ => class.name().to_owned(),
        };
        let (packets, findings) = match class {
            Class::NotRun | Class::Interrupted => (String::new(), String::new()),
            _ => (verdict.packets.to_string(), verdict.findings.len().to_string()),
        };
        let was_run = !matches!(class, Class::NotRun | Class::Interrupted);
        let seconds = if was_run { format!("{:.1}", verdict.seconds) } else { String::new() };
        [verdict.scenario.clone(), what, packets, findings, seconds]
    }
}

/// Merges what an invocation's trials have kept so far and keeps the results; one process at a time.
///
/// # Errors
///
/// As [`Results::merge`] and [`Results::keep`].
pub fn update(run: &Artifacts) -> Result<Results> {
    let _lock = lock_file(&run.directory().join("results.lock"))?;
    let results = Results::merge(run.directory())?;
    results.keep()?;
    Ok(results)
}

/// All causes and reasons of a red verdict, each once: "NobodyListens, APP".
fn reasons(verdict: &Verdict) -> String {
    let causes = verdict.causes.iter().map(|diagnosis| diagnosis.cause.to_string());
    let mut reasons: Vec<String> =
        causes.chain(verdict.failures.iter().map(|failure| failure.reason.to_string())).collect();
    reasons.dedup();
    reasons.join(", ")
}

fn seconds(verdict: &Verdict) -> Duration {
    Duration::try_from_secs_f64(verdict.seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::verdict::{Failure, Reason};
    use crate::trial::artifacts::keep;
    use crate::trial::markdown;

    fn verdicts() -> Vec<Verdict> {
        let passed = Verdict {
            scenario: "a_good".to_owned(),
            packets: 12,
            seconds: 1.44,
            proof: "12 packets, complete by rxe's counters".to_owned(),
            ..Verdict::default()
        };
        let failed = Verdict {
            scenario: "b_bad".to_owned(),
            packets: 7,
            findings: vec!["IcrcMismatch".to_owned()],
            failures: vec![
                Failure { reason: Reason::App, text: "client: exit code 1, expected 0".to_owned() },
                Failure { reason: Reason::Wire, text: "the trace differs\n- <old>\n+ <new>".to_owned() },
            ],
            artifacts: "/runs/b_bad".into(),
            replay: "cargo xtask test-e2e b_bad".to_owned(),
            ..Verdict::default()
        };
        let mut disturbed = Verdict { is_disturbed: true, is_superseded: true, ..failed.clone() };
        disturbed.scenario = "a_good".to_owned();
        let mut verdicts = [disturbed, passed, failed].map(Verdict::concluded).to_vec();
        verdicts.push(Verdict::not_run("c_other", "needs the switch, which ssh has not"));
        verdicts
    }

    fn results() -> Results {
        Results::of(Path::new("/runs"), verdicts())
    }

    #[test]
    fn table_has_a_line_a_run_and_every_class_in_the_totals() {
        assert_eq!(
            results().to_string(),
            "scenario  verdict                                       packets  findings  seconds\n\
             a_good    disturbed                                           7         1      0.0\n\
             a_good    passed                                             12         0      1.4\n\
             b_bad     failed: WIRE, APP                                   7         1      0.0\n\
             c_other   not run: needs the switch, which ssh has not                            \n\
             \n\
             1 passed, 1 failed, 1 disturbed, 1 not run\n\
             results in /runs: index.html, results.json, junit.xml"
        );
    }

    #[test]
    fn junit_has_failures_skips_and_disturbed_runs_as_flaky() {
        let xml = results().junit().to_string().unwrap();
        for part in [
            r#"<testsuite name="scenarios" tests="3" skipped="1" errors="0" failures="1" time="1.440">"#,
            r#"<skipped message="needs the switch, which ssh has not"/>"#,
            r#"<failure message="WIRE: the trace differs" type="WIRE, APP">"#,
            "&lt;old&gt;",
            r#"<flakyFailure time="0.000" message="WIRE: the trace differs" type="DISTURBED">"#,
        ] {
            assert!(xml.contains(part), "no {part} in {xml}");
        }
    }

    #[test]
    fn markdown_has_the_table_and_the_verdicts() {
        let text = markdown::write(&results(), None);
        assert!(text.starts_with("### Scenarios: 1 passed, 1 failed, 1 disturbed, 1 not run\n"), "{text}");
        assert!(text.contains("| b_bad | failed: WIRE, APP | 7 | 1 | 0.0 |\n"), "{text}");
        assert!(text.contains("````text\nb_bad: WIRE: the trace differs\n             - <old>\n"), "{text}");
    }

    #[test]
    fn results_are_merged_from_kept_verdicts_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let run = Artifacts::at(directory.path().to_owned());
        assert!(Results::read(run.directory()).is_err());
        for verdict in verdicts() {
            keep(&verdict, &run.scenario(&verdict.scenario)).unwrap();
        }
        update(&run).unwrap();
        let read = Results::read(run.directory()).unwrap();
        assert_eq!(read.to_string().lines().count(), 8);
        assert_eq!(read.totals, Totals { passed: 1, failed: 1, disturbed: 1, not_run: 1, interrupted: 0 });
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(directory.path().join(RESULTS)).unwrap()).unwrap();
        let bad =
            json["scenarios"].as_array().unwrap().iter().find(|row| row["scenario"] == "b_bad").unwrap();
        assert_eq!((&bad["class"], &bad["headline"]), (&"failed".into(), &"WIRE".into()));
        assert_eq!(bad["failures"][1]["reason"], "APP");
        assert!(fs::read_to_string(directory.path().join(JUNIT_FILE)).unwrap().starts_with("<?xml"));
    }

    #[test]
    fn planned_run_without_a_verdict_is_interrupted_and_red() {
        let directory = tempfile::tempdir().unwrap();
        let run = Artifacts::at(directory.path().to_owned());
        RunPlan::new(["a_good", "b_bad", "d_lost"], 1).write(run.directory()).unwrap();
        for verdict in verdicts().into_iter().filter(|verdict| verdict.scenario != "b_bad") {
            keep(&verdict, &run.scenario(&verdict.scenario)).unwrap();
        }
        let results = update(&run).unwrap();
        assert_eq!((results.totals.interrupted, results.are_green()), (2, false));
        let table = results.to_string();
        assert!(table.contains("d_lost    interrupted: the run ended before its turn"), "{table}");
        assert!(table.contains("interrupted: 2 of 4 have a verdict"), "{table}");
        assert!(markdown::write(&results, None).contains("#### d_lost\n"), "{results}");
        let xml = fs::read_to_string(directory.path().join(JUNIT_FILE)).unwrap();
        assert!(xml.contains("errors=\"2\"") && xml.contains("type=\"INTERRUPTED\""), "{xml}");
    }

    #[test]
    fn markdown_has_no_fence_that_a_program_closes() {
        let mut verdict = verdicts().remove(2);
        verdict.failures[0].text.push_str("\n`````\n\u{1b}[31mred");
        let text = markdown::write(&Results::of(Path::new("/runs"), vec![verdict.concluded()]), None);
        assert!(text.contains("\n``````text\n") && text.contains("\n``````\n\n</details>"), "{text}");
        assert!(!text.contains('\u{1b}') && text.contains("\\x1b[31mred"), "{text}");
    }
}
