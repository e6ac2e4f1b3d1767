//! `results`: what came of the scenarios of an invocation.

use std::path::PathBuf;
use std::process::ExitCode;

use lab::trial::results::Results;
use lab::trial::{artifacts, changes, markdown};
use lab::{Error, Result};

use crate::{Front, output};

/// The arguments of `results`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The invocation's directory [default: the newest that left results].
    #[arg(value_name = "DIR")]
    run: Option<PathBuf>,
    /// As Markdown: what a CI job shows as its summary, with the differences of red traces and the snapshots that changed.
    #[arg(long)]
    markdown: bool,
    /// Commit that changed snapshots are told against [default: the branch that a pull request goes to, else origin/main or main].
    #[arg(long, value_name = "COMMIT", requires = "markdown")]
    against: Option<String>,
    /// As annotations for GitHub's pages: red scenarios, at the lines of their snapshots.
    #[arg(long, conflicts_with = "markdown")]
    annotations: bool,
}

/// Prints the results.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let newest = || artifacts::latest_with_results(&front.home);
    let run = args.run.clone().or_else(newest);
    let run = run.unwrap_or_else(|| artifacts::runs(&front.home).join("latest"));
    let results = Results::read(&run)?;
    let here = std::env::current_dir().unwrap_or_default();
    if args.markdown {
        let changed = changes::against(&here, args.against.as_deref());
        if let (None, Some(commit)) = (&changed, &args.against) {
            return Err(Error::usage(format!("no commit {commit} in a git repository here"))
                .next("name a branch or commit that `git rev-parse` knows, or fetch it first"));
        }
        output::print(markdown::write(&results, changed.as_ref()))?;
    } else if args.annotations {
        let top = std::env::var_os("GITHUB_WORKSPACE").map_or(here, PathBuf::from);
        output::print(markdown::annotations(&results, &top))?;
    } else {
        output::line(results)?;
    }
    Ok(ExitCode::SUCCESS)
}
