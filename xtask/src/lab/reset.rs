//! `cargo xtask lab reset`: both machines as they were when they came up.

use std::process::ExitCode;

use lab::Result;
use lab::cache::Cache;
use lab::progress::Step;
use lab::provider::Qemu;

use super::{Name, residents, this_program};

/// The arguments of `lab reset`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
}

/// Forks both machines anew; what was done on them is gone.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let lab = args.name.find()?;
    let qemu = Qemu::new(Cache::open()?, lab.accel.into(), &this_program()?, None)?;
    let step = Step::begin(format!("reset {}", lab.name));
    residents()?.reset(&qemu, &lab.name)?;
    step.done("both nodes are ready");
    Ok(ExitCode::SUCCESS)
}
