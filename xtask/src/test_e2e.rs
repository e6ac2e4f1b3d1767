//! `cargo xtask test-e2e`: the scenarios, each compared with its snapshot.

use std::process::ExitCode;

use lab::{Error, Result};

use crate::machines::Machines;
use crate::review;

/// The arguments of `test-e2e`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scenarios to run [default: all].
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
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
    args.machines.prepare()?;
    if args.review {
        review::run(&review::snapshots())?;
    }
    Err(Error::setup(format!(
        "`test-e2e` is not built yet ({:?}, ci {})",
        args.scenarios, args.ci
    )))
}
