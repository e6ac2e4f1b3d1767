//! `doctor`: what this computer needs and has, in a few lines, and what brings the rest.

use std::process::ExitCode;

use lab::Result;
use lab::base::cache::Cache;
use lab::base::selection::{AccelChoice, Means, ReleaseOption};
use lab::guest::image::Image;
use lab::guest::image::recipe::Recipe;
use lab::host::toolbox::Toolbox;
use lab::host::toolbox::set::QEMU;
use lab::host::{Host, doctor, requirement};
use lab::provider::qemu::accel;

use crate::{Front, machines, output};

/// The arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Boot a machine on KVM to see whether it works, instead of telling the remembered answer.
    #[arg(long)]
    probe: bool,
    #[command(flatten)]
    means: Means,
}

/// Prints the report; exit code 1 where scenarios cannot run on this computer.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    machines::apply(&args.means)?;
    let host = Host::this();
    let mut report = doctor::report(&host, front.samples.are_built());
    let (accelerator, probed) = match accelerator(args.probe && report.is_good()) {
        Ok(text) => (text, Ok(())),
        Err(error) => ("see the error below".to_owned(), Err(error)),
    };
    report.machines(&host, &accelerator);
    output::print(&report)?;
    probed?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Finds the accelerator of machines, and why.
///
/// # Errors
///
/// The cache cannot be used; the probe that was asked for failed.
fn accelerator(probe: bool) -> Result<String> {
    let cache = Cache::open()?;
    if !probe || requirement::demand_platform().is_err() {
        return Ok(accel::known(&cache));
    }
    let qemu = Toolbox::of(&cache).tool(QEMU)?;
    let image = Image::ensure(&cache, &Recipe::lab(machines::guest(&ReleaseOption::default())?))?;
    Ok(accel::decide_anew(AccelChoice::Auto, &cache, &image, &qemu)?.to_string())
}
