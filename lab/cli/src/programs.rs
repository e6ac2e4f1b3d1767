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
use lab::scenario::network::{self, IpVersion, Network};
use lab::scenario::ready::{Ready, Stop};

use crate::{Front, machines};

/// Options that say what runs on both nodes, and what is expected of it.
#[derive(Debug, Clone, clap::Args)]
pub struct ProgramArgs {
    /// The command on the node `server`, which has to end by itself or by --stop. `{server}` and `{client}` stand for the nodes'
    /// addresses, and a local path as its first word is pushed.
    #[arg(long, value_name = "COMMAND", requires = "client")]
    pub server: Option<String>,
    /// The command on the node `client`, started when something listens on the server; likewise.
    #[arg(long, value_name = "COMMAND", requires = "server")]
    pub client: Option<String>,
    /// A file for both nodes, in /opt/lab/deployed: programs there are found by name, libraries by the loader.
    #[arg(long, value_name = "FILE", requires = "server")]
    push: Vec<PathBuf>,
    /// How long both programs may take together, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "60", requires = "server", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// When the server is ready for its client: listener (something new listens by RDMA CM or TCP), port:N, delay:SECONDS.
    #[arg(long, value_name = "WHEN", default_value = "listener", requires = "server")]
    ready: Ready,
    /// The signal that ends the server once the client has, for one that serves for ever; SIGINT reaches only what handles it.
    #[arg(long, value_name = "SIGNAL", requires = "server")]
    stop: Option<Stop>,
    /// The programs give requesters a reason to run into their ACK timeout.
    #[arg(long, requires = "server")]
    timeouts: bool,
    /// What the run is called in artifacts and results.
    #[arg(long, default_value = "run", requires = "server", value_parser = name_of_file)]
    name: String,
    /// The exit code that the server has to have.
    #[arg(long, value_name = "CODE", default_value = "0", requires = "server")]
    server_exit: i32,
    /// The exit code that the client has to have.
    #[arg(long, value_name = "CODE", default_value = "0", requires = "server")]
    client_exit: i32,
    /// A protocol rule that the wire has to break, as a fault makes it; `explain` lists all.
    #[arg(long, value_name = "RULE", requires = "server")]
    finding: Vec<String>,
    /// A cause of failure that the run has to show; `explain` lists all.
    #[arg(long, value_name = "CAUSE", requires = "server")]
    cause: Vec<String>,
    /// How far a counter of trouble moves on, as a fault makes it: server.completer_retry_err=1, or `some`, or `any`
    #[arg(long, value_name = "NODE.COUNTER=N", requires = "server", value_parser = counter)]
    counter: Vec<(Role, String, Count)>,
    /// MTU of the network in bytes. The InfiniBand path MTU is 256 from 336 on, 512 from 592, 1024 from 1104, 2048 from 2128,
    /// 4096 from 4176; connections by rdma_cm want 16 bytes more.
    #[arg(long, default_value_t = network::MTU_DEFAULT, requires = "server")]
    mtu: u16,
    /// MTU of the server's port in bytes, where it is another.
    #[arg(long, value_name = "MTU", requires = "server")]
    server_mtu: Option<u16>,
    /// MTU of the client's port in bytes, where it is another.
    #[arg(long, value_name = "MTU", requires = "server")]
    client_mtu: Option<u16>,
    /// A node that drops the RoCEv2 packets which reach it, as the packet filter of a host does: server, or client.
    #[arg(long, value_name = "NODE", requires = "server")]
    filtered: Option<Role>,
    /// Connect over IPv6.
    #[arg(long, requires = "server")]
    ipv6: bool,
}

impl ProgramArgs {
    /// Returns the scenario that they mean, with its commands and paths as they were written: from this directory.
    ///
    /// # Errors
    ///
    /// A name, a placeholder or a network is none.
    pub fn written(&self, packages: &[String]) -> Result<Scenario> {
        let network = Network {
            mtu: self.mtu,
            server_mtu: self.server_mtu,
            client_mtu: self.client_mtu,
            filtered: self.filtered,
            ip: if self.ipv6 { IpVersion::V6 } else { IpVersion::V4 },
        };
        network.check()?;
        let command = |command: &Option<String>| command.clone().unwrap_or_default();
        let mut scenario = Scenario::new(&self.name, command(&self.server), command(&self.client));
        scenario.timeout_s = self.timeout;
        (scenario.ready, scenario.stop) = (self.ready, self.stop);
        scenario.network = network;
        scenario.push.clone_from(&self.push);
        scenario.packages = packages.to_vec();
        scenario.expect.findings.clone_from(&self.finding);
        scenario.expect.causes.clone_from(&self.cause);
        scenario.expect.completions = false;
        scenario.expect.timeouts = self.timeouts;
        scenario.expect.server.exit = self.server_exit;
        scenario.expect.client.exit = self.client_exit;
        for (role, counter, count) in &self.counter {
            let program = match role {
                Role::Server => &mut scenario.expect.server,
                Role::Client => &mut scenario.expect.client,
            };
            program.counters.insert(counter.clone(), *count);
        }
        scenario.check()?;
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
    let texts = Role::BOTH.map(|role| scenario.command(role).to_owned()).into_iter().chain(pushed.scripts()?);
    let samples = front.samples_for(texts.collect::<Vec<_>>().iter().map(String::as_str))?;
    machines::prepare(choice, means, samples.are_built())?;
    let mut setup = Setup::prepare(&samples, choice, &front.program)?;
    setup.programs = pushed.before(&setup.programs);
    if let Some(contents) = setup.provider.contents()? {
        pushed.check(&contents)?;
        let programs = setup.programs.iter().map(|program| program.name.as_str());
        let names: Vec<&str> = programs.chain(front.samples.names()).collect();
        for role in Role::BOTH {
            Pushed::check_command(scenario.command(role), &contents, &names)?;
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

/// A name that a directory can have.
pub(crate) fn name_of_file(text: &str) -> Result<String, String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(is_good) {
        true => Ok(text.to_owned()),
        false => Err("use letters, digits, `-` and `_`, at most 64".to_owned()),
    }
}
