//! A lesson, run: each of its runs to a verdict, each of its claims to a ruling.

use std::path::Path;
use std::time::{Duration, Instant};

use lab::guest::called;
use lab::run::Case;
use lab::run::setup::Setup;
use lab::trial::artifacts::Artifacts;
use lab::trial::{results, trial};
use lab::{Error, Result};

use super::figures::LessonFigures;
use super::seen::{Seen, SeenRun};
use super::vocabulary::{Lesson, LessonClaim, Ruling};

/// Outcome of a lesson.
#[derive(Debug)]
pub(crate) struct LessonOutcome {
    /// Its runs.
    pub(crate) seen: Seen,
    /// Tables and plots; the reason if there are none.
    pub(crate) figures: std::result::Result<LessonFigures, String>,
    /// Each claim with its ruling.
    pub(crate) rulings: Vec<(&'static LessonClaim, Ruling)>,
    /// Duration, machines included.
    pub(crate) took: Duration,
}

impl LessonOutcome {
    /// Reasons that the lesson is red, a sentence each; none if it is true.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let red = self.seen.runs().iter().filter(|run| !run.verdict.passed);
        let runs = red.map(|run| format!("the run {} is red: {}", run.name, run.verdict.headline_text()));
        let figures = self.figures.as_ref().err().map(|why| format!("no figures: {why}"));
        let claims = self.rulings.iter().filter_map(|(claim, ruling)| {
            Some(format!("not so: {} Seen: {}", claim.says, ruling.as_ref().err()?))
        });
        runs.chain(figures).chain(claims).collect()
    }
}

/// Runs a lesson and rules on its claims; everything is kept in `kept`.
///
/// # Errors
///
/// A run could not be made or read. One that was made and is red is part of the outcome.
pub(crate) fn run_lesson(lesson: &'static Lesson, setup: &Setup, kept: &Artifacts) -> Result<LessonOutcome> {
    let started = Instant::now();
    let mut runs = Vec::new();
    for run in lesson.runs {
        let written = run.scenario(&format!("{}-{}", lesson.name, run.name))?;
        let (scenario, pushed) = called::called(&written)?;
        let programs = pushed.before(&setup.programs);
        let replay = run.command();
        let case =
            Case { scenario: &scenario, programs: &programs, snapshot: None, replay: &replay, accept: "" };
        let _slot = setup.slot()?;
        let verdict = trial(&setup.provider, &case, &kept.scenario(&scenario.name))?;
        results::update(kept)?;
        let artifacts = verdict.artifacts.clone();
        let said = verdict.to_string();
        runs.push(SeenRun::read(run.name, verdict).map_err(|error| unread(&artifacts, &said, error))?);
    }
    let seen = Seen::new(runs);
    let figures = (lesson.figures)(&seen);
    let rulings = lesson.claims.iter().map(|claim| (claim, (claim.check)(&seen))).collect();
    Ok(LessonOutcome { seen, figures, rulings, took: started.elapsed() })
}

fn unread(artifacts: &Path, said: &str, error: Error) -> Error {
    Error::setup(format!("the run in {} cannot be read", artifacts.display()))
        .detail(said.to_owned())
        .source(error)
}
