//! `explore`: every fault on every packet of a scenario.

use std::path::PathBuf;
use std::process::ExitCode;

use lab::base::names::find;
use lab::base::selection::Selection;
use lab::explore::outcome::Outcome;
use lab::explore::{Exploration, Reach, table};
use lab::run::setup::Setup;
use lab::scenario::Scenario;
use lab::trial::artifacts::Artifacts;
use lab::{Error, Result};

use crate::{Front, machines, output};

/// The arguments of `explore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scenario, one without faults of its own.
    #[arg(value_name = "SCENARIO", required_unless_present = "resume")]
    scenario: Option<String>,
    /// The catalogue: a directory of scenarios [default: the kit's own].
    #[arg(long = "scenarios", value_name = "DIR")]
    scenarios_in: Option<PathBuf>,
    /// Try so many pairs of faults instead of each fault alone; which, follows from --seed, 0 unless said.
    #[arg(long, value_name = "N", conflicts_with_all = ["random", "resume"])]
    pairs: Option<u64>,
    /// Try so many runs of two to four faults, likewise.
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    random: Option<u64>,
    /// Go on with an exploration that was interrupted: the directory that it printed.
    #[arg(long, value_name = "DIR", conflicts_with = "scenario")]
    resume: Option<PathBuf>,
    /// Number of pairs of machines that run side by side [default: one a processor].
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    #[command(flatten)]
    machines: Selection,
}

/// Explores; exit code 1 where something is a surprise.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let choice = machines::choice(&args.machines, None)?;
    machines::prepare(&choice, &args.machines.means, front.samples.are_built())?;
    let setup = Setup::prepare(&front.samples, &choice, &front.program)?;
    let mut exploration = match &args.resume {
        Some(directory) => Exploration::resume(directory)?,
        None => {
            let scenario = scenario(args, front)?;
            front.make_home()?;
            let kept = Artifacts::create(&front.home)?;
            let seed = args.machines.seed.unwrap_or(0);
            let reach = match (args.pairs, args.random) {
                (Some(count), _) => Reach::Pairs { count, seed },
                (None, Some(count)) => Reach::Random { count, seed },
                (None, None) => Reach::Each,
            };
            Exploration::plan(&setup, &scenario, reach, kept.directory())?
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    exploration.go_on(&setup, args.jobs.map_or(processors, usize::from))?;
    let files = exploration.shrink(&setup)?;
    output::print(table::text(exploration.name(), exploration.tried()))?;
    for file in &files {
        output::line(format_args!("  again      {}", file.display()))?;
    }
    let page = exploration.directory().join("index.html");
    output::line(format_args!("  page       {}", page.display()))?;
    let is_surprised = exploration.tried().iter().any(|tried| tried.outcome == Outcome::Surprise);
    Ok(if is_surprised { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn scenario(args: &Args, front: &Front) -> Result<Scenario> {
    let directory = match &args.scenarios_in {
        Some(directory) => directory.clone(),
        None => front.catalogue.directories()?.0,
    };
    let scenarios = Scenario::read_all(&directory)?;
    let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    let found = find("scenario", args.scenario.as_deref().unwrap_or_default(), names.iter().copied())
        .map_err(|why| Error::usage(why).next(format!("there are: {}", names.join(", "))))?
        .to_owned();
    let scenario = scenarios.into_iter().find(|scenario| scenario.name == found);
    scenario.ok_or_else(|| Error::usage(format!("no scenario is called {found}")))
}
