//! `cargo xtask __guard`: the process that machines live under; started by the lab, never by a person.

use std::process::ExitCode;

use lab::{Error, Result};

/// The arguments of `__guard`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Keeps machines until the owner's pipe ends.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    Err(Error::setup("`__guard` is not built yet"))
}
