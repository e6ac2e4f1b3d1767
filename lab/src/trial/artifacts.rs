//! Directories of everything about a run: `runs/<UTC time>-<pid>/<scenario>/`, below the front end's home for results
//! (`target/lab` in this workspace).
//!
//! `runs/latest` leads to the newest test run: of `test-e2e`, `run`, `self-test` and `test-guest`. Labs that
//! stay have their logs in `labs/<UTC time>-<pid>-<name>/`. Of each of both the newest are kept, see [`KEEP`].
//!
//! An invocation's directory also holds its results ([`crate::trial::results`]); a scenario's holds `verdict.json`,
//! `report.html`, `evidence.json`, `capture.pcapng`, `trace.txt`, of a trace that differs `trace.diff` and `trace.new`, `server.out`, `client.out`, `console-*.log`, `qemu-*.log`,
//! `dmesg-*.txt`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::base::cache::{Lock, lock_file, lock_is_free, lock_shared, write_whole};
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::progress::say;
use crate::judge::verdict::Verdict;
use crate::trial::changes::unified;

/// The verdict's file in an artifact directory.
pub const VERDICT: &str = "verdict.json";

/// The trace's file in an artifact directory.
pub const TRACE: &str = "trace.txt";

/// The file of a trace's difference from the accepted one, there only if it differs.
pub const DIFF: &str = "trace.diff";

/// The file of a trace that waits to be accepted, there only if it differs.
const NEW: &str = "trace.new";

/// The results' file in an invocation's directory.
pub const RESULTS: &str = "results.json";

/// The environment variable that says how many directories of earlier invocations are kept, a number or `all`.
pub const KEEP: &str = "RDMA_LAB_KEEP_RUNS";

/// Number of directories that are kept unless [`KEEP`] says otherwise.
const KEPT: usize = 30;

/// The lock in an invocation's directory, which its processes share for as long as they live.
const LOCK: &str = ".lock";

/// The directory of one invocation, in which each scenario has its own.
#[derive(Debug, Clone)]
pub struct Artifacts {
    directory: PathBuf,
    /// Keeps others from removing it.
    _in_use: Option<Arc<Lock>>,
}

impl Artifacts {
    /// Makes the directory of a new test run in `home`, which becomes the latest; removes those of
    /// old ones.
    ///
    /// # Errors
    ///
    /// It cannot be created; [`KEEP`] is no number.
    pub fn create(home: &Path) -> Result<Artifacts> {
        Artifacts::run(&runs(home), &std::process::id().to_string())
    }

    /// The directory of a test run of many processes, all of which know its `id`: made by the first.
    ///
    /// # Errors
    ///
    /// As [`Artifacts::create`].
    pub fn shared(home: &Path, id: &str) -> Result<Artifacts> {
        let runs = runs(home);
        fs::create_dir_all(&runs).at("failed to create", &runs)?;
        let _lock = lock_file(&runs.join("shared.lock"))?;
        for entry in fs::read_dir(&runs).at("failed to list", &runs)? {
            let entry = entry.at("failed to list", &runs)?;
            if entry.file_name().to_string_lossy().ends_with(&format!("-{id}")) {
                return Artifacts::used(entry.path());
            }
        }
        Artifacts::run(&runs, id)
    }

    /// Makes the directory of the lab `name`, which is no test run; removes those of old labs, but none of `recorded`.
    ///
    /// # Errors
    ///
    /// As [`Artifacts::create`].
    pub fn lab(home: &Path, name: &str, recorded: &[PathBuf]) -> Result<Artifacts> {
        let labs = home.join("labs");
        let made = Artifacts::made(&labs, &format!("{}-{name}", std::process::id()))?;
        prune(&labs, "labs", recorded)?;
        Ok(made)
    }

    /// The directory of an invocation that has one.
    pub fn at(directory: PathBuf) -> Artifacts {
        Artifacts { directory, _in_use: None }
    }

    fn run(runs: &Path, id: &str) -> Result<Artifacts> {
        let made = Artifacts::made(runs, id)?;
        let latest = runs.join("latest");
        // Another invocation may do the same; one of the two is then the newest.
        let _ = fs::remove_file(&latest);
        let _ = symlink(made.directory.file_name().unwrap_or_default(), &latest);
        prune(runs, "runs", &[])?;
        Ok(made)
    }

    fn made(parent: &Path, id: &str) -> Result<Artifacts> {
        kept()?;
        // As in 20261123T154800Z: file names sort by time, and hold no colon.
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace([':', '-'], "");
        let directory = parent.join(format!("{now}-{id}"));
        fs::create_dir_all(&directory).at("failed to create", &directory)?;
        Artifacts::used(directory)
    }

    fn used(directory: PathBuf) -> Result<Artifacts> {
        let lock = lock_shared(&directory.join(LOCK))?;
        Ok(Artifacts { directory, _in_use: Some(Arc::new(lock)) })
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A directory for one run of a scenario, that no earlier run has; not created.
    pub fn scenario(&self, name: &str) -> PathBuf {
        let others = (2..).map(|number| format!("{name}-try{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(others).map(|name| self.directory.join(name));
        names.find(|directory| !directory.exists()).unwrap_or_default()
    }
}

/// Directory in which the test runs below `home` are kept.
pub fn runs(home: &Path) -> PathBuf {
    home.join("runs")
}

/// The directories of invocations in `parent`, the oldest first: their names sort by time.
fn invocations(parent: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent).at("failed to list", parent)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let (day, rest) = name.split_once('T').unwrap_or_default();
        let is_ours = day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit()) && rest.contains("Z-");
        // A link's end is not ours.
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The newest test run below `home` that left results.
pub fn latest_with_results(home: &Path) -> Option<PathBuf> {
    let all = invocations(&runs(home)).ok()?;
    let has_any =
        |run: &PathBuf| [RESULTS, crate::trial::plan::FILE].iter().any(|file| run.join(file).is_file());
    all.into_iter().rfind(has_any)
}

/// Number of directories that are kept: what [`KEEP`] says; `None` for all.
fn kept() -> Result<Option<usize>> {
    match std::env::var(KEEP).unwrap_or_default().as_str() {
        "" => Ok(Some(KEPT)),
        "all" => Ok(None),
        number => match number.parse() {
            Ok(count) if count > 0 => Ok(Some(count)),
            _ => Err(Error::usage(format!("{KEEP}={number} is no number of runs"))
                .next("write 1 or more, or `all`")),
        },
    }
}

/// Removes all of `parent` but the newest, and says so. What a living process uses stays, and so does what is `recorded`.
fn prune(parent: &Path, what: &str, recorded: &[PathBuf]) -> Result<()> {
    match kept()? {
        Some(count) => prune_to(count, parent, what, recorded),
        None => Ok(()),
    }
}

fn prune_to(count: usize, parent: &Path, what: &str, recorded: &[PathBuf]) -> Result<()> {
    let mut old = invocations(parent)?;
    old.truncate(old.len().saturating_sub(count));
    if old.is_empty() {
        return Ok(());
    }
    let commands = command_lines();
    let removed = old.iter().filter(|directory| {
        let name = directory.to_string_lossy();
        let is_used = commands.iter().any(|command| command.contains(&*name))
            || recorded.iter().any(|recorded| recorded.starts_with(directory))
            || !lock_is_free(&directory.join(LOCK));
        // Another process may be at it, too.
        !is_used && fs::remove_dir_all(directory).is_ok()
    });
    let removed = removed.count();
    if removed > 0 {
        say(&format!(
            "old {what} removed from {}: {removed}; the newest {count} are kept ({KEEP} says how many)",
            parent.display()
        ));
    }
    Ok(())
}

/// The command lines of all processes, where the system tells them: machines name the files that they write.
fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}

/// Keeps a verdict, the trace it judged, and the page of both, in `directory`.
///
/// # Errors
///
/// The directory cannot be written.
pub fn keep(verdict: &Verdict, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).at("failed to create", directory)?;
    if let Some(trace) = &verdict.trace {
        write_whole(&directory.join(TRACE), trace.as_bytes())?;
        let diff = verdict.accepted.as_deref().map(|accepted| unified("accepted", accepted, "found", trace));
        if let Some(diff) = diff.filter(|diff| !diff.is_empty() && !verdict.passed) {
            write_whole(&directory.join(DIFF), diff.as_bytes())?;
            write_whole(&directory.join(NEW), trace.as_bytes())?;
        }
    }
    let text = serde_json::to_vec_pretty(verdict)
        .map_err(|source| Error::setup("failed to write the verdict").source(source))?;
    write_whole(&directory.join(VERDICT), &text)?;
    crate::trial::page::keep(verdict, directory);
    Ok(())
}

/// The verdict that is kept in `directory`.
///
/// # Errors
///
/// There is none, or it cannot be read.
pub fn verdict(directory: &Path) -> Result<Verdict> {
    let file = directory.join(VERDICT);
    let text = fs::read(&file).at("failed to read", &file)?;
    serde_json::from_slice(&text)
        .map_err(|source| Error::setup(format!("{} is no verdict", file.display())).source(source))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[test]
    fn processes_of_one_invocation_share_its_directory() {
        let workspace = tempfile::tempdir().unwrap();
        let directory = |id: &str| Artifacts::shared(workspace.path(), id).unwrap().directory;
        assert_eq!(directory("one"), directory("one"));
        assert_ne!(directory("one"), directory("other"));
        assert!(runs(workspace.path()).join("latest").is_symlink());
    }

    #[test]
    fn lab_is_no_test_run() {
        let workspace = tempfile::tempdir().unwrap();
        let run = Artifacts::create(workspace.path()).unwrap();
        let lab = Artifacts::lab(workspace.path(), "x", &[]).unwrap();
        assert!(!lab.directory().starts_with(runs(workspace.path())));
        let latest = fs::canonicalize(runs(workspace.path()).join("latest")).unwrap();
        assert_eq!(latest, fs::canonicalize(run.directory()).unwrap());
    }

    #[test]
    fn old_ones_are_removed_but_what_is_used_or_recorded_stays() {
        let parent = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let directory = parent.path().join(name);
            fs::create_dir_all(directory.join("scenario")).unwrap();
            directory
        };
        let foreign = made("not-a-run");
        let [named, recorded, locked, old, unlocked, newer, newest] =
            [1, 2, 3, 4, 5, 6, 7].map(|second| made(&format!("20260102T00000{second}Z-{second}")));
        let _lock = lock_shared(&locked.join(LOCK)).unwrap();
        // Never locked: a process that another test starts has all open locks for a moment.
        fs::write(unlocked.join(LOCK), "").unwrap();
        symlink("20260102T000007Z-7", parent.path().join("latest")).unwrap();
        // A process that names a file there.
        let mut sleep = std::process::Command::new("sleep");
        let mut process = sleep.arg0(named.join("console.log")).arg("60").spawn().unwrap();
        // It has started before the kernel tells its words.
        let words = format!("/proc/{}/cmdline", process.id());
        let started = std::time::Instant::now();
        while fs::read(&words).unwrap().is_empty() {
            assert!(started.elapsed() < std::time::Duration::from_secs(5));
        }
        prune_to(2, parent.path(), "runs", &[recorded.join("x")]).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        for kept in [&foreign, &named, &recorded, &locked, &newer, &newest] {
            assert!(kept.is_dir(), "{}", kept.display());
        }
        assert!(!old.exists() && !unlocked.exists());
        assert!(parent.path().join("latest").is_dir());
    }
}
