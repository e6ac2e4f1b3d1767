//! `run`: any two programs, of any language, between the machines; their wire judged.
//!
//! The same trial as a scenario's. Both programs must exit with 0 and the wire must be complete and break no
//! rule; completions and result lines, which only programs of this project tell, are not asked for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::base::cache::write_whole;
use lab::base::command::shell_word;
use lab::base::error::IoContext as _;
use lab::base::role::Role;
use lab::base::selection::Selection;
use lab::guest::pushed::Pushed;
use lab::judge::snapshot;
use lab::judge::verdict::Verdict;
use lab::node::Provider as _;
use lab::provider::choice;
use lab::run::Case;
use lab::run::setup::Setup;
use lab::scenario::counters::{self, Count};
use lab::scenario::fault::{Fault, netem};
use lab::scenario::network::{self, IpVersion, Network};
use lab::scenario::ready::{Ready, Stop};
use lab::scenario::{Scenario, Trace};
use lab::trial::artifacts::Artifacts;
use lab::trial::plan::RunPlan;
use lab::trial::{results, trial};
use lab::{Error, Result};

use crate::{Front, machines, output};

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command on the node `server`, which has to end by itself or by --stop. `{server}` and `{client}` stand for the nodes'
    /// addresses, and a local path as its first word is pushed.
    #[arg(long, value_name = "COMMAND")]
    server: String,
    /// The command on the node `client`, started when something listens on the server; likewise.
    #[arg(long, value_name = "COMMAND")]
    client: String,
    /// A file for both nodes, in /opt/lab/deployed: programs there are found by name, libraries by the loader.
    #[arg(long, value_name = "FILE")]
    push: Vec<PathBuf>,
    /// Fault of packets on the way: action="drop",opcode="RC RDMA WRITE Middle",nth=1
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Fault>,
    /// The accepted trace; one that differs is written to FILE.new, and is red.
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// Accept the trace: write it to the file of --snapshot, if nothing else is wrong.
    #[arg(long, requires = "snapshot")]
    accept: bool,
    /// Longest time that both programs may take together, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Moment at which the server is ready for its client: listener (something new listens by RDMA CM or TCP), port:N, delay:SECONDS.
    #[arg(long, value_name = "WHEN", default_value = "listener")]
    ready: Ready,
    /// The signal that ends the server once the client has, for one that serves for ever; SIGINT reaches only what handles it.
    #[arg(long, value_name = "SIGNAL")]
    stop: Option<Stop>,
    /// Write the run as a scenario: a file NAME.toml, which the option --scenarios finds in its directory.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare and keep what must hold of the trace whatever the timing, rather than every packet.
    #[arg(long)]
    summary: bool,
    /// The programs give requesters a reason to run into their ACK timeout.
    #[arg(long)]
    timeouts: bool,
    /// Name of the run in artifacts and results.
    #[arg(long, default_value = "run", value_parser = name_of_file)]
    name: String,
    /// The exit code that the server has to have.
    #[arg(long, value_name = "CODE", default_value = "0")]
    server_exit: i32,
    /// The exit code that the client has to have.
    #[arg(long, value_name = "CODE", default_value = "0")]
    client_exit: i32,
    /// A protocol rule that the wire has to break, as a fault makes it; `explain` lists all.
    #[arg(long, value_name = "RULE")]
    finding: Vec<String>,
    /// A cause of failure that the run has to show; `explain` lists all.
    #[arg(long, value_name = "CAUSE")]
    cause: Vec<String>,
    /// Distance that a counter of trouble moves on, as a fault makes it: server.completer_retry_err=1, or `some`, or `any`
    #[arg(long, value_name = "NODE.COUNTER=N", value_parser = counter)]
    counter: Vec<(Role, String, Count)>,
    /// MTU of the network in bytes. The InfiniBand path MTU is 256 from 336 on, 512 from 592, 1024 from 1104, 2048 from 2128,
    /// 4096 from 4176; connections by rdma_cm want 16 bytes more.
    #[arg(long, default_value_t = network::MTU_DEFAULT)]
    mtu: u16,
    /// MTU of the server's port in bytes, where it is another.
    #[arg(long, value_name = "MTU")]
    server_mtu: Option<u16>,
    /// MTU of the client's port in bytes, where it is another.
    #[arg(long, value_name = "MTU")]
    client_mtu: Option<u16>,
    /// A node that drops the RoCEv2 packets which reach it, as the packet filter of a host does: server, or client.
    #[arg(long, value_name = "NODE")]
    filtered: Option<Role>,
    /// Connect over IPv6.
    #[arg(long)]
    ipv6: bool,
    #[command(flatten)]
    machines: Selection,
}

/// Runs both programs; exit code 1 where the verdict is not green.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let mut pushed = Pushed::new(&args.push)?;
    let scenario = scenario(args, &mut pushed)?;
    if let Some(file) = &args.save {
        save(args, &scenario, file, front)?;
    }
    let choice = machines::choice(&args.machines, None)?;
    if let Some(why) = scenario.cannot_run_on(&choice.wire()?) {
        return Err(Error::usage(why).next(netem::WAYS_OUT));
    }
    let texts = Role::BOTH.map(|role| scenario.command(role).to_owned()).into_iter().chain(pushed.scripts()?);
    let samples = front.samples_for(texts.collect::<Vec<_>>().iter().map(String::as_str))?;
    machines::prepare(&choice, &args.machines.means, samples.are_built())?;
    let setup = Setup::prepare(&samples, &choice, &front.program)?;
    let programs = pushed.before(&setup.programs);
    if let Some(contents) = setup.provider.contents()? {
        pushed.check(&contents)?;
        let names: Vec<&str> =
            programs.iter().map(|program| program.name.as_str()).chain(front.samples.names()).collect();
        for role in Role::BOTH {
            Pushed::check_command(scenario.command(role), &contents, &names)?;
        }
    }
    let snapshot = args.snapshot.as_deref().map(absolute).transpose()?;
    if let Some(file) = &snapshot {
        snapshot::check(file)?;
    }
    let replay = replay(front, &choice.options(choice::usual()));
    front.make_home()?;
    let case = Case {
        scenario: &scenario,
        programs: &programs,
        snapshot: snapshot.as_deref(),
        replay: &replay,
        accept: "--accept",
    };
    let kept = Artifacts::create(&front.home)?;
    RunPlan::new([&args.name], 1).write(kept.directory())?;
    let _slot = setup.slot()?;
    let verdict = trial(&setup.provider, &case, &kept.scenario(&scenario.name))?;
    results::update(&kept)?;
    if args.accept && !verdict.passed && verdict.can_be_accepted() {
        return accept(&verdict, snapshot.as_deref());
    }
    output::line(&verdict)?;
    if let Some(snapshot) = snapshot {
        settle(&verdict, &snapshot)?;
    }
    if verdict.passed {
        output::line(format_args!("  artifacts  {}", verdict.artifacts.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// The scenario that the arguments mean.
fn scenario(args: &Args, pushed: &mut Pushed) -> Result<Scenario> {
    let network = Network {
        mtu: args.mtu,
        server_mtu: args.server_mtu,
        client_mtu: args.client_mtu,
        filtered: args.filtered,
        ip: if args.ipv6 { IpVersion::V6 } else { IpVersion::V4 },
    };
    network.check()?;
    let mut scenario =
        Scenario::new(&args.name, pushed.command(&args.server)?, pushed.command(&args.client)?);
    scenario.timeout_s = args.timeout;
    (scenario.ready, scenario.stop) = (args.ready, args.stop);
    scenario.network = network;
    scenario.faults.clone_from(&args.fault);
    scenario.expect.findings.clone_from(&args.finding);
    scenario.expect.causes.clone_from(&args.cause);
    scenario.expect.completions = false;
    scenario.expect.timeouts = args.timeouts;
    if args.summary {
        scenario.trace = Trace::Summary;
    }
    scenario.expect.server.exit = args.server_exit;
    scenario.expect.client.exit = args.client_exit;
    for (role, counter, count) in &args.counter {
        let program = match role {
            Role::Server => &mut scenario.expect.server,
            Role::Client => &mut scenario.expect.client,
        };
        program.counters.insert(counter.clone(), *count);
    }
    scenario.check()?;
    Ok(scenario)
}

/// Writes the run as a scenario beside which its paths begin; says how it is run from there.
fn save(args: &Args, scenario: &Scenario, file: &Path, front: &Front) -> Result<()> {
    let file = absolute(file)?;
    let is_scenario = file.extension().is_some_and(|extension| extension == "toml");
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if !is_scenario || name_of_file(&name).is_err() {
        return Err(Error::usage(format!("{} is no name of a scenario", file.display()))
            .next("call it NAME.toml, with letters, digits, `-` and `_` in NAME"));
    }
    if file.exists() {
        return Err(Error::usage(format!("{} is there already", file.display()))
            .next("name another file, or remove it"));
    }
    let directory = file.parent().unwrap_or(Path::new("."));
    let (mut pushed, directory) =
        (Pushed::default(), directory.canonicalize().at("failed to resolve", directory)?);
    let mut saved = scenario.clone();
    saved.server = pushed.command_in(&directory, &args.server)?;
    saved.client = pushed.command_in(&directory, &args.client)?;
    saved.push = args
        .push
        .iter()
        .map(|file| pushed.path_from(&directory, file).map(PathBuf::from))
        .collect::<Result<_>>()?;
    saved.packages.clone_from(&args.machines.release.packages);
    saved.summary = format!("{} with {}: say here what it shows", word(&args.client), word(&args.server));
    write_whole(&file, saved.written()?.as_bytes())?;
    let scenarios = shell_word(&directory.display().to_string());
    output::line(format_args!(
        "  saved      {}: {} {name} --scenarios {scenarios} --review",
        file.display(),
        front.invocation.test
    ))
}

/// The first word of a command.
fn word(command: &str) -> &str {
    command.split_whitespace().next().unwrap_or_default()
}

/// Leaves a trace that is in question beside its snapshot, and takes away one that no longer is.
fn settle(verdict: &Verdict, snapshot: &Path) -> Result<()> {
    let pending = snapshot::pending(snapshot);
    match &verdict.trace {
        Some(trace) if !verdict.passed && verdict.can_be_accepted() => {
            write_whole(&pending, trace.as_bytes())?;
            output::line(format_args!(
                "  trace      {}: review it, then accept it as above",
                pending.display()
            ))
        }
        _ if pending.is_file() => std::fs::remove_file(&pending).at("failed to remove", &pending),
        _ => Ok(()),
    }
}

fn accept(verdict: &Verdict, snapshot: Option<&Path>) -> Result<ExitCode> {
    let (Some(trace), Some(file)) = (&verdict.trace, snapshot) else {
        return Err(Error::setup("there is no trace to accept"));
    };
    write_whole(file, trace.as_bytes())?;
    let pending = snapshot::pending(file);
    if pending.is_file() {
        std::fs::remove_file(&pending).at("failed to remove", &pending)?;
    }
    output::line(format_args!(
        "{}: accepted {} packets into {}",
        verdict.scenario,
        verdict.packets,
        file.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// This very command, without what accepts a trace, and with what chooses the machines where only the environment did.
fn replay(front: &Front, options: &[String]) -> String {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--accept").collect();
    for option in options.chunks(2) {
        let is_named = |word: &String| word.split('=').next() == option.first().map(String::as_str);
        if !words.iter().any(is_named) {
            words.splice(1..1, option.iter().cloned());
        }
    }
    std::iter::once(front.invocation.program.to_owned())
        .chain(words.iter().map(|word| shell_word(word)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The path as whoever runs elsewhere sees it; its directory has to be there.
fn absolute(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).at("failed to resolve", path)?;
    if absolute.parent().is_some_and(Path::is_dir) && !absolute.is_dir() {
        return Ok(absolute);
    }
    Err(Error::usage(format!("{} is no file that can be written", path.display()))
        .next("make its directory first"))
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
fn name_of_file(text: &str) -> Result<String, String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(is_good) {
        true => Ok(text.to_owned()),
        false => Err("use letters, digits, `-` and `_`, at most 64".to_owned()),
    }
}
