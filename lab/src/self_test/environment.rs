//! Machines that are tampered with while a scenario runs: when the capture has begun, before the programs start.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::node::{Node, NodePair, Plan, Provenance, Provider};
use crate::provider::Qemu;
use crate::provider::qemu::pair::QemuPair;
use crate::scenario::fault::Met;
use crate::scenario::network::Wire;
use crate::wire::captured::Captured;

/// How long a command that tampers may take, and a killed machine until its guard has seen it.
const LIMIT: Duration = Duration::from_secs(20);

/// A change to a pair of machines.
pub type Tamper = fn(&QemuPair) -> Result<()>;

/// Leaves them alone.
///
/// # Errors
///
/// None.
pub fn nothing(_: &QemuPair) -> Result<()> {
    Ok(())
}

/// Lets the client's kernel log an error.
///
/// # Errors
///
/// The node does not answer.
pub fn dirty_kernel_log(pair: &QemuPair) -> Result<()> {
    on_client(pair, "echo '<3>self-test: something bad' >/dev/kmsg")
}

/// Takes the client's RDMA device away.
///
/// # Errors
///
/// The node does not answer, or has none.
pub fn take_device_away(pair: &QemuPair) -> Result<()> {
    on_client(pair, "rdma link delete rxe0")
}

/// Kills the client's QEMU, and waits until its guard has seen that.
///
/// # Errors
///
/// It cannot be killed.
pub fn kill_node(pair: &QemuPair) -> Result<()> {
    let pid = pair.machines()?.get(&Role::Client).and_then(|pid| Pid::from_raw(i32::try_from(*pid).ok()?));
    let pid = pid.ok_or_else(|| Error::setup("the client's machine has no process"))?;
    kill_process(pid, Signal::KILL).map_err(|errno| {
        Error::setup("failed to kill the client's machine").source(std::io::Error::from(errno))
    })?;
    let started = Instant::now();
    while pair.check_alive().is_ok() {
        if started.elapsed() > LIMIT {
            return Err(
                Error::timeout("end of a killed machine", LIMIT).kind_is(crate::base::error::Kind::Setup)
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn on_client(pair: &QemuPair, command: &str) -> Result<()> {
    let output = pair.node(Role::Client).run(command, LIMIT)?;
    match output.code {
        Some(0) => Ok(()),
        _ => Err(Error::setup(format!("`{command}` failed on the client")).detail(output.stderr)),
    }
}

/// QEMU machines that are tampered with.
#[derive(Debug)]
pub struct Tampered<'a> {
    qemu: &'a Qemu,
    tamper: Tamper,
}

impl<'a> Tampered<'a> {
    /// Machines of `qemu`, each pair of which meets `tamper`.
    pub fn new(qemu: &'a Qemu, tamper: Tamper) -> Tampered<'a> {
        Tampered { qemu, tamper }
    }
}

impl Provider for Tampered<'_> {
    fn name(&self) -> &'static str {
        self.qemu.name()
    }

    fn wire(&self) -> Wire {
        self.qemu.wire()
    }

    fn provenance(&self) -> BTreeMap<Role, Provenance> {
        self.qemu.provenance()
    }

    fn bring_up(&self, plan: &Plan<'_>) -> Result<Box<dyn NodePair>> {
        Ok(Box::new(TamperedPair { pair: self.qemu.fork(plan)?, tamper: self.tamper }))
    }
}

struct TamperedPair {
    pair: QemuPair,
    tamper: Tamper,
}

impl NodePair for TamperedPair {
    fn start_capture(&self, file: &Path) -> Result<()> {
        self.pair.start_capture(file)?;
        (self.tamper)(&self.pair)
    }

    fn node(&self, role: Role) -> &dyn Node {
        self.pair.node(role)
    }

    fn description(&self) -> String {
        self.pair.description()
    }

    fn provenance(&self) -> BTreeMap<Role, Provenance> {
        self.pair.provenance()
    }

    fn way_in(&self, role: Role) -> Result<String> {
        self.pair.way_in(role)
    }

    fn captured(&self) -> Result<BTreeMap<Role, Captured>> {
        self.pair.captured()
    }

    fn stop_capture(&self) -> Result<()> {
        self.pair.stop_capture()
    }

    fn met(&self) -> Result<Option<Met>> {
        self.pair.met()
    }

    fn check_alive(&self) -> Result<()> {
        self.pair.check_alive()
    }
}
