//! Labs that stay: pairs of machines that outlive the command that brought them up, by name.
//!
//! A record in the cache's directory `labs` leads to the lab's guard and logs. The guard is the truth: a
//! record whose guard has gone is a lab that is down, and says why if the guard left a note. A guard that is there and
//! silent is a lab that does not answer, and is ended by its process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::cache::{self, Cache, Lock, sha256, write_whole};
use crate::base::command::Command;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::invocation;
use crate::base::policy::Policy;
use crate::base::program::Program;
use crate::base::progress::say;
use crate::base::role::Role;
use crate::base::selection::{ProviderName, Selection, ToolSource};
use crate::guest::image::recipe;
use crate::node::parcel::{self, Arrived, Parcel, Target};
use crate::node::{Pair as _, Plan};
use crate::provider::choice::Choice;
use crate::provider::qemu::accel::Accel;
use crate::provider::qemu::argv::Files;
use crate::provider::qemu::control::{Control, Reply, Status};
use crate::provider::qemu::pair::Qemu;
use crate::provider::qemu::process::Process;
use crate::provider::qemu::qmp::Qmp;
use crate::provider::qemu::ssh::{self, ENDS_WITH_ITS_SESSION};
use crate::provider::qemu::stray::{self, Stray};
use crate::provider::remote::detached;
use crate::provider::remote::job::UNITS;
use crate::provider::remote::machine::DIRECTORY;

/// The name of a lab that was given none.
pub const DEFAULT_NAME: &str = "lab";

/// How long a transfer may take; the emulated processor encrypts about a megabyte in a second.
const TRANSFER_LIMIT: Duration = Duration::from_secs(300);

/// How long a guard that listens no more may take until it has gone.
const ENDING_LIMIT: Duration = Duration::from_secs(5);

/// Longest name, in bytes: it is part of file names.
const NAME_LIMIT: usize = 32;

/// A resident lab, as recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resident {
    /// Its name.
    pub name: String,
    /// The run directory of its guard.
    pub run_directory: PathBuf,
    /// Its guard; an older kit left that out.
    #[serde(default)]
    pub guard: Option<Process>,
    /// Where consoles and other logs are.
    pub logs: PathBuf,
    /// The host keys of its nodes.
    pub known_hosts: PathBuf,
    /// What its machines run on.
    pub accel: Accel,
    /// What its machines run on, and why.
    pub description: String,
    /// The release that its machines are; a lab of a kit that did not say so is what guests were then.
    #[serde(default = "guest_before")]
    pub guest: String,
    /// The kernel that its machines run.
    #[serde(default)]
    pub kernel: String,
    /// Whose QEMU that is.
    #[serde(default)]
    pub tools: ToolSource,
    /// Which machines were asked for.
    #[serde(default)]
    selection: Selection,
    /// The port on 127.0.0.1 by which each node is reached.
    #[serde(default)]
    pub ssh_ports: BTreeMap<Role, u16>,
}

fn guest_before() -> String {
    "debian-12".to_owned()
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
    /// given, unless that is told to [`Control::stay`] with [`Resident::note`]. Of a lab that is up already there is no
    /// handle, and nothing is done.
    ///
    /// # Errors
    ///
    /// The name is none that a file can have, or the machines do not come up.
    pub fn up(
        &self,
        qemu: &Qemu,
        name: &str,
        choice: &Choice,
        programs: &[Program],
        logs: &Path,
    ) -> Result<(Resident, Option<Control>)> {
        check_name(name)?;
        let _lock = self.lock(name)?;
        if let Some(lab) = self.find(name)? {
            return Ok((lab, None));
        }
        if let Some(lab) = self.record(name)? {
            self.clear(&lab)?;
        }
        let pair = qemu.fork(&Plan { programs, ..Plan::new(logs) })?;
        let lab = Resident {
            name: name.to_owned(),
            run_directory: PathBuf::new(),
            guard: None,
            logs: logs.to_owned(),
            known_hosts: pair.known_hosts().to_owned(),
            accel: qemu.decision().accel,
            description: pair.description(),
            guest: pair.origin().release.clone(),
            kernel: pair.origin().kernel.clone(),
            selection: choice.selection(),
            ssh_ports: BTreeMap::new(),
            tools: Policy::get().tools,
        };
        let control = pair.into_control();
        let guard = Process::find(control.status()?.guard);
        let run_directory = control.directory().to_owned();
        let lab = Resident { ssh_ports: ssh_ports(&run_directory)?, run_directory, guard, ..lab };
        // Recorded before it stays: a lab that stays and is not recorded could not be ended.
        self.keep(&lab)?;
        Ok((lab, Some(control)))
    }

    /// The lab called `name`, if it is up.
    ///
    /// # Errors
    ///
    /// The name is none that a file can have, or the record cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Resident>> {
        check_name(name)?;
        let Some(lab) = self.record(name)? else { return Ok(None) };
        match lab.condition() {
            Condition::Up(_) => Ok(Some(lab)),
            Condition::Silent => Err(lab.silent()),
            Condition::Down => Ok(None),
        }
    }

    /// The lab called `name`, which is up.
    ///
    /// # Errors
    ///
    /// It is down: with the reason, if its guard left one.
    pub fn get(&self, name: &str) -> Result<Resident> {
        check_name(name)?;
        let up = format!("bring it up: {}{}", invocation::lab("up"), name_argument(name));
        let Some(lab) = self.record(name)? else {
            return Err(Error::usage(format!("no lab called {name} is up")).next(up));
        };
        match lab.condition() {
            Condition::Up(_) => return Ok(lab),
            Condition::Silent => return Err(lab.silent()),
            Condition::Down => {}
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
        let was_there = match lab.condition() {
            Condition::Up(_) => lab.control().end().is_ok(),
            Condition::Silent => false,
            Condition::Down => {
                self.clear(&lab)?;
                return Ok(false);
            }
        };
        if !was_there && let Some(guard) = lab.guard() {
            say(&format!("the guard of {name} does not answer: its process {} is killed", guard.pid));
        }
        self.clear(&lab)?;
        Ok(true)
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
        let known_hosts = pair.known_hosts().to_owned();
        let ssh_ports = ssh_ports(&lab.run_directory)?;
        self.keep(&Resident { known_hosts, ssh_ports, ..lab })
    }

    /// What was left behind: run directories whose guard was killed, and machines without one.
    ///
    /// # Errors
    ///
    /// The records cannot be read.
    pub fn strays(&self) -> Result<Vec<Stray>> {
        let recorded: Vec<PathBuf> = self.all()?.into_iter().map(|lab| lab.run_directory).collect();
        let mut strays = stray::directories(&recorded);
        strays.extend(stray::processes(&recorded));
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

    /// Ends what is left of the lab, and removes its run directory and then its record.
    fn clear(&self, lab: &Resident) -> Result<()> {
        stray::end(lab.guard(), &lab.run_directory)?;
        let path = self.path(&lab.name);
        fs::remove_file(&path).at("failed to remove", &path)
    }
}

/// How a lab is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Its guard answers.
    Up(Status),
    /// Its guard is there and does not answer.
    Silent,
    /// Its guard has gone.
    Down,
}

impl Resident {
    /// A handle on its guard.
    pub fn control(&self) -> Control {
        Control::of(&self.run_directory)
    }

    /// How it is, by its guard's answer.
    pub fn condition(&self) -> Condition {
        match self.control().reply() {
            Reply::Status(status) => Condition::Up(status),
            Reply::Silence => Condition::Silent,
            // It may be about to end; one that has lost its directory and stands still cannot notice that.
            Reply::Gone => match self.guard().map(|guard| guard.wait_end(ENDING_LIMIT)) {
                Some(Err(_)) => Condition::Silent,
                Some(Ok(())) | None => Condition::Down,
            },
        }
    }

    /// What its guard knows; `None` if it is down or does not answer.
    pub fn status(&self) -> Option<Status> {
        match self.condition() {
            Condition::Up(status) => Some(status),
            Condition::Silent | Condition::Down => None,
        }
    }

    /// Its guard's process, as long as that lives.
    pub fn guard(&self) -> Option<Process> {
        self.guard.or_else(|| self.control().listener()).filter(|guard| guard.is_alive())
    }

    /// That it does not answer, why, and what to do.
    fn silent(&self) -> Error {
        let mut error = Error::boot(format!("the lab called {} does not answer", self.name));
        let mut next = format!("end it: {}{}", invocation::lab("down"), name_argument(&self.name));
        if let Some(guard) = self.guard() {
            let pid = guard.pid;
            if guard.is_stopped() {
                next = format!("let it go on: kill -CONT {pid}\nor {next}");
                error = error.detail(format!("its guard, process {pid}, was stopped by a signal (SIGSTOP)"));
            } else {
                error = error.detail(format!("its guard, process {pid}, is there and silent"));
            }
        }
        error.next(next)
    }

    /// What of `choice` it has not: see [`Choice::differences`].
    pub fn differences(&self, choice: &Choice) -> Vec<String> {
        choice.differences(&Selection {
            provider: Some(ProviderName::Qemu),
            // What it runs on in the end.
            accel: Some(self.accel.into()),
            ..self.selection.clone()
        })
    }

    /// The words that reach one of its nodes by SSH; a command may follow them. The lab has a key of its own; `key` is
    /// the cache's, for a lab that an older kit brought up.
    ///
    /// # Errors
    ///
    /// The machine does not tell its port, or this user can run no SSH client.
    pub fn ssh(&self, key: &ssh::Key, role: Role) -> Result<Command> {
        self.demand_moving(role)?;
        let port = Qmp::connect(&Files::new(&self.run_directory, role).qmp())?.ssh_port()?;
        ssh::command(&key.for_lab(&self.run_directory), &self.known_hosts, role, recipe::USER.0, port)
    }

    /// Demands that a machine's process does not stand still.
    fn demand_moving(&self, role: Role) -> Result<()> {
        let Some(status) = self.status() else { return Ok(()) };
        let Some(pid) = status.machines.get(&role).filter(|_| status.stopped.contains(&role)) else {
            return Ok(());
        };
        let name = name_argument(&self.name);
        Err(Error::boot(format!(
            "node {role} of {} stands still: its QEMU, process {pid}, was stopped by a signal (SIGSTOP)",
            self.name
        ))
        .next(format!(
            "let it go on: kill -CONT {pid}\nor fork both anew: {}{name}",
            invocation::lab("reset")
        )))
    }

    /// A command on a node. Whatever ends this process ends both sides: the client by its parent's death, the node's with
    /// its session.
    fn session(&self, key: &ssh::Key, role: Role, command: &str) -> Result<Command> {
        key.tied_to_parent(self.ssh(key, role)?.arg(format!("{ENDS_WITH_ITS_SESSION} {command}")))
    }

    /// Runs a command on a node to its end, with `input` as its standard input, and gives its output.
    ///
    /// # Errors
    ///
    /// It fails, or the node does not answer.
    pub fn run(&self, key: &ssh::Key, role: Role, command: &str, input: &[u8]) -> Result<String> {
        let output = self.session(key, role, command)?.stdin(input).output(TRANSFER_LIMIT)?;
        if output.code == Some(0) {
            return Ok(output.stdout);
        }
        Err(Error::setup(format!("a command on {role} failed: `{command}`")).detail(output.stderr))
    }

    /// Starts a shell command in the background of a node; gives its process id, which is that of its process group too,
    /// and the file there that has both of its outputs. `id` is no other command's.
    ///
    /// # Errors
    ///
    /// The node does not answer, or does not start it.
    pub fn detach(&self, key: &ssh::Key, role: Role, command: &str, id: &str) -> Result<(u32, String)> {
        let directory = format!("{DIRECTORY}/{UNITS}exec-{id}");
        let script = format!(
            "mkdir -p {directory} && cat >{directory}/script || exit\n\
             setsid sh {directory}/script </dev/null >{directory}/log 2>&1 &\n{}",
            detached::wait_pid(&directory)
        );
        let script = self.run(key, role, &script, detached::script(&directory, command).as_bytes())?;
        detached::started(role, &directory, &script)
    }

    /// Puts a parcel onto a node, verified; gives the path there of its one item, or the directory of all, which ends
    /// with `/`. `id` is no other parcel's.
    ///
    /// # Errors
    ///
    /// It cannot be written there, or did not arrive whole.
    pub fn push(
        &self,
        key: &ssh::Key,
        role: Role,
        parcel: &Parcel,
        to: Target<'_>,
        id: &str,
    ) -> Result<String> {
        let script = parcel.unpack_script(None, &sha256(&parcel.bytes), to, id);
        let session = self.session(key, role, &script)?.stdin(parcel.bytes.as_slice());
        let output = session.output(TRANSFER_LIMIT)?;
        if output.code != Some(0) {
            return Err(Error::setup(format!("failed to write {} on {role}", to.path))
                .detail(output.stderr)
                .next("look whether its directory is there and has room"));
        }
        Ok(output.stdout.trim_end_matches('\n').to_owned())
    }

    /// Gets a file from a node, or with `recursive` a directory, as `to`; verified.
    ///
    /// # Errors
    ///
    /// It cannot be read, did not arrive whole, or cannot be written here.
    pub fn pull(
        &self,
        key: &ssh::Key,
        role: Role,
        path: &str,
        recursive: bool,
        to: &Path,
    ) -> Result<Arrived> {
        let packed = tempfile::NamedTempFile::new()
            .map_err(|source| Error::setup("failed to create a temporary file").source(source))?;
        let script = parcel::pack_script(path, recursive, None);
        let output = self.session(key, role, &script)?.stdout_file(packed.path()).output(TRANSFER_LIMIT)?;
        if output.code != Some(0) {
            return Err(Error::setup(format!("failed to read {path} on {role}"))
                .detail(output.stderr)
                .next(format!("look what it is: {}", invocation::lab("exec NODE ls -ld PATH"))));
        }
        let mut packed = fs::File::open(packed.path()).at("failed to read", packed.path())?;
        parcel::arrive(&mut packed, None, to)
    }

    /// Where its guard leaves the reason if a machine ends.
    pub fn note(&self) -> PathBuf {
        self.logs.join("ended.txt")
    }
}

/// The port of each node's SSH server, as its machine tells it.
fn ssh_ports(run_directory: &Path) -> Result<BTreeMap<Role, u16>> {
    let port = |role| Qmp::connect(&Files::new(run_directory, role).qmp())?.ssh_port();
    Role::BOTH.into_iter().map(|role| Ok((role, port(role)?))).collect()
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
    use std::os::unix::net::UnixListener;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::provider::qemu::argv::control_socket;

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
    fn lab_whose_guard_is_silent_says_so_and_is_ended_by_its_process() {
        let (directory, residents) = residents();
        let run_directory = directory.path().join("run");
        fs::create_dir(&run_directory).unwrap();
        // Listens and never accepts; what is killed is another process.
        let _listener = UnixListener::bind(control_socket(&run_directory)).unwrap();
        let mut guard = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let lab = Resident {
            name: "x".to_owned(),
            run_directory: run_directory.clone(),
            guard: Process::find(guard.id()),
            logs: directory.path().to_owned(),
            known_hosts: PathBuf::new(),
            accel: Accel::Tcg,
            tools: ToolSource::Toolbox,
            guest: "debian-13".to_owned(),
            kernel: "6.12".to_owned(),
            selection: Selection::default(),
            ssh_ports: BTreeMap::new(),
            description: String::new(),
        };
        residents.keep(&lab).unwrap();
        kill_process(Pid::from_child(&guard), Signal::STOP).unwrap();
        let said = "the lab called x does not answer\n  | its guard, process ";
        for error in [residents.get("x").unwrap_err(), residents.find("x").unwrap_err()] {
            let text = error.to_string();
            assert!(text.starts_with(said) && text.contains("kill -CONT"), "{text}");
        }
        assert!(residents.down("x").unwrap() && !run_directory.exists());
        assert!(guard.wait().unwrap().code().is_none());
        assert!(residents.all().unwrap().is_empty());
    }

    #[test]
    fn lab_whose_guard_has_gone_says_why_and_is_cleared() {
        let (directory, residents) = residents();
        let run_directory = directory.path().join("run");
        fs::create_dir(&run_directory).unwrap();
        let lab = Resident {
            name: "x".to_owned(),
            run_directory: run_directory.clone(),
            guard: None,
            logs: directory.path().to_owned(),
            known_hosts: PathBuf::new(),
            accel: Accel::Tcg,
            description: String::new(),
            guest: "debian-13".to_owned(),
            kernel: "6.12".to_owned(),
            selection: Selection::default(),
            ssh_ports: BTreeMap::new(),
            tools: ToolSource::Toolbox,
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
