//! `down`: ends labs, and clears what killed ones left.

use std::path::PathBuf;
use std::process::ExitCode;

use lab::Result;
use lab::base::cache::Cache;
use lab::provider::resident::remote as shared;
use serde::Serialize;

use super::{Name, json, residents};
use crate::output;

/// The arguments of `lab down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: Name,
    /// Every lab, and what was left behind by ones that were killed.
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// Say what was ended as JSON, one object.
    #[arg(long)]
    json: bool,
}

/// What was ended.
#[derive(Serialize)]
struct Ended {
    labs: Vec<EndedLab>,
    /// What killed labs had left behind.
    cleared: Vec<String>,
}

#[derive(Serialize)]
struct EndedLab {
    name: String,
    /// Whether it was up, as far as its record told.
    was_up: bool,
    logs: Option<PathBuf>,
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
    let mut ended = Ended { labs: Vec::new(), cleared: Vec::new() };
    let recorded = residents.all()?;
    for name in names {
        let (what, logs) = match shared::find(&cache, &name)? {
            Some(lab) => {
                lab.down(&cache)?;
                ("given back", Some(lab.logs))
            }
            None => {
                let logs = recorded.iter().find(|lab| lab.name == name).map(|lab| lab.logs.clone());
                (if residents.down(&name)? { "ended" } else { NOT_UP }, logs)
            }
        };
        if !args.json {
            output::line(format_args!("{name}: {what}"))?;
        }
        ended.labs.push(EndedLab { name, was_up: what != NOT_UP, logs });
    }
    if args.all {
        for stray in residents.strays()? {
            stray.clear()?;
            if !args.json {
                output::line(format_args!("cleared {stray}"))?;
            }
            ended.cleared.push(stray.to_string());
        }
    }
    if args.json {
        output::line(json(&ended)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is said of a lab that was not up.
const NOT_UP: &str = "was not up";
