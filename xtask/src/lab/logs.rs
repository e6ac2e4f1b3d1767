//! `cargo xtask lab logs`: what the nodes' kernels and emulators have logged.

use std::process::ExitCode;
use std::time::Duration;

use lab::Result;
use lab::node::Role;

use super::{Found, Name, Node, ssh_key};
use crate::output;

/// How long a machine of others may take to tell its kernel's log.
const LIMIT: Duration = Duration::from_secs(30);

/// The arguments of `lab logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
    /// Which node [default: both].
    #[arg(ignore_case = true)]
    node: Option<Node>,
}

/// Prints them, the kernel's last.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let roles = args.node.map_or(Role::BOTH.to_vec(), |node| vec![node.into()]);
    match args.name.find()? {
        Found::Own(lab) => {
            let key = ssh_key()?;
            for role in roles {
                for (what, file) in [("emulator", "qemu"), ("console", "console")] {
                    let path = lab.logs.join(format!("{file}-{role}.log"));
                    let text = std::fs::read(&path).unwrap_or_default();
                    output::line(format_args!("== {role}: {what} ({})", path.display()))?;
                    output::print(String::from_utf8_lossy(&text))?;
                }
                kernel(role, &lab.run(&key, role, "dmesg", b"")?)?;
            }
        }
        Found::Shared(lab) => {
            let open = lab.open()?;
            for role in roles {
                kernel(role, &open.machine(role).demand("its kernel's log can be read", "dmesg", LIMIT)?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn kernel(role: Role, log: &str) -> Result<()> {
    output::line(format_args!("== {role}: kernel"))?;
    output::print(log)
}
