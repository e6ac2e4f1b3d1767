//! Labs on machines of others that stay: the machines do anyway, so a lab is a record of what was prepared there.
//!
//! The record is a file `NAME.remote` in the cache's directory `labs`, beside those of
//! [`crate::provider::resident::qemu`].

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::base::cache::{self, Cache, Lock, sha256_file, write_whole};
use crate::base::command::Command;
use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::invocation;
use crate::base::program::Program;
use crate::base::role::Role;
use crate::base::selection::Selection;
use crate::host::toolbox::Toolbox;
use crate::provider::choice::{Choice, Source};
use crate::provider::multipass::client::Instance;
use crate::provider::remote::attended::Ending;
use crate::provider::remote::capture::Recording;
use crate::provider::remote::machine::{Machine, SHORT};
use crate::provider::remote::machines::{DEPLOYED, Machines, both};
use crate::provider::remote::pair::RemotePair;
use crate::provider::remote::reset;
use crate::provider::remote::setting::Setting;
use crate::provider::ssh::hosts::Hosts;
use crate::provider::{multipass, ssh};
use crate::scenario::network::Network;
use crate::wire::capture::decode_file;

/// What a record's file name ends with.
const SUFFIX: &str = ".remote";

/// A lab on machines of others, as recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shared {
    /// Its name.
    pub name: String,
    /// Which machines.
    selection: Selection,
    /// What they are, for people.
    pub description: String,
    /// Where captures go that were given no name.
    pub logs: PathBuf,
    /// What is being recorded into.
    pub recording: Option<Recording>,
    /// The SHA-256 of each program that was deployed from here.
    #[serde(default)]
    programs: BTreeMap<String, String>,
    nodes: BTreeMap<Role, Node>,
}

/// What was found out about a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Node {
    address: IpAddr,
    device: String,
    interface: String,
    /// What it answered to [`question`] then: first the boot in which that was so.
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
pub fn all(cache: &Cache) -> Result<Vec<Shared>> {
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
pub fn find(cache: &Cache, name: &str) -> Result<Option<Shared>> {
    cache::read_record(&path(cache, name))
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
    source: &Source,
    programs: &[Program],
    logs: &Path,
) -> Result<(Shared, bool)> {
    let directory = cache.path("labs");
    fs::create_dir_all(&directory).at("failed to create", &directory)?;
    let _alone = alone(cache, source)?;
    let selection = choice.selection();
    let sums = sums(programs)?;
    if let Some(lab) = find(cache, name)?.filter(|lab| lab.selection == selection)
        && lab.programs == sums
        && lab.answers_the_same(str::eq)?
    {
        return Ok((lab, true));
    }
    let (machines, maker) = match source {
        Source::Qemu(_) => return Err(Error::setup("QEMU machines are no machines of others")),
        Source::Multipass(multipass) => (multipass.machines()?, multipass.maker()),
        Source::Ssh(ssh) => (ssh.machines()?, ssh.maker()),
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
        Ok(Node {
            address: machine.setting.address,
            device: machine.device.clone(),
            interface: machine.interface.clone(),
            boot,
        })
    })?;
    let (name, logs, recording) = (name.to_owned(), logs.to_owned(), None);
    let description = source.description();
    let lab = Shared { name, selection, description, logs, recording, programs: sums, nodes };
    lab.keep(cache)?;
    Ok((lab, false))
}

/// The right to be the only one on the machines of `source`.
fn alone(cache: &Cache, source: &Source) -> Result<Option<Lock>> {
    match source {
        Source::Qemu(_) => Ok(None),
        Source::Multipass(_) => RemotePair::alone(cache, "multipass").map(Some),
        Source::Ssh(ssh) => RemotePair::alone(cache, &ssh.name_of_lock()).map(Some),
    }
}

/// A lab's machines, reachable.
#[derive(Debug)]
pub struct Open {
    machines: Machines,
    /// Where ssh's connections are shared, for as long as this lives.
    _sockets: TempDir,
}

impl Shared {
    /// Reaches its machines as they were recorded; nothing is asked of them yet.
    ///
    /// # Errors
    ///
    /// The hosts file cannot be read any more; an instance does not run, and what reaches it would start it.
    pub fn open(&self) -> Result<Open> {
        let sockets = ssh::provider::sockets()?;
        let hosts = match self.choice()? {
            Choice::Ssh { hosts, .. } => {
                Some((Toolbox::of(&Cache::open()?).tool("ssh")?, Hosts::read(&hosts)?))
            }
            Choice::Multipass { .. } if !multipass::provider::are_running()? => {
                let name = &self.name;
                return Err(Error::boot(format!("not both machines of the lab {name} run"))
                    .next(format!("look at them: multipass info --no-runtime-information rdma-server rdma-client\nbring them up again: {}", invocation::lab("up"))));
            }
            _ => None,
        };
        let by_role = self.nodes.iter().map(|(&role, node)| {
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
        Ok(Open { machines, _sockets: sockets })
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
        let open = match self.open() {
            Err(error) if error.kind() == Kind::Timeout => return Err(error),
            Err(_) => return Ok(false),
            Ok(open) => open,
        };
        let same = both(|role| {
            let (node, peer) = (&self.nodes[&role], self.address(role.peer()));
            let output = open.machine(role).run_root(&question(&node.device, peer), SHORT)?;
            Ok(is_same(&node.boot, &output.stdout))
        });
        Ok(same.is_ok_and(|same| same.values().all(|same| *same)))
    }

    /// Which machines were chosen.
    ///
    /// # Errors
    ///
    /// The record names none that there are.
    pub fn choice(&self) -> Result<Choice> {
        Choice::of(&self.selection)
    }

    /// What of `choice` it has not: see [`Choice::differences`].
    pub fn differences(&self, choice: &Choice) -> Vec<String> {
        choice.differences(&self.selection)
    }

    /// A node's address on the RDMA network.
    pub fn address(&self, role: Role) -> IpAddr {
        self.nodes[&role].address
    }

    fn keep(&self, cache: &Cache) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| Error::setup("failed to write the lab's record").source(source))?;
        write_whole(&path(cache, &self.name), &text)
    }

    /// Begins to record into `file`.
    ///
    /// # Errors
    ///
    /// It records already, or tcpdump does not begin to listen.
    pub fn start_capture(&mut self, cache: &Cache, file: &Path) -> Result<()> {
        if let Some(recording) = &self.recording {
            return Err(Error::capture(format!("already recording into {}", recording.file().display()))
                .next(format!("end it first: {}", invocation::lab("capture stop"))));
        }
        self.recording = Some(Recording::start(self.open()?.machine(Role::Server), file)?);
        self.keep(cache)
    }

    /// Ends the recording; gives its file and its packets by the node that sent them.
    ///
    /// # Errors
    ///
    /// Nothing is being recorded, or as [`Recording::stop`].
    pub fn stop_capture(&mut self, cache: &Cache) -> Result<(PathBuf, BTreeMap<Role, u64>)> {
        let recording = self.recording.take().ok_or_else(|| Error::capture("nothing is being recorded"))?;
        let open = self.open()?;
        // Forgotten whatever comes: what failed to stop is ended by the next start.
        self.keep(cache)?;
        let (machine, addresses) = (open.machine(Role::Server), open.machines.addresses());
        let file = recording.stop(machine, &addresses)?;
        let sent = decode_file(&file, &addresses)?.sent;
        let packets = addresses.iter().map(|(role, own)| (*role, sent.get(own).copied().unwrap_or(0)));
        Ok((file, packets.collect()))
    }

    /// Ends what runs there, and puts devices, MTU and neighbours back.
    ///
    /// # Errors
    ///
    /// As [`Machines::reset`].
    pub fn reset(&mut self, cache: &Cache) -> Result<()> {
        self.open()?.machines.reset(Network::default())?;
        self.recording = None;
        self.keep(cache)
    }

    /// Gives the machines back: instances are stopped; hosts lose the device that was made there. The record goes.
    ///
    /// # Errors
    ///
    /// The machines do not answer.
    pub fn down(&self, cache: &Cache) -> Result<()> {
        match self.choice()? {
            Choice::Multipass { .. } => multipass::down::stop()?,
            _ => {
                let open = self.open()?;
                both(|role| reset::give_back(open.machine(role)))?;
            }
        }
        let path = path(cache, &self.name);
        fs::remove_file(&path).at("failed to remove", &path)
    }
}

impl Open {
    /// One of both.
    pub fn machine(&self, role: Role) -> &Machine {
        &self.machines.by_role[&role]
    }

    /// The words that run a shell command as root with the terminal of a person, and what tells its exit code
    /// afterwards: carriers do not (multipass runs a command that exits with 4 again and again).
    pub fn person(&self, role: Role, command: &str, terminal: bool) -> (Command, Ending) {
        let (line, ending) = Ending::line(command);
        (self.machine(role).host().shell(Some(&line), terminal), ending)
    }

    /// The exit code of a command of [`Open::person`] that has ended.
    ///
    /// # Errors
    ///
    /// The command was cut off, or the machine does not answer.
    pub fn exit_code(&self, role: Role, ending: &Ending) -> Result<u8> {
        let output = self.machine(role).run_root(&ending.code(), SHORT)?;
        output.stdout.trim().parse().map_err(|_| {
            Error::boot(format!("{}: the command was cut off", self.machine(role).title()))
                .next(format!("what it started may run on: {} ends it", invocation::lab("reset")))
        })
    }

    /// Ends a command of [`Open::person`] that was interrupted here: there too, with what it started.
    ///
    /// # Errors
    ///
    /// It does not end, or the machine does not answer.
    pub fn end(&self, role: Role, ending: &Ending) -> Result<()> {
        let machine = self.machine(role);
        machine.demand("the interrupted command has ended", &ending.end(), SHORT).map(drop).map_err(|error| {
            error.next(format!("what it started may run on: {} ends it", invocation::lab("reset")))
        })
    }
}
