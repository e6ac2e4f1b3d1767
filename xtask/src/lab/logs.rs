//! `cargo xtask lab logs`: what the nodes' kernels and emulators have logged.

use std::process::ExitCode;

use lab::Result;
use lab::node::Role;

use super::{Name, Node, ssh_key};
use crate::output;

/// The arguments of `lab logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
    /// Which node [default: both].
    node: Option<Node>,
}

/// Prints them, the kernel's last.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let lab = args.name.find()?;
    let key = ssh_key()?;
    let roles = args.node.map_or(Role::BOTH.to_vec(), |node| vec![node.into()]);
    for role in roles {
        for (what, file) in [("emulator", "qemu"), ("console", "console")] {
            let path = lab.logs.join(format!("{file}-{role}.log"));
            let text = std::fs::read(&path).unwrap_or_default();
            output::line(format_args!("== {role}: {what} ({})", path.display()))?;
            output::print(String::from_utf8_lossy(&text))?;
        }
        output::line(format_args!("== {role}: kernel"))?;
        output::print(lab.run(&key, role, "dmesg", b"")?)?;
    }
    Ok(ExitCode::SUCCESS)
}
