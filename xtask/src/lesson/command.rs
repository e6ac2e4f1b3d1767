//! The command line of `cargo xtask lesson`.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::base::cache::write_whole;
use lab::base::names::find;
use lab::base::selection::Selection;
use lab::provider::choice::Choice;
use lab::run::setup::Setup;
use lab::trial::artifacts::Artifacts;
use lab::trial::plan::RunPlan;
use lab::{Error, Result};
use rdma_lab_cli::{Front, machines, output};

use super::runner::run_lesson;
use super::topics::LESSONS;
use super::vocabulary::Lesson;
use super::{chapter, page};

/// The arguments of `lesson`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of lessons; all of them if there are none.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// List the lessons with their questions, and run none.
    #[arg(long)]
    list: bool,
    /// Also write the chapters of docs/lessons from these runs.
    #[arg(long, conflicts_with = "list")]
    write: bool,
    #[command(flatten)]
    machines: Selection,
}

/// Runs lessons; exit code 1 where one is not true.
pub(crate) fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    if args.list {
        return list();
    }
    let lessons = chosen(&args.names)?;
    let choice = machines::choice(&args.machines, None)?;
    let (possible, impossible) = possible(lessons, &choice)?;
    for (lesson, why) in &impossible {
        output::line(format_args!("lesson {}: not run: {why}", lesson.name))?;
    }
    if possible.is_empty() {
        return Err(Error::usage("these machines can run none of these lessons")
            .next("run them with --provider qemu"));
    }
    machines::prepare(&choice, &args.machines.means, true)?;
    let setup = Setup::prepare(&front.samples, &choice, &front.program)?;
    let kept = Artifacts::create(&front.home)?;
    let runs = possible
        .iter()
        .flat_map(|lesson| lesson.runs.iter().map(|run| format!("{}-{}", lesson.name, run.name)));
    RunPlan::new(runs, 1).write(kept.directory())?;
    let started = Instant::now();
    let (mut good, mut bad) = (0, 0);
    for lesson in possible {
        // Of a computer that others use too, one false figure tells little; what is false twice is false.
        let mut is_true = run_one(lesson, &setup, &kept, args.write)?;
        if !is_true {
            output::line(format_args!("lesson {}: once more", lesson.name))?;
            is_true = run_one(lesson, &setup, &kept, args.write)?;
        }
        match is_true {
            true => good += 1,
            false => bad += 1,
        }
    }
    let word = if bad == 0 { "ok" } else { "FAILED" };
    output::line(format_args!(
        "\ntest result: {word}. {good} passed; {bad} failed; {} ignored; finished in {}",
        impossible.len(),
        seconds(started.elapsed())
    ))?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one lesson, prints what came of it and keeps its page; false if it is not true.
fn run_one(lesson: &'static Lesson, setup: &Setup, kept: &Artifacts, writes: bool) -> Result<bool> {
    let outcome = match run_lesson(lesson, setup, kept) {
        Ok(outcome) => outcome,
        Err(error) => {
            output::line(format_args!("lesson {}: not run to its end: {error}", lesson.name))?;
            return Ok(false);
        }
    };
    let wrong = outcome.wrong();
    let (claims, took) = (outcome.rulings.len(), seconds(outcome.took));
    match wrong.is_empty() {
        true => output::line(format_args!("lesson {}: {claims} claims borne out ({took})", lesson.name))?,
        false => {
            output::line(format_args!("lesson {}: not true ({took})", lesson.name))?;
            for why in &wrong {
                output::line(format_args!("  {why}"))?;
            }
        }
    }
    let file = kept.directory().join(format!("{}.html", lesson.name));
    let html = page::page(lesson, &outcome)
        .map_err(|why| Error::setup(format!("no page of lesson {}: {why}", lesson.name)))?;
    write_whole(&file, html.as_bytes())?;
    output::line(format_args!("  page       {}", file.display()))?;
    if writes && wrong.is_empty() {
        chapter::write(lesson, &outcome, &date(kept.directory()), &chapter::directory())?;
        output::line(format_args!("  chapter    docs/lessons/{}.md", lesson.name))?;
    }
    Ok(wrong.is_empty())
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// The day of an invocation, by the name of its directory: 20261130T052429Z-20372.
fn date(invocation: &Path) -> String {
    let name = invocation.file_name().unwrap_or_default().to_string_lossy();
    match (name.get(..4), name.get(4..6), name.get(6..8)) {
        (Some(year), Some(month), Some(day)) => format!("{year}-{month}-{day}"),
        _ => name.into_owned(),
    }
}

fn list() -> Result<ExitCode> {
    let width = LESSONS.iter().map(|lesson| lesson.name.len()).max().unwrap_or(0);
    for lesson in LESSONS {
        output::line(format_args!("{:width$}  {}", lesson.name, lesson.question))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The lessons of these names; all if there are none.
fn chosen(names: &[String]) -> Result<Vec<&'static Lesson>> {
    if names.is_empty() {
        return Ok(LESSONS.to_vec());
    }
    let all = || LESSONS.iter().map(|lesson| lesson.name);
    let one = |asked: &String| {
        let name = find("lesson", asked, all()).map_err(|why| {
            Error::usage(why).next(format!("there are: {}", all().collect::<Vec<_>>().join(", ")))
        })?;
        let lesson = LESSONS.iter().find(|lesson| lesson.name == name);
        lesson.copied().ok_or_else(|| Error::usage(format!("no lesson is called {asked}")))
    };
    names.iter().map(one).collect()
}

/// Lessons that these machines can run, and the others with the reason.
type Divided = (Vec<&'static Lesson>, Vec<(&'static Lesson, String)>);

fn possible(lessons: Vec<&'static Lesson>, choice: &Choice) -> Result<Divided> {
    let wire = choice.wire()?;
    let (mut possible, mut impossible) = (Vec::new(), Vec::new());
    for lesson in lessons {
        let mut why = None;
        for run in lesson.runs {
            why = why.or(run.scenario(run.name)?.cannot_run_on(&wire));
        }
        match why {
            None => possible.push(lesson),
            Some(why) => impossible.push((lesson, why)),
        }
    }
    Ok((possible, impossible))
}

#[cfg(test)]
mod tests {
    use lab::base::role::Role;
    use lab::scenario::network::Wire;

    use super::*;

    #[test]
    fn lesson_of_no_such_name_names_the_nearest() {
        let error = chosen(&["minimal_flwo".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("minimal_flow"), "{error}");
        assert_eq!(chosen(&[]).unwrap().len(), LESSONS.len());
    }

    #[test]
    fn names_and_titles_of_lessons_differ() {
        for (at, lesson) in LESSONS.iter().enumerate() {
            let others = &LESSONS[at + 1..];
            assert!(others.iter().all(|other| other.name != lesson.name && other.title != lesson.title));
        }
    }

    #[test]
    fn day_is_that_of_the_invocation() {
        assert_eq!(date(Path::new("/x/runs/20261130T052429Z-20372")), "2026-11-30");
    }

    #[test]
    fn lesson_that_needs_the_switch_says_so_on_other_machines() {
        let wire = Wire::Netem { on: vec![Role::Client] };
        let why = |lesson: &&Lesson| {
            lesson.runs.iter().find_map(|run| run.scenario(run.name).unwrap().cannot_run_on(&wire))
        };
        assert!(LESSONS.iter().filter_map(why).all(|why| !why.is_empty()));
        assert!(LESSONS.iter().any(|lesson| why(lesson).is_none()));
    }
}
