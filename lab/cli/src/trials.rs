//! The scenarios, end to end on real machines: one trial a file.
//!
//! [`crate::test`] runs it in a process of its own; `tests/e2e.rs` makes the same trials those of cargo and nextest. They
//! are marked ignored, since they need what `doctor` lists. The environment says which machines ([`Selection`]) and, by
//! `TrialOrder`, what is run; without that it is everything, once, in a directory of its own (one for all processes of a
//! nextest run).
//!
//! Each trial keeps its verdict and brings the results of the whole run up to date.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use lab::base::command::shell_word;
use lab::base::program::Program;
use lab::base::progress::{self, Tally};
use lab::base::selection::Selection;
use lab::guest::called;
use lab::guest::programs::samples::{self, Samples};
use lab::judge::snapshot;
use lab::judge::verdict::{Reason, Verdict};
use lab::node::Provider as _;
use lab::provider::{Choice, choice};
use lab::run::Case;
use lab::run::observe::why_cannot_run;
use lab::run::setup::Setup;
use lab::scenario::Scenario;
use lab::trial::artifacts::{self, Artifacts};
use lab::trial::{self, Raw, results};
use libtest_mimic::{Arguments, ColorSetting, Completion, Failed, Trial};
use serde::{Deserialize, Serialize};

use crate::{Front, above};

/// The hidden subcommand that runs them.
pub const SUBCOMMAND: &str = "__trials";

/// The words of a test binary, as libtest has them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// See `cargo test -- --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// The variable that has a [`TrialOrder`], as JSON.
const VARIABLE: &str = "RDMA_LAB_TRIALS";

/// The trials to run, and how: told by [`crate::test`] to the process that runs them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TrialOrder {
    /// Names of scenarios; all if there are none.
    pub(crate) scenarios: Vec<String>,
    /// Directories of scenarios and of their snapshots, if not the front end's.
    pub(crate) catalogue: Option<(PathBuf, PathBuf)>,
    /// Runs of each.
    pub(crate) repeat: u16,
    /// Pairs of machines side by side.
    pub(crate) jobs: usize,
    /// Directory in which everything is kept.
    pub(crate) run: Option<PathBuf>,
    /// A scenario that these machines cannot run is red.
    pub(crate) require_all: bool,
    /// Standard input is a pipe: at its end the owner has gone.
    pub(crate) is_owned: bool,
}

impl Default for TrialOrder {
    fn default() -> TrialOrder {
        let (scenarios, require_all, is_owned) = (Vec::new(), false, false);
        TrialOrder { scenarios, catalogue: None, repeat: 1, jobs: 1, run: None, require_all, is_owned }
    }
}

impl TrialOrder {
    /// Returns the variable, with its value, that tells the process of trials this order.
    pub(crate) fn variable(&self) -> (&'static str, String) {
        (VARIABLE, serde_json::to_string(self).unwrap_or_default())
    }

    fn of_environment() -> lab::Result<TrialOrder> {
        match std::env::var(VARIABLE) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|source| lab::Error::usage(format!("{VARIABLE} is no order")).source(source)),
            Err(_) => Ok(TrialOrder::default()),
        }
    }
}

/// A setup, or why there is none; every trial that needs it is told the same.
type Prepared = Result<Arc<Setup>, String>;

/// State that all trials share.
#[derive(Debug)]
struct Session {
    front: Front,
    order: TrialOrder,
    scenarios_in: PathBuf,
    snapshots_in: PathBuf,
    /// The sample programs that the scenarios name; none where they name none.
    samples: Samples,
    /// Needs of runs, by the packages and the kernel modules that their scenarios want beside the usual ones.
    setups: Mutex<BTreeMap<[Vec<String>; 2], Prepared>>,
    kept: OnceLock<Result<Artifacts, String>>,
    /// Counts the scenarios that have ended.
    tally: OnceLock<Tally>,
}

/// The check beside the scenarios' own; where it fails, it has a row of the results.
const NO_ORPHANS: &str = "snapshots_all_have_a_scenario";

/// Runs the trials that the environment and `words`, those of a test binary, ask for.
pub fn main(front: &Front, words: Vec<String>) -> ExitCode {
    let mut arguments = Arguments::from_iter(std::iter::once("trials".to_owned()).chain(words));
    let listed = session(front).and_then(|session| {
        let scenarios = Scenario::read_all(&session.scenarios_in)?;
        Ok((session, scenarios))
    });
    let (mut session, scenarios) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if session.order.is_owned {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            progress::clear();
            std::process::exit(1);
        });
    }
    let names: Vec<String> = scenarios.iter().map(|scenario| scenario.name.clone()).collect();
    let is_asked =
        |name: &String| session.order.scenarios.is_empty() || session.order.scenarios.contains(name);
    let asked: Vec<Scenario> = scenarios.into_iter().filter(|scenario| is_asked(&scenario.name)).collect();
    if asked.iter().all(|scenario| samples::named_in(&scenario.commands()).next().is_none()) {
        session.samples = Samples::none();
    }
    let _ = session.tally.set(Tally::begin(asked.len()));
    let session = Arc::new(session);
    let trial = |scenario: Scenario| {
        let session = Arc::clone(&session);
        Trial::ignorable_test(scenario.name.clone(), move || session.counted(&scenario))
            .with_ignored_flag(true)
    };
    let mut trials: Vec<Trial> = asked.into_iter().map(trial).collect();
    trials.push(Trial::test(NO_ORPHANS, move || session.no_orphans(&names)));
    above::printed(|is_coloured| {
        if is_coloured && arguments.color.is_none() {
            arguments.color = Some(ColorSetting::Always);
        }
        let code = libtest_mimic::run(&arguments, trials).exit_code();
        progress::clear();
        code
    })
}

fn session(front: &Front) -> lab::Result<Session> {
    let order = TrialOrder::of_environment()?;
    let (scenarios_in, snapshots_in) =
        order.catalogue.clone().map_or_else(|| front.catalogue.directories(), Ok)?;
    Ok(Session {
        front: front.clone(),
        order,
        scenarios_in,
        snapshots_in,
        samples: front.samples.clone(),
        setups: Mutex::default(),
        kept: OnceLock::new(),
        tally: OnceLock::new(),
    })
}

impl Session {
    /// Every snapshot has a scenario; one that has not is a row of the results.
    fn no_orphans(&self, scenarios: &[String]) -> Result<(), Failed> {
        let names: Vec<&str> = scenarios.iter().map(String::as_str).collect();
        let orphans = snapshot::orphans(&self.snapshots_in, &names)?;
        if orphans.is_empty() {
            return Ok(());
        }
        let text = format!("snapshots without a scenario: {}; remove them", orphans.join(", "));
        let kept = self.kept()?;
        let artifacts = kept.scenario(NO_ORPHANS);
        let verdict = Verdict::failed(NO_ORPHANS, Reason::Wire, text.as_str());
        artifacts::keep(&Verdict { artifacts: artifacts.clone(), ..verdict }, &artifacts)?;
        results::update(kept)?;
        Err(text.into())
    }

    /// One scenario's trial, counted when it has ended.
    fn counted(&self, scenario: &Scenario) -> Result<Completion, Failed> {
        let told = self.told(scenario);
        if let Some(tally) = self.tally.get() {
            tally.ended(told.is_ok());
        }
        told
    }

    /// One scenario's trial, which leaves a verdict whatever happens, and the results with it.
    fn told(&self, scenario: &Scenario) -> Result<Completion, Failed> {
        let kept = self.kept()?;
        let keep = |verdict: Verdict| {
            let artifacts = kept.scenario(&scenario.name);
            let verdict = Verdict { artifacts: artifacts.clone(), replay: self.replay(scenario), ..verdict };
            artifacts::keep(&verdict, &artifacts)
        };
        let setup = self.setup(scenario);
        if let Some(why) = setup.as_ref().ok().and_then(|setup| self.cannot_run(scenario, setup)) {
            let is_required = self.order.require_all;
            keep(match is_required {
                true => Verdict::failed(&scenario.name, Reason::Setup, format!("not run: {why}")),
                false => Verdict::not_run(&scenario.name, why.as_str()),
            })?;
            results::update(kept)?;
            return match is_required {
                true => Err(format!("not run: {why}").into()),
                false => Ok(Completion::ignored_with(why)),
            };
        }
        let result = setup.map_err(Failed::from).and_then(|setup| self.trial(scenario, &setup, kept));
        let has_red_verdict = results::update(kept)?.has_failed(&scenario.name);
        if let (Err(failed), false) = (&result, has_red_verdict) {
            keep(Verdict::failed(&scenario.name, Reason::Setup, failed.message().unwrap_or_default()))?;
            results::update(kept)?;
        }
        result.map(|()| Completion::Completed)
    }

    /// Reason that these machines, or this computer, cannot run a scenario.
    fn cannot_run(&self, scenario: &Scenario, setup: &Setup) -> Option<String> {
        why_cannot_run(&setup.provider, scenario).or_else(|| {
            let error = self.front.samples.demand_named_in(&scenario.commands()).err()?;
            error.to_string().lines().next().map(str::to_owned)
        })
    }

    /// One scenario, on machines of its own, as often as it was asked for.
    fn trial(&self, scenario: &Scenario, setup: &Setup, kept: &Artifacts) -> Result<(), Failed> {
        static TURN: Turn = Turn { running: Mutex::new(0), changed: Condvar::new() };
        let _turn = TURN.take(self.order.jobs);
        let (scenario, programs) = &with_own_programs(scenario, setup)?;
        let runs = self.order.repeat;
        let mut raw = Raw::default();
        for run in 1..=runs {
            let _slot = setup.slot()?;
            let name = if runs == 1 { scenario.name.clone() } else { format!("{}-{run}", scenario.name) };
            let snapshot = snapshot::file(&self.snapshots_in, &scenario.name);
            let directory = kept.scenario(&name);
            let replay = self.replay(scenario);
            let case =
                Case { scenario, programs, snapshot: Some(&snapshot), replay: &replay, accept: "--review" };
            let verdict = trial::trial(&setup.provider, &case, &directory)?;
            assert_snapshot(scenario, &verdict, &self.snapshots_in)?;
            if !verdict.passed {
                return Err(verdict.to_string().into());
            }
            if runs > 1 && verdict.artifacts != directory {
                return Err(format!("run {run} was disturbed and had to be made once more").into());
            }
            progress::say(&verdict.to_string());
            raw.add(&verdict.artifacts)?;
        }
        // With a seed, values are meant to be the same.
        if runs > 1 && Selection::of_environment()?.seed.is_none() {
            progress::say(&format!("{}: {}", scenario.name, raw.demand_fresh()?));
        }
        Ok(())
    }

    /// The command that runs a scenario again.
    fn replay(&self, scenario: &Scenario) -> String {
        let usual = self.front.catalogue.directories().ok();
        let catalogue = match usual.is_some_and(|(scenarios, _)| scenarios == self.scenarios_in) {
            true => String::new(),
            false => format!(" --scenarios {}", shell_word(&self.scenarios_in.display().to_string())),
        };
        format!("{} {}{catalogue}{}", self.front.invocation.test, scenario.name, options())
    }

    /// Directories of this run: with all processes of it in one directory.
    fn kept(&self) -> Result<&Artifacts, String> {
        let home = &self.front.home;
        let kept = self.kept.get_or_init(|| {
            let kept = match (&self.order.run, std::env::var("NEXTEST_RUN_ID").ok()) {
                (Some(directory), _) => Ok(Artifacts::at(directory.clone())),
                (None, Some(id)) => Artifacts::shared(home, &id),
                (None, None) => Artifacts::create(home),
            };
            kept.map_err(|error| error.to_string())
        });
        kept.as_ref().map_err(String::clone)
    }

    /// The programs and the provider, prepared by the first trial that wants machines with the scenario's packages and modules.
    fn setup(&self, scenario: &Scenario) -> Prepared {
        let (packages, modules) = (&scenario.packages, &scenario.all_modules());
        let prepare = || {
            choice()
                .map(|choice| choice.with_more(packages, modules))
                .and_then(|choice| Setup::prepare(&self.samples, &choice, &self.front.program))
                .map(Arc::new)
                .map_err(|error| error.to_string())
        };
        let mut setups = self.setups.lock().unwrap_or_else(PoisonError::into_inner);
        setups.entry([packages.clone(), modules.clone()]).or_insert_with(prepare).clone()
    }
}

/// Lets insta assert the trace, which keeps a differing one for review. A run in which anything else failed
/// is not offered for review.
fn assert_snapshot(scenario: &Scenario, verdict: &Verdict, snapshots: &Path) -> Result<(), Failed> {
    let (Some(trace), true) = (&verdict.trace, verdict.can_be_accepted()) else {
        return Ok(());
    };
    if !verdict.differs.is_empty() {
        // Snapshots are taken where nothing differs; the verdict has compared what does not.
        return Ok(());
    }
    if verdict.passed && snapshot::is_plain(snapshots, &scenario.name) {
        return Ok(());
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(snapshots);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(scenario.summary.as_str());
    std::panic::set_hook(Box::new(|_| {}));
    let asserted = catch_unwind(AssertUnwindSafe(|| {
        settings.bind(|| insta::assert_snapshot!(scenario.name.as_str(), trace));
    }));
    let _ = std::panic::take_hook();
    // Two judges of the same question must not disagree.
    if asserted.is_ok() == verdict.passed {
        Ok(())
    } else {
        Err("insta and the verdict disagree on whether the trace is the accepted one".into())
    }
}

/// A scenario with its commands as they are called on a node, and its own programs before those of the setup; they are held
/// against what a node has.
fn with_own_programs(scenario: &Scenario, setup: &Setup) -> lab::Result<(Scenario, Vec<Program>)> {
    let (called, pushed) = called::called(scenario)?;
    if let Some(contents) = setup.provider.contents()? {
        pushed.check(&contents)?;
    }
    Ok((called, pushed.before(&setup.programs)))
}

/// The options that choose these machines, each behind a space.
fn options() -> &'static str {
    static OPTIONS: OnceLock<String> = OnceLock::new();
    OPTIONS.get_or_init(|| {
        let options = choice().map(|choice| choice.options(choice::usual())).unwrap_or_default();
        options.iter().map(|word| format!(" {}", shell_word(word))).collect()
    })
}

/// Bounds the pairs of this process; [`Setup::slot`] bounds those of all.
struct Turn {
    running: Mutex<usize>,
    changed: Condvar,
}

struct TakenTurn<'a>(&'a Turn);

impl Turn {
    fn take(&self, jobs: usize) -> TakenTurn<'_> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running = self
            .changed
            .wait_while(running, |running| *running >= jobs)
            .unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        TakenTurn(self)
    }
}

impl Drop for TakenTurn<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.changed.notify_one();
    }
}

/// Reads the choice of machines.
fn choice() -> lab::Result<Choice> {
    Choice::of(&Selection::of_environment()?)
}
