//! `explore`: every fault on every packet of a scenario, or of any two programs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::base::command::shell_word;
use lab::base::names::find;
use lab::base::selection::Selection;
use lab::explore::comparison::Comparison;
use lab::explore::outcome::Outcome;
use lab::explore::reach::{self, Meet, Partition};
use lab::explore::{Exploration, Reach, table};
use lab::guest::called;
use lab::provider::Choice;
use lab::run::setup::Setup;
use lab::scenario::Scenario;
use lab::trial::artifacts::Artifacts;
use lab::{Error, Result};

use crate::programs::{self, ProgramArgs};
use crate::test::look_at_all;
use crate::{Front, machines, output};

/// The arguments of `explore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scenario; faults of its own act in every run.
    #[arg(value_name = "SCENARIO", required_unless_present_any = ["resume", "server"], conflicts_with = "server")]
    scenario: Option<String>,
    /// The catalogue: a directory of scenarios [default: the kit's own].
    #[arg(long = "scenarios", value_name = "DIR")]
    scenarios_in: Option<PathBuf>,
    #[command(flatten)]
    programs: ProgramArgs,
    /// Only faults on packets of this kind, in the standard's words: `RC RDMA WRITE Only`, `CM RTU`. May be given again.
    #[arg(long, value_name = "OPCODE", conflicts_with = "resume", value_parser = reach::kind)]
    on: Vec<String>,
    /// Only this action: drop, duplicate, delay, reorder, corrupt, truncate, mark-ecn. May be given again.
    #[arg(long = "action", value_name = "ACTION", conflicts_with = "resume", value_parser = reach::action)]
    actions: Vec<String>,
    /// Only changes of this field: payload, icrc, opcode, p_key, … May be given again.
    #[arg(long = "field", value_name = "FIELD", conflicts_with = "resume", value_parser = reach::field)]
    fields: Vec<String>,
    /// Try so many pairs of faults instead of each fault alone; which, follows from --seed, 0 unless said.
    #[arg(long, value_name = "N", conflicts_with_all = ["random", "resume"])]
    pairs: Option<u64>,
    /// Try so many runs of two to four faults, likewise.
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    random: Option<u64>,
    /// Go on with an exploration that was interrupted: the directory that it printed. Further directories are those of other parts
    /// of it, whose runs are taken in.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["scenario", "server"])]
    resume: Vec<PathBuf>,
    /// Make only one part of the runs, as in 2/3: each computer makes another, and --resume puts them together.
    #[arg(long, value_name = "I/N")]
    partition: Option<Partition>,
    /// Compare the table with that of another exploration of the same, which has to have come to the same: the directory that it
    /// printed.
    #[arg(long, value_name = "DIR")]
    compare: Option<PathBuf>,
    /// Number of pairs of machines that run side by side [default: one a processor].
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    #[command(flatten)]
    machines: Selection,
}

/// Explores; exit code 1 where something is a surprise, or is not what another exploration came to.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let other = args.compare.as_deref().map(Exploration::resume).transpose()?;
    let (mut exploration, setup) = match args.resume.split_first() {
        Some((directory, others)) => {
            let mut exploration = Exploration::resume(directory)?;
            for other in others {
                exploration.merge(Exploration::resume(other)?)?;
            }
            let choice = again(&args.machines, exploration.machines(), directory)?;
            let setup = setup(exploration.scenario(), &choice, args, front)?;
            (exploration, setup)
        }
        None => {
            let scenario = scenario(args, front)?;
            let choice = machines::choice(&args.machines, None)?;
            let setup = setup(&scenario, &choice, args, front)?;
            front.make_home()?;
            let kept = Artifacts::create(&front.home)?;
            let (reach, machines) = (reach(args), choice.selection());
            (Exploration::plan(&setup, &scenario, reach, machines, kept.directory())?, setup)
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    exploration.go_on(&setup, args.jobs.map_or(processors, usize::from), args.partition)?;
    let files = exploration.shrink(&setup)?;
    output::print(table::text(exploration.name(), exploration.tried()))?;
    for file in &files {
        output::line(format_args!("  again      {}", file.display()))?;
    }
    let page = exploration.directory().join("index.html");
    output::line(format_args!("  page       {}", page.display()))?;
    let is_surprised = exploration.tried().iter().any(|tried| tried.outcome == Outcome::Surprise);
    let comparison = other.map(|other| Comparison::of(exploration.tried(), other.tried()));
    if let Some(comparison) = &comparison {
        output::line(comparison)?;
    }
    let differs = comparison.is_some_and(|comparison| !comparison.different.is_empty());
    Ok(if is_surprised || differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The machines that an exploration in `directory` goes on with: those that it `had`. Of one that is too old to say, those that are
/// asked for.
fn again(asked: &Selection, had: Option<&Selection>, directory: &Path) -> Result<Choice> {
    let Some(had) = had else { return machines::choice(asked, None) };
    let choice = machines::choice(&asked.clone().or(had.clone()), None)?;
    let asked = choice.selection();
    if asked == *had {
        return Ok(choice);
    }
    let words = |machines: &Selection| {
        let options = machines.options().into_iter();
        options.map(|(name, value)| format!("--{name} {}", shell_word(&value))).collect::<Vec<_>>().join(" ")
    };
    let (directory, asked, had) = (directory.display(), words(&asked), words(had));
    Err(Error::usage(format!("the exploration in {directory} was made with {had}, and not with {asked}"))
        .next("leave these options out: it goes on with the machines that it began with"))
}

/// Machines with the programs of a scenario.
fn setup(scenario: &Scenario, choice: &Choice, args: &Args, front: &Front) -> Result<Setup> {
    let named = choice.selection().release.packages;
    let more: Vec<String> =
        scenario.packages.iter().filter(|package| !named.contains(package)).cloned().collect();
    let (called, pushed) = called::called(scenario)?;
    programs::setup(
        &called,
        &pushed,
        &choice.clone().with_more(&more, &scenario.all_modules()),
        &args.machines.means,
        front,
    )
}

fn reach(args: &Args) -> Reach {
    let seed = args.machines.seed.unwrap_or(0);
    let meet = match (args.pairs, args.random) {
        (Some(count), _) => Meet::Pairs { count, seed },
        (None, Some(count)) => Meet::Random { count, seed },
        (None, None) => Meet::Each,
    };
    Reach { on: args.on.clone(), actions: args.actions.clone(), fields: args.fields.clone(), meet }
}

/// The scenario that is named, or that of the programs.
fn scenario(args: &Args, front: &Front) -> Result<Scenario> {
    let Some(asked) = args.scenario.as_deref() else {
        return args.programs.written(&args.machines.release.packages);
    };
    let directory = match &args.scenarios_in {
        Some(directory) => directory.clone(),
        None => front.catalogue.directories()?.0,
    };
    let scenarios = Scenario::read_all(&directory)?;
    let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    let found = find("scenario", asked, names.iter().copied())
        .map_err(|why| Error::usage(why).next(look_at_all()))?
        .to_owned();
    let scenario = scenarios.into_iter().find(|scenario| scenario.name == found);
    scenario.ok_or_else(|| Error::usage(format!("no scenario is called {found}")))
}

#[cfg(test)]
mod tests {
    use lab::base::selection::{ProviderName, ReleaseOption};

    use super::*;

    #[test]
    fn exploration_goes_on_with_the_machines_that_it_began_with_and_with_no_others() {
        let of = |guest: &str| {
            let release = ReleaseOption { guest: Some(guest.to_owned()), packages: Vec::new() };
            Selection { provider: Some(ProviderName::Qemu), release, ..Selection::default() }
        };
        let had = Choice::of(&of("debian-12")).unwrap().selection();
        let again = |asked: &Selection| again(asked, Some(&had), Path::new("/runs/1"));
        for asked in [Selection::default(), of("debian-12")] {
            assert_eq!(again(&asked).unwrap().selection(), had);
        }
        for other in ["debian-13", "debian-13-backports"] {
            let error = again(&of(other)).unwrap_err().to_string();
            assert!(
                error.contains("/runs/1 was made with --provider qemu --guest debian-12 ")
                    && error.contains(&format!("and not with --provider qemu --guest {other} ")),
                "{error}"
            );
        }
        let unknown = super::again(&of("debian-12"), None, Path::new("/runs/1")).unwrap();
        assert_eq!(unknown.selection(), had);
    }
}
