//! One run of a scenario: machines up, capture on, programs, capture off; what was seen is the evidence.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::command::Output;
use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::program::Program;
use crate::base::progress::Step;
use crate::base::role::Role;
use crate::guest::image::release::Release;
use crate::node::{NodePair, Plan, Provider, Running, SLICE, gids};
use crate::run::evidence::RunEvidence;
use crate::run::swapped::Swapped;
use crate::run::{conditions, kernel_log};
use crate::scenario::Scenario;
use crate::scenario::counters::Counters;
use crate::scenario::fault::{Met, netem};
use crate::scenario::placeholder;
use crate::scenario::ready::Ready;
use crate::wire::capture::CAPTURE;

/// Longest time that counters and capture may take to agree after the programs have ended.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// Longest time that counters may stand still and not agree until that is taken for the truth: a packet to a queue pair
/// that is gone is delivered, and not counted by rxe.
const STILL_LIMIT: Duration = Duration::from_millis(600);

/// Longest time that a server may run on once its client has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(3);

/// Looks in a row that have to see a listener: the kernel lists one of RDMA CM some moments before it takes requests for it, and a
/// server that is not let run stays there for long.
const LOOKS: u32 = 2;

/// Longest time that what a server has left behind may take to listen once the server itself has ended.
const AFTER_END: Duration = Duration::from_secs(2);

/// Longest time that a program may take to end once it was asked to.
const ASKED_LIMIT: Duration = Duration::from_secs(2);

/// The shell of a program outlives what asks that to end, and tells how it did.
const HEEDLESS: &str = "trap : TERM INT HUP USR1 USR2";

/// Longest time that a short command on a node may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A scenario with what it is run and judged by.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// Programs that are deployed.
    pub programs: &'a [Program],
    /// The file of its accepted trace; `None` where the trace is not compared.
    pub snapshot: Option<&'a Path>,
    /// The command that runs it again.
    pub replay: &'a str,
    /// Option that makes `replay` accept the new trace.
    pub accept: &'a str,
}

/// Runs a scenario on fresh machines and keeps everything in `artifacts`, which is created.
///
/// # Errors
///
/// The artifacts cannot be written. What goes wrong in the run itself is part of the evidence.
pub fn run(provider: &dyn Provider, case: &Case<'_>, artifacts: &Path) -> Result<RunEvidence> {
    fs::create_dir_all(artifacts).at("failed to create", artifacts)?;
    let begun = Instant::now();
    let mut evidence = RunEvidence::new(case.scenario);
    evidence.snapshot = case.snapshot.map(Path::to_owned);
    case.replay.clone_into(&mut evidence.replay);
    case.accept.clone_into(&mut evidence.accept);
    provider.name().clone_into(&mut evidence.provider);
    evidence.provenance = provider.provenance();
    evidence.differences = provider.differences();
    let started = Instant::now();
    let Case { scenario, programs, .. } = *case;
    let swapped = Swapped::new(provider);
    let provider: &dyn Provider = if scenario.swap { &swapped } else { provider };
    let Scenario { nodes, network, ref faults, ref ports, .. } = *scenario;
    let plan = Plan { nodes, programs, network, faults, ports, artifacts };
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

/// Finds why these machines cannot run a scenario, by their wire and, as far as they are known, their kernels; `None` if
/// nothing says so.
pub fn why_cannot_run(provider: &dyn Provider, scenario: &Scenario) -> Option<String> {
    let machines = provider.provenance();
    let kernels = machines.values().map(|machine| machine.kernel.as_str());
    let differences = Release::differences_of(provider.differences(), kernels);
    let lacking = || differences.why_cannot_run(&scenario.name).map(str::to_owned);
    scenario.cannot_run_on(&provider.wire()).or_else(lacking)
}

/// Refuses what these machines cannot do, or nothing acts on.
fn possible(provider: &dyn Provider, scenario: &Scenario) -> Result<()> {
    if let Some(why) = why_cannot_run(provider, scenario) {
        return Err(
            Error::setup(format!("{} cannot run: {why}", scenario.name)).next("run it with --provider qemu")
        );
    }
    Ok(())
}

/// Runs the programs under a capture and notes what is seen.
fn observe(pair: &dyn NodePair, artifacts: &Path, evidence: &mut RunEvidence) -> Result<()> {
    let scenario = evidence.scenario.clone();
    let step = Step::begin(format!("run {}", scenario.name));
    for &role in scenario.roles() {
        evidence.addresses.insert(role, pair.node(role).address());
    }
    conditions::load(pair, &scenario.modules)?;
    if let Some(role) = scenario.restart {
        conditions::renew(pair, role)?;
    }
    let before = Before::look(pair)?;
    for (role, addresses) in &before.addresses {
        evidence.node(*role).addresses.clone_from(addresses);
    }
    pair.start_capture(&artifacts.join(CAPTURE))?;
    let started = Instant::now();
    let mut programs = run_programs(pair, &scenario, &before, evidence);
    evidence.seconds.insert("programs".to_owned(), started.elapsed().as_secs_f64());
    let settled = settle(pair, &before, evidence);
    if let Some(role) = scenario.restart
        && programs.is_ok()
        && scenario.roles().iter().all(|role| evidence.has_ended_well(*role))
    {
        programs = run_again(pair, &scenario, role, evidence);
        evidence.seconds.insert("programs".to_owned(), started.elapsed().as_secs_f64());
    }
    if !scenario.faults.is_empty() {
        evidence.met = pair.met()?.or_else(|| netem_met(&scenario, evidence));
    }
    if !scenario.ports.is_empty() {
        evidence.ports = pair.port_counts()?;
    }
    let stopped = pair.stop_capture();
    programs.and(settled).and(stopped)?;
    step.done("");
    Ok(())
}

/// Makes a node's RDMA device anew and runs the programs once more; what was seen of both runs is one.
fn run_again(pair: &dyn NodePair, scenario: &Scenario, role: Role, evidence: &mut RunEvidence) -> Result<()> {
    let first = std::mem::take(&mut evidence.nodes);
    for (role, node) in &first {
        evidence.node(*role).addresses.clone_from(&node.addresses);
    }
    conditions::renew(pair, role)?;
    let before = Before::look(pair)?;
    let ran = run_programs(pair, scenario, &before, evidence);
    let settled = settle(pair, &before, evidence);
    for (role, first) in first {
        evidence.node(role).follow(first);
    }
    ran.and(settled)
}

/// Packets that the scenario's faults met, where netem makes them.
fn netem_met(scenario: &Scenario, evidence: &RunEvidence) -> Option<Met> {
    let counted = evidence.nodes.iter().filter_map(|(role, node)| Some((*role, (node.netem?, node.sent?))));
    let counted: BTreeMap<_, _> = counted.collect();
    (!counted.is_empty()).then(|| netem::met(&scenario.faults, &counted))
}

/// State of the nodes before the programs run.
struct Before {
    counters: BTreeMap<Role, Counters>,
    uptime_s: BTreeMap<Role, f64>,
    /// Listeners on the server.
    listeners: String,
    /// All addresses of each node.
    addresses: BTreeMap<Role, Vec<IpAddr>>,
}

/// Command that prints a node's addresses, and the GIDs of its RDMA devices, which need not be among them.
fn print_addresses() -> String {
    format!("ip -o addr | awk '{{print $4}}'; {}", gids::print("*"))
}

/// The addresses that [`print_addresses`] printed, by which packets on the network may be known as the node's.
fn addresses(printed: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for line in printed.lines() {
        let Ok(address) = line.split('/').next().unwrap_or_default().trim().parse::<IpAddr>() else {
            continue;
        };
        let address = address.to_canonical();
        if !address.is_unspecified() && !address.is_loopback() && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

impl Before {
    fn look(pair: &dyn NodePair) -> Result<Before> {
        let outputs = on_all(pair, &[Counters::COMMAND, kernel_log::NOW, LISTENERS, &print_addresses()])?;
        let mut before = Before {
            counters: BTreeMap::new(),
            uptime_s: BTreeMap::new(),
            listeners: outputs[&Role::Server][2].clone(),
            addresses: outputs.iter().map(|(role, output)| (*role, addresses(&output[3]))).collect(),
        };
        for (role, output) in outputs {
            before.counters.insert(role, Counters::parse(&output[0])?);
            before.uptime_s.insert(role, kernel_log::parse_now(&output[1])?);
        }
        Ok(before)
    }
}

/// Runs the same commands on all nodes at once; gives each command's standard output.
fn on_all<const N: usize>(pair: &dyn NodePair, commands: &[&str; N]) -> Result<BTreeMap<Role, [String; N]>> {
    const BETWEEN: &str = "----8<----";
    let script = commands.map(|command| format!("( {command} )")).join(&format!("\necho '{BETWEEN}'\n"));
    let mut outputs = BTreeMap::new();
    for (role, output) in pair.run_on_all(&script, COMMAND_LIMIT)? {
        let mut parts = output.stdout.split(BETWEEN).map(|part| part.trim_start_matches('\n').to_owned());
        outputs.insert(role, [(); N].map(|()| parts.next().unwrap_or_default()));
    }
    Ok(outputs)
}

fn run_programs(
    pair: &dyn NodePair,
    scenario: &Scenario,
    before: &Before,
    evidence: &mut RunEvidence,
) -> Result<()> {
    let deadline = Instant::now() + scenario.timeout();
    let server_node = pair.node(Role::Server);
    let address = |role| pair.node(role).address().to_string();
    let script = |command: &str| {
        format!("{HEEDLESS}; {}", conditions::script(scenario, &placeholder::filled(command, address)))
    };

    let mut server = server_node.start(&script(&scenario.server))?;
    evidence.node(Role::Server).is_started = true;
    if !wait_ready(pair, server.as_mut(), before, evidence, deadline)? {
        // A client would only wait for it.
        return Ok(());
    }
    let mut clients = Vec::new();
    for &role in scenario.roles().iter().filter(|role| role.is_client()) {
        let mut started = Vec::new();
        for command in scenario.commands_of(role) {
            started.push(pair.node(role).start(&script(command))?);
        }
        evidence.node(role).is_started = true;
        clients.push((role, started));
    }
    let expected = scenario.expect.client.exit;
    let mut has_failed = false;
    for (role, started) in &mut clients {
        let (mut outputs, mut is_timed_out) = (Vec::new(), false);
        for client in started {
            let (output, is_late) = finish(pair, client.as_mut(), (*role, before, evidence), deadline)?;
            outputs.push(output);
            is_timed_out |= is_late;
        }
        // A server whose client failed may wait for ever; it gets a moment to notice.
        has_failed |= match is_timed_out {
            true => !evidence.differences.may_hang(&scenario.name, role.model()),
            false => outputs.iter().any(|output| output.code != Some(expected)),
        };
        evidence.node(*role).have_ended(outputs, expected, is_timed_out);
    }
    if evidence.node(Role::Server).output.is_some() {
        // It has left something behind that served.
        return Ok(());
    }
    let signal = scenario.stop.filter(|_| !has_failed);
    if let Some(signal) = signal {
        server.signal(signal.name())?;
    }
    let patience = match (signal, has_failed) {
        (Some(_), _) => Instant::now() + ASKED_LIMIT,
        (None, true) => deadline.min(Instant::now() + AFTER_FAILURE),
        (None, false) => deadline,
    };
    let (output, is_stopped) = finish(pair, server.as_mut(), (Role::Server, before, evidence), patience)?;
    let is_timed_out = is_stopped && signal.is_none() && Instant::now() >= deadline;
    let node = evidence.node(Role::Server);
    node.has_ended(output, is_timed_out);
    node.is_stopped = is_stopped && has_failed && !is_timed_out;
    node.was_asked_to_end = signal.is_some();
    Ok(())
}

/// Waits for a program's end, or stops it at the deadline, at first by asking, and notes what stands still on its node; says
/// which.
fn finish(
    pair: &dyn NodePair,
    running: &mut dyn Running,
    (role, before, evidence): (Role, &Before, &mut RunEvidence),
    deadline: Instant,
) -> Result<(Output, bool)> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match running.wait(left.min(SLICE)) {
            Ok(output) => return Ok((output, false)),
            Err(error) if error.kind() == Kind::Timeout => pair.check_alive()?,
            Err(error) => return Err(error),
        }
        if left.is_zero() {
            evidence.node(role).halted = conditions::halted(pair, role, before.uptime_s[&role])?;
            running.signal("TERM")?;
            return match running.wait(ASKED_LIMIT) {
                Err(error) if error.kind() == Kind::Timeout => Ok((running.stop()?, true)),
                ended => Ok((ended?, true)),
            };
        }
    }
}

/// Waits until the server is ready in the way that the scenario says; gives false if it ends first. One that ends as it has
/// to, and leaves behind what serves, is waited for.
fn wait_ready(
    pair: &dyn NodePair,
    server: &mut dyn Running,
    before: &Before,
    evidence: &mut RunEvidence,
    deadline: Instant,
) -> Result<bool> {
    let node = pair.node(Role::Server);
    let (ready, started) = (evidence.scenario.ready, Instant::now());
    let expected = evidence.scenario.expect.server.exit;
    let (mut ended, mut looks): (Option<Instant>, u32) = (None, 0);
    while Instant::now() < deadline {
        let is_listening = match ready {
            Ready::Delay { seconds } if started.elapsed() >= Duration::from_secs(seconds) => return Ok(true),
            Ready::Delay { .. } => false,
            Ready::Listener | Ready::Port(_) => {
                let mut look = node.start(LISTENERS)?;
                let listeners = pair.wait_for(look.as_mut(), "a look at what listens", COMMAND_LIMIT)?.stdout;
                match ready {
                    Ready::Port(port) => listens_on(&listeners, port),
                    _ => listeners != before.listeners,
                }
            }
        };
        looks = if is_listening { looks + 1 } else { 0 };
        if looks >= LOOKS {
            return Ok(true);
        }
        if let Some(ended) = ended {
            if ready == Ready::Listener && ended.elapsed() > AFTER_END {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        match server.wait(Duration::from_millis(20)) {
            Ok(output) => {
                let has_succeeded = output.code == Some(expected);
                evidence.node(Role::Server).output = Some(output);
                if !has_succeeded {
                    return Ok(false);
                }
                ended = Some(Instant::now());
            }
            Err(error) if error.kind() == Kind::Timeout => pair.check_alive()?,
            Err(error) => return Err(error),
        }
    }
    if evidence.node(Role::Server).output.is_none() {
        let ended = finish(pair, server, (Role::Server, before, evidence), Instant::now())?;
        evidence.node(Role::Server).output = Some(ended.0);
    }
    evidence.node(Role::Server).is_stopped = true;
    Err(Error::timeout(format!("a server that is ready ({ready})"), started.elapsed())
        .next("it has to listen by RDMA CM or TCP, or say otherwise when it is ready: --ready port:N, --ready delay:SECONDS\nits last lines are in server.out"))
}

/// Returns true if somebody listens on that port, by what [`LISTENERS`] printed.
pub fn listens_on(listeners: &str, port: u16) -> bool {
    let (by_cm, by_tcp) = (format!(":{port}"), format!(":{port:04X}"));
    listeners.lines().any(|line| match line.contains("LISTEN") {
        true => line.split_whitespace().any(|word| word.ends_with(&by_cm)),
        false => line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&by_tcp)),
    })
}

/// Shell command that prints the listeners on a node: identifiers of the RDMA connection manager, and TCP sockets.
pub const LISTENERS: &str = r#"rdma resource show cm_id | grep LISTEN; awk '$4 == "0A" { print "TCP", $2 }' /proc/net/tcp /proc/net/tcp6"#;

/// Notes all nodes' counters and kernel logs, read again until the counters agree with the capture, nothing
/// moves any more, or the limit is reached.
fn settle(pair: &dyn NodePair, before: &Before, evidence: &mut RunEvidence) -> Result<()> {
    let started = Instant::now();
    let mut last = (Instant::now(), BTreeMap::new());
    let earliest_s = before.uptime_s.values().copied().fold(f64::INFINITY, f64::min);
    let print_log = kernel_log::print_since(earliest_s);
    loop {
        let outputs = on_all(pair, &[Counters::COMMAND, &print_log])?;
        let netem = pair.netem()?;
        let captured = pair.captured()?;
        let mut agree = true;
        for (role, [counters, log]) in &outputs {
            let counted = Counters::parse(counters)?.since(&before.counters[role]);
            let captured = captured.get(role).copied().unwrap_or_default();
            let packets = counted.packets();
            let netem = netem.get(role).copied();
            agree &= packets.is_some_and(|(sent, received)| {
                netem::is_explained(&evidence.scenario.faults, sent, netem, captured.sent)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_found_among_listeners_of_both_kinds() {
        let listeners = "link rxe0/- lqpn 0 qp-type RC state LISTEN ps TCP src-addr 0.0.0.0:7174 dst-addr 0.0.0.0:0\n\
                         TCP 00000000:0457\nTCP 00000000000000000000000000000000:4D35\n";
        assert!([7174, 1111, 19765].iter().all(|port| listens_on(listeners, *port)));
        assert!(!listens_on(listeners, 7471) && !listens_on(listeners, 174) && !listens_on("", 1));
    }

    #[test]
    fn addresses_of_a_node_are_those_of_its_interfaces_and_its_gids() {
        let printed = "127.0.0.1/8\n::1/128\n198.51.100.1/24\nfe80::1/64\n\
                       fe80:0000:0000:0000:5054:00ff:fe00:0001\n0000:0000:0000:0000:0000:ffff:c633:6401\n\
                       0000:0000:0000:0000:0000:0000:0000:0000\n";
        let found: Vec<String> = addresses(printed).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["198.51.100.1", "fe80::1", "fe80::5054:ff:fe00:1"]);
    }
}
