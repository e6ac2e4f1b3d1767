//! The scenarios, end to end on real machines: one trial a file.
//!
//! [`crate::test`] runs it in a process of its own; `tests/e2e.rs` makes the same trials those of cargo and nextest. They
//! are marked ignored, since they need what `doctor` lists. Environment:
//! `RDMA_LAB_SCENARIOS` (names, comma-separated; default all), `RDMA_LAB_SCENARIOS_IN` and
//! `RDMA_LAB_SNAPSHOTS_IN` (directories; default the front end's), `RDMA_LAB_PROVIDER` and what goes with it
//! (see `lab/src/provider/choice.rs`), `RDMA_LAB_REPEAT` (runs of each; default 1), `RDMA_LAB_JOBS` (pairs side
//! by side; default 1), `RDMA_LAB_RUN` (where everything is kept; default a new directory, one for all
//! processes of a nextest run), `RDMA_LAB_REQUIRE_ALL` (1: a scenario that these machines cannot run is red),
//! `RDMA_LAB_OWNED` (standard input is a pipe; at its end the owner has gone).
//!
//! Each trial keeps its verdict and brings the results of the whole run up to date.

use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use lab::base::command::shell_word;
use lab::guest::programs::samples::{self, Samples};
use lab::judge::snapshot;
use lab::judge::verdict::{Reason, Verdict};
use lab::node::Provider as _;
use lab::provider::{Choice, choice};
use lab::run::Case;
use lab::run::setup::Setup;
use lab::scenario::Scenario;
use lab::trial::artifacts::{self, Artifacts};
use lab::trial::{self, Raw, results};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::Front;

/// The hidden subcommand that runs them.
pub const SUBCOMMAND: &str = "__trials";

/// The words of a test binary, as libtest has them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// See `cargo test -- --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// What all trials share.
#[derive(Debug)]
struct Session {
    front: Front,
    scenarios_in: PathBuf,
    snapshots_in: PathBuf,
    /// The sample programs that the scenarios name; none where they name none.
    samples: Samples,
    setup: OnceLock<Result<Setup, String>>,
    kept: OnceLock<Result<Artifacts, String>>,
}

/// The check beside the scenarios' own; where it fails, it has a row of the results.
const NO_ORPHANS: &str = "snapshots_all_have_a_scenario";

/// Runs the trials that the environment and `words`, those of a test binary, ask for.
pub fn main(front: &Front, words: Vec<String>) -> ExitCode {
    let arguments = Arguments::from_iter(std::iter::once("trials".to_owned()).chain(words));
    if std::env::var_os("RDMA_LAB_OWNED").is_some() {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(1);
        });
    }
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
    let names: Vec<String> = scenarios.iter().map(|scenario| scenario.name.clone()).collect();
    let asked = std::env::var("RDMA_LAB_SCENARIOS").unwrap_or_default();
    let is_asked = |name: &str| asked.is_empty() || asked.split(',').any(|asked| asked == name);
    let asked: Vec<Scenario> = scenarios.into_iter().filter(|scenario| is_asked(&scenario.name)).collect();
    if asked.iter().all(|scenario| samples::named_in(&scenario.commands()).next().is_none()) {
        session.samples = Samples::none();
    }
    let session = Arc::new(session);
    let trial = |scenario: Scenario| {
        let session = Arc::clone(&session);
        Trial::ignorable_test(scenario.name.clone(), move || session.told(&scenario)).with_ignored_flag(true)
    };
    let mut trials: Vec<Trial> = asked.into_iter().map(trial).collect();
    trials.push(Trial::test(NO_ORPHANS, move || session.no_orphans(&names)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn session(front: &Front) -> lab::Result<Session> {
    let directories = [variable("RDMA_LAB_SCENARIOS_IN"), variable("RDMA_LAB_SNAPSHOTS_IN")];
    let (scenarios_in, snapshots_in) = match directories {
        [Some(scenarios), Some(snapshots)] => (scenarios, snapshots),
        [scenarios, snapshots] => {
            let (usual_scenarios, usual_snapshots) = front.catalogue.directories()?;
            (scenarios.unwrap_or(usual_scenarios), snapshots.unwrap_or(usual_snapshots))
        }
    };
    Ok(Session {
        front: front.clone(),
        scenarios_in,
        snapshots_in,
        samples: front.samples.clone(),
        setup: OnceLock::new(),
        kept: OnceLock::new(),
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

    /// One scenario's trial, which leaves a verdict whatever happens, and the results with it.
    fn told(&self, scenario: &Scenario) -> Result<Completion, Failed> {
        let kept = self.kept()?;
        let keep = |verdict: Verdict| {
            let artifacts = kept.scenario(&scenario.name);
            let verdict = Verdict { artifacts: artifacts.clone(), replay: self.replay(scenario), ..verdict };
            artifacts::keep(&verdict, &artifacts)
        };
        let setup = self.setup();
        if let Some(why) = setup.as_ref().ok().and_then(|setup| self.cannot_run(scenario, setup)) {
            let is_required = variable::<u8>("RDMA_LAB_REQUIRE_ALL") == Some(1);
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
        let result = setup.map_err(Failed::from).and_then(|setup| self.trial(scenario, setup, kept));
        let has_red_verdict = results::update(kept)?.has_failed(&scenario.name);
        if let (Err(failed), false) = (&result, has_red_verdict) {
            keep(Verdict::failed(&scenario.name, Reason::Setup, failed.message().unwrap_or_default()))?;
            results::update(kept)?;
        }
        result.map(|()| Completion::Completed)
    }

    /// Why these machines, or this computer, cannot run a scenario.
    fn cannot_run(&self, scenario: &Scenario, setup: &Setup) -> Option<String> {
        let machines = scenario.cannot_run_on(&setup.provider.wire());
        machines.or_else(|| {
            let error = self.front.samples.demand_named_in(&scenario.commands()).err()?;
            error.to_string().lines().next().map(str::to_owned)
        })
    }

    /// One scenario, on machines of its own, as often as it was asked for.
    fn trial(&self, scenario: &Scenario, setup: &Setup, kept: &Artifacts) -> Result<(), Failed> {
        static TURN: Turn = Turn { running: Mutex::new(0), changed: Condvar::new() };
        let _turn = TURN.take();
        let runs = variable("RDMA_LAB_REPEAT").unwrap_or(1);
        let mut raw = Raw::default();
        for run in 1..=runs {
            let _slot = setup.slot()?;
            let name = if runs == 1 { scenario.name.clone() } else { format!("{}-{run}", scenario.name) };
            let snapshot = snapshot::file(&self.snapshots_in, &scenario.name);
            let directory = kept.scenario(&name);
            let replay = self.replay(scenario);
            let case = Case {
                scenario,
                programs: &setup.programs,
                snapshot: Some(&snapshot),
                replay: &replay,
                accept: "--review",
            };
            let verdict = trial::trial(&setup.provider, &case, &directory)?;
            assert_snapshot(scenario, &verdict, &self.snapshots_in)?;
            if !verdict.passed {
                return Err(verdict.to_string().into());
            }
            if runs > 1 && verdict.artifacts != directory {
                return Err(format!("run {run} was disturbed and had to be made once more").into());
            }
            lab::base::progress::say(&verdict.to_string());
            raw.add(&verdict.artifacts)?;
        }
        // With a seed, values are meant to be the same.
        if runs > 1 && variable::<u64>("RDMA_LAB_SEED").is_none() {
            lab::base::progress::say(&format!("{}: {}", scenario.name, raw.demand_fresh()?));
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

    /// Where this run is kept: with all processes of it in one directory.
    fn kept(&self) -> Result<&Artifacts, String> {
        let home = &self.front.home;
        let kept = self.kept.get_or_init(|| {
            let kept = match (variable("RDMA_LAB_RUN"), variable::<String>("NEXTEST_RUN_ID")) {
                (Some(directory), _) => Ok(Artifacts::at(directory)),
                (None, Some(id)) => Artifacts::shared(home, &id),
                (None, None) => Artifacts::create(home),
            };
            kept.map_err(|error| error.to_string())
        });
        kept.as_ref().map_err(String::clone)
    }

    /// The programs and the provider, prepared by the first trial.
    fn setup(&self) -> Result<&Setup, String> {
        let prepare = || {
            choice()
                .and_then(|choice| Setup::prepare(&self.samples, &choice, &self.front.program))
                .map_err(|error| error.to_string())
        };
        self.setup.get_or_init(prepare).as_ref().map_err(String::clone)
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

struct Taken<'a>(&'a Turn);

impl Turn {
    fn take(&self) -> Taken<'_> {
        let jobs = variable("RDMA_LAB_JOBS").unwrap_or(1);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running = self
            .changed
            .wait_while(running, |running| *running >= jobs)
            .unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        Taken(self)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.changed.notify_one();
    }
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Which machines were asked for.
fn choice() -> lab::Result<Choice> {
    Choice::from_env(variable)
}
