//! `reset`: both machines as they were when they came up.

use std::process::ExitCode;

use lab::Result;
use lab::base::cache::Cache;
use lab::base::policy::Policy;
use lab::base::progress::Step;
use lab::guest::image::Release;
use lab::provider::Qemu;

use super::told::Told;
use super::{Found, Name, json, residents};
use crate::{Front, output};

/// The arguments of `lab reset`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: Name,
    /// Say how to reach both nodes then as JSON, one object.
    #[arg(long)]
    json: bool,
}

/// Forks both machines anew: what was done on them is gone. On machines of others, ends what runs of the lab and makes
/// their RDMA devices anew; files stay.
pub(crate) fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let step = Step::begin(format!("reset {}", args.name.name));
    let lab = match args.name.find()? {
        Found::Own(lab) => lab,
        Found::Shared(mut lab) => {
            lab.reset(&Cache::open()?)?;
            step.done("nothing of an earlier run is left on both nodes");
            if args.json {
                output::line(json(&Told::shared(&lab, true)?)?)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    // The same QEMU, whatever this shell's variables say.
    Policy { tools: lab.tools, ..Policy::of_environment()? }.set();
    let qemu =
        Qemu::new(Release::named(&lab.guest)?, Cache::open()?, lab.accel.into(), &front.program, None)?;
    residents()?.reset(&qemu, &lab.name)?;
    step.done("both nodes are ready");
    if args.json {
        output::line(json(&Told::own(&residents()?.get(&lab.name)?)?)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
