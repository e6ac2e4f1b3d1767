//! Evidence of a run: all that a verdict is judged from, kept in the artifact directory.
//!
//! Judging reads only this and the capture, so a kept directory can be judged again without machines.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::cache::write_whole;
use crate::base::command::Output;
use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::role::Role;
use crate::node::Provenance;
use crate::scenario::Scenario;
use crate::scenario::differences::Differences;
use crate::scenario::fault::Met;
use crate::scenario::fault::netem::Counted;
use crate::wire::capture::{CAPTURE, decode_named};
use crate::wire::limits::PortCount;

/// The evidence's file in an artifact directory.
pub const FILE: &str = "evidence.json";

/// The first of these directories that has evidence: a run that was judged again has its where it ran.
pub fn first_of(directories: [&Path; 2]) -> Option<&Path> {
    directories.into_iter().find(|directory| directory.join(FILE).is_file())
}

/// Evidence of one node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NodeEvidence {
    /// True if the scenario's command was started; what was not heard of again says nothing of the command then.
    #[serde(default)]
    pub is_started: bool,
    /// Output of the scenario's command, and its end; `None` if it was never started, or never answered for.
    pub output: Option<Output>,
    /// Outputs of the scenario's commands in their order, where the node has several: `output` has all of them then, first what
    /// ended well, and the exit code of one that did not.
    #[serde(default)]
    pub each: Vec<Output>,
    /// True if the command was still running at the limit, and stopped then.
    pub is_timed_out: bool,
    /// Programs that stood still when the limit had come, by name: a signal had stopped them.
    #[serde(default)]
    pub halted: Vec<String>,
    /// RoCEv2 packets that rxe counted while the capture ran: sent and received.
    pub sent: Option<u64>,
    /// See `sent`.
    pub received: Option<u64>,
    /// Its RDMA device counts no packets, as cards other than SoftRoCE do not.
    #[serde(default)]
    pub counts_no_packets: bool,
    /// Distance that each counter of the RDMA device moved on while the capture ran.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// Counts of netem, where that makes the scenario's faults.
    #[serde(default)]
    pub netem: Option<Counted>,
    /// The kernel log from the scenario's start on, as `<level>[seconds] text`.
    pub kernel_log: String,
    /// True if the lab stopped the command since its peer had failed.
    #[serde(default)]
    pub is_stopped: bool,
    /// True if the scenario's signal asked the command to end once its client had.
    #[serde(default)]
    pub was_asked_to_end: bool,
    /// All of its addresses, by which packets are known as its own; without those the one on the RDMA network.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

impl NodeEvidence {
    /// Takes note of the end of the scenario's command.
    pub fn has_ended(&mut self, output: Output, is_timed_out: bool) {
        let (addresses, halted) = (std::mem::take(&mut self.addresses), std::mem::take(&mut self.halted));
        let output = Some(output);
        *self =
            NodeEvidence { is_started: true, output, is_timed_out, addresses, halted, ..Default::default() };
    }

    /// Puts what an earlier run of the same commands showed before what this one did.
    pub fn follow(&mut self, earlier: NodeEvidence) {
        let before = |own: &mut Output, earlier: &Output| {
            own.stdout.insert_str(0, &earlier.stdout);
            own.stderr.insert_str(0, &earlier.stderr);
        };
        if let (Some(own), Some(earlier)) = (&mut self.output, &earlier.output) {
            before(own, earlier);
        }
        for (own, earlier) in self.each.iter_mut().zip(&earlier.each) {
            before(own, earlier);
        }
        let sum = |own: Option<u64>, earlier: Option<u64>| Some(own? + earlier?);
        self.sent = sum(self.sent, earlier.sent);
        self.received = sum(self.received, earlier.received);
        for (name, count) in earlier.counters {
            *self.counters.entry(name).or_default() += count;
        }
        self.kernel_log.insert_str(0, &earlier.kernel_log);
    }

    /// Takes note of the ends of several commands, each of which has to end with `expected`.
    pub fn have_ended(&mut self, each: Vec<Output>, expected: i32, is_timed_out: bool) {
        let (good, bad): (Vec<&Output>, Vec<&Output>) =
            each.iter().partition(|output| output.code == Some(expected));
        let code = bad.first().map_or(Some(expected), |output| output.code);
        let mut all = Output { code, stdout: String::new(), stderr: String::new() };
        for output in good.into_iter().chain(bad.into_iter().rev()) {
            all.stdout.push_str(&output.stdout);
            all.stderr.push_str(&output.stderr);
        }
        self.has_ended(all, is_timed_out);
        if each.len() > 1 {
            self.each = each;
        }
    }
}

/// Evidence of a whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunEvidence {
    /// The scenario.
    pub scenario: Scenario,
    /// The file of the trace that the run is held to, if it is held to one.
    #[serde(default)]
    pub snapshot: Option<PathBuf>,
    /// The command that runs it again.
    #[serde(default)]
    pub replay: String,
    /// Option that makes `replay` accept the new trace.
    #[serde(default)]
    pub accept: String,
    /// The provider, and what ran its machines.
    pub provider: String,
    /// Release and kernel of each machine, as far as they are known.
    #[serde(default)]
    pub provenance: BTreeMap<Role, Provenance>,
    /// Declared differences of its machines from those that snapshots were taken on.
    #[serde(default)]
    pub differences: Differences,
    /// The nodes' addresses on the RDMA network.
    pub addresses: BTreeMap<Role, IpAddr>,
    /// Evidence of each node.
    pub nodes: BTreeMap<Role, NodeEvidence>,
    /// Packets that the scenario's faults met; `None` if it came to none.
    #[serde(default)]
    pub met: Option<Met>,
    /// Frames that passed the scenario's limited ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortCount>,
    /// Reason why the run did not come to its end, if there is one.
    pub failure: Option<Failed>,
    /// Durations, in seconds: `up` (the machines), `programs` (from the server's start to both
    /// programs' end), `down`, and `harness`: all but the programs.
    pub seconds: BTreeMap<String, f64>,
}

/// An error of the lab during a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failed {
    /// The part of the lab that failed.
    pub kind: FailedKind,
    /// The error's whole text.
    pub text: String,
}

/// Part of the lab that failed: [`Kind`], as far as a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedKind {
    /// Before anything ran.
    Setup,
    /// A machine did not come up or ended.
    Boot,
    /// The capture could not be taken.
    Capture,
    /// A wait reached its limit.
    Timeout,
}

impl From<&Error> for Failed {
    fn from(error: &Error) -> Failed {
        let kind = match error.kind() {
            Kind::Usage | Kind::Setup => FailedKind::Setup,
            Kind::Boot => FailedKind::Boot,
            Kind::Capture => FailedKind::Capture,
            Kind::Timeout => FailedKind::Timeout,
        };
        Failed { kind, text: error.to_string() }
    }
}

impl RunEvidence {
    /// Nothing seen yet.
    pub fn new(scenario: &Scenario) -> RunEvidence {
        RunEvidence {
            scenario: scenario.clone(),
            snapshot: None,
            replay: String::new(),
            accept: String::new(),
            provider: String::new(),
            provenance: BTreeMap::new(),
            differences: Differences::default(),
            addresses: BTreeMap::new(),
            nodes: scenario.roles().iter().map(|role| (*role, NodeEvidence::default())).collect(),
            met: None,
            ports: Vec::new(),
            failure: None,
            seconds: BTreeMap::new(),
        }
    }

    /// Evidence of one node.
    pub fn node(&mut self, role: Role) -> &mut NodeEvidence {
        self.nodes.entry(role).or_default()
    }

    /// True if a program ended as it has to: with the expected exit code, or by the signal that asked it to.
    pub fn has_ended_well(&self, role: Role) -> bool {
        let Some(node) = self.nodes.get(&role) else { return false };
        let code = node.output.as_ref().and_then(|output| output.code);
        let by_signal = node.was_asked_to_end && matches!(code, Some(129 | 130 | 138 | 140 | 143));
        code == Some(self.scenario.expected(role).exit)
            || by_signal
            || node.was_asked_to_end && code.is_none()
    }

    /// The node that has this address.
    pub fn owner(&self, address: IpAddr) -> Option<Role> {
        let has = |role: &Role| {
            self.addresses.get(role) == Some(&address)
                || self.nodes.get(role).is_some_and(|node| node.addresses.contains(&address))
        };
        self.scenario.roles().iter().copied().find(has)
    }

    /// Decodes the run's capture in `artifacts`, with the nodes' names for all of their addresses.
    ///
    /// # Errors
    ///
    /// There is no capture, or it cannot be read to its end.
    pub fn decode(&self, artifacts: &Path) -> Result<roce::Report> {
        decode_named(&artifacts.join(CAPTURE), self.all_addresses())
    }

    /// Names of the nodes, by all of their addresses.
    pub fn names(&self) -> roce::Names {
        self.all_addresses()
            .fold(roce::Names::new(), |names, (role, address)| names.with(address, role.name()))
    }

    fn all_addresses(&self) -> impl Iterator<Item = (Role, IpAddr)> {
        let all = self.nodes.iter().flat_map(|(role, node)| node.addresses.iter().map(|one| (*role, *one)));
        all.chain(self.addresses.iter().map(|(role, address)| (*role, *address)))
    }

    /// Duration of the whole run, machines included.
    pub fn total_seconds(&self) -> f64 {
        let seconds = |what: &str| self.seconds.get(what).copied().unwrap_or(0.0);
        seconds("harness") + seconds("programs")
    }

    /// Writes it, and the parts that people read as files of their own.
    ///
    /// # Errors
    ///
    /// The directory cannot be written.
    pub fn write(&self, artifacts: &Path) -> Result<()> {
        let text = |output: &Output| format!("{}{}", output.stdout, output.stderr);
        for (role, node) in &self.nodes {
            if let Some(output) = &node.output {
                write_whole(&artifacts.join(format!("{role}.out")), text(output).as_bytes())?;
            }
            for (index, output) in node.each.iter().enumerate() {
                let file = format!("{role}-{}.out", index + 1);
                write_whole(&artifacts.join(file), text(output).as_bytes())?;
            }
            write_whole(&artifacts.join(format!("dmesg-{role}.txt")), node.kernel_log.as_bytes())?;
        }
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| Error::setup("failed to write the evidence").source(source))?;
        write_whole(&artifacts.join(FILE), &text)
    }

    /// Reads what an earlier run left.
    ///
    /// # Errors
    ///
    /// There is none in that directory, or it cannot be read.
    pub fn read(artifacts: &Path) -> Result<RunEvidence> {
        let path = artifacts.join(FILE);
        let text = fs::read(&path).at("failed to read", &path)?;
        serde_json::from_slice(&text).map_err(|source| {
            Error::setup(format!("{} is not a run's evidence", path.display())).source(source)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_run_of_the_commands_follows_the_first() {
        let of = |sent, text: &str| NodeEvidence {
            output: Some(Output { code: Some(0), stdout: text.to_owned(), stderr: String::new() }),
            sent: Some(sent),
            received: Some(2 * sent),
            counters: [("sent_pkts".to_owned(), sent)].into(),
            kernel_log: text.to_owned(),
            ..NodeEvidence::default()
        };
        let mut second = of(5, "b\n");
        second.follow(of(7, "a\n"));
        assert_eq!((second.sent, second.received, second.counters["sent_pkts"]), (Some(12), Some(24), 12));
        assert_eq!(
            (second.output.unwrap().stdout, second.kernel_log),
            ("a\nb\n".to_owned(), "a\nb\n".to_owned())
        );
    }

    #[test]
    fn one_of_several_programs_that_failed_is_told_last_and_by_its_code() {
        let output =
            |code, text: &str| Output { code: Some(code), stdout: text.to_owned(), stderr: String::new() };
        let mut node = NodeEvidence { halted: vec!["x".to_owned()], ..NodeEvidence::default() };
        node.have_ended(vec![output(0, "a\n"), output(3, "b\n"), output(0, "c\n")], 0, false);
        assert_eq!(node.output, Some(output(3, "a\nc\nb\n")));
        assert_eq!((node.each.len(), node.halted.len()), (3, 1));
        node.have_ended(vec![output(0, "a\n")], 0, false);
        assert_eq!((node.output, node.each.len()), (Some(output(0, "a\n")), 0));
    }
}
