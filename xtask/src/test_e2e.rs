//! `cargo xtask test-e2e`: the scenarios, each compared with its snapshot.
//!
//! Builds the test binary `tests/e2e.rs` and runs it. Its standard input is a pipe from here: when that
//! ends, however this process ended, the run ends and its machines with it.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use lab::scenario::{Scenario, nearest};
use lab::{Error, Result};

use crate::machines::Machines;
use crate::{review, workspace};

/// The arguments of `test-e2e`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scenarios to run [default: all].
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// How many pairs of machines run side by side.
    #[arg(short, long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Afterwards show each changed trace and ask whether to accept it.
    #[arg(long, conflicts_with = "ci")]
    review: bool,
    /// Never write a snapshot.
    #[arg(long)]
    ci: bool,
    #[command(flatten)]
    machines: Machines,
}

/// Runs the scenarios; exit code 1 where one is not green.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    check_names(&args.scenarios)?;
    args.machines.prepare()?;
    let mut scenarios = Command::new(build()?)
        .current_dir(workspace::root())
        // One thread more than pairs: libtest-mimic then prints a trial's line in one piece, when it has ended.
        .args(["--include-ignored", "--test-threads", &(args.jobs + 1).to_string()])
        .env("RDMA_LAB_SCENARIOS", args.scenarios.join(","))
        .env("RDMA_LAB_ACCEL", args.machines.accel.name())
        .env("RDMA_LAB_SEED", args.machines.seed.map_or(String::new(), |seed| seed.to_string()))
        .env("RDMA_LAB_JOBS", args.jobs.to_string())
        .env("RDMA_LAB_OWNED", "1")
        .env("INSTA_UPDATE", if args.ci { "no" } else { "new" })
        .env("INSTA_OUTPUT", "none")
        .stdin(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // `wait` would close the pipe at once.
    let pipe = scenarios.stdin.take();
    let status = scenarios.wait().map_err(failed)?;
    drop(pipe);
    if args.review {
        review::run(&workspace::snapshots())?;
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn failed(source: std::io::Error) -> Error {
    Error::setup("failed to run the scenarios' test binary").source(source)
}

/// A scenario that does not exist is an error that names the nearest.
fn check_names(names: &[String]) -> Result<()> {
    let scenarios = Scenario::read_all(&workspace::scenarios())?;
    let known: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let hint = match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean {nearest}? there are: {}", known.join(", ")),
        None => format!("there are: {}", known.join(", ")),
    };
    Err(Error::usage(format!("no scenario is called {name}")).next(hint))
}

/// Builds the test binary and gives its path.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace::root())
        .args(["test", "--quiet", "--no-run", "--package", "xtask", "--test", "e2e"])
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Error::setup("failed to run cargo").source(source))?;
    if !output.status.success() {
        return Err(Error::setup("failed to build the scenarios' test binary"));
    }
    lab::programs::executables(&String::from_utf8_lossy(&output.stdout))
        .into_iter()
        .map(|program| program.path)
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("e2e-")))
        .ok_or_else(|| Error::setup("cargo named no test binary of the scenarios"))
}
