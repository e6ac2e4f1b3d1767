//! `run`: any two programs, of any language, between the machines; their wire judged.
//!
//! The same trial as a scenario's. Both programs must exit with 0 and the wire must be complete and break no
//! rule; completions and result lines, which only programs of this project tell, are not asked for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::base::cache::write_whole;
use lab::base::command::shell_word;
use lab::base::error::IoContext as _;
use lab::guest::called;
use lab::judge::snapshot;
use lab::judge::verdict::Verdict;
use lab::provider::choice;
use lab::run::Case;
use lab::run::setup::Setup;
use lab::scenario::Scenario;
use lab::scenario::fault::netem;
use lab::trial::artifacts::Artifacts;
use lab::trial::plan::RunPlan;
use lab::trial::{results, trial};
use lab::{Error, Result};

pub use crate::run_args::Args;
use crate::{Front, machines, output, programs, review};

/// Runs both programs; exit code 1 where the verdict is not green.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let written = args.written()?;
    let (scenario, pushed) = called::called(&written)?;
    if let Some(file) = &args.save {
        save(&written, file, front)?;
    }
    let choice = machines::choice(&args.machines, None)?.with_more(&[], &scenario.all_modules());
    if let Some(why) = scenario.cannot_run_on(&choice.wire()?) {
        return Err(Error::usage(why).next(netem::WAYS_OUT));
    }
    let setup = programs::setup(&scenario, &pushed, &choice, &args.machines.means, front)?;
    let snapshot = args.snapshot.as_deref().map(absolute).transpose()?;
    if let Some(file) = &snapshot {
        snapshot::check(file)?;
    }
    let replay = replay(front, &choice.options(choice::usual()));
    front.make_home()?;
    let case = Case {
        scenario: &scenario,
        programs: &setup.programs,
        snapshot: snapshot.as_deref(),
        replay: &replay,
        accept: "--accept",
    };
    let kept = Artifacts::create(&front.home)?;
    RunPlan::new([&scenario.name], args.repeat).write(kept.directory())?;
    let _slot = setup.slot()?;
    if args.repeat > 1 {
        return repeat(args.repeat, &setup, &case, &kept);
    }
    let verdict = trial(&setup.provider, &case, &kept.scenario(&scenario.name))?;
    results::update(&kept)?;
    if args.accept && !verdict.passed && verdict.can_be_accepted() {
        return accept(&verdict, snapshot.as_deref());
    }
    output::line(&verdict)?;
    if let Some(snapshot) = snapshot
        && settle(&verdict, &snapshot)?
        && args.review
        && review::run_one(&snapshot)?
    {
        return Ok(ExitCode::SUCCESS);
    }
    if verdict.passed {
        output::line(format_args!("  artifacts  {}", verdict.artifacts.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// Runs a case so often, each time to its verdict; exit code 1 unless all are green.
fn repeat(times: u16, setup: &Setup, case: &Case<'_>, kept: &Artifacts) -> Result<ExitCode> {
    let mut green = 0;
    for run in 1..=times {
        let name = format!("{}-{run}", case.scenario.name);
        let verdict = trial(&setup.provider, case, &kept.scenario(&name))?;
        results::update(kept)?;
        green += u16::from(verdict.passed);
        output::line(format_args!("run {run} of {times}: {verdict}"))?;
    }
    output::line(format_args!(
        "{green} of {times} runs are green\n  artifacts  {}",
        kept.directory().display()
    ))?;
    Ok(if green == times { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the run as a scenario beside which its paths begin; says how it is run from there.
fn save(written: &Scenario, file: &Path, front: &Front) -> Result<()> {
    let file = absolute(file)?;
    let is_scenario = file.extension().is_some_and(|extension| extension == "toml");
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if !is_scenario || programs::name_of_file(&name).is_err() {
        return Err(Error::usage(format!("{} is no name of a scenario", file.display()))
            .next("call it NAME.toml, with letters, digits, `-` and `_` in NAME"));
    }
    if file.exists() {
        return Err(Error::usage(format!("{} is there already", file.display()))
            .next("name another file, or remove it"));
    }
    let directory = file.parent().unwrap_or(Path::new("."));
    let mut saved = called::moved(written, directory)?;
    saved.summary =
        format!("{} with {}: say here what it shows", word(&written.client), word(&written.server));
    write_whole(&file, saved.written()?.as_bytes())?;
    let scenarios = shell_word(&saved.directory.display().to_string());
    output::line(format_args!(
        "  saved      {}: {} {name} --scenarios {scenarios} --review",
        file.display(),
        front.invocation.test
    ))
}

/// The first word of a command.
fn word(command: &str) -> &str {
    command.split_whitespace().next().unwrap_or_default()
}

/// Leaves a trace that is in question beside its snapshot, and takes away one that no longer is; true if one waits there.
fn settle(verdict: &Verdict, snapshot: &Path) -> Result<bool> {
    let pending = snapshot::pending(snapshot);
    match &verdict.trace {
        Some(trace) if !verdict.passed && verdict.can_be_accepted() => {
            write_whole(&pending, trace.as_bytes())?;
            output::line(format_args!(
                "  trace      {}: review it, then accept it as above",
                pending.display()
            ))?;
            Ok(true)
        }
        _ if pending.is_file() => {
            std::fs::remove_file(&pending).at("failed to remove", &pending)?;
            Ok(false)
        }
        _ => Ok(false),
    }
}

fn accept(verdict: &Verdict, snapshot: Option<&Path>) -> Result<ExitCode> {
    let (Some(trace), Some(file)) = (&verdict.trace, snapshot) else {
        return Err(Error::setup("there is no trace to accept"));
    };
    write_whole(file, trace.as_bytes())?;
    let pending = snapshot::pending(file);
    if pending.is_file() {
        std::fs::remove_file(&pending).at("failed to remove", &pending)?;
    }
    output::line(format_args!(
        "{}: accepted {} packets into {}",
        verdict.scenario,
        verdict.packets,
        file.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// This very command, without what accepts a trace, and with what chooses the machines where only the environment did.
fn replay(front: &Front, options: &[String]) -> String {
    let mut words: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--accept" && word != "--review").collect();
    for option in options.chunks(2) {
        let is_named = |word: &String| word.split('=').next() == option.first().map(String::as_str);
        if !words.iter().any(is_named) {
            words.splice(1..1, option.iter().cloned());
        }
    }
    std::iter::once(front.invocation.program.to_owned())
        .chain(words.iter().map(|word| shell_word(word)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The path as whoever runs elsewhere sees it; its directory has to be there.
fn absolute(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).at("failed to resolve", path)?;
    if absolute.parent().is_some_and(Path::is_dir) && !absolute.is_dir() {
        return Ok(absolute);
    }
    Err(Error::usage(format!("{} is no file that can be written", path.display()))
        .next("make its directory first"))
}
