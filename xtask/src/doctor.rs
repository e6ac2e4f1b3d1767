//! `cargo xtask doctor`: what this computer has, what it lacks, and the command that brings it.

use std::process::ExitCode;

use lab::Result;
use lab::cache::Cache;
use lab::host::doctor::{Mark, Report, Row};
use lab::host::{Host, apt, doctor, requirement};
use lab::image::recipe::Recipe;
use lab::image::{Image, Release};
use lab::provider::qemu::accel::{self, Choice};
use lab::toolbox::Toolbox;
use lab::toolbox::toolbox::QEMU;

use crate::{machines, output};

/// The arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Boot a machine on KVM to see whether it works, instead of telling the remembered answer.
    #[arg(long)]
    probe: bool,
    /// Install what is missing, for scenarios and for `ci`, then report.
    #[arg(long)]
    install: bool,
}

/// Prints the report; exit code 1 where scenarios cannot run on this computer.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let host = Host::this();
    if args.install {
        let unmet = requirement::unmet(&host, &[requirement::RUN, &[requirement::CI]].concat());
        let cures: Vec<_> = unmet.iter().map(|(requirement, _)| requirement.cure()).collect();
        apt::install(&host, &cures)?;
    }
    let mut report = doctor::report(&host);
    let probed = examine_cache(&mut report, args.probe);
    output::print(&report)?;
    probed?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds what only the cache knows: whether it can be used, and what machines will run on.
///
/// # Errors
///
/// The cache cannot be used; the probe that was asked for failed. The rows are added all the same.
fn examine_cache(report: &mut Report, probe: bool) -> Result<()> {
    let cache = match Cache::open() {
        Ok(cache) => cache,
        Err(error) => {
            report.push(Row { mark: Mark::Unfit, ..Row::info("cache directory", "see the error below") });
            return Err(error);
        }
    };
    report.push(Row::info("cache directory", cache.path("").display().to_string()));
    let guest = machines::guest(None)?;
    let names: Vec<&str> = Release::all().iter().map(|release| release.name.as_str()).collect();
    report.push(Row::info("guest", format!("{}; there are {} (--guest)", guest.name, names.join(", "))));
    let decided = match probe && report.is_good() {
        true => Image::ensure(&cache, &Recipe::lab(guest))
            .and_then(|image| {
                let qemu = Toolbox::of(&cache).tool(QEMU)?;
                accel::decide_anew(Choice::Auto, &cache, &image, &qemu)
            })
            .map(|decision| decision.to_string()),
        false if probe => Ok(format!("not probed, as something is missing; {}", accel::known(&cache))),
        false => Ok(accel::known(&cache)),
    };
    let (text, outcome) = match decided {
        Ok(text) => (text, Ok(())),
        Err(error) => ("could not be probed, see the error below".to_owned(), Err(error)),
    };
    report.push(Row::info("accelerator", text));
    outcome
}
