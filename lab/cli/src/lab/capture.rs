//! `capture`: records the wire of a resident lab.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Parser as _, Subcommand};
use lab::base::invocation;
use lab::base::role::Role;
use lab::provider::resident::Resident;
use lab::{Error, Result};
use serde::Serialize;

use super::pour::pour;
use super::target::{LabName, json};
use crate::{decode, output};

/// The subcommands of `lab capture`.
#[derive(Debug, Subcommand)]
pub enum CaptureCommand {
    /// Begins to record.
    Start(StartArgs),
    /// Ends the recording and says where it is.
    Stop(StopArgs),
    /// Prints each packet and each finding as it happens, until Ctrl-C; begins to record if nothing does.
    Follow(FollowArgs),
}

/// The arguments of `lab capture follow`.
#[derive(Debug, clap::Args)]
pub struct FollowArgs {
    #[command(flatten)]
    name: LabName,
    /// Show it in Wireshark instead, which is started.
    #[arg(long, conflicts_with = "options")]
    wireshark: bool,
    /// Options of `roce follow` beside the file, as in `--json` or `--idle 5`.
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
}

/// `roce follow`, as it is parsed on its own command line.
#[derive(clap::Parser)]
struct Follow {
    #[command(flatten)]
    args: roce_cli::FollowArgs,
}

/// The arguments of `lab capture start`.
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    #[command(flatten)]
    name: LabName,
    /// The pcapng to write [default: capture.pcapng among the lab's logs].
    file: Option<PathBuf>,
    /// As JSON, one object.
    #[arg(long)]
    json: bool,
}

/// The arguments of `lab capture stop`.
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    name: LabName,
    /// As JSON, one object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Started {
    /// File that is recorded into.
    recording: PathBuf,
}

#[derive(Serialize)]
struct Stopped {
    file: PathBuf,
    /// RoCEv2 packets by the node that sent them.
    packets: BTreeMap<Role, u64>,
}

/// Runs one of them.
pub(crate) fn run(command: &CaptureCommand) -> Result<ExitCode> {
    match command {
        CaptureCommand::Follow(args) => return follow(args),
        CaptureCommand::Start(args) => {
            let mut lab = args.name.find()?;
            let file = args.file.clone().unwrap_or_else(|| default_file(lab.as_ref()));
            let file = std::path::absolute(file)
                .map_err(|source| Error::setup("failed to resolve the capture's name").source(source))?;
            if file.exists() {
                return Err(Error::usage(format!("{} is there already", file.display()))
                    .next("give another name, or remove it first"));
            }
            lab.start_capture(&file)?;
            if args.json {
                output::line(json(&Started { recording: file })?)?;
            } else {
                output::line(format_args!("recording into {}", file.display()))?;
            }
        }
        CaptureCommand::Stop(args) => {
            let (file, packets) = args.name.find()?.stop_capture()?;
            let stopped = Stopped { file, packets };
            if args.json {
                output::line(json(&stopped)?)?;
            } else {
                let total: u64 = stopped.packets.values().sum();
                output::line(format_args!("{}: {total} RoCEv2 packets", stopped.file.display()))?;
                output::line(format_args!(
                    "read it: {} {}",
                    invocation::program("decode"),
                    stopped.file.display()
                ))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// File of a recording that was given no name: beside earlier ones.
pub(super) fn default_file(lab: &dyn Resident) -> PathBuf {
    let names = std::iter::once("capture.pcapng".to_owned())
        .chain((2..).map(|number| format!("capture-{number}.pcapng")));
    names.map(|name| lab.logs().join(name)).find(|path| !path.exists()).unwrap_or_default()
}

/// Prints what comes; the recording goes on afterwards.
fn follow(args: &FollowArgs) -> Result<ExitCode> {
    let mut lab = args.name.find()?;
    let file = lab.follow_capture(&default_file(lab.as_ref()))?;
    output::note(&format!("recording into {}; end it: {}", file.display(), invocation::lab("capture stop")));
    if args.wireshark {
        return in_wireshark(&file, lab.as_ref());
    }
    let words = [invocation::lab("capture follow --").into(), file.into_os_string()].into_iter();
    let follow = Follow::parse_from(words.chain(args.options.iter().map(Into::into)));
    decode::told(follow.args.run(decode::names()))
}

/// Starts Wireshark and shows it what comes, until it is closed; the recording goes on afterwards.
fn in_wireshark(file: &Path, lab: &dyn Resident) -> Result<ExitCode> {
    let mut wireshark =
        Command::new("wireshark").args(["-k", "-i", "-"]).stdin(Stdio::piped()).spawn().map_err(
            |source| {
                Error::setup("failed to start `wireshark`")
                    .source(source)
                    .next("install Wireshark on this computer")
            },
        )?;
    let poured = wireshark.stdin.take().map_or(Ok(()), |pipe| pour(file, lab, pipe));
    let status =
        wireshark.wait().map_err(|source| Error::setup("failed to wait for Wireshark").source(source));
    poured?;
    Ok(if status?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
