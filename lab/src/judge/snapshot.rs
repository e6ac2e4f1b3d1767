//! Trace snapshots: reviewed text in git, in insta's format, and the few lines in which a trace differs.

use std::fs;
use std::path::{Path, PathBuf};

use similar::{ChangeTag, TextDiff};

use crate::base::error::{Error, IoContext as _, Result};

/// Most lines of a difference that a verdict shows.
const DIFF_LINES: usize = 10;

/// The trace that a run is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// This one.
    Trace(String),
    /// One that is not there: nobody has accepted a trace yet.
    Missing,
    /// None: the trace is not compared.
    NotDemanded,
}

impl Accepted {
    /// Reads the accepted trace in `file`; without a file none is demanded.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be read.
    pub fn read(file: Option<&Path>) -> Result<Accepted> {
        let Some(path) = file else {
            return Ok(Accepted::NotDemanded);
        };
        match fs::read_to_string(path) {
            Ok(text) => Ok(Accepted::Trace(content(&text).to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Accepted::Missing),
            Err(error) => Err(error).at("failed to read the snapshot", path),
        }
    }
}

/// Refuses a file that is there and holds no trace: nothing of a person's is to be overwritten by one.
///
/// # Errors
///
/// It is no trace, or cannot be read.
pub fn check(file: &Path) -> Result<()> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.at("failed to read the snapshot", file)?,
    };
    let text = String::from_utf8_lossy(&text);
    let held = content(&text);
    if held.starts_with("roce trace ") || held.trim().is_empty() {
        return Ok(());
    }
    Err(Error::usage(format!("{} holds something else than a trace", file.display()))
        .next("name another file for the accepted trace; this one stays as it is"))
}

/// File of a scenario's accepted trace, among others in `directory`.
pub fn file(directory: &Path, scenario: &str) -> PathBuf {
    directory.join(format!("{scenario}.snap"))
}

/// The name under which a trace waits beside its snapshot until a person has looked at it.
pub fn pending(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The names of snapshots that no scenario has.
///
/// # Errors
///
/// The directory cannot be listed.
pub fn orphans(directory: &Path, scenarios: &[&str]) -> Result<Vec<String>> {
    let mut orphans = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(orphans),
        entries => entries.at("failed to list the snapshots in", directory)?,
    };
    for entry in entries {
        let name = entry.at("failed to list the snapshots in", directory)?.file_name();
        let name = name.to_string_lossy();
        if let Some(scenario) = name.strip_suffix(".snap")
            && !scenarios.contains(&scenario)
        {
            orphans.push(name.into_owned());
        }
    }
    orphans.sort();
    Ok(orphans)
}

/// The lines in which `trace` differs from `snapshot`, at most ten; `None` if it does not.
pub fn difference(snapshot: &str, trace: &str) -> Option<String> {
    let (snapshot, trace) = (snapshot.trim_end(), trace.trim_end());
    if snapshot == trace {
        return None;
    }
    let diff = TextDiff::from_lines(snapshot, trace);
    let lines: Vec<String> = diff
        .iter_all_changes()
        .filter(|change| change.tag() != ChangeTag::Equal)
        .map(|change| {
            let sign = if change.tag() == ChangeTag::Delete { '-' } else { '+' };
            format!("{sign} {}", change.value().trim_end_matches('\n'))
        })
        .collect();
    let mut text = lines[..lines.len().min(DIFF_LINES)].join("\n");
    if lines.len() > DIFF_LINES {
        // The count takes the place of the tenth line.
        text = lines[..DIFF_LINES - 1].join("\n");
        text.push_str(&format!("\n… and {} more lines that differ", lines.len() + 1 - DIFF_LINES));
    }
    Some(text)
}

/// Lets a trace wait beside the snapshot of a scenario until a person has looked at it, under the header that the snapshot has,
/// else one that tells the scenario's summary; returns its file.
///
/// # Errors
///
/// It cannot be written.
pub fn offer(directory: &Path, scenario: &str, summary: &str, trace: &str) -> Result<PathBuf> {
    let accepted = file(directory, scenario);
    let head = fs::read_to_string(&accepted).ok().and_then(|text| {
        let (head, _) = text.strip_prefix("---\n")?.split_once("\n---\n")?;
        Some(head.to_owned())
    });
    let head = head.unwrap_or_else(|| format!("source: lab/cli/src/trials.rs\ndescription: {summary:?}"));
    let path = pending(&accepted);
    fs::create_dir_all(directory).at("failed to create", directory)?;
    fs::write(&path, format!("---\n{head}\n---\n{}\n", trace.trim_end())).at("failed to write", &path)?;
    Ok(path)
}

/// True if the snapshot of a scenario is there without insta's header, as `run --accept` writes it: insta takes the first lines of
/// such a trace for a header of an older form.
pub fn is_plain(directory: &Path, scenario: &str) -> bool {
    fs::read_to_string(file(directory, scenario)).is_ok_and(|text| !text.starts_with("---\n"))
}

/// Text behind the header of a snapshot file.
pub fn content(file: &str) -> &str {
    file.strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
        .map_or(file, |(_, content)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_follows_the_header() {
        assert_eq!(content("---\nsource: tests/e2e.rs\n---\na\n---\nb\n"), "a\n---\nb\n");
        assert_eq!(content("a\n"), "a\n");
    }

    #[test]
    fn file_that_is_no_trace_is_not_taken_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let file = directory.path().join("x");
            fs::write(&file, text).unwrap();
            check(&file)
        };
        for trace in ["roce trace 1: 12 packets\n", "---\nsource: x\n---\nroce trace 1, summary\n", ""] {
            file(trace).unwrap();
        }
        let error = file("fn main() {}\n").unwrap_err().to_string();
        assert!(error.contains("something else than a trace"), "{error}");
        check(&directory.path().join("none")).unwrap();
    }

    #[test]
    fn offered_trace_has_the_head_of_its_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let head = "---\nsource: tests/e2e.rs\ndescription: \"x\"\n---\n";
        fs::write(file(directory.path(), "a"), format!("{head}roce trace 1: 1 packets\n")).unwrap();
        let read = |name: &str, trace: &str| {
            fs::read_to_string(offer(directory.path(), name, "a \"word\"", trace).unwrap()).unwrap()
        };
        assert_eq!(read("a", "roce trace 1: 2 packets\n\n"), format!("{head}roce trace 1: 2 packets\n"));
        let new = read("b", "roce trace 1: 3 packets");
        assert!(new.starts_with("---\nsource: ") && new.contains(r#"description: "a \"word\"""#), "{new}");
        assert_eq!(content(&new), "roce trace 1: 3 packets\n");
    }

    #[test]
    fn difference_has_at_most_ten_lines() {
        assert_eq!(difference("a\nb\n", "a\nb"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n").unwrap(), "- b\n+ c");
        let long = (0..40).map(|line| format!("{line}\n")).collect::<String>();
        let text = difference(&long, "").unwrap();
        assert_eq!(text.lines().count(), 10);
        assert!(text.ends_with("… and 31 more lines that differ"), "{text}");
    }

    #[test]
    fn snapshot_without_a_scenario_is_an_orphan() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.snap", "b.snap", "b.snap.new"] {
            fs::write(directory.path().join(name), "x").unwrap();
        }
        assert_eq!(orphans(directory.path(), &["a"]).unwrap(), ["b.snap"]);
        let read = |name: &str| Accepted::read(Some(&file(directory.path(), name))).unwrap();
        assert_eq!(read("a"), Accepted::Trace("x".to_owned()));
        assert_eq!(read("c"), Accepted::Missing);
        assert_eq!(Accepted::read(None).unwrap(), Accepted::NotDemanded);
        assert!(orphans(&directory.path().join("none"), &[]).unwrap().is_empty());
    }
}
