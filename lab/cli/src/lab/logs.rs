//! `logs`: what the nodes' kernels and emulators have logged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use lab::Result;
use lab::base::role::Role;
use serde::Serialize;

use super::target::{LabName, json};
use crate::output;

/// The arguments of `lab logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: LabName,
    /// The node [default: all].
    #[arg(ignore_case = true)]
    node: Option<Role>,
    /// As JSON, one object with a member for each node.
    #[arg(long)]
    json: bool,
}

/// Logs of a node.
#[derive(Serialize)]
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

/// Prints them, the kernel's last, which a machine that stands still does not tell.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let lab = args.name.find()?;
    if let Some(node) = args.node {
        lab.demand(node)?;
    }
    let mut logs = BTreeMap::new();
    for role in args.node.map_or(lab.roles().to_vec(), |node| vec![node]) {
        let mut files = BTreeMap::new();
        for (what, path) in lab.log_files(role) {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
            if !args.json {
                output::line(format_args!("== {role}: {what} ({})", path.display()))?;
                output::print(&text)?;
            }
            files.insert(what, LogFile { path, text });
        }
        let kernel = lab.kernel_log(role)?;
        if !args.json {
            output::line(format_args!("== {role}: kernel"))?;
            output::print(&kernel)?;
        }
        logs.insert(role, Logs { files, kernel });
    }
    if args.json {
        output::line(json(&logs)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
