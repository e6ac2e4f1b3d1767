//! Results as Markdown, for a CI job's summary or a comment on a pull request; and as annotations at the lines of snapshots.
//!
//! In: results, and what their runs left. Out: text in GitHub's dialect, in which nothing that a program printed or a wire carried is markup.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use roce::{LadderOptions, Part, Report};

use crate::base::plain::{fence, plain};
use crate::judge::snapshot;
use crate::judge::verdict::Verdict;
use crate::run::evidence::{self, RunEvidence};
use crate::trial::artifacts::{DIFF, TRACE};
use crate::trial::changes::{self, ChangedSnapshot};
use crate::trial::results::{Class, Results};

/// Packets of a ladder in a summary, and how many stand before and behind the changed ones.
const LADDER: usize = 40;
const AROUND: u64 = 3;

/// Bytes of a summary: GitHub takes 1 MiB.
const MOST: usize = 900 << 10;

/// The results, every red verdict with its difference and a ladder of the changed part, and the snapshots that changed against `base`.
pub fn write(results: &Results, changed: Option<&(String, Vec<ChangedSnapshot>)>) -> String {
    let mut text = format!("### Scenarios: {}\n\n", results.totals);
    text.push_str("| scenario | verdict | packets | findings | seconds |\n|--|--|--:|--:|--:|\n");
    for row in &results.scenarios {
        let cells = row.cells().map(|cell| cell_of(&cell));
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let red = results.scenarios.iter().filter(|row| matches!(row.class, Class::Failed | Class::Interrupted));
    let mut left_out = 0;
    for row in red {
        let part = verdict(&results.run, &row.verdict);
        if text.len() + part.len() > MOST { left_out += 1 } else { text.push_str(&part) }
    }
    if let Some((base, changed)) = changed.filter(|(_, changed)| !changed.is_empty()) {
        let _ = writeln!(text, "\n### Snapshots changed against {}\n", inline(base));
        let traced: Vec<TracedRun<'_>> = results
            .scenarios
            .iter()
            .filter_map(|row| TracedRun::read(directory(&results.run, &row.verdict), &row.verdict))
            .collect();
        for change in changed {
            let part = snapshot_of(base, change, ladder_of_change(&traced, change));
            if text.len() + part.len() > MOST { left_out += 1 } else { text.push_str(&part) }
        }
    }
    if left_out > 0 {
        let _ = writeln!(
            text,
            "\n{left_out} more parts are too long for a summary: they are among the artifacts."
        );
    }
    text
}

/// Words of a table's cell: a line, without what ends the cell.
fn cell_of(text: &str) -> String {
    plain(text).replace(['\n', '\r'], " ").replace('|', "\\|")
}

/// Text as code in a line.
fn inline(text: &str) -> String {
    format!("`{}`", plain(text).replace('`', "'").replace(['\n', '\r'], " "))
}

/// Text of an element of HTML.
fn html(text: &str) -> String {
    plain(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace(['\n', '\r'], " ")
}

/// Text in a block of its own, in `language`.
fn block(language: &str, text: &str) -> String {
    let text = plain(text);
    let fence = fence(&text);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

fn verdict(run: &Path, verdict: &Verdict) -> String {
    let directory = directory(run, verdict);
    let mut text = format!("\n#### {}\n", cell_of(&verdict.scenario));
    for diagnosis in &verdict.causes {
        let _ = writeln!(
            text,
            "\n**{}**: {}",
            diagnosis.cause,
            cell_of(&diagnosis.sentence).replace('<', "&lt;")
        );
    }
    let told = verdict.to_string();
    let _ = write!(
        text,
        "\n<details open><summary>{}</summary>\n\n{}\n</details>\n",
        html(told.lines().next().unwrap_or_default()),
        block("text", &told)
    );
    let diff = fs::read_to_string(directory.join(DIFF)).unwrap_or_default();
    if !diff.is_empty() {
        let _ = write!(
            text,
            "\n<details open><summary>trace, accepted against found</summary>\n\n{}\n</details>\n",
            block("diff", &changes::shortened(&diff))
        );
    }
    if directory.join(DIFF).is_file()
        && let Some(traced) = TracedRun::read(directory, verdict)
        && let Some(ladder) = traced.ladder(snapshot::content(&traced.accepted))
    {
        text.push_str(&drawn(&ladder));
    }
    text
}

/// A ladder as a block of its own, which GitHub draws.
fn drawn(mermaid: &str) -> String {
    format!(
        "\n<details><summary>packets of the changed part</summary>\n\n```mermaid\n{mermaid}```\n\n</details>\n"
    )
}

fn snapshot_of(base: &str, change: &ChangedSnapshot, ladder: Option<String>) -> String {
    let diff = changes::unified(base, &change.before, "here", &change.after);
    let mut text = format!(
        "\n**{}**: {}\n",
        inline(&change.file),
        plain(&changes::meaning(&change.before, &change.after)).replace('<', "&lt;")
    );
    if !diff.is_empty() {
        let lines = diff.lines().filter(|line| line.starts_with(['+', '-'])).count().saturating_sub(2);
        let _ = write!(
            text,
            "\n<details><summary>{lines} lines differ</summary>\n\n{}\n</details>\n",
            block("diff", &changes::shortened(&diff))
        );
    }
    text.extend(ladder.map(|ladder| drawn(&ladder)));
    text
}

/// A ladder of what changed in a snapshot, from a run here whose trace it is.
fn ladder_of_change(traced: &[TracedRun<'_>], change: &ChangedSnapshot) -> Option<String> {
    let is_its = |run: &&TracedRun<'_>| {
        run.file.ends_with(&change.file) && snapshot::content(&run.accepted) == change.after
    };
    traced.iter().filter(is_its).find_map(|run| run.ladder(&change.before))
}

/// Directory of a run's artifacts, also when the invocation's directory was moved, as a downloaded artifact is.
fn directory(run: &Path, verdict: &Verdict) -> PathBuf {
    let own = verdict.artifacts.file_name().map(|name| run.join(name));
    own.filter(|own| own.is_dir()).unwrap_or_else(|| verdict.artifacts.clone())
}

/// A run with its accepted trace and the one that was found.
struct TracedRun<'a> {
    verdict: &'a Verdict,
    directory: PathBuf,
    /// File of the snapshot.
    file: PathBuf,
    /// Text of that file.
    accepted: String,
    found: String,
}

impl TracedRun<'_> {
    /// Reads both traces of a run; none where one is missing.
    fn read(directory: PathBuf, verdict: &Verdict) -> Option<TracedRun<'_>> {
        let told = || RunEvidence::read(evidence::first_of([&directory, &verdict.artifacts])?).ok()?.snapshot;
        let file = verdict.snapshot.clone().or_else(told)?;
        let accepted = fs::read_to_string(&file).ok()?;
        let found = fs::read_to_string(directory.join(TRACE)).ok()?;
        Some(TracedRun { verdict, directory, file, accepted, found })
    }

    /// A ladder of the packets that the trace has otherwise than `accepted`, with a few around them; none without a difference.
    fn ladder(&self, accepted: &str) -> Option<String> {
        let ran = evidence::first_of([&self.directory, &self.verdict.artifacts])?;
        let report = RunEvidence::read(ran).ok()?.decode(ran).ok()?;
        let packets = changed_packets(accepted, &self.found, &report)?;
        let options = LadderOptions { limit: LADDER, packets: Some(packets), ..LadderOptions::default() };
        let ladder = report.ladder(&options);
        (!ladder.is_empty()).then(|| ladder.to_mermaid())
    }
}

/// Numbers of the packets whose rows differ, from the first to the last. A row in which no packet stands counts as connection management.
fn changed_packets(accepted: &str, found: &str, report: &Report) -> Option<RangeInclusive<u64>> {
    let lines = report.packet_lines();
    let (management, data): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.part == Part::Management);
    let head = found.lines().position(|line| line.starts_with("  packets "));
    let mut numbers = BTreeSet::new();
    for line in changes::changed_lines(accepted, found) {
        match head.filter(|head| line > *head).and_then(|head| data.get(line - head - 1)) {
            Some(packet) => {
                numbers.insert(packet.number);
            }
            None if head.is_some_and(|head| line > head) => {}
            None => numbers.extend(management.iter().map(|line| line.number)),
        }
    }
    let (first, last) = (*numbers.first()?, *numbers.last()?);
    Some(first.saturating_sub(AROUND).max(1)..=last.saturating_add(AROUND))
}

/// Annotations of GitHub, a line each: red scenarios, at the line of the snapshot from which their trace differs.
pub fn annotations(results: &Results, top: &Path) -> String {
    let mut text = String::new();
    for row in results.scenarios.iter().filter(|row| matches!(row.class, Class::Failed | Class::Interrupted))
    {
        let verdict = &row.verdict;
        let title = property(&format!("{}: {}", verdict.scenario, row.class.name()));
        let message = match &verdict.not_run {
            Some(why) => why.clone(),
            None => format!("{}\n{}", verdict.headline_text(), verdict.replay),
        };
        let place = TracedRun::read(directory(&results.run, verdict), verdict).and_then(|run| {
            let TracedRun { file, accepted, found, .. } = run;
            let header = accepted.len() - snapshot::content(&accepted).len();
            let header = accepted.get(..header)?.lines().count();
            let content = snapshot::content(&accepted);
            // The lines of the snapshot that are changed: those of the other direction.
            let line = changes::changed_lines(&found, content)
                .first()?
                .min(&content.lines().count().saturating_sub(1))
                + header
                + 1;
            let file = file.strip_prefix(top).unwrap_or(&file).display().to_string();
            Some(format!("file={},line={line},", property(&file)))
        });
        let _ = writeln!(text, "::error {}title={title}::{}", place.unwrap_or_default(), data(&message));
    }
    text
}

/// Text as the message of a workflow command.
fn data(text: &str) -> String {
    plain(text.trim_end()).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Text as a property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::verdict::{Failure, Reason};
    use crate::scenario::Scenario;
    use crate::trial::artifacts::keep;
    use crate::wire::capture::CAPTURE;

    const HOSTILE: &str = "</details><script>x</script>\n```\n| a |\u{1b}[31m%0A::error::x";

    /// A red run of a fixture whose accepted trace has another length in its WRITE.
    fn red(directory: &Path) -> Results {
        let run = directory.join("run");
        let own = run.join("write_read");
        fs::create_dir_all(&own).unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/write_read.pcapng");
        fs::copy(fixture, own.join(CAPTURE)).unwrap();
        let file = directory.join("write_read.snap");
        let mut evidence = RunEvidence::new(&Scenario::new("write_read", "a".to_owned(), "b".to_owned()));
        evidence.snapshot = Some(file.clone());
        evidence.write(&own).unwrap();
        let trace = evidence.decode(&own).unwrap().trace();
        let accepted = trace.replace("       18   2", "       19   1");
        assert_ne!(accepted, trace);
        fs::write(&file, format!("---\nsource: x\ndescription: y\n---\n{accepted}")).unwrap();
        let verdict = Verdict {
            scenario: "write_read".to_owned(),
            failures: vec![Failure { reason: Reason::Wire, text: format!("the trace differs\n{HOSTILE}") }],
            artifacts: own.clone(),
            trace: Some(trace),
            accepted: Some(accepted),
            ..Verdict::default()
        };
        keep(&verdict.concluded(), &own).unwrap();
        Results::merge(&run).unwrap()
    }

    #[test]
    fn difference_is_a_block_of_its_own_and_packets_a_ladder() {
        let directory = tempfile::tempdir().unwrap();
        let text = write(&red(directory.path()), None);
        let diff = text.split("diff\n").nth(1).unwrap();
        assert!(diff.contains("\n-") && diff.contains("\n+") && diff.contains("--- accepted\n"), "{text}");
        assert!(
            text.contains("```mermaid\nsequenceDiagram\n") && text.contains("RC RDMA WRITE Only"),
            "{text}"
        );
        assert!(!text.contains("CM DREQ"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        // What the run said stands in a fence that is longer than its own.
        assert!(text.contains("````text\n"), "{text}");
        assert_eq!(text.matches("<details").count(), 3, "{text}");
        for file in [DIFF, "trace.new"] {
            assert!(directory.path().join("run/write_read").join(file).is_file(), "{file}");
        }
    }

    #[test]
    fn run_that_was_judged_again_has_its_ladder_and_line_too() {
        let directory = tempfile::tempdir().unwrap();
        let results = red(directory.path());
        let ran = directory.path().join("run/write_read");
        // Its own directory has neither evidence nor capture; the snapshot is another than that of the run.
        let (again, other) = (directory.path().join("again"), directory.path().join("other.snap"));
        let own = again.join("write_read");
        fs::create_dir_all(&own).unwrap();
        for file in ["verdict.json", TRACE, DIFF] {
            fs::copy(ran.join(file), own.join(file)).unwrap();
        }
        fs::rename(directory.path().join("write_read.snap"), &other).unwrap();
        let verdict = Verdict { snapshot: Some(other), ..results.scenarios[0].verdict.clone() };
        keep(&verdict, &own).unwrap();
        let results = Results::merge(&again).unwrap();
        assert!(write(&results, None).contains("```mermaid\nsequenceDiagram\n"));
        let text = annotations(&results, directory.path());
        assert!(text.starts_with("::error file=other.snap,line="), "{text}");
    }

    #[test]
    fn annotation_stands_at_the_line_of_the_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let results = red(directory.path());
        let text = annotations(&results, directory.path());
        let snapshot = fs::read_to_string(directory.path().join("write_read.snap")).unwrap();
        let line = 1 + snapshot.lines().position(|line| line.contains("       19   1")).unwrap();
        let start = format!(
            "::error file=write_read.snap,line={line},title=write_read%3A failed::WIRE: the trace differs"
        );
        assert!(text.starts_with(&start), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn changed_snapshots_are_told_of_green_runs_too() {
        let trace = "roce trace 1: 1 packets\n\n  packets   psn\n  a.qp1 > b.qp1 RC SEND Only   a+0  4\n";
        let more = format!("{trace}  a.qp1 > b.qp1 RC SEND Only   a+1  4\n");
        let changed =
            ChangedSnapshot { file: "tests/x.snap".to_owned(), before: trace.to_owned(), after: more };
        let results = Results::of(
            Path::new("/runs"),
            vec![Verdict { scenario: "x".to_owned(), ..Verdict::default() }.concluded()],
        );
        let text = write(&results, Some(&("main".to_owned(), vec![changed])));
        assert!(text.contains("### Snapshots changed against `main`\n"), "{text}");
        assert!(text.contains("**`tests/x.snap`**: Packets: 1 RC SEND Only more.\n"), "{text}");
        assert!(text.contains("diff\n--- main\n+++ here\n"), "{text}");
        assert!(!write(&results, Some(&("main".to_owned(), Vec::new()))).contains("Snapshots"));
    }

    #[test]
    fn change_of_a_snapshot_is_drawn_from_the_run_whose_trace_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let results = red(directory.path());
        let own = directory.path().join("run/write_read");
        let file = directory.path().join("write_read.snap");
        let before = snapshot::content(&fs::read_to_string(&file).unwrap()).to_owned();
        let after = fs::read_to_string(own.join(TRACE)).unwrap();
        fs::write(&file, format!("---\nsource: x\n---\n{after}")).unwrap();
        let mut verdict = Verdict { failures: Vec::new(), ..results.scenarios[0].verdict.clone() };
        verdict.trace = Some(after.clone());
        verdict.accepted = verdict.trace.clone();
        keep(&verdict.concluded(), &own).unwrap();
        let green = Results::merge(&results.run).unwrap();
        assert_eq!(green.totals.failed, 0);
        let of = |after: &str| {
            let change = ChangedSnapshot {
                file: "write_read.snap".to_owned(),
                before: before.clone(),
                after: after.to_owned(),
            };
            write(&green, Some(&("main".to_owned(), vec![change])))
        };
        let text = of(&after);
        assert!(text.contains("```mermaid\nsequenceDiagram\n") && text.contains("WRITE Only"), "{text}");
        assert!(!of("another\n").contains("mermaid"));
    }

    #[test]
    fn words_of_programs_stay_in_their_cell_line_and_command() {
        assert_eq!(cell_of("a|b\nc\u{1b}"), "a\\|b c\\x1b");
        assert_eq!(data("50%\nx"), "50%25%0Ax");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
        let verdict_of = |text: &str| Verdict::failed("x", Reason::App, text);
        let text = verdict(Path::new("/nothing"), &verdict_of(HOSTILE));
        let outside = text.split("````").step_by(2).collect::<String>();
        assert!(!outside.contains("<script") && outside.matches("</details>").count() == 1, "{text}");
    }
}
