//! `cargo xtask lab capture`: records the wire of a resident lab.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use lab::node::Role;
use lab::{Error, Result};
use serde::Serialize;

use super::{Name, json};
use crate::output;

/// The subcommands of `lab capture`.
#[derive(Debug, Subcommand)]
pub(crate) enum Capture {
    /// Begins to record.
    Start(StartArgs),
    /// Ends the recording and says where it is.
    Stop(StopArgs),
}

/// The arguments of `lab capture start`.
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    name: Name,
    /// The pcapng to write [default: capture.pcapng among the lab's logs].
    file: Option<PathBuf>,
}

/// The arguments of `lab capture stop`.
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    name: Name,
    /// As JSON, one object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Stopped {
    file: PathBuf,
    /// RoCEv2 packets by the node that sent them.
    packets: BTreeMap<Role, u64>,
}

/// Runs one of them.
pub(crate) fn run(command: &Capture) -> Result<ExitCode> {
    match command {
        Capture::Start(args) => {
            let lab = args.name.find()?;
            let file = args.file.clone().unwrap_or_else(|| lab.logs.join("capture.pcapng"));
            let file = std::path::absolute(file)
                .map_err(|source| Error::setup("failed to resolve the capture's name").source(source))?;
            lab.control().start_capture(&file)?;
            output::line(format_args!("recording into {}", file.display()))?;
        }
        Capture::Stop(args) => {
            let control = args.name.find()?.control();
            let packets = control.captured()?;
            let file = control.stop_capture()?;
            let stopped = Stopped { file, packets };
            if args.json {
                output::line(json(&stopped)?)?;
            } else {
                let total: u64 = stopped.packets.values().sum();
                output::line(format_args!("{}: {total} RoCEv2 packets", stopped.file.display()))?;
                output::line(format_args!("read it: cargo xtask decode {}", stopped.file.display()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
