//! Review of pending snapshots: what a run saw against what was accepted before.
//!
//! insta leaves `X.snap.new` beside `X.snap`. On a terminal each difference is shown and accepted, rejected or
//! left; elsewhere it is only shown, with the command to accept it.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use lab::Result;
use lab::base::error::IoContext as _;
use lab::base::invocation;
use similar::{ChangeTag, TextDiff};

use crate::output;

/// How many unchanged lines stand around a change.
const CONTEXT_LINES: usize = 3;

/// A person's answer to a difference.
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
    let ask = io::stdin().is_terminal() && io::stdout().is_terminal();
    let colour = io::stdout().is_terminal();
    let mut left = pending.len();
    for new_path in &pending {
        let old_path = accepted_path(new_path);
        let new = fs::read_to_string(new_path).at("failed to read", new_path)?;
        let old = match old_path.is_file() {
            true => fs::read_to_string(&old_path).at("failed to read", &old_path)?,
            false => String::new(),
        };
        output::line(format_args!("{}", new_path.display()))?;
        output::print(diff(body(&old), body(&new), colour))?;
        if !ask {
            output::line(format_args!("  to accept it: {}, on a terminal", invocation::test("--review")))?;
            continue;
        }
        match question()? {
            ReviewAnswer::Accept => {
                lab::base::cache::write_whole(&old_path, for_keeping(&new).as_bytes())?;
                fs::remove_file(new_path).at("failed to remove", new_path)?;
                left -= 1;
            }
            ReviewAnswer::Reject => {
                fs::remove_file(new_path).at("failed to remove", new_path)?;
                left -= 1;
            }
            ReviewAnswer::Skip => {}
            ReviewAnswer::Quit => break,
        }
    }
    Ok(left)
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

/// A snapshot as insta keeps it: without `assertion_line`, which only a pending one has.
fn for_keeping(snapshot: &str) -> String {
    let body_at = snapshot.len() - body(snapshot).len();
    let (head, body) = snapshot.split_at(body_at);
    let head: String =
        head.split_inclusive('\n').filter(|line| !line.starts_with("assertion_line:")).collect();
    head + body
}

/// Text of a snapshot, below insta's head between two lines of `---`.
fn body(snapshot: &str) -> &str {
    snapshot
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
        .map_or(snapshot, |(_, body)| body)
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
expression: trace
---
assertion_line: stays here
---
end
";

    #[test]
    fn kept_snapshot_has_no_assertion_line_in_its_head() {
        assert_eq!(for_keeping(PENDING), PENDING.replace("assertion_line: 42\n", ""));
        assert_eq!(for_keeping("no head\n"), "no head\n");
    }

    #[test]
    fn body_is_what_follows_the_head() {
        assert_eq!(body(PENDING), "assertion_line: stays here\n---\nend\n");
        assert_eq!(body("plain"), "plain");
        assert_eq!(body(""), "");
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
    fn answers_are_letters_or_words() {
        assert_eq!(answer(" A\n"), Some(ReviewAnswer::Accept));
        assert_eq!(answer("skip"), Some(ReviewAnswer::Skip));
        assert_eq!(answer(""), None);
    }
}
