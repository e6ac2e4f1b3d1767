//! Where everything about a run is kept: `target/lab/runs/<UTC time>-<pid>/<scenario>/`.
//!
//! `target/lab/runs/latest` leads to the newest. An invocation's directory also holds its results
//! ([`crate::results`]); a scenario's holds `verdict.json`, `evidence.json`,
//! `capture.pcapng`, `trace.txt`, `server.out`, `client.out`, `console-*.log`, `qemu-*.log`, `dmesg-*.txt`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cache::{lock_file, write_whole};
use crate::error::{Error, IoContext as _, Result};
use crate::verdict::Verdict;

/// The verdict's file in an artifact directory.
pub const VERDICT: &str = "verdict.json";

/// The directory of one invocation, in which each scenario has its own.
#[derive(Debug, Clone)]
pub struct Artifacts {
    directory: PathBuf,
}

impl Artifacts {
    /// Makes the directory of a new invocation in the workspace at `workspace`.
    ///
    /// # Errors
    ///
    /// It cannot be created.
    pub fn create(workspace: &Path) -> Result<Artifacts> {
        Artifacts::named(&runs(workspace), &std::process::id().to_string())
    }

    /// The directory of an invocation of many processes, all of which know its `id`: made by the first.
    ///
    /// # Errors
    ///
    /// It cannot be created.
    pub fn shared(workspace: &Path, id: &str) -> Result<Artifacts> {
        let runs = runs(workspace);
        fs::create_dir_all(&runs).at("failed to create", &runs)?;
        let _lock = lock_file(&runs.join("shared.lock"))?;
        for entry in fs::read_dir(&runs).at("failed to list", &runs)? {
            let entry = entry.at("failed to list", &runs)?;
            if entry.file_name().to_string_lossy().ends_with(&format!("-{id}")) {
                return Ok(Artifacts::at(entry.path()));
            }
        }
        Artifacts::named(&runs, id)
    }

    /// The directory of an invocation that has one.
    pub fn at(directory: PathBuf) -> Artifacts {
        Artifacts { directory }
    }

    fn named(runs: &Path, id: &str) -> Result<Artifacts> {
        // As in 20261123T154800Z: file names sort by time, and hold no colon.
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace([':', '-'], "");
        let name = format!("{now}-{id}");
        let directory = runs.join(&name);
        fs::create_dir_all(&directory).at("failed to create", &directory)?;
        let latest = runs.join("latest");
        // Another invocation may do the same; one of the two is then the newest.
        let _ = fs::remove_file(&latest);
        let _ = symlink(&name, &latest);
        Ok(Artifacts { directory })
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

/// Where the invocations of a workspace are kept.
pub fn runs(workspace: &Path) -> PathBuf {
    workspace.join("target/lab/runs")
}

/// Keeps a verdict, and the trace it judged, in `directory`.
///
/// # Errors
///
/// The directory cannot be written.
pub fn keep(verdict: &Verdict, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).at("failed to create", directory)?;
    if let Some(trace) = &verdict.trace {
        write_whole(&directory.join("trace.txt"), trace.as_bytes())?;
    }
    let text = serde_json::to_vec_pretty(verdict)
        .map_err(|source| Error::setup("failed to write the verdict").source(source))?;
    write_whole(&directory.join(VERDICT), &text)
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
    use super::*;

    #[test]
    fn processes_of_one_invocation_share_its_directory() {
        let workspace = tempfile::tempdir().unwrap();
        let directory = |id: &str| Artifacts::shared(workspace.path(), id).unwrap().directory;
        assert_eq!(directory("one"), directory("one"));
        assert_ne!(directory("one"), directory("other"));
        assert!(runs(workspace.path()).join("latest").is_symlink());
    }
}
