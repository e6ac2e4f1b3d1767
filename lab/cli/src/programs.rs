//! Programs of a user's: the options that say which ones run, and how, for every command that runs them.
//!
//! One definition: `run` demands them, `explore` takes them in the place of a scenario.

use std::path::PathBuf;

use lab::Result;
use lab::base::role::Role;
use lab::base::selection::Means;
use lab::guest::pushed::Pushed;
use lab::node::Provider as _;
use lab::provider::Choice;
use lab::run::setup::Setup;
use lab::scenario::Scenario;
use lab::scenario::counters::{self, Count};
use lab::scenario::exit;
use lab::scenario::file::Need;
use lab::scenario::interface::RdmaInterface;
use lab::scenario::network::{self, IpVersion, Network};
use lab::scenario::ready::{Ready, Stop};
use serde_json::Value;

use crate::{Front, machines};

/// Options that say what runs on both nodes, and what is expected of it.
#[derive(Debug, Clone, clap::Args)]
pub struct ProgramArgs {
    /// The command on the node `server`, which has to end by itself or by --stop. `{server}` and `{client}` stand for the nodes'
    /// addresses, and a local path as its first word is pushed.
    #[arg(long, value_name = "COMMAND", requires = "client")]
    pub(crate) server: Option<String>,
    /// The command on the node `client`, started when something listens on the server; likewise. Several run side by side.
    #[arg(long, value_name = "COMMAND", requires = "server")]
    pub(crate) client: Vec<String>,
    /// A file or a directory for both nodes, in /opt/lab/deployed: programs there are found by name, libraries by the loader.
    #[arg(long, requires = "server", value_name = "FILE")]
    pub(crate) push: Vec<PathBuf>,
    /// Longest time that both programs may take together, in seconds.
    #[arg(long, requires = "server", value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// Moment at which the server is ready for its client: listener (something new listens by RDMA CM or TCP), port:N, delay:SECONDS.
    #[arg(long, requires = "server", value_name = "WHEN", default_value = "listener")]
    pub(crate) ready: Ready,
    /// The signal that ends the server once the client has, for one that serves for ever; SIGINT reaches only what handles it.
    #[arg(long, requires = "server", value_name = "SIGNAL")]
    pub(crate) stop: Option<Stop>,
    /// Kernel modules that both nodes load before the programs start, with all that those need: nvme-rdma,nvmet-rdma.
    #[arg(long, requires = "server", value_name = "MODULE,…", value_delimiter = ',')]
    pub(crate) load: Vec<String>,
    /// Run the programs as this user rather than root, with the 8 MiB of locked memory that a login has.
    #[arg(long, requires = "server", value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Let the machines change places: the first is the client's then.
    #[arg(long, requires = "server")]
    pub(crate) swap: bool,
    /// Make the RDMA device of a node anew when both programs have ended, as by a restart, and run both again: server, or client.
    #[arg(long, requires = "server", value_name = "NODE")]
    pub(crate) restart: Option<Role>,
    /// Things that the machines must have beyond what all have: switch.
    #[arg(long, requires = "server", value_name = "WHAT")]
    pub(crate) needs: Vec<Need>,
    /// The programs give requesters a reason to run into their ACK timeout.
    #[arg(long, requires = "server")]
    pub(crate) timeouts: bool,
    /// Name of the run in artifacts and results.
    #[arg(long, requires = "server", default_value = "run", value_parser = name_of_file)]
    pub(crate) name: String,
    /// The exit code that the server has to have, or the signal that ends it: SIGTERM.
    #[arg(long, requires = "server", value_name = "CODE", default_value = "0", value_parser = exit::parse, allow_negative_numbers = true)]
    pub(crate) server_exit: i32,
    /// The exit code that the client has to have, likewise; each of several.
    #[arg(long, requires = "server", value_name = "CODE", default_value = "0", value_parser = exit::parse, allow_negative_numbers = true)]
    pub(crate) client_exit: i32,
    /// A member that a program's result line must have, with its value: client.verified=true
    #[arg(long, requires = "server", value_name = "NODE.KEY=VALUE", value_parser = result)]
    pub(crate) result: Vec<(Role, String, Value)>,
    /// The programs tell their completions, as those of this project do with --json; they are compared with the wire.
    #[arg(long, requires = "server")]
    pub(crate) completions: bool,
    /// A part of a line that a node's kernel logs; it is there, and no objection: client=non-flush
    #[arg(long, requires = "server", value_name = "NODE=TEXT", value_parser = logged)]
    pub(crate) kernel_log: Vec<(Role, String)>,
    /// A protocol rule that the wire has to break, as a fault makes it; `explain` lists all.
    #[arg(long, requires = "server", value_name = "RULE")]
    pub(crate) finding: Vec<String>,
    /// A protocol rule that the wire may break or not.
    #[arg(long, requires = "server", value_name = "RULE")]
    pub(crate) may: Vec<String>,
    /// A cause of failure that the run has to show; `explain` lists all.
    #[arg(long, requires = "server", value_name = "CAUSE")]
    pub(crate) cause: Vec<String>,
    /// Distance that a counter of trouble moves on, as a fault makes it: server.completer_retry_err=1, or `some`, or `any`
    #[arg(long, requires = "server", value_name = "NODE.COUNTER=N", value_parser = counter)]
    pub(crate) counter: Vec<(Role, String, Count)>,
    /// MTU of the network in bytes. The InfiniBand path MTU is 256 from 336 on, 512 from 592, 1024 from 1104, 2048 from 2128,
    /// 4096 from 4176; connections by rdma_cm want 16 bytes more.
    #[arg(long, requires = "server", default_value_t = network::MTU_DEFAULT)]
    pub(crate) mtu: u16,
    /// MTU of the server's port in bytes, where it is another.
    #[arg(long, requires = "server", value_name = "MTU")]
    pub(crate) server_mtu: Option<u16>,
    /// MTU of the client's port in bytes, where it is another.
    #[arg(long, requires = "server", value_name = "MTU")]
    pub(crate) client_mtu: Option<u16>,
    /// A node that drops the RoCEv2 packets which reach it, as the packet filter of a host does: server, or client.
    #[arg(long, requires = "server", value_name = "NODE")]
    pub(crate) filtered: Option<Role>,
    /// The interface that carries RDMA on both nodes: port, "vlan 7", macvlan, bridge (the port is a member of it), or veth (its other
    /// end is in a bridge with the port).
    #[arg(long, requires = "server", value_name = "KIND", default_value = "port")]
    pub(crate) interface: RdmaInterface,
    /// That of the server, where it is another.
    #[arg(long, requires = "server", value_name = "KIND")]
    pub(crate) server_interface: Option<RdmaInterface>,
    /// That of the client, where it is another.
    #[arg(long, requires = "server", value_name = "KIND")]
    pub(crate) client_interface: Option<RdmaInterface>,
    /// Connect over IPv6.
    #[arg(long, requires = "server")]
    pub(crate) ipv6: bool,
}

impl ProgramArgs {
    /// Returns the scenario that they mean, with its commands and paths as they were written: from this directory.
    ///
    /// # Errors
    ///
    /// A name is none that there is, or what they ask for cannot be.
    pub fn written(&self, packages: &[String]) -> Result<Scenario> {
        let mut scenario = self.unchecked(packages)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The same for one to whom more is said, who checks it.
    pub(crate) fn unchecked(&self, packages: &[String]) -> Result<Scenario> {
        let network = Network {
            mtu: self.mtu,
            server_mtu: self.server_mtu,
            client_mtu: self.client_mtu,
            filtered: self.filtered,
            interface: self.interface,
            server_interface: self.server_interface,
            client_interface: self.client_interface,
            ip: if self.ipv6 { IpVersion::V6 } else { IpVersion::V4 },
        };
        network.check()?;
        let mut clients = self.client.iter().cloned();
        let server = self.server.clone().unwrap_or_default();
        let mut scenario = Scenario::new(&self.name, server, clients.next().unwrap_or_default());
        scenario.more_clients = clients.collect();
        scenario.push.clone_from(&self.push);
        scenario.packages = packages.to_vec();
        scenario.modules.clone_from(&self.load);
        scenario.user.clone_from(&self.user);
        (scenario.swap, scenario.restart) = (self.swap, self.restart);
        scenario.needs.clone_from(&self.needs);
        scenario.timeout_s = self.timeout;
        (scenario.ready, scenario.stop) = (self.ready, self.stop);
        scenario.network = network;
        let expect = &mut scenario.expect;
        expect.findings.clone_from(&self.finding);
        expect.may.clone_from(&self.may);
        expect.causes.clone_from(&self.cause);
        expect.completions = self.completions;
        expect.timeouts = self.timeouts;
        (expect.server.exit, expect.client.exit) = (self.server_exit, self.client_exit);
        for (role, counter, count) in &self.counter {
            expect.of(*role).counters.insert(counter.clone(), *count);
        }
        for (role, key, value) in &self.result {
            expect.of(*role).result.insert(key.clone(), value.clone());
        }
        for (role, part) in &self.kernel_log {
            expect.of(*role).kernel_log.push(part.clone());
        }
        Ok(scenario)
    }
}

/// Prepares machines for a scenario that is called as on a node, with its programs before the sample programs; programs that
/// cannot run there are refused before a machine starts.
///
/// # Errors
///
/// As [`Setup::prepare`] and [`Pushed::check`].
pub fn setup(
    scenario: &Scenario,
    pushed: &Pushed,
    choice: &Choice,
    means: &Means,
    front: &Front,
) -> Result<Setup> {
    let texts = scenario.roles().iter().flat_map(|role| scenario.commands_of(*role)).map(str::to_owned);
    let texts = texts.chain(pushed.scripts()?);
    let samples = front.samples_for(texts.collect::<Vec<_>>().iter().map(String::as_str))?;
    machines::prepare(choice, means, samples.are_built())?;
    let mut setup = Setup::prepare(&samples, choice, &front.program)?;
    setup.programs = pushed.before(&setup.programs);
    if let Some(contents) = setup.provider.contents()? {
        pushed.check(&contents)?;
        let programs = setup.programs.iter().map(|program| program.name.as_str());
        let names: Vec<&str> = programs.chain(front.samples.names()).collect();
        for command in scenario.roles().iter().flat_map(|role| scenario.commands_of(*role)) {
            Pushed::check_command(command, &contents, &names)?;
        }
    }
    Ok(setup)
}

/// Reads `server.completer_retry_err=1`.
fn counter(text: &str) -> Result<(Role, String, Count), String> {
    let shape = || "write it as in server.completer_retry_err=1, =some or =any".to_owned();
    let (counter, count) = text.split_once('=').ok_or_else(shape)?;
    let (node, name) = counter.split_once('.').ok_or_else(shape)?;
    let count = count.parse().map_err(|_| shape())?;
    let example = |why| format!("{why}; {}", shape());
    Ok((node.parse().map_err(example)?, counters::name(name).map_err(example)?.to_owned(), count))
}

/// Reads `client.verified=true`; a value that is no JSON is a text.
fn result(text: &str) -> Result<(Role, String, Value), String> {
    let shape = || "write it as in client.verified=true".to_owned();
    let (member, value) = text.split_once('=').ok_or_else(shape)?;
    let (node, key) = member.split_once('.').ok_or_else(shape)?;
    let node = node.parse().map_err(|why| format!("{why}; {}", shape()))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((node, key.to_owned(), value))
}

/// Reads `client=non-flush error status`.
fn logged(text: &str) -> Result<(Role, String), String> {
    of_node(text, "client=non-flush error status")
}

/// Reads a node and a text, as in `example`.
pub(crate) fn of_node(text: &str, example: &str) -> Result<(Role, String), String> {
    let shape = || format!("write it as in {example}");
    let (node, part) = text.split_once('=').ok_or_else(shape)?;
    Ok((node.parse().map_err(|why| format!("{why}; {}", shape()))?, part.to_owned()))
}

/// A name that a directory can have.
pub(crate) fn name_of_file(text: &str) -> Result<String, String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(is_good) {
        true => Ok(text.to_owned()),
        false => Err("use letters, digits, `-` and `_`, at most 64".to_owned()),
    }
}
