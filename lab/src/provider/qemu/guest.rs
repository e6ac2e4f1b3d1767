//! One guest, behind the traits of [`crate::node`]: everything goes over its agent's serial line.

use std::net::IpAddr;
use std::time::Duration;

use crate::base::command::Output;
use crate::base::error::{Error, Kind, Result};
use crate::base::role::Role;
use crate::node::{Node, Running, SLICE};
use crate::provider::qemu::agent::Agent;
use crate::provider::qemu::argv;
use crate::provider::qemu::control::Control;
use crate::provider::qemu::doing;
use crate::provider::qemu::process::MachineWait;
use crate::provider::qemu::qmp::Qmp;

/// Longest time that a short command on a ready node may take, under software emulation on a busy host.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// Longest time that a guest may take to end a command and tell what it wrote: less than that is left of what a scenario that
/// does not end may take beyond its limit.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// One guest.
#[derive(Debug)]
pub struct Guest {
    role: Role,
    agent: Agent,
    address: IpAddr,
}

impl Guest {
    /// The guest at the other end of an agent's line.
    pub fn new(role: Role, agent: Agent) -> Guest {
        Guest { role, agent, address: argv::address(role).into() }
    }

    /// Takes note of another address on the RDMA network.
    pub fn set_address(&mut self, address: IpAddr) {
        self.address = address;
    }

    /// Runs a short command that has to succeed; `what` is true then.
    ///
    /// # Errors
    ///
    /// It fails, with its output, or the node does not answer.
    pub fn demand(&self, what: &str, command: &str) -> Result<Output> {
        let output = self.run(command, COMMAND_LIMIT)?;
        self.expect(what, output)
    }

    /// Starts a command, as [`Node::start`].
    ///
    /// # Errors
    ///
    /// The line is closed.
    pub(super) fn begin(&self, command: &str) -> Result<GuestJob<'_>> {
        let id = self.agent.send(command).map_err(|error| named(self.role, error))?;
        Ok(GuestJob { node: self, command: command.to_owned(), id, is_over: false })
    }

    /// Takes an output whose exit code has to be 0; `what` is true then.
    ///
    /// # Errors
    ///
    /// Its exit code is another, with the output.
    pub fn expect(&self, what: &str, output: Output) -> Result<Output> {
        if output.code == Some(0) {
            return Ok(output);
        }
        Err(Error::boot(format!("node {}: not true: {what}", self.role))
            .detail(output.stdout + &output.stderr))
    }
}

impl Node for Guest {
    fn run(&self, command: &str, limit: Duration) -> Result<Output> {
        self.agent.run(command, limit).map_err(|error| named(self.role, error))
    }

    fn start(&self, command: &str) -> Result<Box<dyn Running + '_>> {
        Ok(Box::new(self.begin(command)?))
    }

    fn address(&self) -> IpAddr {
        self.address
    }
}

fn named(role: Role, error: Error) -> Error {
    let kind = error.kind();
    Error::new(kind, format!("node {role}")).source(error)
}

/// A command under way on a guest.
pub(super) struct GuestJob<'a> {
    node: &'a Guest,
    command: String,
    id: u64,
    is_over: bool,
}

impl GuestJob<'_> {
    /// Waits for the end of a command that makes `what` true. Of one that does not end, the error tells what the node does instead.
    ///
    /// # Errors
    ///
    /// It fails, with its output, or does not end within `limit`, or the node has ended.
    pub(super) fn demand(&mut self, what: &str, limit: Duration, control: &Control) -> Result<Output> {
        let role = self.node.role;
        let waited = MachineWait::begin(control.status()?.machine(role));
        while waited.lasted() < limit {
            match self.wait(SLICE.min(limit)) {
                Ok(output) => return self.node.expect(what, output),
                Err(error) if error.kind() == Kind::Timeout => {}
                Err(error) => return Err(error),
            }
        }
        let doing =
            doing::instead_of_an_answer(&self.node.agent, self.id, || Qmp::of(control.directory(), role));
        Err(Error::timeout(format_args!("node {role}: {what}"), limit).detail(doing))
    }
}

impl Running for GuestJob<'_> {
    fn wait(&mut self, limit: Duration) -> Result<Output> {
        match self.node.agent.answer(self.id, limit).map_err(|error| named(self.node.role, error))? {
            Some(output) => {
                self.is_over = true;
                Ok(output)
            }
            None => {
                Err(Error::timeout(format_args!("end of `{}` on {}", self.command, self.node.role), limit))
            }
        }
    }

    fn signal(&mut self, signal: &str) -> Result<()> {
        self.node.agent.signal(self.id, signal)
    }

    fn stop(&mut self) -> Result<Output> {
        self.node.agent.signal(self.id, "KILL")?;
        self.wait(STOP_LIMIT).map_err(|error| match error.kind() {
            Kind::Timeout => Error::boot(format!(
                "node {} does not answer: it was told to end `{}` and has not said so within {} s",
                self.node.role,
                self.command,
                STOP_LIMIT.as_secs()
            )),
            _ => error,
        })
    }
}

impl Drop for GuestJob<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // The guest may have gone; then so has what ran on it.
            let _ = self.node.agent.signal(self.id, "KILL");
        }
    }
}
