//! Which labs there are on machines of others: a file `NAME.remote` each in the cache's directory `labs`, beside those of
//! [`crate::provider::resident::qemu`].

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::base::cache::{self, Cache, Lock, sha256_file};
use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::invocation;
use crate::base::program::Program;
use crate::base::role::Role;
use crate::base::selection::Selection;
use crate::host::toolbox::Toolbox;
use crate::provider::choice::{Choice, MachineSource};
use crate::provider::multipass::client::Instance;
use crate::provider::remote::capture::Recording;
use crate::provider::remote::machine::{Machine, SHORT};
use crate::provider::remote::machines::{DEPLOYED, Machines, both};
use crate::provider::remote::pair::RemotePair;
use crate::provider::remote::setting::Setting;
use crate::provider::ssh::hosts::Hosts;
use crate::provider::{multipass, ssh};
use crate::scenario::network::Network;

/// Ending of a record's file name.
const SUFFIX: &str = ".remote";

/// A lab, as recorded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RemoteRecord {
    /// Its name.
    pub(super) name: String,
    /// Which machines.
    pub(super) selection: Selection,
    /// Description of the machines.
    pub(super) description: String,
    /// Where captures go that were given no name.
    pub(super) logs: PathBuf,
    /// The recording under way.
    pub(super) recording: Option<Recording>,
    /// The SHA-256 of each program that was deployed from here.
    #[serde(default)]
    programs: BTreeMap<String, String>,
    pub(super) nodes: BTreeMap<Role, RemoteNode>,
}

/// A lab on machines of others.
#[derive(Debug)]
pub struct RemoteLab {
    cache: Cache,
    pub(super) record: RemoteRecord,
    /// Whether this process made the machines ready, or found them so.
    pub(super) is_made_ready: bool,
    reached: OnceLock<Reached>,
}

/// The machines of a lab, reachable.
#[derive(Debug)]
struct Reached {
    machines: Machines,
    /// Where ssh's connections are shared, for as long as this lives.
    _sockets: TempDir,
}

/// Facts found out about a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RemoteNode {
    pub(super) address: IpAddr,
    device: String,
    interface: String,
    /// Its answer to [`question`] then: first the boot in which that was so.
    boot: String,
}

/// Asks a machine for its boot, for as long as its device is ACTIVE and its peer answers, and for what tells that a
/// deployed file was written since. No file is read, which costs time on a slow machine. Asked as root, as everything
/// there is done: another user may not ping or not see the files, and would answer otherwise.
fn question(device: &str, peer: IpAddr) -> String {
    format!(
        "grep -q ACTIVE /sys/class/infiniband/{device}/ports/1/state && ping -c 1 -W 5 {peer} >/dev/null && \
         cat /proc/sys/kernel/random/boot_id && cd {DEPLOYED} && stat -c '%n %i %s %.9Z' -- *; exit 0"
    )
}

/// The SHA-256 of each program, by its name.
fn sums(programs: &[Program]) -> Result<BTreeMap<String, String>> {
    programs.iter().map(|program| Ok((program.name.clone(), sha256_file(&program.path)?))).collect()
}

/// Every recorded lab.
///
/// # Errors
///
/// The records cannot be read.
pub fn all(cache: &Cache) -> Result<Vec<RemoteLab>> {
    let directory = cache.path("labs");
    let Ok(entries) = fs::read_dir(&directory) else { return Ok(Vec::new()) };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(SUFFIX)?.to_owned()))
        .collect();
    names.sort();
    names.iter().filter_map(|name| find(cache, name).transpose()).collect()
}

/// The lab called `name`, if there is one.
///
/// # Errors
///
/// Its record cannot be read.
pub fn find(cache: &Cache, name: &str) -> Result<Option<RemoteLab>> {
    let record = cache::read_record(&path(cache, name))?;
    Ok(record.map(|record| RemoteLab::new(cache, record, false)))
}

fn path(cache: &Cache, name: &str) -> PathBuf {
    cache.path("labs").join(format!("{name}{SUFFIX}"))
}

/// Makes the machines of `source` ready, with `programs`, and records them as the lab `name`. Machines that were made
/// ready before, and have not been restarted since, are only looked at: the second value is true then.
///
/// # Errors
///
/// They cannot be made ready.
pub fn up(
    cache: &Cache,
    name: &str,
    choice: &Choice,
    source: &MachineSource,
    programs: &[Program],
    logs: &Path,
) -> Result<(RemoteLab, bool)> {
    let directory = cache.path("labs");
    fs::create_dir_all(&directory).at("failed to create", &directory)?;
    let _alone = alone(cache, source)?;
    let selection = choice.selection();
    let sums = sums(programs)?;
    if let Some(lab) = find(cache, name)?.filter(|lab| lab.record.selection == selection)
        && lab.record.programs == sums
        && lab.answers_the_same(str::eq)?
    {
        return Ok((RemoteLab { is_made_ready: true, ..lab }, true));
    }
    let (machines, maker) = match source {
        MachineSource::Qemu(_) => return Err(Error::setup("QEMU machines are no machines of others")),
        MachineSource::Multipass(multipass) => (multipass.machines()?, multipass.maker()),
        MachineSource::Ssh(ssh) => (ssh.machines()?, ssh.maker()),
    };
    machines.reset(Network::default())?;
    machines.deploy(&maker.fitting(&machines, programs)?)?;
    let nodes = both(|role| {
        let machine = &machines.by_role[&role];
        let peer = machines.by_role[&role.peer()].setting.address;
        let boot = machine.demand("it can be looked at", &question(&machine.device, peer), SHORT)?;
        if boot.is_empty() {
            let (title, device) = (machine.title(), &machine.device);
            return Err(Error::boot(format!("{title}: {device} is not ACTIVE, or its peer does not answer"))
                .next("run it again, which makes the device anew"));
        }
        Ok(RemoteNode {
            address: machine.setting.address,
            device: machine.device.clone(),
            interface: machine.interface.clone(),
            boot,
        })
    })?;
    let (name, logs, recording) = (name.to_owned(), logs.to_owned(), None);
    let description = source.description();
    let record = RemoteRecord { name, selection, description, logs, recording, programs: sums, nodes };
    let lab = RemoteLab::new(cache, record, true);
    lab.keep()?;
    Ok((lab, false))
}

/// The right to be the only one on the machines of `source`.
fn alone(cache: &Cache, source: &MachineSource) -> Result<Option<Lock>> {
    match source {
        MachineSource::Qemu(_) => Ok(None),
        MachineSource::Multipass(_) => RemotePair::alone(cache, "multipass").map(Some),
        MachineSource::Ssh(ssh) => RemotePair::alone(cache, &ssh.name_of_lock()).map(Some),
    }
}

impl RemoteLab {
    fn new(cache: &Cache, record: RemoteRecord, is_made_ready: bool) -> RemoteLab {
        RemoteLab { cache: cache.clone(), record, is_made_ready, reached: OnceLock::new() }
    }

    /// Reaches its machines as they were recorded; nothing is asked of them yet.
    ///
    /// # Errors
    ///
    /// The hosts file cannot be read any more; an instance does not run, and what reaches it would start it.
    fn reach(&self) -> Result<Reached> {
        let sockets = ssh::provider::sockets()?;
        let hosts = match Choice::of(&self.record.selection)? {
            Choice::Ssh { hosts, .. } => Some((Toolbox::of(&self.cache).tool("ssh")?, Hosts::read(&hosts)?)),
            Choice::Multipass { .. } if !multipass::provider::are_running()? => {
                let name = &self.record.name;
                return Err(Error::boot(format!("not both machines of the lab {name} run"))
                    .next(format!("look at them: multipass info --no-runtime-information rdma-server rdma-client\nbring them up again: {}", invocation::lab("up"))));
            }
            _ => None,
        };
        let by_role = self.record.nodes.iter().map(|(&role, node)| {
            let setting = match &hosts {
                Some((ssh, hosts)) => Setting {
                    address: node.address,
                    ..ssh::provider::setting(ssh, hosts, role, sockets.path())
                },
                None => multipass::provider::setting(
                    Arc::new(Instance { name: multipass::provider::name(role) }),
                    node.address,
                ),
            };
            let mut machine = Machine::new(role, setting);
            machine.device.clone_from(&node.device);
            machine.interface.clone_from(&node.interface);
            (role, machine)
        });
        let machines = Machines { by_role: by_role.collect(), surveys: BTreeMap::new() };
        Ok(Reached { machines, _sockets: sockets })
    }

    /// Both machines, reached once.
    pub(super) fn machines(&self) -> Result<&Machines> {
        if let Some(reached) = self.reached.get() {
            return Ok(&reached.machines);
        }
        let reached = self.reach()?;
        Ok(&self.reached.get_or_init(|| reached).machines)
    }

    /// One of both.
    pub(super) fn machine(&self, role: Role) -> Result<&Machine> {
        Ok(&self.machines()?.by_role[&role])
    }

    /// Whether its machines answer, were not restarted, and have their devices ACTIVE.
    pub fn is_as_it_was(&self) -> bool {
        self.answers_the_same(|then, now| then.lines().next() == now.lines().next()).unwrap_or(false)
    }

    /// Whether each machine answers to [`question`] as it did, by `is_same`: one round to both at once.
    ///
    /// A machine that does not answer is not as it was; what it lacks is said by whoever brings it. Only a daemon that
    /// does not answer is an error: waiting for it once is enough.
    fn answers_the_same(&self, is_same: fn(&str, &str) -> bool) -> Result<bool> {
        let machines = match self.machines() {
            Err(error) if error.kind() == Kind::Timeout => return Err(error),
            Err(_) => return Ok(false),
            Ok(machines) => machines,
        };
        let same = both(|role| {
            let (node, peer) = (&self.record.nodes[&role], self.record.nodes[&role.peer()].address);
            let output = machines.by_role[&role].run_root(&question(&node.device, peer), SHORT)?;
            Ok(is_same(&node.boot, &output.stdout))
        });
        Ok(same.is_ok_and(|same| same.values().all(|same| *same)))
    }

    /// Its record.
    pub(super) fn path(&self) -> PathBuf {
        path(&self.cache, &self.record.name)
    }

    pub(super) fn keep(&self) -> Result<()> {
        cache::write_record(&self.path(), &self.record)
    }
}
