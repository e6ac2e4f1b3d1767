//! `logs`: what the nodes' kernels and emulators have logged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lab::Result;
use lab::base::role::Role;
use serde::Serialize;

use super::{Found, Name, Node, json, ssh_key};
use crate::output;

/// How long a machine of others may take to tell its kernel's log.
const LIMIT: Duration = Duration::from_secs(30);

/// The arguments of `lab logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: Name,
    /// Which node [default: both].
    #[arg(ignore_case = true)]
    node: Option<Node>,
    /// As JSON, one object with a member for each node.
    #[arg(long)]
    json: bool,
}

/// What a node has logged.
#[derive(Default, Serialize)]
struct Logs {
    /// Of its emulator and console, which are files here; none on machines of others.
    files: BTreeMap<&'static str, LogFile>,
    kernel: String,
}

#[derive(Serialize)]
struct LogFile {
    path: PathBuf,
    text: String,
}

/// Prints them, the kernel's last.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let roles = args.node.map_or(Role::BOTH.to_vec(), |node| vec![node.into()]);
    let mut logs = BTreeMap::new();
    match args.name.find()? {
        Found::Own(lab) => {
            let key = ssh_key()?;
            for role in roles {
                let mut of_node = Logs::default();
                for (what, file) in [("emulator", "qemu"), ("console", "console")] {
                    let path = lab.logs.join(format!("{file}-{role}.log"));
                    let text = std::fs::read(&path).unwrap_or_default();
                    let text = String::from_utf8_lossy(&text).into_owned();
                    of_node.files.insert(what, LogFile { path, text });
                }
                if !args.json {
                    // Before the kernel's, which a machine that stands still does not tell.
                    print_files(role, &of_node)?;
                }
                of_node.kernel = lab.run(&key, role, "dmesg", b"")?;
                logs.insert(role, of_node);
                print_kernel(args.json, role, &logs[&role].kernel)?;
            }
        }
        Found::Shared(lab) => {
            let open = lab.open()?;
            for role in roles {
                let kernel = open.machine(role).demand("its kernel's log can be read", "dmesg", LIMIT)?;
                print_kernel(args.json, role, &kernel)?;
                logs.insert(role, Logs { kernel, ..Logs::default() });
            }
        }
    }
    if args.json {
        output::line(json(&logs)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_files(role: Role, logs: &Logs) -> Result<()> {
    for what in ["emulator", "console"] {
        if let Some(LogFile { path, text }) = logs.files.get(what) {
            output::line(format_args!("== {role}: {what} ({})", path.display()))?;
            output::print(text)?;
        }
    }
    Ok(())
}

fn print_kernel(as_json: bool, role: Role, log: &str) -> Result<()> {
    if as_json {
        return Ok(());
    }
    output::line(format_args!("== {role}: kernel"))?;
    output::print(log)
}
