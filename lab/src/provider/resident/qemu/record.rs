//! Labs that stay: machines that outlive the command that brought them up, by name.
//!
//! A record in the cache's directory `labs` leads to the lab's guard and logs. The guard is the truth: a
//! record whose guard has gone is a lab that is down, and says why if the guard left a note. A guard that is there and
//! silent is a lab that does not answer, and is ended by its process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::cache::{self, Cache, Lock};
use crate::base::command::Command;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::invocation;
use crate::base::policy::Policy;
use crate::base::progress::say;
use crate::base::role::Role;
use crate::base::selection::{Selection, ToolSource};
use crate::guest::image::recipe;
use crate::node::{NodePair as _, Plan, Provenance};
use crate::provider::choice::Choice;
use crate::provider::qemu::accel::Accel;
use crate::provider::qemu::control::{Control, Reply, Status};
use crate::provider::qemu::process::Process;
use crate::provider::qemu::provider::Qemu;
use crate::provider::qemu::qmp::Qmp;
use crate::provider::qemu::ssh;
use crate::provider::qemu::stray::{self, Stray};
use crate::provider::resident::lab::{check_name, name_option};

/// Longest time that a guard that listens no more may take until it has gone.
const ENDING_LIMIT: Duration = Duration::from_secs(5);

/// A lab, as recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct QemuRecord {
    /// Its name.
    pub(super) name: String,
    /// The run directory of its guard.
    pub(super) run_directory: PathBuf,
    /// Its guard; an older kit left that out.
    #[serde(default)]
    guard: Option<Process>,
    /// Directory of consoles and other logs.
    pub(super) logs: PathBuf,
    /// The host keys of its nodes.
    pub(super) known_hosts: PathBuf,
    /// Accelerator of its machines.
    pub(super) accel: Accel,
    /// Description of its machines.
    pub(super) description: String,
    /// The release that its machines are, the server's and the client's if they differ; a lab of a kit that did not say so is what guests were then.
    #[serde(default = "guest_before")]
    pub(super) guest: String,
    /// The kernel that its machines run.
    #[serde(default)]
    pub(super) kernel: String,
    /// Whose QEMU that is.
    #[serde(default)]
    pub(super) tools: ToolSource,
    /// Options that its machines were chosen with.
    #[serde(default)]
    pub(super) selection: Selection,
    /// The port on 127.0.0.1 by which each node is reached.
    #[serde(default)]
    pub(super) ssh_ports: BTreeMap<Role, u16>,
    /// Number of its nodes.
    #[serde(default = "nodes_before", skip_serializing_if = "is_as_before")]
    pub(super) nodes: usize,
}

fn nodes_before() -> usize {
    Role::BOTH.len()
}

fn is_as_before(nodes: &usize) -> bool {
    *nodes == nodes_before()
}

fn guest_before() -> String {
    "debian-12".to_owned()
}

/// The labs of one cache on the lab's own machines.
#[derive(Debug, Clone)]
pub struct QemuLabs {
    cache: Cache,
    directory: PathBuf,
}

impl QemuLabs {
    /// The labs recorded in `cache`.
    ///
    /// # Errors
    ///
    /// The cache cannot be written.
    pub fn open(cache: &Cache) -> Result<QemuLabs> {
        let directory = cache.path("labs");
        fs::create_dir_all(&directory).at("failed to create", &directory)?;
        Ok(QemuLabs { cache: cache.clone(), directory })
    }

    /// Brings up a lab called `name` with so many nodes, as planned. The lab ends with the handle that is
    /// given, unless that is told to [`Control::stay`] with [`note`]. Of a lab that is up already there is no
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
        plan: &Plan<'_>,
    ) -> Result<(QemuLab, Option<Control>)> {
        check_name(name)?;
        let _lock = self.lock(name)?;
        if let Some(lab) = self.find(name)? {
            return Ok((lab, None));
        }
        if let Some(lab) = self.recorded(name)? {
            self.clear(&lab)?;
        }
        let pair = qemu.fork(plan)?;
        let record = QemuRecord {
            name: name.to_owned(),
            run_directory: PathBuf::new(),
            guard: None,
            logs: plan.artifacts.to_owned(),
            known_hosts: pair.known_hosts().to_owned(),
            accel: qemu.decision().accel,
            description: pair.description(),
            guest: both(pair.origin(), |machine| &machine.release),
            kernel: both(pair.origin(), |machine| &machine.kernel),
            selection: choice.selection(),
            ssh_ports: BTreeMap::new(),
            nodes: plan.roles().len(),
            tools: Policy::get().tools,
        };
        let control = pair.into_control();
        let guard = Process::find(control.status()?.guard);
        let run_directory = control.directory().to_owned();
        let ssh_ports = ssh_ports(&run_directory, plan.roles())?;
        let record = QemuRecord { ssh_ports, run_directory, guard, ..record };
        // Recorded before it stays: a lab that stays and is not recorded could not be ended.
        Ok((self.keep(record)?, Some(control)))
    }

    /// The lab called `name`, if it is up.
    ///
    /// # Errors
    ///
    /// The name is none that a file can have, or the record cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<QemuLab>> {
        check_name(name)?;
        let Some(lab) = self.recorded(name)? else { return Ok(None) };
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
    pub fn get(&self, name: &str) -> Result<QemuLab> {
        check_name(name)?;
        let up = format!("bring it up: {}{}", invocation::lab("up"), name_option(name));
        let Some(lab) = self.recorded(name)? else {
            return Err(Error::usage(format!("no lab called {name} is up")).next(up));
        };
        match lab.condition() {
            Condition::Up(_) => return Ok(lab),
            Condition::Silent => return Err(lab.silent()),
            Condition::Down => {}
        }
        let reason = fs::read_to_string(note(&lab.record.logs)).unwrap_or_default();
        Err(Error::boot(format!("the lab called {name} is down"))
            .detail(reason)
            .next(format!("{up}\nits logs are in {}", lab.record.logs.display())))
    }

    /// Every recorded lab, up or not.
    ///
    /// # Errors
    ///
    /// The records cannot be read.
    pub fn all(&self) -> Result<Vec<QemuLab>> {
        let mut names: Vec<String> = fs::read_dir(&self.directory)
            .at("failed to list", &self.directory)?
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .collect();
        names.sort();
        names.iter().filter_map(|name| self.recorded(name).transpose()).collect()
    }

    /// Ends the lab called `name`; gives whether there was one.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn down(&self, name: &str) -> Result<bool> {
        check_name(name)?;
        let _lock = self.lock(name)?;
        let Some(lab) = self.recorded(name)? else { return Ok(false) };
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

    /// Puts the machines of a lab back to the frozen state: what was done on them is gone. Returns the lab as it is then.
    ///
    /// # Errors
    ///
    /// The lab is down, or its machines do not come up.
    pub fn reset(&self, qemu: &Qemu, name: &str) -> Result<QemuLab> {
        let _lock = self.lock(name)?;
        let lab = self.get(name)?;
        let logs = &lab.record.logs;
        let frozen = qemu.frozen(logs)?;
        let control = lab.control();
        control.kill_machines()?;
        let roles = Role::first(lab.record.nodes);
        let pair = qemu.fork_under(control, frozen, roles, logs)?;
        let known_hosts = pair.known_hosts().to_owned();
        let ssh_ports = ssh_ports(&lab.record.run_directory, roles)?;
        self.keep(QemuRecord { known_hosts, ssh_ports, ..lab.record })
    }

    /// Lists what was left behind: run directories whose guard was killed, and machines without one.
    ///
    /// # Errors
    ///
    /// The records cannot be read.
    pub fn strays(&self) -> Result<Vec<Stray>> {
        let recorded: Vec<PathBuf> = self.all()?.into_iter().map(|lab| lab.record.run_directory).collect();
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

    /// Finds the lab called `name` as it is recorded, up or not.
    ///
    /// # Errors
    ///
    /// The record cannot be read.
    pub fn recorded(&self, name: &str) -> Result<Option<QemuLab>> {
        let record = cache::read_record(&self.path(name))?;
        Ok(record.map(|record| QemuLab { labs: self.clone(), record }))
    }

    fn keep(&self, record: QemuRecord) -> Result<QemuLab> {
        cache::write_record(&self.path(&record.name), &record)?;
        Ok(QemuLab { labs: self.clone(), record })
    }

    /// The cache that they are recorded in.
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Ends what is left of the lab, and removes its run directory and then its record.
    fn clear(&self, lab: &QemuLab) -> Result<()> {
        stray::end(lab.guard(), &lab.record.run_directory)?;
        let path = self.path(&lab.record.name);
        fs::remove_file(&path).at("failed to remove", &path)
    }
}

/// Value that both machines have of a kind, or the server's and the client's.
fn both(machines: &BTreeMap<Role, Provenance>, of: impl Fn(&Provenance) -> &String) -> String {
    let mut each: Vec<&str> = machines.values().map(|machine| of(machine).as_str()).collect();
    each.dedup();
    each.join(" and ")
}

/// Condition of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Its guard answers.
    Up(Status),
    /// Its guard is there and does not answer.
    Silent,
    /// Its guard has gone.
    Down,
}

/// A lab on the lab's own machines.
#[derive(Debug, Clone)]
pub struct QemuLab {
    pub(super) labs: QemuLabs,
    pub(super) record: QemuRecord,
}

impl QemuLab {
    /// A handle on its guard.
    pub fn control(&self) -> Control {
        Control::of(&self.record.run_directory)
    }

    /// The key that all labs of the cache were made with.
    pub(super) fn key(&self) -> Result<ssh::Key> {
        ssh::Key::ensure(&self.labs.cache)
    }

    /// Its condition, by its guard's answer.
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

    /// Asks its guard for its status; `None` if it is down or does not answer.
    pub fn status(&self) -> Option<Status> {
        match self.condition() {
            Condition::Up(status) => Some(status),
            Condition::Silent | Condition::Down => None,
        }
    }

    /// Its guard's process, as long as that lives.
    pub fn guard(&self) -> Option<Process> {
        self.record.guard.or_else(|| self.control().listener()).filter(|guard| guard.is_alive())
    }

    /// That it does not answer, why, and what to do.
    fn silent(&self) -> Error {
        let mut error = Error::boot(format!("the lab called {} does not answer", self.record.name));
        let mut next = format!("end it: {}{}", invocation::lab("down"), name_option(&self.record.name));
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

    /// The words that reach one of its nodes by SSH; a command may follow them. The lab has a key of its own, or the cache's
    /// where an older kit brought it up.
    ///
    /// # Errors
    ///
    /// The machine does not tell its port, or this user can run no SSH client.
    pub fn ssh(&self, role: Role) -> Result<Command> {
        self.demand_moving(role)?;
        let QemuRecord { run_directory, known_hosts, .. } = &self.record;
        let port = Qmp::of(run_directory, role)?.ssh_port()?;
        ssh::command(&self.key()?.for_lab(run_directory), known_hosts, role, recipe::USER.0, port)
    }

    /// Demands that a machine's process does not stand still.
    fn demand_moving(&self, role: Role) -> Result<()> {
        let Some(status) = self.status() else { return Ok(()) };
        let Some(pid) = status.machines.get(&role).filter(|_| status.stopped.contains(&role)) else {
            return Ok(());
        };
        let name = name_option(&self.record.name);
        Err(Error::boot(format!(
            "node {role} of {} stands still: its QEMU, process {pid}, was stopped by a signal (SIGSTOP)",
            self.record.name
        ))
        .next(format!(
            "let it go on: kill -CONT {pid}\nor fork both anew: {}{name}",
            invocation::lab("reset")
        )))
    }
}

/// The file among a lab's logs where its guard leaves the reason if a machine ends.
pub fn note(logs: &Path) -> PathBuf {
    logs.join("ended.txt")
}

/// The port of each node's SSH server, as its machine tells it.
fn ssh_ports(run_directory: &Path, roles: &[Role]) -> Result<BTreeMap<Role, u16>> {
    let port = |role| Qmp::of(run_directory, role)?.ssh_port();
    roles.iter().map(|role| Ok((*role, port(*role)?))).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::provider::qemu::argv::control_socket;

    fn residents() -> (tempfile::TempDir, QemuLabs) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let residents = QemuLabs::open(&cache).unwrap();
        (directory, residents)
    }

    /// A lab called x with its run directory below `directory`, which has its logs.
    fn record(directory: &Path, guard: Option<Process>) -> QemuRecord {
        QemuRecord {
            name: "x".to_owned(),
            run_directory: directory.join("run"),
            guard,
            logs: directory.to_owned(),
            known_hosts: PathBuf::new(),
            accel: Accel::Tcg,
            tools: ToolSource::Toolbox,
            guest: "debian-13".to_owned(),
            kernel: "6.12".to_owned(),
            selection: Selection::default(),
            ssh_ports: BTreeMap::new(),
            nodes: 2,
            description: String::new(),
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
        residents.keep(record(directory.path(), Process::find(guard.id()))).unwrap();
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
        residents.keep(record(directory.path(), None)).unwrap();
        fs::write(note(directory.path()), "node server ended: signal 9\n").unwrap();
        let text = residents.get("x").unwrap_err().to_string();
        assert!(text.contains("is down\n  | node server ended: signal 9"), "{text}");
        assert_eq!(residents.all().unwrap().len(), 1);
        assert!(!residents.down("x").unwrap() && !run_directory.exists());
        assert!(residents.all().unwrap().is_empty());
    }
}
