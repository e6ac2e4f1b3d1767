//! All runs of one scenario with faults, side by side; kept line by line, so that an interrupted one goes on.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::base::cache::write_whole;
use crate::base::command::shell_word;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::invocation;
use crate::base::progress::Step;
use crate::base::selection::Selection;
use crate::explore::baseline::{attempt, measured};
use crate::explore::outcome::{self, Baseline, Outcome, Tried};
use crate::explore::placement::Placement;
use crate::explore::reach::{Partition, Reach};
use crate::explore::table;
use crate::guest::called;
use crate::node::Provider as _;
use crate::run::setup::Setup;
use crate::scenario::counters::{Count, CountInWords, Counters};
use crate::scenario::fault::Fault;
use crate::scenario::network::Wire;
use crate::scenario::{Scenario, Trace};
use crate::trial::artifacts::{self, Artifacts};

/// Record of an exploration: a line of JSON for the plan, then one for each run.
pub const FILE: &str = "explore.jsonl";

/// Outcomes and costs as a text that a second exploration of the same repeats.
pub const SUMMARY: &str = "summary.txt";

/// Times that a run is made again which says nothing yet.
const AGAIN: usize = 2;

/// Factor by which a run without a fault takes longer than the first ones did on a computer that is busy.
const SLOW: f64 = 2.0;

/// The first line of [`FILE`].
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ExplorationPlan {
    /// With paths that begin in the exploration's directory.
    scenario: Scenario,
    reach: Reach,
    /// The machines that every run is made on; not known of explorations that are older than this.
    #[serde(default)]
    machines: Option<Selection>,
    baseline: Baseline,
    placements: Vec<Placement>,
}

/// An exploration under way: its plan, and what was tried.
#[derive(Debug)]
pub struct Exploration {
    directory: PathBuf,
    plan: ExplorationPlan,
    /// The scenario as its nodes call it.
    called: Scenario,
    /// Places of the placements in the plan, by key.
    numbers: HashMap<String, usize>,
    tried: Vec<Tried>,
}

impl Exploration {
    /// Runs the scenario without a tried fault and plans the runs with them; everything is kept in `directory`. Faults of its own
    /// act in every run. `machines` is the selection that `setup` was made of.
    ///
    /// # Errors
    ///
    /// The scenario fails as it is, or does not put the same packets on the wire each time; the machines have no switch.
    pub fn plan(
        setup: &Setup,
        scenario: &Scenario,
        reach: Reach,
        machines: Selection,
        directory: &Path,
    ) -> Result<Exploration> {
        if !matches!(setup.provider.wire(), Wire::Switch) {
            return Err(Error::usage("these machines have no switch of the lab's, which makes the faults")
                .next("explore with --provider qemu"));
        }
        let scenario = undemanding(&called::moved(scenario, directory)?);
        let (called, _) = called::called(&scenario)?;
        let (baseline, targets) = measured(setup, &called, directory)?;
        let placements = reach.placements(&targets)?;
        let machines = Some(machines);
        let plan = ExplorationPlan { scenario, reach, machines, baseline, placements };
        let exploration = Exploration::of(directory, plan, Vec::new())?;
        write_whole(&directory.join(FILE), json(&exploration.plan)?.as_bytes())?;
        Ok(exploration)
    }

    /// Takes up an exploration that was interrupted.
    ///
    /// # Errors
    ///
    /// There is none in that directory, or its programs have gone.
    pub fn resume(directory: &Path) -> Result<Exploration> {
        let path = directory.join(FILE);
        let file = File::open(&path).at("failed to open", &path)?;
        let mut lines = BufReader::new(file).lines();
        let wrong = |what: String| {
            Error::usage(format!("{}: {what}", path.display()))
                .next("name the directory that explore printed")
        };
        let first = lines.next().transpose().at("failed to read", &path)?.unwrap_or_default();
        let plan = serde_json::from_str(&first).map_err(|error| wrong(format!("no plan: {error}")))?;
        // The line that was being written when it ended may be cut.
        let tried = lines.map_while(|line| serde_json::from_str(&line.ok()?).ok()).collect();
        Exploration::of(directory, plan, tried)
    }

    fn of(directory: &Path, plan: ExplorationPlan, tried: Vec<Tried>) -> Result<Exploration> {
        let directory = directory.canonicalize().at("failed to resolve", directory)?;
        let mut plan = plan;
        plan.scenario.directory.clone_from(&directory);
        let (called, _) = called::called(&plan.scenario)?;
        let keys = plan.placements.iter().map(Placement::key);
        let numbers = keys.enumerate().map(|(number, key)| (key, number)).collect();
        let mut exploration = Exploration { directory, plan, called, numbers, tried };
        exploration.sort();
        Ok(exploration)
    }

    /// Takes in the runs of another part of the same exploration, which another computer may have made.
    ///
    /// # Errors
    ///
    /// The exploration is of other faults, of another scenario, or of other guests.
    pub fn merge(&mut self, other: Exploration) -> Result<()> {
        // Parts of a user's own may lie elsewhere on another computer.
        let guests = |plan: &ExplorationPlan| {
            plan.machines.as_ref().map(|machines| (machines.release.clone(), machines.each.clone()))
        };
        let is_same = |one: &ExplorationPlan, other: &ExplorationPlan| {
            (&one.scenario.server, &one.scenario.client) == (&other.scenario.server, &other.scenario.client)
                && guests(one) == guests(other)
        };
        if self.numbers.keys().any(|key| !other.numbers.contains_key(key))
            || other.numbers.len() != self.numbers.len()
            || !is_same(&self.plan, &other.plan)
        {
            let [one, other] = [&self.directory, &other.directory].map(|directory| directory.display());
            return Err(Error::usage(format!("{one} and {other} are not parts of one exploration")).next(
                "make each part with the same scenario, guest, options and seed, and another --partition",
            ));
        }
        let known: HashSet<String> = self.tried.iter().map(|tried| tried.placement.key()).collect();
        self.tried.extend(other.tried.into_iter().filter(|tried| !known.contains(&tried.placement.key())));
        self.sort();
        Ok(())
    }

    /// Makes the runs that are left, those of one part if there are parts, `jobs` side by side.
    ///
    /// # Errors
    ///
    /// What was seen cannot be kept.
    pub fn go_on(&mut self, setup: &Setup, jobs: usize, part: Option<Partition>) -> Result<()> {
        let tried: HashSet<String> = self.tried.iter().map(|tried| tried.placement.key()).collect();
        let is_left = |number: &usize| {
            let key = self.plan.placements[*number].key();
            !tried.contains(&key) && part.is_none_or(|part| part.has(&key))
        };
        let left: VecDeque<usize> = (0..self.plan.placements.len()).filter(is_left).collect();
        let path = self.directory.join(FILE);
        // A cut line would swallow the next.
        let mut text = json(&self.plan)?;
        for tried in &self.tried {
            text.push_str(&json(tried)?);
        }
        write_whole(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).at("failed to open", &path)?;
        let (total, begun) = (left.len(), Instant::now());
        let shared = Mutex::new((left, file, Vec::new()));
        let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
        let this: &Exploration = self;
        let step = Step::begin(format!("{} with faults", self.plan.scenario.name));
        if total > 0 {
            step.say(&format!("if it is interrupted: {}", self.again()));
        }
        let work = || -> Result<()> {
            loop {
                let Some(number) = lock().0.pop_front() else { return Ok(()) };
                let tried = this.try_one(setup, &this.plan.placements[number])?;
                let line = json(&tried)?;
                let mut shared = lock();
                shared.1.write_all(line.as_bytes()).at("failed to write", &path)?;
                shared.2.push(tried);
                step.now(&told(total, &shared.2, begun.elapsed()));
            }
        };
        let ended: Vec<Result<()>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        let (_, _, tried) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        step.done(&told(total, &tried, begun.elapsed()));
        self.tried.extend(tried);
        self.sort();
        ended.into_iter().collect()
    }

    /// Writes the summary and the page, shrinks each surprise to the fewest faults that still show one, and writes it as a scenario
    /// file; gives those files.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn shrink(&mut self, setup: &Setup) -> Result<Vec<PathBuf>> {
        self.keep_tables()?;
        let mut files = Vec::new();
        for index in 0..self.tried.len() {
            let outcome = self.tried[index].outcome;
            if !outcome.is_news() {
                continue;
            }
            let mut fewest = self.tried[index].clone();
            let mut at = 0;
            while fewest.placement.faults.len() > 1 && at < fewest.placement.faults.len() {
                let tried = self.try_one(setup, &fewest.placement.without(at))?;
                match tried.outcome == outcome {
                    true => fewest = tried,
                    false => at += 1,
                }
            }
            let number = files.len() + 1;
            let path = self.directory.join(format!("{}-{number}.toml", outcome.word().to_lowercase()));
            write_whole(&path, self.scenario_file(&fewest)?.as_bytes())?;
            self.tried[index] = fewest;
            files.push(path);
        }
        self.keep_tables()?;
        Ok(files)
    }

    /// Writes the summary and the page.
    fn keep_tables(&self) -> Result<()> {
        write_whole(&self.directory.join(SUMMARY), table::summary(self.name(), &self.tried).as_bytes())?;
        let page = table::page(self.name(), &self.directory, &self.tried);
        write_whole(&self.directory.join("index.html"), page.as_bytes())
    }

    /// The runs, in the order of their packets.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// The scenario's name.
    pub fn name(&self) -> &str {
        &self.plan.scenario.name
    }

    /// The scenario, with paths that begin in the exploration's directory.
    pub fn scenario(&self) -> &Scenario {
        &self.plan.scenario
    }

    /// The machines that every run is made on; `None` of an exploration that is older than this.
    pub fn machines(&self) -> Option<&Selection> {
        self.plan.machines.as_ref()
    }

    /// Directory in which everything is kept.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The command that goes on with it.
    fn again(&self) -> String {
        let directory = self.directory.display().to_string();
        invocation::program(&format!("explore --resume {}", shell_word(&directory)))
    }

    /// Sorts the runs, which end in any order.
    fn sort(&mut self) {
        let numbers = &self.numbers;
        self.tried
            .sort_by_cached_key(|tried| numbers.get(&tried.placement.key()).copied().unwrap_or(usize::MAX));
    }

    /// Makes a run; one that says nothing yet is made again. One that is late each time is a surprise only where a run without the
    /// fault, right behind it, is not.
    fn try_one(&self, setup: &Setup, placement: &Placement) -> Result<Tried> {
        let mut tried = self.try_once(setup, placement)?;
        for _ in 0..AGAIN {
            if !tried.is_late {
                return Ok(tried);
            }
            tried = self.try_once(setup, placement)?;
        }
        if tried.is_late && tried.outcome == Outcome::Surprise {
            let artifacts = Artifacts::at(self.directory.clone()).scenario("without");
            let (evidence, _, _) = attempt(setup, &self.called, &artifacts)?;
            let seconds = evidence.seconds.get("programs").copied().unwrap_or(f64::MAX);
            if seconds > SLOW * self.plan.baseline.seconds.max(1.0) {
                tried.outcome = Outcome::Disturbed;
                tried
                    .why
                    .push_str(&format!(", and a run without it took {seconds:.1} s: the computer is busy"));
            }
        }
        Ok(tried)
    }

    fn try_once(&self, setup: &Setup, placement: &Placement) -> Result<Tried> {
        let number = self.numbers.get(&placement.key());
        let name = number.map_or_else(|| "shrunk".to_owned(), |number| format!("{:04}", number + 1));
        let scenario = Scenario {
            name: format!("{}: {placement}", self.name()),
            faults: self.faults(placement),
            ..self.called.clone()
        };
        let artifacts = Artifacts::at(self.directory.clone()).scenario(&name);
        let (evidence, verdict, report) = attempt(setup, &scenario, &artifacts)?;
        artifacts::keep(&verdict, &artifacts)?;
        Ok(outcome::judge(placement, self.plan.baseline, &evidence, report.as_ref(), &verdict))
    }

    /// The faults of a run: the tried ones, then the scenario's own.
    fn faults(&self, placement: &Placement) -> Vec<Fault> {
        placement.faults.iter().chain(&self.plan.scenario.faults).cloned().collect()
    }

    /// A scenario file that shows a surprise again.
    fn scenario_file(&self, tried: &Tried) -> Result<String> {
        let why = tried.why.lines().next().unwrap_or_default();
        let scenario = Scenario {
            summary: format!("explore: {}: {why}", tried.placement),
            faults: self.faults(&tried.placement),
            ..self.plan.scenario.clone()
        };
        scenario.written()
    }
}

/// Progress, in a few words.
fn told(total: usize, tried: &[Tried], elapsed: Duration) -> String {
    let surprises = tried.iter().filter(|tried| tried.outcome == Outcome::Surprise).count();
    let left = elapsed.as_secs_f64() / tried.len().max(1) as f64 * (total - tried.len()) as f64;
    let left = if tried.len() == total { String::new() } else { format!(", {left:.0} s left") };
    format!("{}/{total}, surprises: {surprises}{left}", tried.len())
}

fn json<T: Serialize>(what: &T) -> Result<String> {
    let line = serde_json::to_string(what)
        .map_err(|source| Error::setup("failed to write the exploration").source(source))?;
    Ok(line + "\n")
}

/// The scenario with nothing expected but how its programs end.
fn undemanding(scenario: &Scenario) -> Scenario {
    let mut scenario = Scenario { trace: Trace::Summary, ..scenario.clone() };
    for program in [&mut scenario.expect.server, &mut scenario.expect.client] {
        let any = Count::InWords(CountInWords::Any);
        program.counters = Counters::TROUBLES.iter().map(|name| ((*name).to_owned(), any)).collect();
    }
    scenario
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::selection::ReleaseOption;

    fn tried(fault: &str) -> Tried {
        let why = "APP: client: exit code 4\nits lines".to_owned();
        Tried { outcome: Outcome::Surprise, why, ..Tried::with(fault) }
    }

    const LOST: &str = "action=\"drop\",opcode=\"RC SEND Only\",psn=0";
    const LATE: &str = "action=\"delay\",opcode=\"RC SEND Only\",psn=0,ms=20";

    fn plan(directory: &Path) -> ExplorationPlan {
        std::fs::write(directory.join("srv"), "x").unwrap();
        let mut scenario = Scenario::new("x", "./srv".to_owned(), "rping -c".to_owned());
        scenario.faults = vec!["action=\"drop\",opcode=\"RC Acknowledge\",again=true".parse().unwrap()];
        let baseline = Baseline { seconds: 1.0, packets: 7 };
        let placements = [LATE, LOST].map(|fault| tried(fault).placement).into();
        let machines = Some(of_guest("debian-12"));
        ExplorationPlan { scenario, reach: Reach::default(), machines, baseline, placements }
    }

    fn of_guest(name: &str) -> Selection {
        let release = ReleaseOption { guest: Some(name.to_owned()), packages: Vec::new() };
        Selection { release, ..Selection::default() }
    }

    #[test]
    fn exploration_goes_on_where_it_was_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let plan = plan(directory.path());
        let line = json(&tried(LOST)).unwrap();
        let text = json(&plan).unwrap() + &line + &line[..line.len() / 2];
        std::fs::write(directory.path().join(FILE), text).unwrap();
        let exploration = Exploration::resume(directory.path()).unwrap();
        assert_eq!(exploration.tried(), [tried(LOST)]);
        assert_eq!(exploration.called.server, "srv");
        assert_eq!(exploration.machines(), Some(&of_guest("debian-12")));
        let again = format!("cargo xtask explore --resume {}", exploration.directory().display());
        assert_eq!(exploration.again(), again);
        std::fs::write(directory.path().join(FILE), "x").unwrap();
        assert!(Exploration::resume(directory.path()).unwrap_err().to_string().contains("no plan"));
    }

    #[test]
    fn runs_are_in_the_order_of_the_plan_whichever_ended_first() {
        let directory = tempfile::tempdir().unwrap();
        let plan = plan(directory.path());
        let ended = vec![tried(LOST), tried(LATE)];
        let exploration = Exploration::of(directory.path(), plan, ended).unwrap();
        assert_eq!(exploration.tried(), [tried(LATE), tried(LOST)]);
    }

    #[test]
    fn parts_of_one_exploration_are_merged_and_others_are_not() {
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let of = |directory: &Path, ended: &str| {
            Exploration::of(directory, plan(directory), vec![tried(ended)]).unwrap()
        };
        let mut merged = of(here.path(), LOST);
        merged.merge(of(there.path(), LATE)).unwrap();
        merged.merge(of(there.path(), LATE)).unwrap();
        assert_eq!(merged.tried(), [tried(LATE), tried(LOST)]);
        let mut fewer = of(there.path(), LATE);
        fewer.numbers.remove(&tried(LOST).placement.key());
        let mut elsewhere = of(there.path(), LATE);
        elsewhere.plan.machines = Some(of_guest("debian-13"));
        for other in [fewer, elsewhere] {
            let error = merged.merge(other).unwrap_err().to_string();
            assert!(error.contains("are not parts of one exploration"), "{error}");
        }
    }

    #[test]
    fn surprise_is_a_scenario_with_its_faults_and_the_scenarios_own() {
        let directory = tempfile::tempdir().unwrap();
        let exploration = Exploration::of(directory.path(), plan(directory.path()), Vec::new()).unwrap();
        let text = exploration.scenario_file(&tried(LOST)).unwrap();
        let file = directory.path().join("surprise-1.toml");
        std::fs::write(&file, text).unwrap();
        let again = Scenario::read(&file).unwrap();
        assert_eq!((again.faults.len(), &*again.server), (2, "./srv"));
        assert_eq!(again.faults[0].to_string(), "drop RC SEND Only, psn 0");
        assert_eq!(again.summary, "explore: drop RC SEND Only, psn 0: APP: client: exit code 4");
    }
}
