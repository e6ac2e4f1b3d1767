//! Traits of every provider of machines: two nodes, or with further clients up to eight, and what can be asked of them.
//!
//! No type of one provider appears here. The nodes are named `server` and `client` everywhere, further ones `client2` and so on.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::base::command::Output;
use crate::base::error::{Error, Kind, Result};
use crate::base::program::Program;
use crate::base::role::Role;
use crate::guest::contents::Contents;
use crate::scenario::differences::Differences;
use crate::scenario::fault::netem::Counted;
use crate::scenario::fault::{Fault, Met};
use crate::scenario::network::Network;
use crate::scenario::network::Wire;
use crate::scenario::port::LimitedPort;
use crate::wire::captured::Captured;
use crate::wire::limits::PortCount;

/// Longest time that one look at a running command waits before the machines are looked at.
pub const SLICE: Duration = Duration::from_millis(250);

/// Release, kernel and rdma-core of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Its release: a guest's name, as in "debian-13", or what another machine calls its own.
    pub release: String,
    /// Its kernel, as `uname -r` prints it.
    pub kernel: String,
    /// The version of its rdma-core, as its libibverbs has it; empty where that is not known.
    pub rdma_core: String,
    /// Parts of the user's own that it has in place of its release's, each with its checksum.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<String>,
}

impl Provenance {
    /// Tells what a pair's machines are, for people: once if they are alike.
    pub fn of_both(machines: &BTreeMap<Role, Provenance>) -> String {
        let mut all = machines.values();
        match (all.next(), all.next()) {
            (Some(one), Some(other)) if one != other => {
                let each = machines.iter().map(|(role, machine)| format!("{role} {machine}"));
                each.collect::<Vec<_>>().join("; ")
            }
            (Some(one), _) => one.to_string(),
            (None, _) => String::new(),
        }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, kernel {}", self.release, self.kernel)?;
        if !self.rdma_core.is_empty() {
            write!(f, ", rdma-core {}", self.rdma_core)?;
        }
        self.own.iter().try_for_each(|part| write!(f, ", own {part}"))
    }
}

/// Demands of a run on its machines.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Number of nodes.
    pub nodes: usize,
    /// Programs that are deployed, first on PATH.
    pub programs: &'a [Program],
    /// Network between the nodes.
    pub network: Network,
    /// Faults of packets on the way.
    pub faults: &'a [Fault],
    /// Limits of the switch's ports.
    pub ports: &'a [LimitedPort],
    /// Directory for logs of the machines; it exists.
    pub artifacts: &'a Path,
}

impl<'a> Plan<'a> {
    /// Two machines without programs, on the usual network, without faults.
    pub fn new(artifacts: &'a Path) -> Plan<'a> {
        let (nodes, network) = (Role::BOTH.len(), Network::default());
        Plan { nodes, programs: &[], network, faults: &[], ports: &[], artifacts }
    }

    /// The nodes, in the order in which they are brought up.
    pub fn roles(&self) -> &'static [Role] {
        Role::first(self.nodes)
    }
}

/// A source of machines.
pub trait Provider: Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// The part between its machines that can act on packets.
    fn wire(&self) -> Wire;

    /// Declared differences of its machines from those that snapshots were taken on.
    fn differences(&self) -> Differences {
        Differences::default()
    }

    /// Releases and kernels of its machines, as far as they are known before there are any.
    fn provenance(&self) -> BTreeMap<Role, Provenance> {
        BTreeMap::new()
    }

    /// Contents of a node before anything is deployed, where they are known without one.
    ///
    /// # Errors
    ///
    /// It is known, and cannot be read.
    fn contents(&self) -> Result<Option<Contents>> {
        Ok(None)
    }

    /// Makes all nodes ready, as planned: rxe ACTIVE, the peer reachable, the programs deployed.
    ///
    /// # Errors
    ///
    /// A machine does not come up, or the plan asks for what this provider cannot; whatever was started is ended.
    fn bring_up(&self, plan: &Plan<'_>) -> Result<Box<dyn NodePair>>;
}

/// Two nodes that are ready, or more, and the wire between them. Dropped, they are destroyed.
pub trait NodePair {
    /// Its nodes, in the order in which they were brought up.
    fn roles(&self) -> Vec<Role> {
        Role::BOTH.into()
    }

    /// One of them.
    fn node(&self, role: Role) -> &dyn Node;

    /// Description of what runs the machines: "qemu 7.2.22, software emulation (…)".
    fn description(&self) -> String;

    /// Releases and kernels of the machines.
    fn provenance(&self) -> BTreeMap<Role, Provenance>;

    /// Runs the same short command on all nodes at once, to its end.
    ///
    /// # Errors
    ///
    /// As [`Node::run`].
    fn run_on_all(&self, command: &str, limit: Duration) -> Result<BTreeMap<Role, Output>> {
        let mut running = Vec::new();
        for role in self.roles() {
            running.push((role, self.node(role).start(command)?));
        }
        let wait = |(role, mut running): (Role, Box<dyn Running + '_>)| {
            Ok((role, self.wait_for(running.as_mut(), &format!("a command on {role}"), limit)?))
        };
        running.into_iter().map(wait).collect()
    }

    /// Waits for the end of a command, which `what` names, for as long as the machines live.
    ///
    /// # Errors
    ///
    /// It does not end within `limit`, or as [`NodePair::check_alive`].
    fn wait_for(&self, running: &mut dyn Running, what: &str, limit: Duration) -> Result<Output> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match running.wait(left.min(SLICE)) {
                Err(error) if error.kind() == Kind::Timeout => self.check_alive()?,
                ended => return ended,
            }
            if left.is_zero() {
                return Err(Error::timeout(format_args!("end of {what}"), limit));
            }
        }
    }

    /// Command by which a person reaches a node from another terminal.
    ///
    /// # Errors
    ///
    /// The way in cannot be opened.
    fn way_in(&self, role: Role) -> Result<String>;

    /// Begins to record the wire into `file`, a pcapng.
    ///
    /// # Errors
    ///
    /// The capture cannot be started.
    fn start_capture(&self, file: &Path) -> Result<()>;

    /// Number of RoCEv2 packets that the recording holds so far, by node.
    ///
    /// # Errors
    ///
    /// Nothing is being recorded, or the recorder is gone.
    fn captured(&self) -> Result<BTreeMap<Role, Captured>>;

    /// Ends the recording; the file is whole when this returns.
    ///
    /// # Errors
    ///
    /// The capture cannot be finished.
    fn stop_capture(&self) -> Result<()>;

    /// Packets that the plan's faults have met so far; `None` where no switch acts on them.
    ///
    /// # Errors
    ///
    /// The switch is gone.
    fn met(&self) -> Result<Option<Met>> {
        Ok(None)
    }

    /// Frames that have passed the plan's limited ports.
    ///
    /// # Errors
    ///
    /// The switch is gone.
    fn port_counts(&self) -> Result<Vec<PortCount>> {
        Ok(Vec::new())
    }

    /// Counts of netem so far, on each node where it makes the plan's faults.
    ///
    /// # Errors
    ///
    /// A node does not answer, or its netem is gone.
    fn netem(&self) -> Result<BTreeMap<Role, Counted>> {
        Ok(BTreeMap::new())
    }

    /// Fails at once if a machine has ended, and in some seconds if its process stands still.
    ///
    /// # Errors
    ///
    /// A machine has ended or stands still: with the reason and its console's last lines.
    fn check_alive(&self) -> Result<()>;
}

/// One machine.
pub trait Node {
    /// Runs a shell command to its end.
    ///
    /// # Errors
    ///
    /// The node does not answer within `limit`, or has ended. An exit code is not an error.
    fn run(&self, command: &str, limit: Duration) -> Result<Output>;

    /// Starts a shell command.
    ///
    /// # Errors
    ///
    /// The node has ended.
    fn start(&self, command: &str) -> Result<Box<dyn Running + '_>>;

    /// Its address on the RDMA network.
    fn address(&self) -> IpAddr;
}

/// A command that was started on a node. Dropped, it is killed.
pub trait Running {
    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// It does not end within `limit`: it goes on, stop it with [`Running::stop`].
    fn wait(&mut self, limit: Duration) -> Result<Output>;

    /// Sends a signal to it and everything it started, by its name without SIG; one that has ended is no error.
    ///
    /// # Errors
    ///
    /// The node does not answer.
    fn signal(&mut self, signal: &str) -> Result<()>;

    /// Ends it and everything it started, and gives what it wrote until then.
    ///
    /// # Errors
    ///
    /// The node does not answer.
    fn stop(&mut self) -> Result<Output>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_that_are_alike_are_told_once() {
        let usual = Provenance {
            release: "debian-13".to_owned(),
            kernel: "6.12.117".to_owned(),
            rdma_core: "56.1".to_owned(),
            own: Vec::new(),
        };
        let both =
            |client| Provenance::of_both(&[(Role::Server, usual.clone()), (Role::Client, client)].into());
        assert_eq!(both(usual.clone()), "debian-13, kernel 6.12.117, rdma-core 56.1");
        let own = vec!["module rdma_rxe (sha256 0123)".to_owned()];
        assert_eq!(
            both(Provenance { own, ..usual.clone() }),
            "server debian-13, kernel 6.12.117, rdma-core 56.1; \
             client debian-13, kernel 6.12.117, rdma-core 56.1, own module rdma_rxe (sha256 0123)"
        );
        assert_eq!(Provenance::of_both(&BTreeMap::new()), "");
    }
}
