//! `down`: ends labs, and clears what killed ones left.

use std::path::PathBuf;
use std::process::ExitCode;

use lab::Result;
use lab::provider::resident::Resident;
use serde::Serialize;

use super::target::{LabName, json, labs};
use crate::output;

/// The arguments of `lab down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: LabName,
    /// Every lab, and what was left behind by ones that were killed.
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// Say what was ended as JSON, one object.
    #[arg(long)]
    json: bool,
}

/// Labs that were ended.
#[derive(Serialize)]
struct EndedLabs {
    labs: Vec<EndedLab>,
    /// Leavings of killed labs.
    cleared: Vec<String>,
}

#[derive(Serialize)]
struct EndedLab {
    name: String,
    /// True if it was up, as far as its record told.
    was_up: bool,
    logs: Option<PathBuf>,
}

/// Ends one lab or all; ending one that is not up is no error.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let labs = labs()?;
    let found: Vec<(String, Option<Box<dyn Resident>>)> = match args.all {
        true => labs.all()?.into_iter().map(|lab| (lab.name().to_owned(), Some(lab))).collect(),
        false => vec![(args.name.name.clone(), labs.recorded(&args.name.name)?)],
    };
    let mut ended = EndedLabs { labs: Vec::new(), cleared: Vec::new() };
    for (name, lab) in found {
        let done = lab.as_ref().map(|lab| lab.down()).transpose()?.flatten();
        if !args.json {
            output::line(format_args!("{name}: {}", done.unwrap_or("was not up")))?;
        }
        let logs = lab.map(|lab| lab.logs().to_owned());
        ended.labs.push(EndedLab { name, was_up: done.is_some(), logs });
    }
    if args.all {
        for stray in labs.strays()? {
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
