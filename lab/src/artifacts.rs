//! Where everything about a run is kept: `target/lab/runs/<UTC time>-<pid>/<scenario>/`.
//!
//! `target/lab/runs/latest` leads to the newest. A directory holds `verdict.json`, `evidence.json`,
//! `capture.pcapng`, `trace.txt`, `server.out`, `client.out`, `console-*.log`, `qemu-*.log`, `dmesg-*.txt`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cache::write_whole;
use crate::error::{Error, IoContext as _, Result};
use crate::verdict::Verdict;

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
        let runs = workspace.join("target/lab/runs");
        // As in 20261123T154800Z: file names sort by time, and hold no colon.
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace([':', '-'], "");
        let name = format!("{now}-{}", std::process::id());
        let directory = runs.join(&name);
        fs::create_dir_all(&directory).at("failed to create", &directory)?;
        let latest = runs.join("latest");
        // Another invocation may do the same; one of the two is then the newest.
        let _ = fs::remove_file(&latest);
        let _ = symlink(&name, &latest);
        Ok(Artifacts { directory })
    }

    /// The directory of one scenario; not created.
    pub fn scenario(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Keeps a verdict and the trace it judged in the artifact directory that it names.
///
/// # Errors
///
/// The directory cannot be written.
pub fn keep(verdict: &Verdict) -> Result<()> {
    let directory = &verdict.artifacts;
    if let Some(trace) = &verdict.trace {
        write_whole(&directory.join("trace.txt"), trace.as_bytes())?;
    }
    let text = serde_json::to_vec_pretty(verdict)
        .map_err(|source| Error::setup("failed to write the verdict").source(source))?;
    write_whole(&directory.join("verdict.json"), &text)
}
