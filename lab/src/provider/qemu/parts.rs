//! MachineParts: images, programs and choices that they are made of, and how one is started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::guest::image::Image;
use crate::guest::image::recipe::Recipe;
use crate::host::toolbox::set::QEMU;
use crate::host::toolbox::{Tool, Toolbox};
use crate::provider::qemu::accel::Decision;
use crate::provider::qemu::agent::Agent;
use crate::provider::qemu::argv::{self, Files, Origin, QemuMachine};
use crate::provider::qemu::control::Control;
use crate::provider::qemu::frozen::Frozen;
use crate::provider::qemu::log::{came_not_up, console_log, machine_log};
use crate::provider::qemu::ssh;

/// Longest time that QEMU may take to make its sockets, and then to connect to the switch.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Longest time that a fork may take to answer its first command.
pub(super) const WAKE_LIMIT: Duration = Duration::from_secs(20);

/// The command that asks whether rxe is up.
pub(super) const ACTIVE: &str = "grep -q ACTIVE /sys/class/infiniband/rxe0/ports/1/state";

/// Images, programs and choices that machines are started from.
#[derive(Debug)]
pub(super) struct MachineParts {
    pub(super) images: BTreeMap<Role, Image>,
    pub(super) decision: Decision,
    pub(super) tools: Tools,
    pub(super) ssh_key: ssh::Key,
    /// Forks do not draw fresh randomness with one: what they draw follows from it.
    pub(super) seed: Option<u64>,
    pub(super) is_confined: bool,
}

/// The programs that machines are made of.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) qemu: Tool,
    pub(super) mkfs: Tool,
    /// Ends a machine with its guard.
    setpriv: Tool,
}

/// Words and variables of a process.
type ProcessWords = (Vec<OsString>, Vec<(OsString, OsString)>);

impl Tools {
    pub(super) fn of(toolbox: &Toolbox) -> Result<Tools> {
        let [qemu, mkfs, setpriv] = [QEMU, "mkfs.erofs", "setpriv"].map(|name| toolbox.tool(name));
        Ok(Tools { qemu: qemu?, mkfs: mkfs?, setpriv: setpriv? })
    }

    /// A machine that gets SIGKILL when the process that started it ends.
    fn machine(&self, arguments: Vec<OsString>) -> ProcessWords {
        let words = ["--pdeathsig", "KILL"].map(OsString::from).into_iter().chain(self.qemu.with(arguments));
        (self.setpriv.with(words), [&self.setpriv.env[..], &self.qemu.env].concat())
    }
}

impl MachineParts {
    /// The kind of guest that both machines are, whatever their release.
    pub(super) fn recipe(&self) -> &Recipe {
        self.images[&Role::Server].recipe()
    }

    /// Starts one machine and connects to its agent's line.
    ///
    /// # Errors
    ///
    /// It does not start, or its sockets do not come.
    pub(super) fn start(
        &self,
        control: &Control,
        role: Role,
        image: &Image,
        frozen: &Frozen,
        origin: Origin,
        logs: &Path,
    ) -> Result<Agent> {
        let files = Files::new(control.directory(), role);
        let machine = QemuMachine {
            role,
            image,
            accel: self.decision.accel,
            files: &files,
            deployment: &disk(control.directory()),
            console: &console_log(logs, role),
            memory: &frozen.memory(role),
            origin,
            is_confined: self.is_confined,
        };
        for socket in [files.agent(), files.qmp()] {
            // A machine that was here before leaves its sockets.
            let _ = fs::remove_file(socket);
        }
        let (argv, env) = self.tools.machine(machine.argv());
        control.start_machine(role, &argv, &env, &machine_log(logs, role))?;
        let started = Instant::now();
        loop {
            // The agent's socket comes before QMP's.
            match Agent::connect(&files.agent()) {
                Ok(agent) if files.qmp().exists() => return Ok(agent),
                Err(error) if control.ending(role).is_some() || started.elapsed() > START_LIMIT => {
                    return Err(came_not_up(control, role, logs, error));
                }
                _ => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Waits until these machines have connected their ports of the switch: they do so as they start, and a busy computer lets the switch see it later.
pub(super) fn wait_until_joined(control: &Control, roles: &[Role]) -> Result<()> {
    let started = Instant::now();
    loop {
        let joined = control.status()?.joined;
        match roles.iter().find(|role| !joined.contains(role)) {
            None => return Ok(()),
            Some(role) => {
                let limit = START_LIMIT.as_secs();
                if let Some(ending) = control.ending(*role) {
                    return Err(Error::boot(format!(
                        "node {role} ended before it connected to the switch: {ending}"
                    )));
                }
                if started.elapsed() > START_LIMIT {
                    return Err(Error::boot(format!(
                        "node {role} has not connected to the switch within {limit} s"
                    )));
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Command that succeeds on the client if the server answers, from a MAC that is not the client's own: rxe takes a
/// packet to its own MAC for loopback, which no capture sees.
pub(super) fn reach_peer() -> String {
    let (server, mac) = (argv::address(Role::Server), argv::mac(Role::Server));
    format!(
        "ping -c 1 -W 5 {server} >/dev/null && grep -q '^{server} .* {mac} ' /proc/net/arp \
         && ! grep -q {mac} /sys/class/net/*/address"
    )
}

/// The host keys of a guard's machines.
pub(super) fn known_hosts(directory: &Path) -> PathBuf {
    directory.join("known_hosts")
}

/// The deployment disk of a guard's machines.
pub(super) fn disk(directory: &Path) -> PathBuf {
    directory.join("deployment")
}
