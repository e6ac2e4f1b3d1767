//! The arguments of `run`: all that a scenario file can say, as options; and the scenario that they mean.

use std::path::PathBuf;

use lab::Result;
use lab::base::role::Role;
use lab::base::selection::Selection;
use lab::guest::pushed::Pushed;
use lab::scenario::counters::{self, Count};
use lab::scenario::exit;
use lab::scenario::fault::Fault;
use lab::scenario::file::Need;
use lab::scenario::network::{self, IpVersion, Network};
use lab::scenario::ready::{Ready, Stop};
use lab::scenario::{Scenario, Trace};
use serde_json::Value;

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command on the node `server`, which has to end by itself or by --stop. `{server}` and `{client}` stand for the nodes'
    /// addresses, and a local path as its first word is pushed.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) server: String,
    /// The command on the node `client`, started when something listens on the server; likewise. Several run side by side.
    #[arg(long, value_name = "COMMAND", required = true)]
    pub(crate) client: Vec<String>,
    /// A file or a directory for both nodes, in /opt/lab/deployed: programs there are found by name, libraries by the loader.
    #[arg(long, value_name = "FILE")]
    pub(crate) push: Vec<PathBuf>,
    /// Fault of packets on the way: action="drop",opcode="RC RDMA WRITE Middle",nth=1
    #[arg(long, value_name = "FAULT")]
    pub(crate) fault: Vec<Fault>,
    /// The accepted trace; one that differs is written to FILE.new, and is red.
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Accept the trace: write it to the file of --snapshot, if nothing else is wrong.
    #[arg(long, requires = "snapshot")]
    pub(crate) accept: bool,
    /// Longest time that both programs may take together, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// Moment at which the server is ready for its client: listener (something new listens by RDMA CM or TCP), port:N, delay:SECONDS.
    #[arg(long, value_name = "WHEN", default_value = "listener")]
    pub(crate) ready: Ready,
    /// The signal that ends the server once the client has, for one that serves for ever; SIGINT reaches only what handles it.
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop: Option<Stop>,
    /// Write the run as a scenario: a file NAME.toml, which the option --scenarios finds in its directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Compare and keep what must hold of the trace whatever the timing, rather than every packet.
    #[arg(long)]
    pub(crate) summary: bool,
    /// Kernel modules that both nodes load before the programs start, with all that those need: nvme-rdma,nvmet-rdma.
    #[arg(long, value_name = "MODULE,…", value_delimiter = ',')]
    pub(crate) modules: Vec<String>,
    /// Run the programs as this user rather than root, with the 8 MiB of locked memory that a login has.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Let the machines change places: the first is the client's then.
    #[arg(long)]
    pub(crate) swap: bool,
    /// Things that the machines must have beyond what all have: switch.
    #[arg(long, value_name = "WHAT")]
    pub(crate) needs: Vec<Need>,
    /// Number of times that both are run, on fresh machines each time; all runs have to be green.
    #[arg(long, value_name = "TIMES", default_value = "1", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "accept")]
    pub(crate) repeat: u16,
    /// The programs give requesters a reason to run into their ACK timeout.
    #[arg(long)]
    pub(crate) timeouts: bool,
    /// Name of the run in artifacts and results.
    #[arg(long, default_value = "run", value_parser = name_of_file)]
    pub(crate) name: String,
    /// The exit code that the server has to have, or the signal that ends it: SIGTERM.
    #[arg(long, value_name = "CODE", default_value = "0", value_parser = exit::parse, allow_negative_numbers = true)]
    pub(crate) server_exit: i32,
    /// The exit code that the client has to have, likewise; each of several.
    #[arg(long, value_name = "CODE", default_value = "0", value_parser = exit::parse, allow_negative_numbers = true)]
    pub(crate) client_exit: i32,
    /// A member that a program's result line must have, with its value: client.verified=true
    #[arg(long, value_name = "NODE.KEY=VALUE", value_parser = result)]
    pub(crate) result: Vec<(Role, String, Value)>,
    /// The programs tell their completions, as those of this project do with --json; they are compared with the wire.
    #[arg(long)]
    pub(crate) completions: bool,
    /// A part of a line that a node's kernel logs; it is there, and no objection: client=non-flush
    #[arg(long, value_name = "NODE=TEXT", value_parser = logged)]
    pub(crate) kernel_log: Vec<(Role, String)>,
    /// A protocol rule that the wire has to break, as a fault makes it; `explain` lists all.
    #[arg(long, value_name = "RULE")]
    pub(crate) finding: Vec<String>,
    /// A protocol rule that the wire may break or not.
    #[arg(long, value_name = "RULE")]
    pub(crate) may: Vec<String>,
    /// A cause of failure that the run has to show; `explain` lists all.
    #[arg(long, value_name = "CAUSE")]
    pub(crate) cause: Vec<String>,
    /// Distance that a counter of trouble moves on, as a fault makes it: server.completer_retry_err=1, or `some`, or `any`
    #[arg(long, value_name = "NODE.COUNTER=N", value_parser = counter)]
    pub(crate) counter: Vec<(Role, String, Count)>,
    /// MTU of the network in bytes. The InfiniBand path MTU is 256 from 336 on, 512 from 592, 1024 from 1104, 2048 from 2128,
    /// 4096 from 4176; connections by rdma_cm want 16 bytes more.
    #[arg(long, default_value_t = network::MTU_DEFAULT)]
    pub(crate) mtu: u16,
    /// MTU of the server's port in bytes, where it is another.
    #[arg(long, value_name = "MTU")]
    pub(crate) server_mtu: Option<u16>,
    /// MTU of the client's port in bytes, where it is another.
    #[arg(long, value_name = "MTU")]
    pub(crate) client_mtu: Option<u16>,
    /// A node that drops the RoCEv2 packets which reach it, as the packet filter of a host does: server, or client.
    #[arg(long, value_name = "NODE")]
    pub(crate) filtered: Option<Role>,
    /// Connect over IPv6.
    #[arg(long)]
    pub(crate) ipv6: bool,
    #[command(flatten)]
    pub(crate) machines: Selection,
}

impl Args {
    /// The scenario that the arguments mean.
    ///
    /// # Errors
    ///
    /// A name is none that there is, or what they ask for cannot be.
    pub(crate) fn scenario(&self, pushed: &mut Pushed) -> Result<Scenario> {
        let network = Network {
            mtu: self.mtu,
            server_mtu: self.server_mtu,
            client_mtu: self.client_mtu,
            filtered: self.filtered,
            ip: if self.ipv6 { IpVersion::V6 } else { IpVersion::V4 },
        };
        network.check()?;
        let mut scenario = self.as_said().with_commands(|command| pushed.command(command))?;
        scenario.modules.clone_from(&self.modules);
        scenario.user.clone_from(&self.user);
        scenario.swap = self.swap;
        scenario.needs.clone_from(&self.needs);
        scenario.timeout_s = self.timeout;
        (scenario.ready, scenario.stop) = (self.ready, self.stop);
        scenario.network = network;
        scenario.faults.clone_from(&self.fault);
        if self.summary {
            scenario.trace = Trace::Summary;
        }
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
        scenario.check()?;
        Ok(scenario)
    }

    /// A scenario with the commands as they were said, and nothing else.
    pub(crate) fn as_said(&self) -> Scenario {
        let mut clients = self.client.iter().cloned();
        let mut scenario = Scenario::new(&self.name, self.server.clone(), clients.next().unwrap_or_default());
        scenario.more_clients = clients.collect();
        scenario
    }
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
    let shape = || "write it as in client=non-flush error status".to_owned();
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

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// Keys of a scenario file that have an option of another name, or that a run says otherwise.
    const OTHERWISE: [(&str, &str); 19] = [
        ("summary", "save"),
        ("more_clients", "client"),
        ("timeout_s", "timeout"),
        ("trace", "summary"),
        ("network.ip", "ipv6"),
        ("network.mtu", "mtu"),
        ("network.server_mtu", "server-mtu"),
        ("network.client_mtu", "client-mtu"),
        ("network.filtered", "filtered"),
        ("expect.findings", "finding"),
        ("expect.may", "may"),
        ("expect.causes", "cause"),
        ("expect.completions", "completions"),
        ("expect.timeouts", "timeouts"),
        ("expect.server", "server-exit"),
        ("expect.client", "client-exit"),
        ("expect.exit", "client-exit"),
        ("expect.counters", "counter"),
        ("expect.kernel_log", "kernel-log"),
    ];

    /// Everything that a scenario file can say, `run` can.
    #[test]
    fn every_key_of_a_scenario_is_an_option_of_run() {
        let schema: Value = serde_json::from_str(&Scenario::schema()).unwrap();
        let keys = |at: &Value, before: &str| -> Vec<String> {
            at["properties"].as_object().unwrap().keys().map(|key| format!("{before}{key}")).collect()
        };
        let part = |name: &str| &schema["$defs"][name];
        let all = [
            keys(&schema, ""),
            keys(part("Network"), "network."),
            keys(part("Expect"), "expect."),
            keys(part("ExpectProgram"), "expect."),
        ];
        let line = Line::command();
        let options: Vec<&str> = line.get_arguments().filter_map(clap::Arg::get_long).collect();
        for key in all.concat() {
            let other =
                OTHERWISE.iter().find(|(name, _)| *name == key).map(|(_, option)| (*option).to_owned());
            let own = key.rsplit('.').next().unwrap_or_default().replace('_', "-");
            let option = other.unwrap_or(own);
            let is_table = ["network", "expect"].contains(&key.as_str());
            assert!(is_table || options.contains(&option.as_str()), "{key}: no --{option} in {options:?}");
        }
    }

    fn scenario(words: &[&str]) -> Result<Scenario, String> {
        let line = ["run", "--server", "a", "--client", "b {server}"].iter().chain(words);
        let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        line.args.scenario(&mut Pushed::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn options_say_what_a_scenario_file_does() {
        let said = scenario(&[
            "--client",
            "c",
            "--user",
            "worker",
            "--modules",
            "siw,nvmet",
            "--swap",
            "--needs",
            "switch",
            "--server-exit",
            "SIGTERM",
            "--client-exit",
            "-1",
            "--may",
            "icrcmismatch",
            "--result",
            "client.read_bytes=18",
            "--result",
            "server.text=hello",
            "--kernel-log",
            "client=a b",
            "--completions",
        ])
        .unwrap();
        let file = "summary = 's'\nserver = 'a'\nclient = 'b {server}'\nmore_clients = ['c']\n\
                    modules = ['siw', 'nvmet']\nuser = 'worker'\nswap = true\ntimeout_s = 60\nneeds = ['switch']\n\
                    [expect]\nmay = ['IcrcMismatch']\n[expect.server]\nexit = 'SIGTERM'\nresult = { text = 'hello' }\n\
                    [expect.client]\nexit = -1\nresult = { read_bytes = 18 }\nkernel_log = ['a b']\n";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.toml");
        std::fs::write(&path, file).unwrap();
        let mut read = Scenario::read(&path).unwrap();
        read.summary.clear();
        assert_eq!(said.written().unwrap(), read.written().unwrap());
    }

    #[test]
    fn mistyped_values_name_the_nearest() {
        for (words, part) in [
            (["--server-exit", "SIGTREM"], "the nearest is `SIGTERM`"),
            (["--may", "IcrcMissmatch"], "the nearest is `IcrcMismatch`"),
            (["--counter", "sever.sent_pkts=1"], "the nearest is `server`"),
            (["--result", "cleint.ok=true"], "the nearest is `client`"),
            (["--kernel-log", "clint=x"], "the nearest is `client`"),
            (["--client", "b {sever}"], "the nearest is {server}"),
            (["--needs", "swich"], "the nearest is `switch`"),
            (["--stop", "SIGITN"], "SIGINT"),
            (["--cause", "KeyByteSwaped"], "KeyByteSwapped"),
            (["--fault", "action=\"dorp\""], "`drop`"),
        ] {
            let error = scenario(&words).unwrap_err();
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}
