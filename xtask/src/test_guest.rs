//! `cargo xtask test-guest`: the tests of the verbs library on a real device, inside the machines.
//!
//! Prints what cargo's own tests print, and exits with 1 where one is red. A machine that a test brought down
//! is replaced for the next one.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::base::role::Role;
use lab::base::selection::Selection;
use lab::guest::programs::Build;
use lab::node::{NodePair, Plan, Provider as _};
use lab::run::guest_tests::{self, GuestTest, TEST_LIMIT, TestEnd};
use lab::run::setup::Setup;
use lab::trial::artifacts::Artifacts;
use lab::{Error, Result};

use rdma_lab_cli::{Front, machines, output};

/// The arguments of `test-guest`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tests whose path has one of these parts [default: all].
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    #[command(flatten)]
    machines: Selection,
}

/// Runs the tests; exit code 1 where one is red.
pub(crate) fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let choice = machines::choice(&args.machines, None)?;
    machines::prepare(&choice, &args.machines.means, true)?;
    let setup = Setup::with(Build::Tests, &front.samples, &choice, &front.program)?;
    if setup.programs.is_empty() {
        return Err(Error::setup("this computer does not build the guest's tests")
            .next("run it with --provider qemu"));
    }
    let logs = Artifacts::create(&front.home)?.scenario("test-guest");
    std::fs::create_dir_all(&logs)
        .map_err(|source| Error::setup("failed to make a directory").source(source))?;
    let _slot = setup.slot()?;
    let plan = Plan { programs: &setup.programs, ..Plan::new(&logs) };
    let started = Instant::now();
    let mut pair = setup.provider.bring_up(&plan)?;
    let all = guest_tests::list(pair.node(Role::Client), &setup.programs)?;
    let tests = chosen(&all, &args.filters)?;
    output::line(format_args!("\nrunning {} tests", tests.len()))?;
    let mut failures = Vec::new();
    for test in &tests {
        let (ended, took) = match guest_tests::run(pair.node(Role::Client), test, TEST_LIMIT) {
            Ok(ended) => ended,
            Err(error) => {
                let cause = pair.check_alive().err().unwrap_or(error);
                pair = again(pair, &setup, &plan)?;
                (TestEnd::Failed(cause.to_string()), Duration::ZERO)
            }
        };
        let word = if ended == TestEnd::Passed { "ok" } else { "FAILED" };
        let GuestTest { binary, name } = test;
        output::line(format_args!("test {binary}::{name} ... {word} <{:.3}s>", took.as_secs_f64()))?;
        if let TestEnd::Failed(text) = ended {
            failures.push(format!("---- {binary}::{name} ----\n{text}\n"));
        }
    }
    if !failures.is_empty() {
        output::line(format_args!(
            "\nfailures:\n\n{}\nlogs of the machines: {}",
            failures.join("\n"),
            logs.display()
        ))?;
    }
    let (word, failed) = (if failures.is_empty() { "ok" } else { "FAILED" }, failures.len());
    output::line(format_args!(
        "\ntest result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s",
        tests.len() - failed,
        all.len() - tests.len(),
        started.elapsed().as_secs_f64()
    ))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fresh machines in the place of those that one test brought down.
fn again(gone: Box<dyn NodePair>, setup: &Setup, plan: &Plan<'_>) -> Result<Box<dyn NodePair>> {
    drop(gone);
    setup.provider.bring_up(plan)
}

/// The tests that were asked for.
fn chosen(all: &[GuestTest], filters: &[String]) -> Result<Vec<GuestTest>> {
    let is_asked = |test: &&GuestTest| {
        let path = format!("{}::{}", test.binary, test.name);
        filters.is_empty() || filters.iter().any(|filter| path.contains(filter.as_str()))
    };
    let chosen: Vec<GuestTest> = all.iter().filter(is_asked).cloned().collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    if all.is_empty() {
        return Err(Error::setup("the guest's test binaries have no test that needs a device"));
    }
    let names: Vec<&str> = all.iter().map(|test| test.name.as_str()).collect();
    Err(Error::usage(format!("no test of the guest's has {} in its path", filters.join(" or ")))
        .next(format!("there are: {}", names.join(", "))))
}
