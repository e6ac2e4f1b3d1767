//! Commands of the documentation, run as a reader would: in a shell, in a directory with the fixtures.
//!
//! The directory is a git repository of its own, so that no command changes this one. `roce` and `cargo xtask` are this program.
//! Nothing is there that machines could be made of, but for outputs that are of machines.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::base::command::{Command, shell_word};
use lab::base::error::IoContext as _;
use lab::{Error, Result};
use tempfile::TempDir;

use super::blocks::steps;
use crate::workspace;

/// The hidden subcommand that is `roce`.
pub(crate) const ROCE: &str = "__roce";

/// Longest time of one command.
const LIMIT: Duration = Duration::from_secs(120);

/// Longest time of one that starts machines.
const MACHINES_LIMIT: Duration = Duration::from_secs(600);

/// Parts of the checkout that a page's commands find.
const SHOWN: [&str; 3] = ["fixtures", "lab", "tests"];

/// Directory with the runs, which commands on machines find as well.
const RUNS: &str = "target";

/// The shell of one page: what a block has made is there for the next.
#[derive(Debug)]
pub(super) struct PageShell {
    directory: TempDir,
    programs: TempDir,
    has_machines: bool,
}

impl PageShell {
    /// Makes the directory; `program` is this program. With `has_machines` the cache is the user's own.
    ///
    /// # Errors
    ///
    /// A directory cannot be made.
    pub(super) fn new(program: &Path, has_machines: bool) -> Result<PageShell> {
        let [directory, programs] = [temporary()?, temporary()?];
        for name in SHOWN.into_iter().chain(has_machines.then_some(RUNS)) {
            let link = directory.path().join(name);
            symlink(workspace::root().join(name), &link).at("failed to create", &link)?;
        }
        let program = shell_word(&program.display().to_string());
        script(&programs.path().join("roce"), &format!("exec {program} {ROCE} \"$@\""))?;
        // What machines run is built first.
        let other = match has_machines {
            true => "PATH=${PATH#*:} exec cargo \"$@\"",
            false => "echo 'only cargo xtask is run here' >&2\nexit 127",
        };
        let cargo = format!("[ \"$1\" = xtask ] && shift && exec {program} \"$@\"\n{other}");
        script(&programs.path().join("cargo"), &cargo)?;
        let shell = PageShell { directory, programs, has_machines };
        // Without git the commands that want it say so.
        let _ = shell.output("git init --quiet");
        Ok(shell)
    }

    /// Runs a command; returns all that it prints.
    ///
    /// # Errors
    ///
    /// It takes too long, is no command, or was asked for what cannot be.
    pub(super) fn output(&self, command: &str) -> Result<String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [PathBuf::from(self.programs.path())].into_iter().chain(std::env::split_paths(&path));
        let path = std::env::join_paths(path).map_err(|error| Error::setup(error.to_string()))?;
        let mut call = Command::new(["sh", "-c"])
            .arg(format!("exec 2>&1\n{command}"))
            .directory(self.directory.path())
            .env("PATH", path)
            .env("NO_COLOR", "1");
        if !self.has_machines {
            call = call
                .env("RDMA_LAB_CACHE", self.programs.path().join("cache"))
                .env("RDMA_LAB_OFFLINE", "1")
                .env_remove("RDMA_LAB_SELECTION")
                .env_remove("RDMA_LAB_TOOLS");
        }
        let told = call.output(if self.has_machines { MACHINES_LIMIT } else { LIMIT })?;
        match told.code {
            // 1 is a difference, or findings.
            Some(0 | 1) => Ok(told.stdout),
            _ => {
                Err(Error::setup(format!("`{}`: {}: {}", command.trim(), told.ending(), told.stdout.trim())))
            }
        }
    }

    /// Runs a session; returns it with the outputs of today.
    ///
    /// # Errors
    ///
    /// As of [`PageShell::output`].
    pub(super) fn session(&self, session: &str) -> Result<String> {
        let mut text = String::new();
        for (command, _) in steps(session).map_err(Error::setup)? {
            text.push_str(&format!("$ {command}{}", self.output(&command)?));
        }
        Ok(text)
    }
}

fn temporary() -> Result<TempDir> {
    tempfile::tempdir().at("failed to create a directory in", &std::env::temp_dir())
}

fn script(file: &Path, text: &str) -> Result<()> {
    fs::write(file, format!("#!/bin/sh\n{text}\n")).at("failed to write", file)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).at("failed to write", file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_is_told_with_the_outputs_of_today() {
        let shell = PageShell::new(Path::new("/nonexistent/xtask"), false).unwrap();
        let told = shell
            .session("$ echo a >b; echo c >&2\nold\n$ cat b \\\n  b\n$ ls fixtures/write_read.pcapng\n")
            .unwrap();
        assert_eq!(
            told,
            "$ echo a >b; echo c >&2\nc\n$ cat b \\\n  b\na\na\n$ ls fixtures/write_read.pcapng\nfixtures/write_read.pcapng\n"
        );
        for command in ["roce trace x", "cargo build", "nonesuch", "exit 2"] {
            assert!(shell.output(command).is_err(), "{command}");
        }
        assert_eq!(shell.output("echo x; false").unwrap(), "x\n");
    }
}
