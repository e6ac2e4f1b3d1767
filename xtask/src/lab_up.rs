//! `cargo xtask lab up`: both machines in the foreground, until Ctrl-C.

use std::process::ExitCode;

use lab::{Error, Result};

use crate::machines::Machines;

/// The arguments of `lab up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    machines: Machines,
}

/// Brings the machines up and prints how to reach them.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    args.machines.prepare()?;
    Err(Error::setup(format!(
        "`lab up` is not built yet ({:?}, {:?})",
        args.machines.provider, args.machines.accel
    )))
}
