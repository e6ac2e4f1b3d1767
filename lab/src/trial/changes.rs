//! Meaning of a changed trace in a sentence, and the snapshots that changed against another commit.
//!
//! In: two traces, or a git repository. Out: words. Nothing in the repository is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use similar::{DiffOp, TextDiff};

use crate::judge::snapshot;

/// Lines of a difference that are shown of one trace.
const DIFF_LINES: usize = 400;

/// Kinds of packets that a sentence names.
const NAMED: usize = 4;

/// Characters of a row that a sentence quotes.
const QUOTED: usize = 90;

/// Snapshot that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedSnapshot {
    /// Its file, from the top of the repository.
    pub file: String,
    /// The trace before, empty if there was none.
    pub before: String,
    /// The trace now, empty if there is none any more.
    pub after: String,
}

/// Difference of two traces in unified form, each line at column 1; empty if there is none.
pub fn unified(before_name: &str, before: &str, after_name: &str, after: &str) -> String {
    if before.trim_end() == after.trim_end() {
        return String::new();
    }
    let (before, after) = (format!("{}\n", before.trim_end()), format!("{}\n", after.trim_end()));
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(3)
        .header(before_name, after_name)
        .to_string()
}

/// The first lines of a difference, with a note of how many more there are.
pub fn shortened(diff: &str) -> String {
    let lines = diff.lines().count();
    let mut text = diff.lines().take(DIFF_LINES).fold(String::new(), |text, line| text + line + "\n");
    if lines > DIFF_LINES {
        let _ = writeln!(text, "@@ … {} more lines @@", lines - DIFF_LINES);
    }
    text
}

/// Lines of `after`, from 0, that are new or changed, or stand behind one that is gone.
pub(crate) fn changed_lines(before: &str, after: &str) -> Vec<usize> {
    let diff = TextDiff::from_lines(before.trim_end(), after.trim_end());
    let changed = diff.ops().iter().filter(|op| !matches!(op, DiffOp::Equal { .. }));
    changed
        .flat_map(|op| {
            let range = op.new_range();
            range.start..range.end.max(range.start + 1)
        })
        .collect()
}

/// Things of a trace that a sentence counts.
#[derive(Debug, Default)]
struct TraceCounts {
    packets: BTreeMap<String, i64>,
    findings: BTreeMap<String, i64>,
    /// Parameters of connection management, by message and name.
    parameters: BTreeMap<(String, String), Vec<String>>,
}

impl TraceCounts {
    fn of(trace: &str) -> Self {
        let mut counted = Self::default();
        let (mut section, mut message) = ("connection", String::new());
        for line in trace.lines() {
            if let Some(head) = ["findings", "messages", "packets"]
                .into_iter()
                .find(|head| line.trim_start().starts_with(head))
            {
                section = head;
                continue;
            }
            let words: Vec<&str> = line.trim_start_matches(['~', '+', ' ']).split_whitespace().collect();
            let rest = match words[..] {
                [from, ">", to, ..] => {
                    let at = line.find(to).map_or(0, |at| at + to.len());
                    let _ = from;
                    line.get(at..).unwrap_or_default().trim_start()
                }
                _ => line.trim_start(),
            };
            let (name, value) = rest.split_once("  ").unwrap_or((rest, ""));
            match (section, &words[..]) {
                ("packets", [_, ">", ..]) => *counted.packets.entry(name.to_owned()).or_default() += 1,
                ("findings", [_, ">", _, rule, ..]) => {
                    *counted.findings.entry((*rule).to_owned()).or_default() += 1
                }
                ("connection", [_, ">", ..]) => {
                    name.clone_into(&mut message);
                    *counted.packets.entry(format!("CM {name}")).or_default() += 1;
                    let (name, value) = value.trim_start().split_once("  ").unwrap_or((value.trim(), ""));
                    counted.parameter(&message, name, value);
                }
                ("connection", [_, ..]) if line.starts_with("          ") => {
                    counted.parameter(&message, name, value)
                }
                _ => {}
            }
        }
        counted
    }

    fn parameter(&mut self, message: &str, name: &str, value: &str) {
        if !name.is_empty() {
            let values = self.parameters.entry((message.to_owned(), name.to_owned())).or_default();
            values.push(value.trim().to_owned());
        }
    }
}

/// Differences of counts: `2 RC RDMA WRITE Middle more, 1 RC Acknowledge fewer`.
fn counts(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> Vec<String> {
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let of = |counts: &BTreeMap<String, i64>, key: &String| counts.get(key).copied().unwrap_or(0);
    let mut words: Vec<String> = keys
        .into_iter()
        .filter_map(|key| {
            let by = of(after, key) - of(before, key);
            (by != 0).then(|| format!("{} {key} {}", by.abs(), if by > 0 { "more" } else { "fewer" }))
        })
        .collect();
    if words.len() > NAMED {
        let left = words.len() - NAMED;
        words.truncate(NAMED);
        words.push(format!("and {left} more kinds"));
    }
    words
}

/// Meaning of a change of a trace, in a sentence.
pub fn meaning(before: &str, after: &str) -> String {
    match (before.trim().is_empty(), after.trim().is_empty()) {
        (true, true) => return "No trace before and none now.".to_owned(),
        (true, false) => return format!("New: {}.", after.lines().next().unwrap_or_default()),
        (false, true) => return "The trace is gone: nothing demands it any more.".to_owned(),
        (false, false) if before.trim_end() == after.trim_end() => {
            return "The trace is the same; only what stands above it changed.".to_owned();
        }
        (false, false) => {}
    }
    let (old, new) = (TraceCounts::of(before), TraceCounts::of(after));
    let mut parts = Vec::new();
    let only = |some: &BTreeMap<String, i64>, others: &BTreeMap<String, i64>| {
        some.keys().filter(|rule| !others.contains_key(*rule)).cloned().collect::<Vec<_>>().join(", ")
    };
    let (broken, mended) = (only(&new.findings, &old.findings), only(&old.findings, &new.findings));
    if !broken.is_empty() {
        parts.push(format!("breaks {broken} now"));
    }
    if !mended.is_empty() {
        parts.push(format!("breaks {mended} no longer"));
    }
    let packets = counts(&old.packets, &new.packets);
    if !packets.is_empty() {
        parts.push(format!("packets: {}", packets.join(", ")));
    }
    let both = old.parameters.iter().filter_map(|(key, value)| Some((key, value, new.parameters.get(key)?)));
    let said: Vec<String> = both
        .filter(|(_, old, new)| old != new)
        .map(|((message, name), ..)| format!("{name} of the {message}"))
        .collect();
    if !said.is_empty() {
        parts.push(format!("says otherwise: {}", said.join(", ")));
    }
    if parts.is_empty() {
        parts.push(first_rows(before, after));
    }
    let text = parts.join("; ");
    let mut characters = text.chars();
    let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", characters.as_str())
}

/// The first rows that differ, quoted.
fn first_rows(before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before.trim_end(), after.trim_end());
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let changed: Vec<&DiffOp> = diff.ops().iter().filter(|op| !matches!(op, DiffOp::Equal { .. })).collect();
    let rows: usize = changed.iter().map(|op| op.old_range().len().max(op.new_range().len())).sum();
    let quoted = |line: Option<&&str>| {
        let line = line.map_or("", |line| line.trim());
        let line: String = line.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(QUOTED).collect::<String>().replace('`', "'")
    };
    let Some(op) = changed.first() else { return "nothing that counts".to_owned() };
    let rows =
        format!("{rows} row{} differ{}", if rows == 1 { "" } else { "s" }, if rows == 1 { "s" } else { "" });
    match (op.old_range().is_empty(), op.new_range().is_empty()) {
        (true, _) => format!("{rows}; the first is new: `{}`", quoted(new.get(op.new_range().start))),
        (_, true) => format!("{rows}; the first is gone: `{}`", quoted(old.get(op.old_range().start))),
        _ => format!(
            "{rows}; the first was `{}` and is `{}`",
            quoted(old.get(op.old_range().start)),
            quoted(new.get(op.new_range().start))
        ),
    }
}

/// Snapshots below `directory` that differ from another commit, with its name; `None` where there is no repository or no such commit.
///
/// Without `against`, that commit is where this branch left the one that a pull request is to go to (`GITHUB_BASE_REF`), `origin/main`, or `main`.
pub fn against(directory: &Path, against: Option<&str>) -> Option<(String, Vec<ChangedSnapshot>)> {
    let target = std::env::var("GITHUB_BASE_REF").ok().filter(|name| !name.is_empty());
    let target = target.map(|name| format!("origin/{name}"));
    let candidates = match against {
        Some(name) => vec![name.to_owned()],
        None => target.into_iter().chain(["origin/main".to_owned(), "main".to_owned()]).collect(),
    };
    let top = PathBuf::from(git(directory, &["rev-parse", "--show-toplevel"])?.trim());
    let base = candidates.into_iter().find(|name| {
        git(&top, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")])
            .is_some()
    })?;
    let left = git(&top, &["merge-base", "--end-of-options", &base, "HEAD"]);
    let commit = left.map_or_else(|| base.clone(), |commit| commit.trim().to_owned());
    let names = git(&top, &["diff", "--name-only", "--no-renames", "-z", &commit, "--", "*.snap"])?;
    let changed = names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(|name| {
            let before = git(&top, &["show", &format!("{commit}:{name}")]).unwrap_or_default();
            let after = std::fs::read_to_string(top.join(name)).unwrap_or_default();
            let trace = |text: &str| snapshot::content(text).to_owned();
            ChangedSnapshot { file: name.to_owned(), before: trace(&before), after: trace(&after) }
        })
        .collect();
    Some((base, changed))
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(directory).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "roce trace 1: 4 packets\n\nconnection 1: client.qp1 > server.qp1\n\
        \x20 client > server  REQ   service           RDMA_PS_TCP port 7471, RC\n\
        \x20                        private data      none\n\n\
        \x20 packets                                                   psn           bytes pad\n\
        \x20 client.qp1 > server.qp1 RC RDMA WRITE Only                client+0         18   2  server.mr1+0 len 18, AckReq\n\
        \x20 server.qp1 > client.qp1 RC Acknowledge                    client+0                 ACK msn 1\n";

    #[test]
    fn change_is_told_in_a_sentence() {
        let twice = TRACE.replace(
            "  server.qp1 > client.qp1 RC Ack",
            "~ client.qp1 > server.qp1 RC RDMA WRITE Only                client+1         18   2  x\n  server.qp1 > client.qp1 RC Ack",
        );
        assert_eq!(meaning(TRACE, &twice), "Packets: 1 RC RDMA WRITE Only more.");
        assert_eq!(meaning(&twice, TRACE), "Packets: 1 RC RDMA WRITE Only fewer.");
        let said = TRACE.replace("data      none", "data      0102");
        assert_eq!(meaning(TRACE, &said), "Says otherwise: private data of the REQ.");
        let broken = format!(
            "{TRACE}\nfindings\n  client > server         RequestPsnGap   client+2  expected client+1\n"
        );
        assert_eq!(meaning(TRACE, &broken), "Breaks RequestPsnGap now.");
        let longer = TRACE.replace(
            "client+0         18   2  server.mr1+0 len 18",
            "client+0         20   0  server.mr1+0 len 20",
        );
        assert!(meaning(TRACE, &longer).starts_with(
            "1 row differs; the first was `client.qp1 > server.qp1 RC RDMA WRITE Only client+0 18"
        ));
        assert!(meaning("", TRACE).starts_with("New: roce trace 1"));
        assert!(meaning(TRACE, "").contains("gone") && meaning(TRACE, TRACE).contains("the same"));
    }

    #[test]
    fn difference_stands_at_column_one() {
        let diff = unified("accepted", "a\nb\n", "found", "a\nc");
        assert_eq!(diff, "--- accepted\n+++ found\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        assert_eq!(unified("a", "x\n", "b", "x"), "");
        assert_eq!(changed_lines("a\nb\nc\n", "a\nX\nc\n"), [1]);
        assert_eq!(changed_lines("a\nb\nc\n", "a\nc\n"), [1]);
        let long = unified("a", &"x\n".repeat(900), "b", &"y\n".repeat(900));
        assert!(
            shortened(&long).lines().count() == DIFF_LINES + 1 && shortened(&long).contains("more lines")
        );
    }

    #[test]
    fn snapshots_are_held_against_the_branch_they_left() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        if git(at, &["--version"]).is_none() {
            return eprintln!("not tried: there is no git here");
        }
        let run = |arguments: &[&str]| git(at, arguments).unwrap_or_else(|| panic!("git {arguments:?}"));
        run(&["init", "--quiet", "--initial-branch", "main"]);
        run(&["config", "user.email", "a@example.invalid"]);
        run(&["config", "user.name", "a"]);
        std::fs::write(at.join("a.snap"), format!("---\nsource: x\n---\n{TRACE}")).unwrap();
        std::fs::write(at.join("other.txt"), "1").unwrap();
        run(&["add", "."]);
        run(&["commit", "--quiet", "-m", "one"]);
        assert_eq!(against(at, Some("main")), Some(("main".to_owned(), Vec::new())));
        run(&["checkout", "--quiet", "-b", "work"]);
        std::fs::write(at.join("a.snap"), format!("---\nsource: y\n---\n{}", TRACE.replace("7471", "7472")))
            .unwrap();
        std::fs::write(at.join("other.txt"), "2").unwrap();
        run(&["commit", "--quiet", "-a", "-m", "two"]);
        let (base, changed) = against(at, Some("main")).unwrap();
        assert_eq!((base.as_str(), changed.len(), changed[0].file.as_str()), ("main", 1, "a.snap"));
        assert_eq!(meaning(&changed[0].before, &changed[0].after), "Says otherwise: service of the REQ.");
        assert_eq!(against(at, Some("nothing")), None);
        assert_eq!(against(at, Some("--output=x")), None);
    }
}
