//! One run of a scenario: machines up, capture on, programs, capture off; what was seen is the evidence.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::command::Output;
use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::program::Program;
use crate::base::progress::Step;
use crate::base::role::Role;
use crate::guest::contents::ENVIRONMENT;
use crate::guest::image::release::Release;
use crate::judge::completeness;
use crate::node::{Pair, Plan, Provider, Running, SLICE};
use crate::run::evidence::{Evidence, NodeEvidence};
use crate::run::kernel_log;
use crate::scenario::Scenario;
use crate::scenario::counters::Counters;
use crate::scenario::fault::{Met, netem};
use crate::wire::capture::CAPTURE;

/// How long a server may take until it listens.
const LISTEN_LIMIT: Duration = Duration::from_secs(15);

/// How long counters and capture may take to agree after the programs have ended.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// How long counters may stand still and not agree until that is taken for the truth: a packet to a queue pair
/// that is gone is delivered, and not counted by rxe.
const STILL_LIMIT: Duration = Duration::from_millis(600);

/// How long a server may run on once its client has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(3);

/// How long a short command on a node may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// A scenario with what it is run and judged by.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What runs.
    pub scenario: &'a Scenario,
    /// What is deployed.
    pub programs: &'a [Program],
    /// The file of its accepted trace; `None` where the trace is not compared.
    pub snapshot: Option<&'a Path>,
    /// The command that runs it again.
    pub replay: &'a str,
    /// What is added to that command to accept a trace that is meant.
    pub accept: &'a str,
}

/// Runs a scenario on fresh machines and keeps everything in `artifacts`, which is created.
///
/// # Errors
///
/// The artifacts cannot be written. What goes wrong in the run itself is part of the evidence.
pub fn run(provider: &dyn Provider, case: &Case<'_>, artifacts: &Path) -> Result<Evidence> {
    fs::create_dir_all(artifacts).at("failed to create", artifacts)?;
    let begun = Instant::now();
    let mut evidence = Evidence::new(case.scenario);
    evidence.snapshot = case.snapshot.map(Path::to_owned);
    case.replay.clone_into(&mut evidence.replay);
    case.accept.clone_into(&mut evidence.accept);
    provider.name().clone_into(&mut evidence.provider);
    evidence.provenance = provider.provenance();
    evidence.differences = provider.differences();
    let started = Instant::now();
    let Case { scenario, programs, .. } = *case;
    let plan = Plan { programs, network: scenario.network, faults: &scenario.faults, artifacts };
    match possible(provider, scenario).and_then(|()| provider.bring_up(&plan)) {
        Ok(pair) => {
            evidence.seconds.insert("up".to_owned(), started.elapsed().as_secs_f64());
            evidence.provider = pair.description();
            evidence.provenance = pair.provenance();
            let kernels = evidence.provenance.values().map(|machine| machine.kernel.as_str());
            evidence.differences = Release::differences_of(evidence.differences, kernels);
            if let Err(error) = observe(pair.as_ref(), artifacts, &mut evidence) {
                // A machine that ended explains whatever else failed.
                let cause = pair.check_alive().err().unwrap_or(error);
                evidence.failure = Some((&cause).into());
            }
            let started = Instant::now();
            drop(pair);
            evidence.seconds.insert("down".to_owned(), started.elapsed().as_secs_f64());
        }
        Err(error) => evidence.failure = Some((&error).into()),
    }
    let total = begun.elapsed().as_secs_f64();
    let programs = evidence.seconds.get("programs").copied().unwrap_or(0.0);
    evidence.seconds.insert("harness".to_owned(), total - programs);
    evidence.write(artifacts)?;
    Ok(evidence)
}

/// Refuses what these machines cannot do, or nothing acts on.
fn possible(provider: &dyn Provider, scenario: &Scenario) -> Result<()> {
    if let Some(why) = scenario.cannot_run_on(&provider.wire()) {
        return Err(
            Error::setup(format!("{} cannot run: {why}", scenario.name)).next("run it with --provider qemu")
        );
    }
    Ok(())
}

/// Runs the programs under a capture and notes what is seen.
fn observe(pair: &dyn Pair, artifacts: &Path, evidence: &mut Evidence) -> Result<()> {
    let scenario = evidence.scenario.clone();
    let step = Step::begin(format!("run {}", scenario.name));
    for role in Role::BOTH {
        evidence.addresses.insert(role, pair.node(role).address());
    }
    let before = Before::look(pair)?;
    pair.start_capture(&artifacts.join(CAPTURE))?;
    let started = Instant::now();
    let programs = run_programs(pair, &scenario, &before.listeners, evidence);
    evidence.seconds.insert("programs".to_owned(), started.elapsed().as_secs_f64());
    let settled = settle(pair, &before, evidence);
    if !scenario.faults.is_empty() {
        evidence.met = pair.met()?.or_else(|| netem_met(&scenario, evidence));
    }
    let stopped = pair.stop_capture();
    programs.and(settled).and(stopped)?;
    step.done("");
    Ok(())
}

/// What the scenario's faults met where netem makes them.
fn netem_met(scenario: &Scenario, evidence: &Evidence) -> Option<Met> {
    let counted = evidence.nodes.iter().filter_map(|(role, node)| Some((*role, (node.netem?, node.sent?))));
    let counted: BTreeMap<_, _> = counted.collect();
    (!counted.is_empty()).then(|| netem::met(&scenario.faults, &counted))
}

/// What the nodes say before the programs run.
struct Before {
    counters: BTreeMap<Role, Counters>,
    uptime_s: BTreeMap<Role, f64>,
    /// What listens on the server.
    listeners: String,
}

impl Before {
    fn look(pair: &dyn Pair) -> Result<Before> {
        let outputs = on_both(pair, &[Counters::COMMAND, kernel_log::NOW, LISTENERS])?;
        let mut before = Before {
            counters: BTreeMap::new(),
            uptime_s: BTreeMap::new(),
            listeners: outputs[&Role::Server][2].clone(),
        };
        for (role, output) in outputs {
            before.counters.insert(role, Counters::parse(&output[0])?);
            before.uptime_s.insert(role, kernel_log::parse_now(&output[1])?);
        }
        Ok(before)
    }
}

/// Runs the same commands on both nodes at once; gives each command's standard output.
fn on_both<const N: usize>(pair: &dyn Pair, commands: &[&str; N]) -> Result<BTreeMap<Role, [String; N]>> {
    const BETWEEN: &str = "----8<----";
    let script = commands.map(|command| format!("( {command} )")).join(&format!("\necho '{BETWEEN}'\n"));
    let mut outputs = BTreeMap::new();
    for (role, output) in pair.run_on_both(&script, COMMAND_LIMIT)? {
        let mut parts = output.stdout.split(BETWEEN).map(|part| part.trim_start_matches('\n').to_owned());
        outputs.insert(role, [(); N].map(|()| parts.next().unwrap_or_default()));
    }
    Ok(outputs)
}

fn run_programs(
    pair: &dyn Pair,
    scenario: &Scenario,
    heard_before: &str,
    evidence: &mut Evidence,
) -> Result<()> {
    let deadline = Instant::now() + scenario.timeout();
    let (server_node, client_node) = (pair.node(Role::Server), pair.node(Role::Client));
    let address = |role| pair.node(role).address().to_string();
    let command = |role| format!("{ENVIRONMENT}; {}", scenario.filled(role, address));

    let mut server = server_node.start(&command(Role::Server))?;
    evidence.node(Role::Server).is_started = true;
    if !wait_listening(pair, server.as_mut(), heard_before, evidence.node(Role::Server))? {
        // A client would only wait for it.
        return Ok(());
    }
    let mut client = client_node.start(&command(Role::Client))?;
    evidence.node(Role::Client).is_started = true;
    let (output, is_timed_out) = finish(pair, client.as_mut(), deadline)?;
    // A server whose client failed may wait for ever; it gets a moment to notice.
    let has_failed = is_timed_out || output.code != Some(scenario.expect.client.exit);
    evidence.node(Role::Client).has_ended(output, is_timed_out);
    let patience = if has_failed { deadline.min(Instant::now() + AFTER_FAILURE) } else { deadline };
    let (output, is_stopped) = finish(pair, server.as_mut(), patience)?;
    let is_timed_out = is_stopped && Instant::now() >= deadline;
    evidence.node(Role::Server).has_ended(output, is_timed_out);
    Ok(())
}

/// Waits for a program's end, or stops it at the deadline; says which.
fn finish(pair: &dyn Pair, running: &mut dyn Running, deadline: Instant) -> Result<(Output, bool)> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match running.wait(left.min(SLICE)) {
            Ok(output) => return Ok((output, false)),
            Err(error) if error.kind() == Kind::Timeout => pair.check_alive()?,
            Err(error) => return Err(error),
        }
        if left.is_zero() {
            return Ok((running.stop()?, true));
        }
    }
}

/// Waits until something listens on the node that did not before; gives false if the server ends first.
fn wait_listening(
    pair: &dyn Pair,
    server: &mut dyn Running,
    before: &str,
    seen: &mut NodeEvidence,
) -> Result<bool> {
    let node = pair.node(Role::Server);
    let started = Instant::now();
    while started.elapsed() < LISTEN_LIMIT {
        let mut look = node.start(LISTENERS)?;
        if pair.wait_for(look.as_mut(), "a look at what listens", COMMAND_LIMIT)?.stdout != before {
            return Ok(true);
        }
        match server.wait(Duration::from_millis(20)) {
            Ok(output) => {
                seen.output = Some(output);
                return Ok(false);
            }
            Err(error) if error.kind() == Kind::Timeout => pair.check_alive()?,
            Err(error) => return Err(error),
        }
    }
    seen.output = Some(server.stop()?);
    Err(Error::timeout("a server that listens", LISTEN_LIMIT)
        .next("it has to listen by RDMA CM or TCP; what it wrote is in server.out"))
}

/// What listens on a node: identifiers of the RDMA connection manager, and TCP sockets.
const LISTENERS: &str =
    "rdma resource show cm_id | grep LISTEN; grep -h ' 0A ' /proc/net/tcp /proc/net/tcp6 | cut -c 1-35";

/// Notes both nodes' counters and kernel logs, read again until the counters agree with the capture, nothing
/// moves any more, or the limit is reached.
fn settle(pair: &dyn Pair, before: &Before, evidence: &mut Evidence) -> Result<()> {
    let started = Instant::now();
    let mut last = (Instant::now(), BTreeMap::new());
    loop {
        let outputs = on_both(pair, &[Counters::COMMAND, kernel_log::PRINT])?;
        let netem = pair.netem()?;
        let captured = pair.captured()?;
        let mut agree = true;
        for (role, [counters, log]) in &outputs {
            let counted = Counters::parse(counters)?.since(&before.counters[role]);
            let captured = captured.get(role).copied().unwrap_or_default();
            let packets = counted.packets();
            let netem = netem.get(role).copied();
            agree &= packets.is_some_and(|(sent, received)| {
                completeness::is_explained(&evidence.scenario, sent, netem, captured.sent)
                    && received == captured.delivered
            });
            let node = evidence.node(*role);
            (node.sent, node.received) = packets.unzip();
            node.netem = netem;
            // What counted before and does not now is no device of that kind.
            node.counts_no_packets = before.counters[role].packets().is_none();
            node.counters = counted.values();
            node.kernel_log = kernel_log::lines_since(log, before.uptime_s[role]);
        }
        if last.1 != captured {
            last = (Instant::now(), captured);
        }
        if agree || last.0.elapsed() > STILL_LIMIT || started.elapsed() > SETTLE_LIMIT {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
}
