//! `decode`, `check` and `diff`: the `roce` command with the names of the lab's nodes.

use std::process::ExitCode;

use lab::base::error::Kind;
use lab::base::role::Role;
use lab::provider::qemu::argv;
use lab::{Error, Result};
use roce::Names;

/// The lab's own addresses under the names of its nodes.
pub fn names() -> Names {
    Role::BOTH
        .into_iter()
        .fold(Names::new(), |names, role| names.with(argv::address(role).into(), role.to_string()))
}

/// An error of the command as one of the lab.
pub fn told(result: std::result::Result<ExitCode, roce_cli::Error>) -> Result<ExitCode> {
    result.map_err(|error| Error::of(Kind::Capture, error))
}
