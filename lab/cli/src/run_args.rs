//! The arguments of `run`: all that a scenario file can say, as options; and the scenario that they mean.

use std::path::PathBuf;

use lab::Result;
use lab::base::selection::Selection;
use lab::scenario::fault::Fault;
use lab::scenario::{Scenario, Trace};

use crate::node_args::NodeArgs;
use crate::programs::ProgramArgs;

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("server", |server| server.required(true)))]
pub struct Args {
    #[command(flatten)]
    pub(crate) programs: ProgramArgs,
    #[command(flatten)]
    pub(crate) nodes: NodeArgs,
    /// Fault of packets on the way: action="drop",opcode="RC RDMA WRITE Middle",nth=1
    #[arg(long, value_name = "FAULT")]
    pub(crate) fault: Vec<Fault>,
    /// The accepted trace; one that differs is written to FILE.new, and is red.
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Accept the trace: write it to the file of --snapshot, if nothing else is wrong.
    #[arg(long, requires = "snapshot")]
    pub(crate) accept: bool,
    /// Afterwards show the lines that differ from the accepted trace and, on a terminal, ask whether to accept them.
    #[arg(long, requires = "snapshot", conflicts_with_all = ["accept", "repeat"])]
    pub(crate) review: bool,
    /// Write the run as a scenario: a file NAME.toml, which the option --scenarios finds in its directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Compare and keep what must hold of the trace whatever the timing, rather than every packet.
    #[arg(long)]
    pub(crate) summary: bool,
    /// Number of times that both are run, on fresh machines each time; all runs have to be green.
    #[arg(long, value_name = "TIMES", default_value = "1", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "accept")]
    pub(crate) repeat: u16,
    #[command(flatten)]
    pub(crate) machines: Selection,
}

impl Args {
    /// The scenario that the arguments mean, with its commands and paths as they were written.
    ///
    /// # Errors
    ///
    /// As [`ProgramArgs::written`].
    pub fn written(&self) -> Result<Scenario> {
        let mut scenario = self.programs.unchecked(&self.machines.release.packages)?;
        self.nodes.apply(&mut scenario);
        scenario.faults.clone_from(&self.fault);
        if self.summary {
            scenario.trace = Trace::Summary;
        }
        scenario.check()?;
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// Keys of a scenario file that have an option of another name, or that a run says otherwise.
    const OTHERWISE: [(&str, &str); 21] = [
        ("modules", "load"),
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
        ("expect.ports", "expect-port"),
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
        line.args.written().map_err(|error| error.to_string())
    }

    #[test]
    fn options_say_what_a_scenario_file_does() {
        let said = scenario(&[
            "--client",
            "c",
            "--user",
            "worker",
            "--load",
            "siw,nvmet",
            "--swap",
            "--restart",
            "client",
            "--client-interface",
            "vlan 8",
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
                    modules = ['siw', 'nvmet']\nuser = 'worker'\nswap = true\nrestart = 'client'\ntimeout_s = 60\nneeds = ['switch']\n\
                    [network]\nclient_interface = 'vlan 8'\n\
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
    fn further_nodes_and_ports_are_as_in_a_scenario_file() {
        let said = scenario(&[
            "--nodes",
            "4",
            "--on",
            "client3=c {server}",
            "--port",
            "to=\"server\",kbit_per_s=8000,mark_above_bytes=8192",
            "--port",
            "to=[\"client2\",\"client3\"],kbit_per_s=1",
            "--expect-port",
            "server.marked=some",
            "--expect-port",
            "client2+client3.dropped=0",
            "--cnps",
            "0",
        ])
        .unwrap();
        let file = "summary = 's'\nserver = 'a'\nclient = 'b {server}'\ntimeout_s = 60\nnodes = 4\non = { client3 = 'c {server}' }\n\
                    [[port]]\nto = 'server'\nkbit_per_s = 8000\nmark_above_bytes = 8192\n\
                    [[port]]\nto = ['client2', 'client3']\nkbit_per_s = 1\n\
                    [expect]\ncnps = 0\ncompletions = false\n\
                    [expect.ports]\nserver = { marked = 'some' }\n'client2+client3' = { dropped = 0 }\n";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.toml");
        std::fs::write(&path, file).unwrap();
        let read = Scenario::read(&path).unwrap();
        let read = Scenario { summary: said.summary.clone(), ..read };
        assert_eq!(said.written().unwrap(), read.written().unwrap());
        for (words, part) in [
            (["--nodes", "9"], "9 is not in 2..=8"),
            (["--on", "clent3=c"], "the nearest is `client3`"),
            (["--on", "client3=c"], "client3"),
            (["--port", "to=\"server\",kbits=1"], "unknown field `kbits`"),
            (["--expect-port", "server.lost=1"], "there are frames, marked, dropped"),
            (["--cnps", "few"], "`few` is no count"),
        ] {
            let error = scenario(&words).unwrap_err();
            assert!(error.contains(part), "{words:?}: {error}");
        }
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
            (["--interface", "vlna 7"], "the nearest is `vlan`"),
            (["--restart", "sever"], "a similar value exists: 'server'"),
            (["--cause", "KeyByteSwaped"], "KeyByteSwapped"),
            (["--fault", "action=\"dorp\""], "`drop`"),
        ] {
            let error = scenario(&words).unwrap_err();
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}
