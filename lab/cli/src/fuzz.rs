//! `fuzz`: a peer that does what none should, against a program on one machine and the kernel below it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::base::command::shell_word;
use lab::base::selection::Selection;
use lab::fuzz::fuzzing::{Fuzzing, MOVES};
use lab::fuzz::target::{FuzzPlan, FuzzSide};
use lab::guest::called;
use lab::provider::{MachineSource, choice};
use lab::scenario::Scenario;
use lab::trial::artifacts::Artifacts;
use lab::{Error, Result};

use crate::{Front, machines, output, programs};

/// The arguments of `fuzz`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command on the server, which has to serve one client after another. A local path as its first word is pushed.
    #[arg(long, value_name = "COMMAND", default_value = "rdma_server")]
    server: String,
    /// In place of a server: the command on the client, which connects by RDMA CM to a peer that answers it as none should.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["server", "port", "moves"])]
    client: Option<String>,
    /// The port of RDMA CM that the server listens on.
    #[arg(long, default_value = "7471")]
    port: u16,
    /// Number of bytes that may be written and read: of a server where its REP's private data begins with address and rkey, as the samples'
    /// does; a client is told of so many in the same way.
    #[arg(long, value_name = "BYTES", default_value = "4096")]
    region: u32,
    /// A file for the program, in /opt/lab/deployed.
    #[arg(long, value_name = "FILE")]
    push: Vec<PathBuf>,
    /// Number of runs, a connection each; what they send follows from --seed, 0 unless said.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// The number of the first run: an earlier one again.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    first: u64,
    /// Begin no run after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    time: Option<u64>,
    /// Number of moves that a run makes against a server: requests, or what is none.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(1..=1000))]
    moves: u16,
    /// Share of the moves, or of the answers to a client, that are not as they should be, in percent.
    #[arg(long, value_name = "PERCENT", default_value = "40", value_parser = clap::value_parser!(u8).range(0..=100))]
    illegal: u8,
    #[command(flatten)]
    machines: Selection,
}

/// Fuzzes; exit code 1 where something is wrong.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let mut written = match &args.client {
        Some(client) => Scenario::new("fuzz", String::new(), client.clone()),
        None => Scenario::new("fuzz", args.server.clone(), String::new()),
    };
    written.push.clone_from(&args.push);
    let (scenario, pushed) = called::called(&written)?;
    let choice = machines::choice(&args.machines, None)?;
    let setup = programs::setup(&scenario, &pushed, &choice, &args.machines.means, front)?;
    let MachineSource::Qemu(qemu) = &setup.provider else {
        return Err(Error::usage("only the lab's own machines have a port for such a peer")
            .next("run it with --provider qemu"));
    };
    front.make_home()?;
    let kept = Artifacts::create(&front.home)?;
    let _slot = setup.slot()?;
    let seed = args.machines.seed.unwrap_or(0);
    let (command, side) = match args.client {
        Some(_) => (scenario.client, FuzzSide::Client),
        None => (scenario.server, FuzzSide::Server { port: args.port, moves: usize::from(args.moves) }),
    };
    let plan = FuzzPlan { command, side, region_bytes: u64::from(args.region), seed, illegal: args.illegal };
    let fuzzing = Fuzzing { qemu, programs: &setup.programs, plan, directory: kept.directory() };
    let end = args.time.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut runs = Vec::new();
    let ended = fuzzing.run(args.first..args.first.saturating_add(args.runs), end, &mut runs);
    if runs.is_empty() {
        ended?;
        return Err(Error::usage("there was no time for a run").next("name more seconds: --time"));
    }
    let options: String =
        choice.options(choice::usual()).iter().map(|word| format!(" {}", shell_word(word))).collect();
    for run in &runs {
        let Some(directory) = &run.artifacts else { continue };
        output::line(format_args!("run {}: {}", run.number, run.surprises.join("\n  and ")))?;
        output::line(format_args!("  moves      {}", directory.join(MOVES).display()))?;
        let program = match &args.client {
            Some(client) => format!("--client {}", shell_word(client)),
            None => {
                let (server, port, moves) = (shell_word(&args.server), args.port, args.moves);
                format!("--server {server} --port {port} --moves {moves}")
            }
        };
        output::line(format_args!(
            "  again      {} fuzz {program} --region {} --first {} --runs 1 --illegal {}{options}",
            front.invocation.program, args.region, run.number, args.illegal
        ))?;
    }
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for name in runs.iter().flat_map(|run| &run.deviations) {
        *known.entry(name).or_default() += 1;
    }
    for (name, count) in known {
        output::line(format_args!("known      {name}, in {count} runs: docs/findings.md"))?;
    }
    let packets: u64 = runs.iter().map(|run| run.packets).sum();
    let moves: usize = runs.iter().map(|run| run.moves).sum();
    let [positive, negative] = [0, 1].map(|of| runs.iter().map(|run| run.answers[of]).sum::<usize>());
    let surprising = runs.iter().filter(|run| !run.surprises.is_empty()).count();
    let [one, other] = match args.client {
        Some(_) => ["as they should be", "not"],
        None => ["that acknowledge", "NAKs"],
    };
    output::line(format_args!(
        "{} runs, {moves} moves, {packets} packets, seed {seed}; answers: {positive} {one}, {negative} {other}; \
         {surprising} runs with surprises",
        runs.len()
    ))?;
    // What was found before something went wrong is told first.
    ended?;
    Ok(if surprising == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
