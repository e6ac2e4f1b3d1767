//! `cargo xtask __guard`: the process that machines live under; started by the lab, never by a person.

use std::process::ExitCode;

use lab::Result;
use lab::provider::qemu::guard;

/// Keeps machines until the owner's pipe ends.
pub(crate) fn run() -> Result<ExitCode> {
    guard::main()?;
    Ok(ExitCode::SUCCESS)
}
