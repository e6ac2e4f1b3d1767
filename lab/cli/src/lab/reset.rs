//! `reset`: both machines as they were when they came up.

use std::process::ExitCode;

use lab::Result;
use lab::base::progress::Step;

use super::target::{LabName, json};
use crate::{Front, output};

/// The arguments of `lab reset`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: LabName,
    /// Say how to reach both nodes then as JSON, one object.
    #[arg(long)]
    json: bool,
}

/// Forks both machines anew: what was done on them is gone. On machines of others, ends what runs of the lab and makes
/// their RDMA devices anew; files stay.
pub(crate) fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let step = Step::begin(format!("reset {}", args.name.name));
    let mut lab = args.name.find()?;
    step.done(lab.reset(&front.program)?);
    if args.json {
        output::line(json(&lab.report()?)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
