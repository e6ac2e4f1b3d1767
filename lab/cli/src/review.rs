//! Review of pending snapshots: what a run saw against what was accepted before.
//!
//! insta leaves `X.snap.new` beside `X.snap`, reads both and writes the accepted one; its own reviewer is a subcommand of
//! cargo, which `rdma-lab` is used without. On a terminal each difference is shown and accepted, rejected or left;
//! elsewhere it is only shown, with the command to accept it.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use insta::Snapshot;
use lab::base::error::IoContext as _;
use lab::base::invocation;
use lab::judge::snapshot;
use lab::{Error, Result};
use similar::{ChangeTag, TextDiff};

use crate::output;

/// Number of unchanged lines around a change.
const CONTEXT_LINES: usize = 3;

/// Answer of a person to a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReviewAnswer {
    Accept,
    Reject,
    Skip,
    Quit,
}

/// Shows every pending snapshot in `directory` and, on a terminal, asks what to do with it.
///
/// Returns how many are still pending.
///
/// # Errors
///
/// A snapshot cannot be read or written.
pub fn run(directory: &Path) -> Result<usize> {
    let pending = pending(directory)?;
    let mut left = pending.len();
    for new_path in &pending {
        let old_path = accepted_path(new_path);
        let new = read(new_path)?;
        let old = if old_path.is_file() { text(&read(&old_path)?) } else { String::new() };
        show(new_path, &old, &text(&new))?;
        let Some(answer) = asked()? else {
            output::line(format_args!("  to accept it: {}, on a terminal", invocation::test("--review")))?;
            continue;
        };
        if answer == ReviewAnswer::Accept {
            new.save(&old_path).map_err(|error| cannot("write", &old_path, error.as_ref()))?;
        }
        match answer {
            ReviewAnswer::Accept | ReviewAnswer::Reject => {
                fs::remove_file(new_path).at("failed to remove", new_path)?;
                left -= 1;
            }
            ReviewAnswer::Skip => {}
            ReviewAnswer::Quit => break,
        }
    }
    Ok(left)
}

/// Shows the trace that waits beside one snapshot, a file of any name, and on a terminal asks what to do with it.
///
/// Returns true if it was accepted.
///
/// # Errors
///
/// A file cannot be read or written.
pub fn run_one(accepted: &Path) -> Result<bool> {
    show_one(accepted)?;
    match asked()? {
        Some(answer) => settle(accepted, answer),
        None => Ok(false),
    }
}

fn show_one(accepted: &Path) -> Result<()> {
    let new_path = snapshot::pending(accepted);
    let old = if accepted.is_file() { read_trace(accepted)? } else { String::new() };
    show(&new_path, &old, &read_trace(&new_path)?)
}

/// Does with the trace that waits beside one snapshot what a person answered; true if it was accepted.
fn settle(accepted: &Path, answer: ReviewAnswer) -> Result<bool> {
    let new_path = snapshot::pending(accepted);
    match answer {
        ReviewAnswer::Accept => {
            fs::rename(&new_path, accepted).at("failed to write", accepted)?;
            output::line(format_args!("accepted into {}", accepted.display()))?;
        }
        ReviewAnswer::Reject => fs::remove_file(&new_path).at("failed to remove", &new_path)?,
        ReviewAnswer::Skip | ReviewAnswer::Quit => {}
    }
    Ok(answer == ReviewAnswer::Accept)
}

/// Prints the changes of a trace.
fn show(new_path: &Path, old: &str, new: &str) -> Result<()> {
    output::line(format_args!("{}", new_path.display()))?;
    output::print(diff(old, new, io::stdout().is_terminal()))
}

/// A person's answer; `None` where there is no terminal to ask on.
fn asked() -> Result<Option<ReviewAnswer>> {
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    is_terminal.then(question).transpose()
}

/// Text of a trace in a file with insta's header or without one.
fn read_trace(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).at("failed to read", path)?;
    Ok(format!("{}\n", snapshot::content(&text).trim_end()))
}

/// Asks until there is an answer; the end of input leaves everything as it is.
fn question() -> Result<ReviewAnswer> {
    loop {
        output::print("accept this trace? [a]ccept, [r]eject, [s]kip, [q]uit: ")?;
        let mut line = String::new();
        let read =
            io::stdin().lock().read_line(&mut line).at("failed to read", Path::new("standard input"))?;
        if read == 0 {
            return Ok(ReviewAnswer::Quit);
        }
        if let Some(answer) = answer(&line) {
            return Ok(answer);
        }
    }
}

fn answer(line: &str) -> Option<ReviewAnswer> {
    match line.trim().to_ascii_lowercase().as_str() {
        "a" | "accept" => Some(ReviewAnswer::Accept),
        "r" | "reject" => Some(ReviewAnswer::Reject),
        "s" | "skip" => Some(ReviewAnswer::Skip),
        "q" | "quit" => Some(ReviewAnswer::Quit),
        _ => None,
    }
}

/// The pending snapshots in `directory`, sorted by name.
fn pending(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).at("failed to read", directory)? {
        let path = entry.at("failed to read", directory)?.path();
        if path.to_string_lossy().ends_with(".snap.new") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `X.snap` of `X.snap.new`.
fn accepted_path(new_path: &Path) -> PathBuf {
    new_path.with_extension("")
}

fn read(path: &Path) -> Result<Snapshot> {
    Snapshot::from_file(path).map_err(|error| cannot("read", path, error.as_ref()))
}

/// Lines of a snapshot, each with its end.
fn text(snapshot: &Snapshot) -> String {
    snapshot.as_text().map(|text| format!("{text}\n")).unwrap_or_default()
}

fn cannot(what: &str, path: &Path, error: &dyn std::error::Error) -> Error {
    Error::setup(format!("failed to {what} {}: {error}", path.display()))
}

/// The changed lines with a few around them, `-` accepted and `+` new.
fn diff(old: &str, new: &str, colour: bool) -> String {
    let mut text = String::new();
    let diff = TextDiff::from_lines(old, new);
    for (index, group) in diff.grouped_ops(CONTEXT_LINES).iter().enumerate() {
        if index > 0 {
            text.push_str("  ...\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, on) = match change.tag() {
                ChangeTag::Delete => ('-', "\x1b[31m"),
                ChangeTag::Insert => ('+', "\x1b[32m"),
                ChangeTag::Equal => (' ', ""),
            };
            let line = change.value().trim_end_matches('\n');
            let _ = match colour && !on.is_empty() {
                true => writeln!(text, "{on}{sign} {line}\x1b[0m"),
                false => writeln!(text, "{sign} {line}"),
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PENDING: &str = "\
---
source: tests/e2e.rs
assertion_line: 42
---
assertion_line: stays here
---
end
";

    #[test]
    fn accepted_snapshot_has_no_assertion_line_in_its_head() {
        let directory = tempfile::tempdir().unwrap();
        let [new, old] = ["a.snap.new", "a.snap"].map(|name| directory.path().join(name));
        fs::write(&new, PENDING).unwrap();
        let pending = read(&new).unwrap();
        assert_eq!(text(&pending), "assertion_line: stays here\n---\nend\n");
        pending.save(&old).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), PENDING.replace("assertion_line: 42\n", ""));
        let error = read(&directory.path().join("b.snap")).unwrap_err().to_string();
        assert!(error.contains("failed to read") && error.contains("b.snap"), "{error}");
    }

    #[test]
    fn diff_marks_both_sides_and_colours_only_on_request() {
        assert_eq!(diff("a\nb\nc\n", "a\nB\nc\n", false), "  a\n- b\n+ B\n  c\n");
        assert!(diff("a\n", "b\n", true).contains("\x1b[31m- a\x1b[0m"));
        assert_eq!(diff("", "new\n", false), "+ new\n");
        assert_eq!(diff("same\n", "same\n", false), "");
    }

    #[test]
    fn pending_snapshots_are_found_beside_accepted_ones() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.snap.new", "a.snap.new", "a.snap", "x.txt"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let found = pending(directory.path()).unwrap();
        assert_eq!(found, ["a.snap.new", "b.snap.new"].map(|name| directory.path().join(name)));
        assert_eq!(accepted_path(&found[0]), directory.path().join("a.snap"));
        assert!(pending(&directory.path().join("absent")).unwrap().is_empty());
    }

    #[test]
    fn trace_beside_one_snapshot_is_accepted_rejected_or_left() {
        let directory = tempfile::tempdir().unwrap();
        let accepted = directory.path().join("trace.txt");
        let new = snapshot::pending(&accepted);
        for (answer, is_accepted, waits) in [
            (ReviewAnswer::Skip, false, true),
            (ReviewAnswer::Quit, false, true),
            (ReviewAnswer::Reject, false, false),
            (ReviewAnswer::Accept, true, false),
        ] {
            fs::write(&accepted, "---\nsource: x\n---\nroce trace 1: 1 packets\n").unwrap();
            fs::write(&new, "roce trace 1: 2 packets\n").unwrap();
            assert_eq!(read_trace(&accepted).unwrap(), "roce trace 1: 1 packets\n");
            assert_eq!(settle(&accepted, answer).unwrap(), is_accepted);
            assert_eq!(
                (new.is_file(), read_trace(&accepted).unwrap().contains(": 2 ")),
                (waits, is_accepted)
            );
        }
        fs::remove_file(&accepted).unwrap();
        fs::write(&new, "roce trace 1: 2 packets\n").unwrap();
        show_one(&accepted).unwrap();
    }

    #[test]
    fn answers_are_letters_or_words() {
        assert_eq!(answer(" A\n"), Some(ReviewAnswer::Accept));
        assert_eq!(answer("skip"), Some(ReviewAnswer::Skip));
        assert_eq!(answer(""), None);
    }
}
