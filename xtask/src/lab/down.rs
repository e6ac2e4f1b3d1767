//! `cargo xtask lab down`: ends labs, and clears what killed ones left.

use std::process::ExitCode;

use lab::Result;

use super::{Name, residents};
use crate::output;

/// The arguments of `lab down`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
    /// Every lab, and what was left behind by ones that were killed.
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

/// Ends one lab or all; ending one that is not up is no error.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let residents = residents()?;
    let names = if args.all {
        residents.all()?.into_iter().map(|lab| lab.name).collect()
    } else {
        vec![args.name.name.clone()]
    };
    for name in &names {
        let what = if residents.down(name)? { "ended" } else { "was not up" };
        output::line(format_args!("{name}: {what}"))?;
    }
    if args.all {
        for stray in residents.strays()? {
            stray.clear()?;
            output::line(format_args!("cleared {stray}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
