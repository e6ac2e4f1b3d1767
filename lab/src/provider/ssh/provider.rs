//! Two hosts that exist as a source of machines.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::base::cache::Cache;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;
use crate::host::toolbox::{Tool, Toolbox};
use crate::node::{NodePair, Plan, Provider};
use crate::provider::remote::machines::Machines;
use crate::provider::remote::make::Maker;
use crate::provider::remote::pair::RemotePair;
use crate::provider::remote::setting::{Recorder, Setting};
use crate::provider::ssh::client::Client;
use crate::provider::ssh::hosts::Hosts;
use crate::scenario::differences::Differences;
use crate::scenario::network::Wire;

/// The provider of hosts that exist.
#[derive(Debug)]
pub struct Ssh {
    cache: Cache,
    hosts: Hosts,
    sockets: TempDir,
    machines: Mutex<Option<Machines>>,
    maker: Maker,
}

impl Ssh {
    /// The hosts that a file names.
    ///
    /// # Errors
    ///
    /// As [`Hosts::read`].
    pub fn new(cache: Cache, hosts: &Path, maker: Maker) -> Result<Ssh> {
        let hosts = Hosts::read(hosts)?;
        let sockets = sockets()?;
        Ok(Ssh { cache, hosts, sockets, machines: Mutex::new(None), maker })
    }

    /// Contents of the hosts file.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Both hosts, prepared once.
    ///
    /// # Errors
    ///
    /// As [`Machines::prepare`]; there is no OpenSSH.
    pub fn machines(&self) -> Result<Machines> {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machines) = &*machines {
            return Ok(machines.clone());
        }
        let ssh = Toolbox::of(&self.cache).tool("ssh")?;
        let settings = Role::BOTH.map(|role| (role, setting(&ssh, &self.hosts, role, self.sockets.path())));
        let prepared = Machines::prepare(settings.into())?;
        *machines = Some(prepared.clone());
        Ok(prepared)
    }

    /// The part of a lock's name that stands for these hosts.
    pub fn name_of_lock(&self) -> String {
        let names = Role::BOTH.map(|role| self.hosts.host(role).ssh.clone()).join("-");
        names.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
    }

    /// The maker of programs for them.
    pub fn maker(&self) -> &Maker {
        &self.maker
    }

    /// Description of both hosts.
    pub fn description(&self) -> String {
        let [server, client] = Role::BOTH.map(|role| self.hosts.host(role).ssh.as_str());
        format!("ssh, server {server}, client {client}")
    }
}

/// A directory for ssh's sockets, of a short name.
///
/// # Errors
///
/// It cannot be made.
pub fn sockets() -> Result<TempDir> {
    let directory = Path::new("/tmp");
    tempfile::Builder::new()
        .prefix("rdma-lab-")
        .tempdir_in(directory)
        .at("failed to create a directory in", directory)
}

/// How one of the hosts is reached, and what may be done there.
pub fn setting(ssh: &Tool, hosts: &Hosts, role: Role, sockets: &Path) -> Setting {
    let host = hosts.host(role);
    Setting {
        host: Arc::new(Client::new(ssh.clone(), host, sockets)),
        address: host.address,
        device: host.device.clone(),
        capture: match &hosts.capture.mirror {
            Some(file) => Recorder::Mirror(file.clone()),
            None => Recorder::Tcpdump(hosts.capture.interface.clone()),
        },
        setup_rxe: host.setup_rxe,
        install: host.install,
    }
}

impl Provider for Ssh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    fn wire(&self) -> Wire {
        self.hosts.wire()
    }

    fn differences(&self) -> Differences {
        self.hosts.differences.clone()
    }

    fn bring_up(&self, plan: &Plan<'_>) -> Result<Box<dyn NodePair>> {
        if let Some(mtu) = self.hosts.differences.mtu
            && let Some(asked) =
                Role::BOTH.into_iter().map(|role| plan.network.mtu_of(role)).find(|asked| *asked != mtu)
        {
            return Err(Error::setup(format!(
                "this scenario asks for an MTU of {asked} bytes, and the hosts file declares {mtu}"
            ))
            .next("set the hosts' MTU to what the scenario asks for and remove the declaration"));
        }
        let alone = RemotePair::alone(&self.cache, &self.name_of_lock())?;
        Ok(Box::new(RemotePair::ready(&self.machines()?, &self.maker, plan, self.description(), alone)?))
    }
}
