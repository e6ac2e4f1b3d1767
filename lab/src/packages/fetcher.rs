//! The fetcher, on hosts without apt: resolves and downloads packages by a program of this workspace.
//!
//! `debian-fetcher` is compiled at its first use, by the cargo that built the lab: its OpenPGP and TLS would cost
//! every other host's first build as much as all of the lab does. It answers in JSON; its head says how.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::command::Command;
use crate::error::{Error, IoContext as _, Result};
use crate::packages::{Archive, Package, keys};
use crate::progress::Step;

const BUILD_LIMIT: Duration = Duration::from_secs(1200);
const UPDATE_LIMIT: Duration = Duration::from_secs(300);
const QUERY_LIMIT: Duration = Duration::from_secs(60);
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(1800);

/// A state of the fetcher in a directory of ours, for one mirror.
#[derive(Debug)]
pub struct Fetcher {
    directory: PathBuf,
}

/// What the program prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply<T> {
    Answer(T),
    Error { what: String, next: String },
}

impl Fetcher {
    /// Compiles the program, makes a state in `directory` (which exists) and fetches the lists of `release`.
    ///
    /// # Errors
    ///
    /// The program does not compile; the mirror does not answer, is stale, or is not signed by the archive.
    pub fn open(directory: &Path, mirror: &str, release: &str) -> Result<Fetcher> {
        let step = Step::begin("package fetcher, for want of apt: compile");
        cargo("build").run(BUILD_LIMIT)?;
        step.done("");
        let path = directory.join("keys.asc");
        let armored: String = keys::ARCHIVE.iter().map(|(_, armored)| *armored).collect();
        fs::write(&path, armored).at("failed to write", &path)?;
        let fetcher = Fetcher { directory: directory.to_owned() };
        fetcher.ask::<()>("update", &[mirror.into(), release.into(), path.into()], UPDATE_LIMIT)?;
        Ok(fetcher)
    }

    /// Runs the program for one answer.
    fn ask<T: DeserializeOwned>(&self, what: &str, args: &[OsString], limit: Duration) -> Result<T> {
        let command = cargo("run").args(["--", what]).arg(&self.directory).args(args.iter().cloned());
        let output = command.output(limit)?;
        match serde_json::from_str(&output.stdout) {
            Ok(Reply::Answer(answer)) => Ok(answer),
            Ok(Reply::Error { what, next }) => Err(Error::setup(what).next(next)),
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
    fn first_dependency(&self, package: &str) -> Result<String> {
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

/// `cargo VERB` of the fetcher, in this workspace.
fn cargo(verb: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fetcher/Cargo.toml");
    Command::new([cargo]).args([verb, "--quiet", "--locked", "--manifest-path"]).arg(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_is_an_answer_or_an_error() {
        let answer: Reply<Vec<Package>> =
            serde_json::from_str(r#"{"answer":[{"name":"a","file":"a_1_all.deb","size_bytes":7}]}"#).unwrap();
        let expected = Package { file: "a_1_all.deb".to_owned(), size_bytes: 7 };
        assert!(matches!(answer, Reply::Answer(packages) if packages == [expected]));
        let nothing: Reply<()> = serde_json::from_str(r#"{"answer":null}"#).unwrap();
        assert!(matches!(nothing, Reply::Answer(())));
        let error: Reply<()> = serde_json::from_str(r#"{"error":{"what":"a","next":"b"}}"#).unwrap();
        assert!(matches!(error, Reply::Error { what, next } if what == "a" && next == "b"));
    }
}
