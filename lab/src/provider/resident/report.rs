//! A lab as `--json` tells of it: how to reach its nodes, what runs, and where things are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::base::role::Role;

/// A lab that stays.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LabReport {
    /// Its name.
    pub name: String,
    /// True if its guard answers, or its machines do and are as they were.
    pub is_up: bool,
    /// `up`, `down` or `does not answer`.
    pub state: &'static str,
    /// True if it was up before the command that tells of it; of `lab up` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was_up: Option<bool>,
    /// Differences from what was asked for; of `lab up` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// Source of its machines.
    pub provider: String,
    /// Its machines, for people.
    pub description: String,
    /// The release that its machines run; none of machines of others.
    pub guest: Option<String>,
    /// The kernel that its machines run; none of machines of others.
    pub kernel: Option<String>,
    /// Its nodes.
    pub nodes: BTreeMap<Role, NodeReport>,
    /// Process ids of the machines, server and client; none on machines of others.
    pub machines: Vec<u32>,
    /// Machines that stand still because of a signal.
    pub stopped: Vec<Role>,
    /// Process id of the guard.
    pub guard: Option<u32>,
    /// The guard's directory.
    pub run_directory: Option<PathBuf>,
    /// Host keys of its nodes.
    pub known_hosts: Option<PathBuf>,
    /// Its logs.
    pub logs: PathBuf,
    /// The file that is being recorded into.
    pub recording: Option<PathBuf>,
}

/// One node of a lab.
#[derive(Debug, Clone, Serialize)]
pub struct NodeReport {
    /// On the RDMA network.
    pub address: IpAddr,
    /// Process id of its machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The way in, where it is one of the lab's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshWay>,
}

/// A way in by SSH.
#[derive(Debug, Clone, Serialize)]
pub struct SshWay {
    /// The host to connect to.
    pub host: &'static str,
    /// Its port.
    pub port: u16,
    /// The user there.
    pub user: &'static str,
    /// The file of the private key.
    pub identity: PathBuf,
    /// The file of host keys.
    pub known_hosts: PathBuf,
    /// The name that host keys are under.
    pub host_key_alias: String,
}
