//! What `--json` tells of a lab: how to reach its nodes, what runs, and where things are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use lab::Result;
use lab::base::cache::Cache;
use lab::base::role::Role;
use lab::guest::image::recipe;
use lab::provider::qemu::argv;
use lab::provider::qemu::ssh::Key;
use lab::provider::resident::qemu::{Condition, Resident};
use lab::provider::resident::remote::Shared;
use serde::Serialize;

/// A lab.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    pub(super) name: String,
    /// Whether its guard answers, or its machines do and are as they were.
    pub(super) is_up: bool,
    /// `up`, `down` or `does not answer`.
    pub(super) state: &'static str,
    /// Whether it was up before the command that tells of it; of `lab up` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    was_up: Option<bool>,
    /// What was asked for and it has not; of `lab up` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
    provider: String,
    pub(super) description: String,
    /// The release and the kernel that its machines run; none of machines of others.
    guest: Option<String>,
    kernel: Option<String>,
    nodes: BTreeMap<Role, NodeTold>,
    /// Process ids of the machines, server and client; none on machines of others.
    pub(super) machines: Vec<u32>,
    /// Machines that stand still because of a signal.
    pub(super) stopped: Vec<Role>,
    /// Process id of the guard.
    guard: Option<u32>,
    run_directory: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    pub(super) logs: PathBuf,
    /// What is being recorded into.
    recording: Option<PathBuf>,
}

/// One of its nodes.
#[derive(Debug, Serialize)]
struct NodeTold {
    /// On the RDMA network.
    address: IpAddr,
    /// Process id of its machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// The way in, where it is one of the lab's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh: Option<SshTold>,
}

/// A way in by SSH.
#[derive(Debug, Serialize)]
struct SshTold {
    host: &'static str,
    port: u16,
    user: &'static str,
    identity: PathBuf,
    known_hosts: PathBuf,
    host_key_alias: String,
}

impl Told {
    /// Of a lab on QEMU machines.
    pub(super) fn own(lab: &Resident) -> Result<Told> {
        let key = Key::ensure(&Cache::open()?)?;
        let condition = lab.condition();
        let (state, status) = match &condition {
            Condition::Up(status) => ("up", Some(status)),
            Condition::Silent => ("does not answer", None),
            Condition::Down => ("down", None),
        };
        let pid = |role: &Role| status?.machines.get(role).copied();
        let ssh = |role: Role| {
            Some(SshTold {
                host: "127.0.0.1",
                port: *lab.ssh_ports.get(&role).filter(|_| status.is_some())?,
                user: recipe::USER.0,
                identity: key.private().to_owned(),
                known_hosts: lab.known_hosts.clone(),
                host_key_alias: lab::provider::qemu::ssh::alias(role),
            })
        };
        let node = |role| NodeTold { address: argv::address(role).into(), pid: pid(&role), ssh: ssh(role) };
        Ok(Told {
            name: lab.name.clone(),
            is_up: status.is_some(),
            state,
            was_up: None,
            differences: Vec::new(),
            provider: "qemu".to_owned(),
            description: lab.description.clone(),
            guest: Some(lab.guest.clone()),
            kernel: Some(lab.kernel.clone()),
            nodes: Role::BOTH.map(|role| (role, node(role))).into(),
            machines: Role::BOTH.iter().filter_map(pid).collect(),
            stopped: status.map(|status| status.stopped.iter().copied().collect()).unwrap_or_default(),
            guard: lab.guard().map(|guard| guard.pid),
            run_directory: Some(lab.run_directory.clone()),
            known_hosts: Some(lab.known_hosts.clone()),
            logs: lab.logs.clone(),
            recording: status.is_some().then(|| lab.control().recording().ok().flatten()).flatten(),
        })
    }

    /// Of a lab on machines of others.
    pub(super) fn shared(lab: &Shared, is_up: bool) -> Result<Told> {
        let node = |role| NodeTold { address: lab.address(role), pid: None, ssh: None };
        Ok(Told {
            name: lab.name.clone(),
            is_up,
            state: if is_up { "up" } else { "down" },
            was_up: None,
            differences: Vec::new(),
            provider: lab.choice()?.name().to_string(),
            description: lab.description.clone(),
            guest: None,
            kernel: None,
            nodes: Role::BOTH.map(|role| (role, node(role))).into(),
            machines: Vec::new(),
            stopped: Vec::new(),
            guard: None,
            run_directory: None,
            known_hosts: None,
            logs: lab.logs.clone(),
            recording: lab.recording.as_ref().map(|recording| recording.file().to_owned()),
        })
    }

    /// The same, brought up by `lab up` or found up by it.
    pub(super) fn after_up(self, was_up: bool, differences: &[String]) -> Told {
        Told { was_up: Some(was_up), differences: differences.to_owned(), ..self }
    }
}
