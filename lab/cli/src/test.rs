//! `test`, in this workspace `test-e2e`: the scenarios, each compared with its snapshot.
//!
//! Runs [`trials`] in a process of its own. Its standard input is a pipe from here: when that ends, however this process
//! ended, the run ends and its machines with it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use lab::base::error::IoContext as _;
use lab::base::invocation;
use lab::base::names::find;
use lab::base::policy::Policy;
use lab::base::selection::Selection;
use lab::judge::snapshot;
use lab::judge::verdict::Verdict;
use lab::provider::Choice;
use lab::scenario::Scenario;
use lab::scenario::fault::netem;
use lab::trial::artifacts::{self, Artifacts};
use lab::trial::plan::RunPlan;
use lab::trial::results::{self, Class, ResultRow, Results};
use lab::{Error, Result, trial};

use crate::filterset::Filterset;
use crate::trials::{self, TrialOrder};
use crate::{Front, front, machines, output, review};

/// The arguments of `test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scenarios to run, by name or pattern, as in `lost_*` [default: all].
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Run the scenarios that an expression is true of, as nextest has them: 'tag(fault) and not name(read)'. Properties are name, tag,
    /// summary, program, finding and cause; `=` asks for the whole, `~` for a part, `#` for a pattern. Of several one has to be true.
    #[arg(short = 'E', long = "filter", value_name = "EXPRESSION", conflicts_with = "from_artifacts")]
    filter: Vec<String>,
    /// The catalogue: a directory of scenarios, with their snapshots in `snapshots` [default: the kit's own].
    #[arg(long = "scenarios", value_name = "DIR")]
    scenarios_in: Option<PathBuf>,
    /// Number of pairs of machines that run side by side [default: one a processor].
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Run each scenario this often: every run must pass undisturbed and draw fresh random values.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// Print the scenarios with what each is about and its tags, and run none.
    #[arg(long, conflicts_with_all = ["review", "repeat", "jobs"])]
    list: bool,
    /// Run those that were red or had no verdict in the newest run.
    #[arg(long, conflicts_with_all = ["scenarios", "from_artifacts"])]
    failed: bool,
    /// Afterwards show each changed trace and ask whether to accept it.
    #[arg(long, conflicts_with = "ci")]
    review: bool,
    /// Never write a snapshot.
    #[arg(long)]
    ci: bool,
    /// Fail if the machines cannot run a scenario; it counts as not run otherwise.
    #[arg(long)]
    require_all: bool,
    /// Judge again what an earlier run kept, without machines: its directory, or that of one scenario. With --review its changed
    /// traces are shown and can be accepted.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["scenarios", "repeat"])]
    from_artifacts: Option<PathBuf>,
    #[command(flatten)]
    machines: Selection,
}

/// Runs the scenarios; exit code 1 where one is not green.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let catalogue = ChosenCatalogue::of(args.scenarios_in.as_deref(), args.review, front)?;
    if let Some(directory) = &args.from_artifacts {
        return judge_again(directory, &catalogue, args, front);
    }
    let scenarios = Scenario::read_all(&catalogue.scenarios)?;
    let names = match args.failed {
        true => failed_last(front)?,
        false => named(&args.scenarios, &scenarios)?,
    };
    if args.failed && names.is_empty() {
        output::line("no scenario of the newest run was red")?;
        return Ok(ExitCode::SUCCESS);
    }
    let names = filtered(names, &args.filter, &scenarios)?;
    if args.list {
        return list(&names, &scenarios);
    }
    let choice = machines::choice(&args.machines, None)?;
    let planned = planned(&names, scenarios, &choice, front)?;
    if planned.is_empty() {
        let directory = catalogue.scenarios.display();
        return Err(Error::usage(format!("there is no scenario in {directory}, so nothing would be proven"))
            .next("put a TOML file a scenario there; lab/scenarios has examples"));
    }
    machines::prepare(&choice, &args.machines.means, front.samples.are_built())?;
    front.make_home()?;
    let kept = Artifacts::create(&front.home)?;
    let how = TrialHow {
        repeat: args.repeat,
        jobs: jobs(args.jobs),
        require_all: args.require_all,
        writes_snapshots: !args.ci,
    };
    let (succeeded, results) =
        catalogue.run(&planned, names.is_empty(), &choice, how, kept.directory(), front)?;
    output::line(format_args!("\n{results}"))?;
    if args.review {
        review::run(&catalogue.snapshots)?;
    }
    Ok(if succeeded && results.are_green() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The number of pairs of machines side by side: what was asked for, else one a processor.
pub(crate) fn jobs(asked: Option<u16>) -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    asked.unwrap_or(u16::try_from(processors.min(64)).unwrap_or(1))
}

/// Manner in which the scenarios of an invocation are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrialHow {
    /// Runs of each.
    pub(crate) repeat: u16,
    /// Pairs of machines side by side.
    pub(crate) jobs: u16,
    /// A scenario that these machines cannot run is red.
    pub(crate) require_all: bool,
    /// A changed trace is kept beside its snapshot, for review.
    pub(crate) writes_snapshots: bool,
}

/// The scenarios that names and patterns stand for, each once; a name stays as it was written.
fn named(words: &[String], scenarios: &[Scenario]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for word in words {
        let mut found: Vec<String> = vec![word.clone()];
        if word.contains(['*', '?', '[']) {
            let pattern = glob::Pattern::new(word)
                .map_err(|why| Error::usage(format!("no pattern: `{word}`: {why}")))?;
            let known = scenarios.iter().map(|scenario| scenario.name.clone());
            found = known.filter(|name| pattern.matches(name)).collect();
            if found.is_empty() {
                return Err(Error::usage(format!("no scenario is like `{word}`")).next(look_at_all()));
            }
        }
        found.retain(|name| !names.contains(name));
        names.append(&mut found);
    }
    Ok(names)
}

/// Words that tell where all scenarios are.
pub(crate) fn look_at_all() -> String {
    format!("look at all: {}", invocation::test("--list"))
}

/// The scenarios among `names`, or among all where it is empty, that one of the expressions is true of; `names` where there is none.
fn filtered(names: Vec<String>, expressions: &[String], scenarios: &[Scenario]) -> Result<Vec<String>> {
    if expressions.is_empty() {
        return Ok(names);
    }
    let filters: Vec<Filterset> =
        expressions.iter().map(|text| Filterset::parse(text)).collect::<Result<_>>()?;
    let is_meant = |scenario: &&Scenario| names.is_empty() || names.contains(&scenario.name);
    let found = scenarios
        .iter()
        .filter(is_meant)
        .filter(|scenario| filters.iter().any(|filter| filter.matches(scenario)));
    let found: Vec<String> = found.map(|scenario| scenario.name.clone()).collect();
    if found.is_empty() {
        return Err(Error::usage(format!(
            "no scenario is one of which -E '{}' is true",
            expressions.join("' -E '")
        ))
        .next(format!("look at names and tags: {}", invocation::test("--list"))));
    }
    Ok(found)
}

/// Prints each scenario with what it is about: all, or those that are named.
fn list(names: &[String], scenarios: &[Scenario]) -> Result<ExitCode> {
    let known = scenarios.iter().map(|scenario| scenario.name.as_str());
    for name in names {
        find("scenario", name, known.clone()).map_err(Error::usage)?;
    }
    let is_asked = |scenario: &&Scenario| names.is_empty() || names.contains(&scenario.name);
    let width = known.clone().map(str::len).max().unwrap_or(0);
    for scenario in scenarios.iter().filter(is_asked) {
        let tags = scenario.tags().into_iter().collect::<Vec<_>>().join(" ");
        let tags = if tags.is_empty() { tags } else { format!(" [{tags}]") };
        output::line(format_args!("{:<width$}  {}{tags}", scenario.name, scenario.summary))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Scenarios that were red in the newest run, or had no verdict in it.
fn failed_last(front: &Front) -> Result<Vec<String>> {
    let run = artifacts::latest_with_results(&front.home).ok_or_else(|| {
        Error::usage("no run has left results").next(format!("run all: {}", invocation::test("")))
    })?;
    let results = Results::read(&run)?;
    let is_red = |row: &&ResultRow| matches!(row.class, Class::Failed | Class::Interrupted);
    let mut names: Vec<String> =
        results.scenarios.iter().filter(is_red).map(|row| row.verdict.scenario.clone()).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Judges kept runs again; exit code 1 where one is not green.
fn judge_again(
    directory: &Path,
    catalogue: &ChosenCatalogue,
    args: &Args,
    front: &Front,
) -> Result<ExitCode> {
    front.make_home()?;
    let (kept, verdicts) = trial::judge_again(directory, &catalogue.snapshots, &front.home)?;
    for verdict in &verdicts {
        output::line(format_args!("{verdict}\n"))?;
    }
    let results = results::update(&kept)?;
    output::line(&results)?;
    if args.review {
        offer(&verdicts, catalogue)?;
        review::run(&catalogue.snapshots)?;
    }
    let is_red = results.totals.failed > 0 || args.require_all && results.totals.not_run > 0;
    Ok(if is_red { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Offers the traces of verdicts in which nothing else is in question, as a run does.
fn offer(verdicts: &[Verdict], catalogue: &ChosenCatalogue) -> Result<()> {
    let scenarios = Scenario::read_all(&catalogue.scenarios)?;
    for verdict in verdicts {
        let is_open = !verdict.passed && verdict.can_be_accepted() && verdict.differs.is_empty();
        let scenario = scenarios.iter().find(|scenario| scenario.name == verdict.scenario);
        if let (true, Some(trace), Some(scenario)) = (is_open, &verdict.trace, scenario) {
            snapshot::offer(&catalogue.snapshots, &scenario.name, &scenario.summary, trace)?;
        }
    }
    Ok(())
}

/// Place of scenarios and their snapshots.
pub(crate) struct ChosenCatalogue {
    pub(crate) scenarios: PathBuf,
    snapshots: PathBuf,
    /// True if nobody can accept another trace of theirs.
    is_fixed: bool,
}

impl ChosenCatalogue {
    /// The catalogue in `directory`, else the kit's own, whose traces nobody can accept where it is a part of this program.
    pub(crate) fn of(directory: Option<&Path>, review: bool, front: &Front) -> Result<ChosenCatalogue> {
        let Some(directory) = directory else {
            let (scenarios, snapshots) = front.catalogue.directories()?;
            let is_fixed = front.catalogue == front::Catalogue::Embedded;
            if is_fixed && review {
                return Err(Error::usage(
                    "the snapshots of the kit's own scenarios are parts of this program",
                )
                .next("review traces of your own scenarios: --scenarios DIR"));
            }
            return Ok(ChosenCatalogue { scenarios, snapshots, is_fixed });
        };
        // Printed commands name it wherever they are called.
        let scenarios = std::path::absolute(directory).at("failed to resolve", directory)?;
        if !scenarios.is_dir() {
            return Err(Error::usage(format!("no directory is called {}", directory.display()))
                .next("name one with a TOML file a scenario"));
        }
        Ok(ChosenCatalogue { snapshots: scenarios.join("snapshots"), scenarios, is_fixed: false })
    }

    /// Runs the `planned` scenarios on these machines in a process of its own, and keeps everything in `directory`. Returns
    /// whether that process was content, and the results; `is_all` says that there are no others.
    pub(crate) fn run(
        &self,
        planned: &[String],
        is_all: bool,
        choice: &Choice,
        how: TrialHow,
        directory: &Path,
        front: &Front,
    ) -> Result<(bool, Results)> {
        RunPlan::new(planned, how.repeat).write(directory)?;
        let order = TrialOrder {
            // All: whatever there is.
            scenarios: if is_all { Vec::new() } else { planned.to_vec() },
            catalogue: Some((self.scenarios.clone(), self.snapshots.clone())),
            repeat: how.repeat,
            jobs: usize::from(how.jobs),
            run: Some(directory.to_owned()),
            require_all: how.require_all,
            is_owned: true,
        };
        let mut scenarios = Command::new(&front.program)
            .arg(trials::SUBCOMMAND)
            // One thread more than pairs: libtest-mimic then prints a trial's line in one piece, when it has ended.
            .args(["--include-ignored", "--test-threads", &(how.jobs + 1).to_string()])
            .envs([order.variable()])
            .envs([Selection { means: Policy::get().means(), ..choice.selection() }.variable()])
            .env("INSTA_UPDATE", if how.writes_snapshots && !self.is_fixed { "new" } else { "no" })
            // Else insta asks cargo, which may not be there.
            .env("INSTA_WORKSPACE_ROOT", &front.home)
            .env("INSTA_OUTPUT", "none")
            .stdin(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        // `wait` would close the pipe at once.
        let pipe = scenarios.stdin.take();
        let status = scenarios.wait().map_err(failed)?;
        drop(pipe);
        let results = Results::merge(directory)?;
        results.keep()?;
        Ok((status.success(), results))
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::setup("failed to run the scenarios").source(source)
}

/// The scenarios to run, by name. One that does not exist is an error that names the nearest; so is one that
/// the machines cannot run, or whose programs are not at hand, if it was asked for by name.
pub(crate) fn planned(
    names: &[String],
    scenarios: Vec<Scenario>,
    choice: &Choice,
    front: &Front,
) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(scenarios.into_iter().map(|scenario| scenario.name).collect());
    }
    let wire = choice.wire()?;
    let known = scenarios.iter().map(|scenario| scenario.name.as_str());
    let mut planned = Vec::new();
    for name in names {
        let found =
            find("scenario", name, known.clone()).map_err(|why| Error::usage(why).next(look_at_all()))?;
        let scenario = scenarios.iter().find(|scenario| scenario.name == found);
        if let Some(why) = scenario.and_then(|scenario| scenario.cannot_run_on(&wire)) {
            return Err(Error::usage(format!("{found}: {why}")).next(netem::WAYS_OUT));
        }
        if let Some(scenario) = scenario {
            front.samples.demand_named_in(&scenario.commands())?;
        }
        planned.push(found.to_owned());
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expression_is_asked_of_what_is_named_else_of_all() {
        let of = |name: &str| Scenario::new(name, "a".to_owned(), "b".to_owned());
        let scenarios = ["lost_ack", "lost_write", "send"].map(of);
        let filtered = |names: &[&str], expressions: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
            filtered(owned(names), &owned(expressions), &scenarios)
        };
        assert_eq!(filtered(&[], &["name(lost)"]).unwrap(), ["lost_ack", "lost_write"]);
        assert_eq!(filtered(&["send", "lost_ack"], &["name(lost)"]).unwrap(), ["lost_ack"]);
        assert_eq!(filtered(&[], &["name(=send)", "name(ack)"]).unwrap(), ["lost_ack", "send"]);
        assert_eq!(filtered(&["send"], &[]).unwrap(), ["send"]);
        let error = filtered(&["send"], &["name(lost)"]).unwrap_err().to_string();
        assert!(error.contains("no scenario") && error.contains("--list"), "{error}");
    }

    #[test]
    fn pattern_stands_for_the_scenarios_that_are_like_it() {
        let of = |name: &str| Scenario::new(name, "a".to_owned(), "b".to_owned());
        let scenarios = ["lost_ack", "lost_write", "send"].map(of);
        let named = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            named(&words, &scenarios)
        };
        assert_eq!(named(&["lost_*", "lost_ack", "sen?"]).unwrap(), ["lost_ack", "lost_write", "send"]);
        // Whether there is one of that name, others say.
        assert_eq!(named(&["Send", "none"]).unwrap(), ["Send", "none"]);
        for (word, why) in [("x*", "no scenario is like `x*`"), ("[", "no pattern: `[`")] {
            let error = named(&[word]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(named(&[]).unwrap().is_empty());
    }
}
