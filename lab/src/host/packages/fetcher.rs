//! The fetcher, on hosts without apt: resolves and downloads packages by a program of this workspace, or by this program
//! itself where that is a part of it.
//!
//! In a checkout `debian-fetcher` is compiled at its first use, by the cargo that built the lab: its OpenPGP and TLS would
//! cost every other host's first build as much as all of the lab does. It answers in JSON; its head says how.
//!
//! A process asks cargo for it once, whoever comes first. Cargo compiles it once, whoever asks: the variables that cargo
//! sets for what it runs are kept from it, because build scripts would see other ones of each caller and run again.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::base::command::{Command, tail};
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::invocation::{self, Invocation};
use crate::base::policy::Policy;
use crate::base::program::executables;
use crate::base::progress::Step;
use crate::host::packages::archive::{Archive, Package};
use crate::host::packages::keys;

const BUILD_LIMIT: Duration = Duration::from_secs(1200);
const UPDATE_LIMIT: Duration = Duration::from_secs(300);
const QUERY_LIMIT: Duration = Duration::from_secs(60);
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(1800);

/// Its path, once this process knows.
static PROGRAM: Mutex<Option<PathBuf>> = Mutex::new(None);

/// A state of the fetcher in a directory of ours, for one mirror.
#[derive(Debug)]
pub struct Fetcher {
    /// The program, with the words before its own.
    program: Vec<OsString>,
    directory: PathBuf,
}

/// Output of the program.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FetcherReply<T> {
    Answer(T),
    Error { what: String, next: String },
}

impl Fetcher {
    /// Compiles the program, makes a state in `directory` (which exists) and fetches the lists of `release`; expired ones are
    /// taken if that is said.
    ///
    /// # Errors
    ///
    /// The program does not compile; the mirror does not answer, is stale, or is not signed by the archive.
    pub fn open(directory: &Path, mirror: &str, release: &str, takes_expired: bool) -> Result<Fetcher> {
        let program = program()?;
        let path = directory.join("keys.asc");
        let armored: String = keys::ARCHIVE.iter().map(|(_, armored)| *armored).collect();
        fs::write(&path, armored).at("failed to write", &path)?;
        let fetcher = Fetcher { program, directory: directory.to_owned() };
        let mut words = vec![mirror.into(), release.into(), path.into()];
        words.extend(takes_expired.then(|| "expired".into()));
        fetcher.ask::<()>("update", &words, UPDATE_LIMIT)?;
        Ok(fetcher)
    }

    /// Runs the program for one answer.
    fn ask<T: DeserializeOwned>(&self, what: &str, args: &[OsString], limit: Duration) -> Result<T> {
        let command = Command::new(&self.program).arg(what).arg(&self.directory).args(args.iter().cloned());
        let output = command.output(limit)?;
        match serde_json::from_str(&output.stdout) {
            Ok(FetcherReply::Answer(answer)) => Ok(answer),
            Ok(FetcherReply::Error { what, next }) => Err(Error::setup(what).next(next)),
            Err(source) => {
                let code =
                    output.code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
                Err(Error::setup(format!("the package fetcher gave no answer to `{what}` ({code})"))
                    .source(source)
                    .detail(output.stderr))
            }
        }
    }
}

impl Archive for Fetcher {
    fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        self.ask("depends", &[package.into()], QUERY_LIMIT)
    }

    fn resolve(&self, packages: &[&str]) -> Result<Vec<Package>> {
        self.ask("resolve", &words(packages), QUERY_LIMIT)
    }

    fn look_up(&self, packages: &[&str]) -> Result<Vec<Package>> {
        self.ask("show", &words(packages), QUERY_LIMIT)
    }

    fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let mut args = vec![self.directory.join("archives").into()];
        args.extend(words(packages));
        self.ask("download", &args, DOWNLOAD_LIMIT)
    }

    fn download_only(&self, packages: &[&str], directory: &Path) -> Result<Vec<PathBuf>> {
        let mut args = vec![directory.into()];
        args.extend(words(packages));
        let mut files: Vec<PathBuf> = self.ask("download-only", &args, DOWNLOAD_LIMIT)?;
        files.sort();
        Ok(files)
    }
}

fn words(packages: &[&str]) -> Vec<OsString> {
    packages.iter().map(OsString::from).collect()
}

/// The program: this one, where the fetcher is a part of it, else one that is compiled if need be.
fn program() -> Result<Vec<OsString>> {
    match Invocation::get().fetcher {
        Some(subcommand) => Ok(vec![this_program()?.into_os_string(), subcommand.into()]),
        None => Ok(vec![compiled()?.into_os_string()]),
    }
}

/// The path of this executable.
fn this_program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|source| Error::setup("failed to find this program").source(source))
}

/// The program of this workspace, compiled if need be; who asks while another compiles waits for that.
fn compiled() -> Result<PathBuf> {
    let mut known = PROGRAM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = &*known {
        return Ok(program.clone());
    }
    let step = Step::begin("package fetcher, for want of apt: compile");
    let output = build(std::env::vars_os().map(|(name, _)| name)).output(BUILD_LIMIT)?;
    let mut programs = executables(&output.stdout, false);
    let program = match (output.code, programs.pop()) {
        (Some(0), Some(program)) => program.path,
        _ => {
            return Err(Error::setup("failed to compile the package fetcher")
                .detail(tail(&output.stderr, 30))
                .next(format!("{} says whether a tool is missing", invocation::program("doctor"))));
        }
    };
    step.done("");
    *known = Some(program.clone());
    Ok(program)
}

/// `cargo build` of the program in this workspace, in a process that has the variables `names`.
fn build(names: impl Iterator<Item = OsString>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("fetcher");
    let build = Command::new([cargo])
        .args(["build", "--quiet", "--locked", "--message-format", "json-render-diagnostics"])
        .directory(package);
    let build = names.filter(|name| is_of_caller(name)).fold(build, Command::env_remove);
    if Policy::get().offline { build.env("CARGO_NET_OFFLINE", "true") } else { build }
}

/// True for a variable that says which package cargo runs.
fn is_of_caller(name: &OsStr) -> bool {
    let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];
    name.to_str().is_some_and(|name| name == "OUT_DIR" || own.iter().any(|own| name.starts_with(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_is_an_answer_or_an_error() {
        let answer: FetcherReply<Vec<Package>> =
            serde_json::from_str(r#"{"answer":[{"name":"a","file":"a_1_all.deb","size_bytes":7}]}"#).unwrap();
        let expected = Package { file: "a_1_all.deb".to_owned(), size_bytes: 7 };
        assert!(matches!(answer, FetcherReply::Answer(packages) if packages == [expected]));
        let nothing: FetcherReply<()> = serde_json::from_str(r#"{"answer":null}"#).unwrap();
        assert!(matches!(nothing, FetcherReply::Answer(())));
        let error: FetcherReply<()> = serde_json::from_str(r#"{"error":{"what":"a","next":"b"}}"#).unwrap();
        assert!(matches!(error, FetcherReply::Error { what, next } if what == "a" && next == "b"));
    }
    #[test]
    fn variables_of_the_calling_package_do_not_reach_the_build() {
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_PRE", "CARGO_MANIFEST_DIR", "OUT_DIR"] {
            assert!(is_of_caller(OsStr::new(name)), "{name}");
        }
        // The user's own stay.
        for name in
            ["CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "CARGO_PROFILE_DEV_DEBUG"]
        {
            assert!(!is_of_caller(OsStr::new(name)), "{name}");
        }
    }
}
