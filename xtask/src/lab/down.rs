//! `cargo xtask lab down`: ends labs, and clears what killed ones left.

use std::process::ExitCode;

use lab::Result;
use lab::cache::Cache;
use lab::provider::remote::resident as shared;

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
    let (residents, cache) = (residents()?, Cache::open()?);
    let names = if args.all {
        let shared = shared::all(&cache)?.into_iter().map(|lab| lab.name);
        residents.all()?.into_iter().map(|lab| lab.name).chain(shared).collect()
    } else {
        vec![args.name.name.clone()]
    };
    for name in &names {
        let what = match shared::find(&cache, name)? {
            Some(lab) => {
                lab.down(&cache)?;
                "given back"
            }
            None if residents.down(name)? => "ended",
            None => "was not up",
        };
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
