//! QEMU guests, two or more, and the switch between them, behind the traits of [`crate::node`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::command::Command;
use crate::base::error::{Error, Kind, Result};
use crate::base::role::Role;
use crate::node::{Node, NodePair, Plan, Provenance};
use crate::provider::qemu::accel::Decision;
use crate::provider::qemu::argv::Files;
use crate::provider::qemu::control::{Control, Status};
use crate::provider::qemu::guest::Guest;
use crate::provider::qemu::log::{console_log, ended, last_lines, stands_still};
use crate::provider::qemu::qmp::Qmp;
use crate::provider::qemu::{network, ssh};
use crate::scenario::fault::{Action, Met};
use crate::wire::captured::Captured;
use crate::wire::limits::PortCount;

/// Longest time that a node may take to be on a network.
const JOIN_LIMIT: Duration = Duration::from_secs(20);

/// Longest time that a machine's process may stand still while something is waited for.
const STILL_LIMIT: Duration = Duration::from_secs(4);

/// All guests, ready. The guard is dropped last: it ends them.
#[derive(Debug)]
pub struct QemuPair {
    pub(super) guests: BTreeMap<Role, Guest>,
    pub(super) control: Control,
    pub(super) origin: BTreeMap<Role, Provenance>,
    pub(super) decision: Decision,
    pub(super) ssh_key: ssh::Key,
    pub(super) user: &'static str,
    pub(super) known_hosts: PathBuf,
    pub(super) logs: PathBuf,
    /// Since when a machine has been seen to stand still.
    pub(super) still_since: Mutex<BTreeMap<Role, Instant>>,
}

impl QemuPair {
    /// The process ids of the machines' QEMU.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn machines(&self) -> Result<BTreeMap<Role, u32>> {
        Ok(self.control.status()?.machines)
    }

    /// Description of each machine's software.
    pub fn origin(&self) -> &BTreeMap<Role, Provenance> {
        &self.origin
    }

    /// Drops the nodes and keeps their guard.
    pub fn into_control(self) -> Control {
        self.control
    }

    /// Ends one machine for good; gives the socket of its port at the switch, which another may connect to.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn vacate(&self, role: Role) -> Result<PathBuf> {
        self.control.kill_machine(role)?;
        Ok(Files::new(self.control.directory(), role).wire())
    }

    /// A machine that has stood still for longer than a person or a debugger may look at it.
    fn still_for_long(&self, status: &Status) -> Option<Role> {
        let mut since = self.still_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|role, _| status.stopped.contains(role));
        let role = |role: &Role| since.entry(*role).or_insert_with(Instant::now).elapsed() > STILL_LIMIT;
        status.stopped.iter().copied().find(role)
    }

    /// Puts all nodes on the plan's network.
    pub(super) fn join(&mut self, plan: &Plan<'_>) -> Result<()> {
        let network = plan.network;
        let is_cut = plan.faults.iter().any(|fault| matches!(fault.action, Action::Cut { .. }));
        let mut started = Vec::new();
        for (&role, guest) in &self.guests {
            let known = if is_cut { plan.roles() } else { &[] };
            if let Some(command) = network::command(role, network, known) {
                started.push(guest.begin(&command)?);
            }
        }
        for mut started in started {
            started.demand(&format!("it is on {network}"), JOIN_LIMIT, &self.control)?;
        }
        for (&role, guest) in &mut self.guests {
            guest.set_address(network::address(role, network));
        }
        Ok(())
    }

    /// The host keys of all nodes, as `ssh` reads them.
    pub fn known_hosts(&self) -> &Path {
        &self.known_hosts
    }

    /// The guard's run directory, which goes with the machines.
    pub fn run_directory(&self) -> &Path {
        self.control.directory()
    }

    /// The control socket of a node's QEMU.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn qmp(&self, role: Role) -> Result<Qmp> {
        Qmp::of(self.control.directory(), role)
    }

    /// The words that reach a node through SSH; a command may follow them.
    ///
    /// # Errors
    ///
    /// QEMU names no port, or this user can run no SSH client.
    pub fn ssh(&self, role: Role) -> Result<Command> {
        let port = self.qmp(role)?.ssh_port()?;
        ssh::command(&self.ssh_key, &self.known_hosts, role, self.user, port)
    }
}

impl NodePair for QemuPair {
    fn roles(&self) -> Vec<Role> {
        self.guests.keys().copied().collect()
    }

    fn node(&self, role: Role) -> &dyn Node {
        &self.guests[&role]
    }

    fn description(&self) -> String {
        format!("qemu, {}, {}", Provenance::of_both(&self.origin), self.decision)
    }

    fn provenance(&self) -> BTreeMap<Role, Provenance> {
        self.origin.clone()
    }

    fn way_in(&self, role: Role) -> Result<String> {
        Ok(self.ssh(role)?.to_string())
    }

    fn start_capture(&self, file: &Path) -> Result<()> {
        self.control.start_capture(file)
    }

    fn captured(&self) -> Result<BTreeMap<Role, Captured>> {
        self.control.captured()
    }

    fn met(&self) -> Result<Option<Met>> {
        self.control.met().map(Some)
    }

    fn port_counts(&self) -> Result<Vec<PortCount>> {
        self.control.port_counts()
    }

    fn stop_capture(&self) -> Result<()> {
        self.control.stop_capture().map(drop)
    }

    fn check_alive(&self) -> Result<()> {
        let status = self.control.status().map_err(|error| error.kind_is(Kind::Boot))?;
        if let Some(role) = self.still_for_long(&status) {
            let pid = status.machines.get(&role).copied().unwrap_or_default();
            let error = Error::boot(stands_still(&status, role).unwrap_or_default());
            return Err(error
                .detail(last_lines(&console_log(&self.logs, role)))
                .next(format!("whoever stopped it lets it go on with: kill -CONT {pid}")));
        }
        match status.ended.into_iter().next() {
            None => Ok(()),
            Some((role, status)) => Err(ended(role, &status, &self.logs)),
        }
    }
}
