//! Two hosts that exist as a source of machines.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::cache::Cache;
use crate::error::{Error, IoContext as _, Result};
use crate::node::{Pair, Plan, Provider, Role};
use crate::provider::remote::machine::Setting;
use crate::provider::remote::pair::{Machines, RemotePair};
use crate::provider::ssh::client::Client;
use crate::provider::ssh::hosts::Hosts;

/// The provider of hosts that exist.
#[derive(Debug)]
pub struct Ssh {
    cache: Cache,
    hosts: Hosts,
    sockets: TempDir,
    machines: Mutex<Option<Machines>>,
}

impl Ssh {
    /// The hosts that a file names.
    ///
    /// # Errors
    ///
    /// As [`Hosts::read`].
    pub fn new(cache: Cache, hosts: &Path) -> Result<Ssh> {
        let hosts = Hosts::read(hosts)?;
        let sockets = tempfile::Builder::new()
            .prefix("rdma-lab-")
            .tempdir_in("/tmp")
            .at("failed to create a directory in", Path::new("/tmp"))?;
        Ok(Ssh { cache, hosts, sockets, machines: Mutex::new(None) })
    }

    /// What the file says.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Both hosts, prepared once.
    ///
    /// # Errors
    ///
    /// As [`Machines::prepare`].
    pub fn machines(&self) -> Result<Machines> {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machines) = &*machines {
            return Ok(machines.clone());
        }
        let settings = Role::BOTH.map(|role| {
            let host = self.hosts.host(role);
            let setting = Setting {
                host: Arc::new(Client::new(host, self.sockets.path())),
                address: host.address,
                device: host.device.clone(),
                capture: self.hosts.capture.interface.clone(),
                setup_rxe: host.setup_rxe,
                install: host.install,
            };
            (role, setting)
        });
        let prepared = Machines::prepare(settings.into())?;
        *machines = Some(prepared.clone());
        Ok(prepared)
    }

    /// What stands for these hosts in the name of a lock.
    fn name(&self) -> String {
        let names = Role::BOTH.map(|role| self.hosts.host(role).ssh.clone()).join("-");
        names.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
    }

    fn description(&self) -> String {
        let [server, client] = Role::BOTH.map(|role| self.hosts.host(role).ssh.as_str());
        format!("ssh, server {server}, client {client}")
    }
}

impl Provider for Ssh {
    fn name(&self) -> &'static str {
        "ssh"
    }

    fn has_switch(&self) -> bool {
        false
    }

    fn bring_up(&self, plan: &Plan<'_>) -> Result<Box<dyn Pair>> {
        if let Some(mtu) = self.hosts.differences.mtu
            && plan.network.mtu != mtu
        {
            return Err(Error::setup(format!(
                "this scenario asks for an MTU of {} bytes, and the hosts file declares {mtu}",
                plan.network.mtu
            ))
            .next("set the hosts' MTU to what the scenario asks for and remove the declaration"));
        }
        let alone = RemotePair::alone(&self.cache, &self.name())?;
        Ok(Box::new(RemotePair::ready(&self.machines()?, plan, self.description(), alone)?))
    }
}
