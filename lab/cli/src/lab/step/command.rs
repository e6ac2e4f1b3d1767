//! The command `step`: who holds the packets, and in which form they are shown.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use lab::base::invocation;
use lab::base::role::Role;
use lab::{Error, Result};

use super::stepper::Stepper;
use super::{lines, screen};
use crate::lab::capture::default_file;
use crate::lab::target::LabName;
use crate::{decode, output};

/// The arguments of `lab step`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: LabName,
    /// Words in and lines out on a terminal too, as in a pipe.
    #[arg(long)]
    lines: bool,
}

/// Holds packets until it is ended.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut lab = args.name.find()?;
    if lab.roles().len() > Role::BOTH.len() {
        let text = format!("`step` shows what two nodes do, and {} has {}", lab.name(), lab.roles().len());
        return Err(
            Error::usage(text).next(format!("bring up one of two: {} --name OTHER", invocation::lab("up")))
        );
    }
    let control = lab.gate()?;
    let file = lab.follow_capture(&default_file(lab.as_ref()))?;
    output::note(&format!("recording into {}; end it: {}", file.display(), invocation::lab("capture stop")));
    let mut stepper = Stepper::begin(control, decode::names())?;
    let is_on_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if is_on_terminal && !args.lines {
        let title = format!(" lab step: {}, recording into {}", lab.name(), file.display());
        screen::run(&mut stepper, lab.as_ref(), title)?;
    } else {
        lines::run(&mut stepper, lab.as_ref())?;
    }
    output::note(&format!("{}; what waited goes on", stepper.summary()));
    Ok(ExitCode::SUCCESS)
}
