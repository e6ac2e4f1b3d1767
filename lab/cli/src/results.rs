//! `results`: what came of the scenarios of an invocation.

use std::path::PathBuf;
use std::process::ExitCode;

use lab::Result;
use lab::trial::artifacts;
use lab::trial::results::Results;

use crate::{Front, output};

/// The arguments of `results`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The invocation's directory [default: the newest that left results].
    #[arg(value_name = "DIR")]
    run: Option<PathBuf>,
    /// As Markdown, with the differences of red traces: what a CI job shows as its summary.
    #[arg(long)]
    markdown: bool,
}

/// Prints the results.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let newest = || artifacts::latest_with_results(&front.home);
    let run = args.run.clone().or_else(newest);
    let run = run.unwrap_or_else(|| artifacts::runs(&front.home).join("latest"));
    let results = Results::read(&run)?;
    match args.markdown {
        true => output::print(results.markdown())?,
        false => output::line(results)?,
    }
    Ok(ExitCode::SUCCESS)
}
