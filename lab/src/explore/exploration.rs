//! All runs of one scenario with faults, side by side; kept line by line, so that an interrupted one goes on.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::base::cache::write_whole;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::progress::Step;
use crate::explore::outcome::{self, AlteredWire, Baseline, Outcome, Tried};
use crate::explore::packets::{self, Target};
use crate::explore::placement::{self, Placement};
use crate::explore::table;
use crate::judge;
use crate::judge::snapshot::Accepted;
use crate::judge::verdict::Verdict;
use crate::run::evidence::RunEvidence;
use crate::run::setup::Setup;
use crate::run::{Case, run};
use crate::scenario::counters::{Count, CountInWords, Counters};
use crate::scenario::{Scenario, Trace};
use crate::trial::artifacts::{self, Artifacts};

/// What is to be explored, and how far it came: a line of JSON for the plan, then one for each run.
pub const FILE: &str = "explore.jsonl";

/// Runs without a fault, which have to be alike before any with one says something.
const BASELINES: usize = 3;

/// Messages that either side may send first.
const DISCONNECTS: [&str; 2] = ["CM DREQ", "CM DREP"];

/// Most faults of a random run.
const RANDOM_FAULTS: u64 = 4;

/// Which placements are tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// Every fault on every packet.
    Each,
    /// So many pairs of faults, drawn by the seed.
    Pairs {
        /// How many.
        count: u64,
        /// What they follow from.
        seed: u64,
    },
    /// So many runs of two to four faults, drawn by the seed.
    Random {
        /// How many.
        count: u64,
        /// What they follow from.
        seed: u64,
    },
}

/// The first line of [`FILE`].
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ExplorationPlan {
    scenario: Scenario,
    reach: Reach,
    baseline: Baseline,
    placements: Vec<Placement>,
    /// Packets of the run without faults, as a person reads them.
    packets: usize,
}

/// An exploration under way: its plan, and what was tried.
#[derive(Debug)]
pub struct Exploration {
    directory: PathBuf,
    plan: ExplorationPlan,
    tried: Vec<Tried>,
}

impl Exploration {
    /// Runs the scenario without faults and plans the runs with them; everything is kept in `directory`.
    ///
    /// # Errors
    ///
    /// The scenario has faults, fails without them, or does not put the same packets on the wire each time.
    pub fn plan(setup: &Setup, scenario: &Scenario, reach: Reach, directory: &Path) -> Result<Exploration> {
        let name = &scenario.name;
        if !scenario.faults.is_empty() {
            return Err(Error::usage(format!("{name} has faults of its own"))
                .next("explore a scenario without any: the faults are what is tried"));
        }
        let scenario = undemanding(scenario);
        let step = Step::begin(format!("{name} without faults, {BASELINES} times"));
        let mut baselines = Vec::new();
        for number in 1..=BASELINES {
            baselines.push(baseline(setup, &scenario, &directory.join(format!("baseline-{number}")))?);
        }
        let (seconds, targets) = baselines.swap_remove(0);
        for (_, others) in &baselines {
            if let Some(what) = difference(&targets, others) {
                return Err(Error::usage(format!("{name} is not the same twice without any fault: {what}"))
                    .next(
                        "explore programs that do the same in each run: fixed sizes, one operation at a time",
                    ));
            }
        }
        let each = placement::all(&targets);
        let placements = match reach {
            Reach::Each => each,
            Reach::Pairs { count, seed } => drawn(&each, count, seed, 2),
            Reach::Random { count, seed } => drawn(&each, count, seed, RANDOM_FAULTS),
        };
        let baseline = Baseline { seconds, packets: targets.iter().map(|target| target.stands_for).sum() };
        step.done(&format!(
            "{} packets, {} kinds of them, {} runs",
            baseline.packets,
            targets.len(),
            placements.len()
        ));
        let plan = ExplorationPlan { scenario, reach, baseline, placements, packets: targets.len() };
        let exploration = Exploration { directory: directory.to_owned(), plan, tried: Vec::new() };
        let line = json(&exploration.plan)?;
        write_whole(&directory.join(FILE), line.as_bytes())?;
        Ok(exploration)
    }

    /// Takes up an exploration that was interrupted.
    ///
    /// # Errors
    ///
    /// There is none in that directory.
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
        Ok(Exploration { directory: directory.to_owned(), plan, tried })
    }

    /// Makes the runs that are left, `jobs` side by side.
    ///
    /// # Errors
    ///
    /// What was seen cannot be kept.
    pub fn go_on(&mut self, setup: &Setup, jobs: usize) -> Result<()> {
        let is_tried =
            |placement: &&Placement| !self.tried.iter().any(|tried| tried.placement == **placement);
        let left: VecDeque<Placement> = self.plan.placements.iter().filter(is_tried).cloned().collect();
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
        let work = || -> Result<()> {
            loop {
                let Some(placement) = lock().0.pop_front() else { return Ok(()) };
                let tried = this.try_one(setup, &placement)?;
                let line = json(&tried)?;
                let mut shared = lock();
                shared.1.write_all(line.as_bytes()).at("failed to write", &path)?;
                shared.2.push(tried);
                step.now(&told(total, &shared.2, begun.elapsed()));
            }
        };
        let ended: Vec<Result<()>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or(Ok(()))).collect()
        });
        let (_, _, tried) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        step.done(&told(total, &tried, begun.elapsed()));
        self.tried.extend(tried);
        // Runs end in any order.
        let order =
            |tried: &Tried| self.plan.placements.iter().position(|placement| *placement == tried.placement);
        self.tried.sort_by_key(order);
        ended.into_iter().collect()
    }

    /// Writes the page, shrinks each surprise to the fewest faults that still show one, and writes it as a scenario file; gives
    /// those files.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn shrink(&mut self, setup: &Setup) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let page = table::page(self.name(), &self.directory, &self.tried);
        write_whole(&self.directory.join("index.html"), page.as_bytes())?;
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
        Ok(files)
    }

    /// The runs, in the order of their packets.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// The scenario's name.
    pub fn name(&self) -> &str {
        &self.plan.scenario.name
    }

    /// The run without faults.
    pub fn baseline(&self) -> Baseline {
        self.plan.baseline
    }

    /// Where everything is kept.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn try_one(&self, setup: &Setup, placement: &Placement) -> Result<Tried> {
        let number = self.plan.placements.iter().position(|known| known == placement);
        let name = number.map_or_else(|| "shrunk".to_owned(), |number| format!("{:04}", number + 1));
        let scenario = Scenario {
            name: format!("{}: {placement}", self.name()),
            faults: placement.faults.clone(),
            ..self.plan.scenario.clone()
        };
        let artifacts = Artifacts::at(self.directory.clone()).scenario(&name);
        let (evidence, verdict) = attempt(setup, &scenario, &artifacts)?;
        let wire = AlteredWire::read(&evidence, &artifacts);
        artifacts::keep(&verdict, &artifacts)?;
        Ok(outcome::judge(placement, self.plan.baseline, &evidence, wire.as_ref(), &verdict))
    }

    /// A scenario file that shows a surprise again.
    fn scenario_file(&self, tried: &Tried) -> Result<String> {
        let scenario = Scenario {
            name: String::new(),
            summary: format!("explore: {}: {}", tried.placement, tried.why),
            faults: tried.placement.faults.clone(),
            ..self.plan.scenario.clone()
        };
        toml::to_string(&scenario)
            .map_err(|source| Error::setup("failed to write the scenario").source(source))
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

/// One run, judged without a trace to be held to.
fn attempt(setup: &Setup, scenario: &Scenario, artifacts: &Path) -> Result<(RunEvidence, Verdict)> {
    let _slot = setup.slot()?;
    let case = Case { scenario, programs: &setup.programs, snapshot: None, replay: "", accept: "" };
    let evidence = run(&setup.provider, &case, artifacts)?;
    let verdict = judge::judge(&evidence, artifacts, &Accepted::NotDemanded);
    Ok((evidence, verdict))
}

/// A run without faults: how long its programs took, and its packets.
fn baseline(setup: &Setup, scenario: &Scenario, artifacts: &Path) -> Result<(f64, Vec<Target>)> {
    let (evidence, verdict) = attempt(setup, scenario, artifacts)?;
    artifacts::keep(&verdict, artifacts)?;
    if !verdict.passed {
        return Err(Error::setup(format!("it fails without any fault\n{verdict}"))
            .next("mend that first: what a fault adds cannot be told"));
    }
    let targets = packets::packets(&evidence, artifacts)?;
    Ok((evidence.seconds.get("programs").copied().unwrap_or_default(), targets))
}

/// A packet that one of two runs has and the other has not. In which order packets of both directions come is timing's, and so
/// is who disconnects first.
fn difference(one: &[Target], other: &[Target]) -> Option<String> {
    let names = |targets: &[Target]| {
        let is_decided = |target: &&Target| !DISCONNECTS.contains(&target.kind.to_string().as_str());
        let name = |target: &Target| format!("{}, {} bytes", target.matcher(), target.bytes);
        targets.iter().filter(is_decided).map(name).collect::<BTreeSet<_>>()
    };
    let (one, other) = (names(one), names(other));
    one.symmetric_difference(&other).next().map(|packet| format!("only one run has {packet}"))
}

/// Draws runs of two to `most` faults on packets of their own.
fn drawn(each: &[Placement], count: u64, seed: u64, most: u64) -> Vec<Placement> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut drawn: Vec<Placement> = Vec::new();
    // Few packets have few pairs.
    for _ in 0..count.saturating_mul(20) {
        if drawn.len() as u64 >= count {
            break;
        }
        let mut placement: Option<Placement> = None;
        for _ in 0..random.u64(2..=most) {
            let Some(next) = random.choice(each) else { break };
            placement = match &placement {
                None => Some(next.clone()),
                Some(placement) => placement.with(next).or_else(|| Some(placement.clone())),
            };
        }
        if let Some(placement) = placement.filter(|placement| placement.faults.len() > 1)
            && !drawn.contains(&placement)
        {
            drawn.push(placement);
        }
    }
    drawn
}
