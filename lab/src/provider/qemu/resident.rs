//! Labs that stay: pairs of machines that outlive the command that brought them up, by name.
//!
//! A record in the cache's directory `labs` leads to the lab's guard and logs. The guard is the truth: a
//! record whose guard does not answer is a lab that is down, and says why if the guard left a note.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::cache::{self, Cache, Lock, sha256, write_whole};
use crate::command::{Command, shell_word};
use crate::error::{Error, IoContext as _, Result};
use crate::image::recipe;
use crate::node::{Pair as _, Plan, Role};
use crate::policy::{Policy, Source};
use crate::programs::Program;
use crate::provider::qemu::accel::Accel;
use crate::provider::qemu::argv::Files;
use crate::provider::qemu::control::{Control, Status};
use crate::provider::qemu::pair::Qemu;
use crate::provider::qemu::qmp::Qmp;
use crate::provider::qemu::ssh;
use crate::provider::qemu::stray::{self, Stray};

/// The name of a lab that was given none.
pub const DEFAULT_NAME: &str = "lab";

/// How long a transfer may take; the emulated processor encrypts about a megabyte in a second.
const TRANSFER_LIMIT: Duration = Duration::from_secs(300);

/// Longest name, in bytes: it is part of file names.
const NAME_LIMIT: usize = 32;

/// A resident lab, as recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resident {
    /// Its name.
    pub name: String,
    /// The run directory of its guard.
    pub run_directory: PathBuf,
    /// Where consoles and other logs are.
    pub logs: PathBuf,
    /// The host keys of its nodes.
    pub known_hosts: PathBuf,
    /// What its machines run on.
    pub accel: Accel,
    /// What its machines run on, and why.
    pub description: String,
    /// Whose QEMU that is.
    #[serde(default)]
    pub tools: Source,
}

/// The labs of one cache.
#[derive(Debug, Clone)]
pub struct Residents {
    cache: Cache,
    directory: PathBuf,
}

impl Residents {
    /// The labs recorded in `cache`.
    ///
    /// # Errors
    ///
    /// The cache cannot be written.
    pub fn open(cache: &Cache) -> Result<Residents> {
        let directory = cache.path("labs");
        fs::create_dir_all(&directory).at("failed to create", &directory)?;
        Ok(Residents { cache: cache.clone(), directory })
    }

    /// Brings up a lab called `name`; logs go into `logs`, which exists. The lab ends with the handle that is
    /// given, unless that is told to [`Control::stay`] with [`Resident::note`].
    ///
    /// # Errors
    ///
    /// The name is taken or none that a file can have, or the machines do not come up.
    pub fn up(
        &self,
        qemu: &Qemu,
        name: &str,
        programs: &[Program],
        logs: &Path,
    ) -> Result<(Resident, Control)> {
        check_name(name)?;
        let _lock = self.lock(name)?;
        self.check_free(name)?;
        if let Some(lab) = self.record(name)? {
            self.clear(&lab)?;
        }
        let pair = qemu.fork(&Plan { programs, ..Plan::new(logs) })?;
        let lab = Resident {
            name: name.to_owned(),
            run_directory: PathBuf::new(),
            logs: logs.to_owned(),
            known_hosts: pair.known_hosts().to_owned(),
            accel: qemu.decision().accel,
            description: pair.description(),
            tools: Policy::get().tools,
        };
        let control = pair.into_control();
        let lab = Resident { run_directory: control.directory().to_owned(), ..lab };
        // Recorded before it stays: a lab that stays and is not recorded could not be ended.
        self.keep(&lab)?;
        Ok((lab, control))
    }

    /// Checks that a lab can be called `name`.
    ///
    /// # Errors
    ///
    /// The name is taken, or none that a file can have.
    pub fn check_free(&self, name: &str) -> Result<()> {
        check_name(name)?;
        match self.record(name)?.and_then(|lab| lab.status()) {
            None => Ok(()),
            Some(_) => Err(Error::usage(format!("a lab called {name} is up already")).next(format!(
                "use it, or end it: cargo xtask lab down{}\nor bring up another: cargo xtask lab up --name OTHER",
                name_argument(name)
            ))),
        }
    }

    /// The lab called `name`, which is up.
    ///
    /// # Errors
    ///
    /// It is down: with the reason, if its guard left one.
    pub fn get(&self, name: &str) -> Result<Resident> {
        check_name(name)?;
        let up = format!("bring it up: cargo xtask lab up{}", name_argument(name));
        let Some(lab) = self.record(name)? else {
            return Err(Error::usage(format!("no lab called {name} is up")).next(up));
        };
        if lab.status().is_some() {
            return Ok(lab);
        }
        let reason = fs::read_to_string(lab.note()).unwrap_or_default();
        Err(Error::boot(format!("the lab called {name} is down"))
            .detail(reason)
            .next(format!("{up}\nits logs are in {}", lab.logs.display())))
    }

    /// Every recorded lab, up or not.
    ///
    /// # Errors
    ///
    /// The records cannot be read.
    pub fn all(&self) -> Result<Vec<Resident>> {
        let mut names: Vec<String> = fs::read_dir(&self.directory)
            .at("failed to list", &self.directory)?
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .collect();
        names.sort();
        names.iter().filter_map(|name| self.record(name).transpose()).collect()
    }

    /// Ends the lab called `name`; gives whether there was one.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn down(&self, name: &str) -> Result<bool> {
        check_name(name)?;
        let _lock = self.lock(name)?;
        let Some(lab) = self.record(name)? else { return Ok(false) };
        let was_up = lab.status().is_some();
        if was_up {
            lab.control().end()?;
        }
        self.clear(&lab)?;
        Ok(was_up)
    }

    /// Puts both machines of a lab back to the frozen state: what was done on them is gone.
    ///
    /// # Errors
    ///
    /// The lab is down, or its machines do not come up.
    pub fn reset(&self, qemu: &Qemu, name: &str) -> Result<()> {
        let _lock = self.lock(name)?;
        let lab = self.get(name)?;
        let frozen = qemu.frozen(&lab.logs)?;
        let control = lab.control();
        control.kill_machines()?;
        let pair = qemu.fork_under(control, frozen, &lab.logs)?;
        self.keep(&Resident { known_hosts: pair.known_hosts().to_owned(), ..lab })
    }

    /// What was left behind: run directories whose guard was killed, and machines without one.
    ///
    /// # Errors
    ///
    /// The records cannot be read.
    pub fn strays(&self) -> Result<Vec<Stray>> {
        let recorded: Vec<PathBuf> = self.all()?.into_iter().map(|lab| lab.run_directory).collect();
        let mut strays = stray::directories(&recorded);
        strays.extend(stray::machines());
        Ok(strays)
    }

    fn lock(&self, name: &str) -> Result<Lock> {
        self.cache.lock(&format!("labs/{name}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    fn record(&self, name: &str) -> Result<Option<Resident>> {
        cache::read_record(&self.path(name))
    }

    fn keep(&self, lab: &Resident) -> Result<()> {
        let text = serde_json::to_vec_pretty(lab)
            .map_err(|source| Error::setup("failed to write the lab's record").source(source))?;
        write_whole(&self.path(&lab.name), &text)
    }

    /// Removes the record, and the run directory that a killed guard could not remove.
    fn clear(&self, lab: &Resident) -> Result<()> {
        let path = self.path(&lab.name);
        fs::remove_file(&path).at("failed to remove", &path)?;
        if lab.run_directory.exists() {
            fs::remove_dir_all(&lab.run_directory).at("failed to remove", &lab.run_directory)?;
        }
        Ok(())
    }
}

impl Resident {
    /// A handle on its guard.
    pub fn control(&self) -> Control {
        Control::of(&self.run_directory)
    }

    /// What its guard knows; `None` if it is down.
    pub fn status(&self) -> Option<Status> {
        self.control().status().ok()
    }

    /// The words that reach one of its nodes by SSH; a command may follow them.
    ///
    /// # Errors
    ///
    /// The machine does not tell its port.
    pub fn ssh(&self, key: &ssh::Key, role: Role) -> Result<Command> {
        let port = Qmp::connect(&Files::new(&self.run_directory, role).qmp())?.ssh_port()?;
        Ok(ssh::command(key, &self.known_hosts, role, recipe::LAB.user.0, port))
    }

    /// Runs a command on a node to its end, with `input` as its standard input, and gives its output.
    ///
    /// # Errors
    ///
    /// It fails, or the node does not answer.
    pub fn run(&self, key: &ssh::Key, role: Role, command: &str, input: &[u8]) -> Result<String> {
        let words = self.ssh(key, role)?.arg(command).stdin(input);
        let output = words.output(TRANSFER_LIMIT)?;
        if output.code == Some(0) {
            return Ok(output.stdout);
        }
        Err(Error::setup(format!("a command on {role} failed: `{command}`")).detail(output.stderr))
    }

    /// Puts a file onto a node, executable, and verifies it there.
    ///
    /// # Errors
    ///
    /// It cannot be written there, or did not arrive whole.
    pub fn push(&self, key: &ssh::Key, role: Role, bytes: &[u8], to: &str) -> Result<()> {
        let to = shell_word(to);
        // Renamed into place: a program that runs cannot be written over.
        let command =
            format!("cat >{to}.part && chmod 755 {to}.part && mv {to}.part {to} && sha256sum <{to}");
        let sum = self.run(key, role, &command, bytes).map_err(|error| {
            Error::setup(format!("failed to write {to} on {role}"))
                .source(error)
                .next("look whether its directory is there and has room")
        })?;
        check_whole(to.trim_matches('\''), &sum, bytes)
    }

    /// The content of a file on a node, verified.
    ///
    /// # Errors
    ///
    /// It cannot be read, or did not arrive whole.
    pub fn pull(&self, key: &ssh::Key, role: Role, path: &str) -> Result<Vec<u8>> {
        let from = shell_word(path);
        let text =
            self.run(key, role, &format!("sha256sum <{from} && base64 <{from}"), b"").map_err(|error| {
                Error::setup(format!("failed to read {from} on {role}"))
                    .source(error)
                    .next("look whether it is there: cargo xtask lab exec NODE -- ls -l FILE")
            })?;
        let (sum, text) = text.split_once('\n').unwrap_or_default();
        let text: String = text.split_whitespace().collect();
        let bytes = BASE64_STANDARD
            .decode(text)
            .map_err(|source| Error::setup(format!("{path} did not arrive whole")).source(source))?;
        check_whole(path, sum, &bytes)?;
        Ok(bytes)
    }

    /// Where its guard leaves the reason if a machine ends.
    pub fn note(&self) -> PathBuf {
        self.logs.join("ended.txt")
    }
}

/// Compares the output of `sha256sum` on the node with the bytes here.
fn check_whole(path: &str, sum: &str, bytes: &[u8]) -> Result<()> {
    if sum.split_whitespace().next() == Some(&sha256(bytes)) {
        return Ok(());
    }
    Err(Error::setup(format!("{path} did not arrive whole: its checksum differs")))
}

/// The option that names a lab, left out for the default one.
fn name_argument(name: &str) -> String {
    if name == DEFAULT_NAME { String::new() } else { format!(" --name {name}") }
}

fn check_name(name: &str) -> Result<()> {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.is_empty() && name.len() <= NAME_LIMIT && name.bytes().all(is_good) && !name.starts_with('-') {
        return Ok(());
    }
    Err(Error::usage(format!("`{name}` is no name for a lab"))
        .next(format!("use small letters, digits and `-`, at most {NAME_LIMIT} of them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn residents() -> (tempfile::TempDir, Residents) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let residents = Residents::open(&cache).unwrap();
        (directory, residents)
    }

    #[test]
    fn names_are_what_a_file_can_have() {
        for name in ["lab", "a-1"] {
            check_name(name).unwrap();
        }
        for name in ["", "../x", "a/b", "-x", "A", "a b", &"x".repeat(33)] {
            check_name(name).unwrap_err();
        }
    }

    #[test]
    fn lab_that_was_never_up_is_an_error_that_says_how() {
        let (_directory, residents) = residents();
        let text = residents.get("x").unwrap_err().to_string();
        assert_eq!(text, "no lab called x is up\n  next: bring it up: cargo xtask lab up --name x");
        assert!(!residents.down("x").unwrap());
    }

    #[test]
    fn lab_whose_guard_has_gone_says_why_and_is_cleared() {
        let (directory, residents) = residents();
        let run_directory = directory.path().join("run");
        fs::create_dir(&run_directory).unwrap();
        let lab = Resident {
            name: "x".to_owned(),
            run_directory: run_directory.clone(),
            logs: directory.path().to_owned(),
            known_hosts: PathBuf::new(),
            accel: Accel::Tcg,
            description: String::new(),
            tools: Source::Toolbox,
        };
        residents.keep(&lab).unwrap();
        fs::write(lab.note(), "node server ended: signal 9\n").unwrap();
        let text = residents.get("x").unwrap_err().to_string();
        assert!(text.contains("is down\n  | node server ended: signal 9"), "{text}");
        assert_eq!(residents.all().unwrap().len(), 1);
        assert!(!residents.down("x").unwrap() && !run_directory.exists());
        assert!(residents.all().unwrap().is_empty());
    }
}
