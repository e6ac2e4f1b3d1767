//! The scenarios, end to end on real machines: one trial a file of `lab/scenarios/`.
//!
//! `cargo xtask test-e2e` builds this and runs it; `cargo nextest run --run-ignored all` runs the same
//! trials. They are marked ignored, since they need what `cargo xtask doctor` lists. Environment:
//! `RDMA_LAB_SCENARIOS` (names, comma-separated; default all), `RDMA_LAB_SCENARIOS_IN` and
//! `RDMA_LAB_SNAPSHOTS_IN` (directories; default the workspace's), `RDMA_LAB_PROVIDER` and what goes with it
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
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use lab::base::command::shell_word;
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

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if std::env::var_os("RDMA_LAB_OWNED").is_some() {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(1);
        });
    }
    let scenarios = match Scenario::read_all(&scenarios_in()) {
        Ok(scenarios) => scenarios,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let names: Vec<String> = scenarios.iter().map(|scenario| scenario.name.clone()).collect();
    let asked = std::env::var("RDMA_LAB_SCENARIOS").unwrap_or_default();
    let is_asked = |name: &str| asked.is_empty() || asked.split(',').any(|asked| asked == name);
    let mut trials: Vec<Trial> = scenarios
        .into_iter()
        .filter(|scenario| is_asked(&scenario.name))
        .map(|scenario| {
            Trial::ignorable_test(scenario.name.clone(), move || told(&scenario)).with_ignored_flag(true)
        })
        .collect();
    trials.push(Trial::test("snapshots_all_have_a_scenario", move || no_orphans(&names)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One scenario's trial, which leaves a verdict whatever happens, and the results with it.
fn told(scenario: &Scenario) -> Result<Completion, Failed> {
    let kept = kept()?;
    let keep = |verdict: Verdict| {
        let artifacts = kept.scenario(&scenario.name);
        let verdict = Verdict { artifacts: artifacts.clone(), replay: replay(scenario), ..verdict };
        artifacts::keep(&verdict, &artifacts)
    };
    let setup = shared();
    if let Some(why) = setup.as_ref().ok().and_then(|setup| scenario.cannot_run_on(&setup.provider.wire())) {
        keep(Verdict::not_run(&scenario.name, why.as_str()))?;
        results::update(kept)?;
        return match variable::<u8>("RDMA_LAB_REQUIRE_ALL") {
            Some(1) => Err(format!("not run: {why}").into()),
            _ => Ok(Completion::ignored_with(why)),
        };
    }
    let result = setup.map_err(Failed::from).and_then(|setup| trial(scenario, setup, kept));
    let has_red_verdict = results::update(kept)?.has_failed(&scenario.name);
    if let (Err(failed), false) = (&result, has_red_verdict) {
        keep(Verdict::failed(&scenario.name, Reason::Setup, failed.message().unwrap_or_default()))?;
        results::update(kept)?;
    }
    result.map(|()| Completion::Completed)
}

/// One scenario, on machines of its own, as often as it was asked for.
fn trial(scenario: &Scenario, setup: &Setup, kept: &Artifacts) -> Result<(), Failed> {
    static TURN: Turn = Turn { running: Mutex::new(0), changed: Condvar::new() };
    let _turn = TURN.take();
    let runs = variable("RDMA_LAB_REPEAT").unwrap_or(1);
    let mut raw = Raw::default();
    for run in 1..=runs {
        let _slot = setup.slot()?;
        let name = if runs == 1 { scenario.name.clone() } else { format!("{}-{run}", scenario.name) };
        let snapshots = snapshots_in();
        let snapshot = snapshot::file(&snapshots, &scenario.name);
        let directory = kept.scenario(&name);
        let replay = replay(scenario);
        let case = Case {
            scenario,
            programs: &setup.programs,
            snapshot: Some(&snapshot),
            replay: &replay,
            accept: "--review",
        };
        let verdict = trial::trial(&setup.provider, &case, &directory)?;
        assert_snapshot(scenario, &verdict, &snapshots)?;
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

/// The command that runs a scenario again.
fn replay(scenario: &Scenario) -> String {
    let catalogue = match scenarios_in() {
        directory if directory == workspace().join("lab/scenarios") => String::new(),
        directory => format!(" --scenarios {}", directory.display()),
    };
    format!("cargo xtask test-e2e {}{catalogue}{}", scenario.name, options())
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

fn scenarios_in() -> PathBuf {
    variable("RDMA_LAB_SCENARIOS_IN").unwrap_or_else(|| workspace().join("lab/scenarios"))
}

fn snapshots_in() -> PathBuf {
    variable("RDMA_LAB_SNAPSHOTS_IN").unwrap_or_else(|| workspace().join("tests/snapshots"))
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn no_orphans(scenarios: &[String]) -> Result<(), Failed> {
    let names: Vec<&str> = scenarios.iter().map(String::as_str).collect();
    let orphans = snapshot::orphans(&snapshots_in(), &names)?;
    if orphans.is_empty() {
        return Ok(());
    }
    Err(format!("snapshots without a scenario: {}; remove them", orphans.join(", ")).into())
}

/// Where this run is kept: with all processes of it in one directory.
fn kept() -> Result<&'static Artifacts, String> {
    static KEPT: OnceLock<Result<Artifacts, String>> = OnceLock::new();
    let kept = KEPT.get_or_init(|| {
        let kept = match (variable("RDMA_LAB_RUN"), variable::<String>("NEXTEST_RUN_ID")) {
            (Some(directory), _) => Ok(Artifacts::at(directory)),
            (None, Some(id)) => Artifacts::shared(workspace(), &id),
            (None, None) => Artifacts::create(workspace()),
        };
        kept.map_err(|error| error.to_string())
    });
    kept.as_ref().map_err(String::clone)
}

/// Which machines were asked for.
fn choice() -> lab::Result<Choice> {
    Choice::from_env(variable)
}

/// What all trials share: the programs and the provider, prepared by the first.
fn shared() -> Result<&'static Setup, String> {
    static SHARED: OnceLock<Result<Setup, String>> = OnceLock::new();
    SHARED
        .get_or_init(|| {
            let guard = Path::new(env!("CARGO_BIN_EXE_xtask"));
            choice()
                .and_then(|choice| Setup::prepare(workspace(), &choice, guard))
                .map_err(|error| error.to_string())
        })
        .as_ref()
        .map_err(String::clone)
}

fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
