//! One scenario to its verdict: run, judge, keep. A disturbed run is made once more, from fresh machines.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::progress::say;
use crate::judge::judge;
use crate::judge::meant::meant;
use crate::judge::snapshot::{self, Accepted};
use crate::judge::verdict::Verdict;
use crate::node::Provider;
use crate::run::evidence::{self, RunEvidence};
use crate::run::observe::Case;
use crate::run::run;
use crate::trial::artifacts::{self, Artifacts};

/// Runs a case, keeps everything in `directory` and judges it. The last run's verdict counts; a disturbed one
/// before it is kept and said.
///
/// # Errors
///
/// The artifacts or the snapshot cannot be read or written.
pub fn trial(provider: &dyn Provider, case: &Case<'_>, directory: &Path) -> Result<Verdict> {
    let name = &case.scenario.name;
    let accepted = Accepted::read(case.snapshot)?;
    let attempt = |directory: &Path| {
        let evidence = run(provider, case, directory)?;
        let mut verdict = judge(&evidence, directory, &accepted);
        if !verdict.passed && !verdict.is_disturbed && !verdict.can_be_accepted() {
            verdict.meant = meant(&evidence, directory, &accepted);
        }
        Ok(verdict)
    };
    let mut first = attempt(directory)?;
    first.is_superseded = first.is_disturbed;
    artifacts::keep(&first, directory)?;
    if !first.is_superseded {
        return Ok(first);
    }
    let kept = first.artifacts.display();
    say(&format!("{name}: disturbed, and run once more; the disturbed run is kept in {kept}"));
    let directory = again(directory);
    let second = attempt(&directory)?;
    artifacts::keep(&second, &directory)?;
    Ok(second)
}

/// Directory of the second run of a scenario whose first was disturbed.
fn again(directory: &Path) -> PathBuf {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    directory.with_file_name(format!("{name}-again"))
}

/// Judges again what earlier trials kept, without machines: every run in `directory`, or the one that it is.
/// The accepted trace of a scenario is that of `snapshots` if it is there, else the one that it was compared
/// with. What was never run has its verdict already. What was kept stays as it is; the verdicts are kept in a new
/// invocation's directory below `home`.
///
/// # Errors
///
/// There is no run in that directory; its evidence or a snapshot cannot be read.
pub fn judge_again(directory: &Path, snapshots: &Path, home: &Path) -> Result<(Artifacts, Vec<Verdict>)> {
    let directory = fs::canonicalize(directory).map_err(|source| {
        Error::usage(format!("no directory is called {}", directory.display())).source(source)
    })?;
    let directory = directory.as_path();
    let is_kept =
        |path: &Path| [evidence::FILE, artifacts::VERDICT].iter().any(|file| path.join(file).is_file());
    let mut kept = Vec::new();
    if is_kept(directory) {
        kept.push(directory.to_owned());
    }
    for entry in fs::read_dir(directory).at("failed to list the runs in", directory)? {
        kept.push(entry.at("failed to list the runs in", directory)?.path());
    }
    kept.retain(|path| is_kept(path));
    if kept.is_empty() {
        return Err(Error::usage(format!("no run is kept in {}", directory.display()))
            .next("name a directory with an evidence.json, or one of such directories: …/runs/latest"));
    }
    kept.sort();
    // Only now: it becomes the newest, and that may be what `directory` was called.
    let run = Artifacts::create(home)?;
    let mut verdicts = Vec::new();
    for artifacts in &kept {
        let verdict = judge_one_again(artifacts, snapshots)?;
        let name = artifacts.file_name().unwrap_or_default().to_string_lossy();
        artifacts::keep(&verdict, &run.scenario(&name))?;
        verdicts.push(verdict);
    }
    Ok((run, verdicts))
}

fn judge_one_again(artifacts: &Path, snapshots: &Path) -> Result<Verdict> {
    if !artifacts.join(evidence::FILE).is_file() {
        let verdict = artifacts::verdict(artifacts)?;
        return match verdict.artifacts.join(evidence::FILE).is_file() {
            // It was judged again before.
            true => judge_one_again(&verdict.artifacts, snapshots),
            false => Ok(verdict),
        };
    }
    let evidence = RunEvidence::read(artifacts)?;
    let ours = Some(snapshot::file(snapshots, &evidence.scenario.name)).filter(|file| file.is_file());
    let snapshot = evidence.snapshot.as_ref().map(|kept| ours.as_ref().unwrap_or(kept).as_path());
    let mut verdict = judge(&evidence, artifacts, &Accepted::read(snapshot)?);
    verdict.is_superseded = verdict.is_disturbed && again(artifacts).exists();
    verdict.snapshot = snapshot.map(Path::to_owned);
    Ok(verdict)
}

/// Values that machines drew at random in a number of runs: the values that a trace names and does not show.
#[derive(Debug, Default)]
pub struct Raw {
    runs: usize,
    psns: Drawn,
    rkeys: Drawn,
}

/// Values of one kind that were drawn.
#[derive(Debug, Default)]
struct Drawn {
    /// Runs that drew one at all: a PSN that was asked for is not drawn, a SEND has no rkey.
    runs: usize,
    values: BTreeSet<u32>,
}

impl Drawn {
    fn add(&mut self, values: impl Iterator<Item = u32>) {
        let values: Vec<u32> = values.collect();
        self.runs += usize::from(!values.is_empty());
        self.values.extend(values);
    }
}

impl Raw {
    /// Takes in the run that is kept in `artifacts`.
    ///
    /// # Errors
    ///
    /// Its evidence or its capture cannot be read.
    pub fn add(&mut self, artifacts: &Path) -> Result<()> {
        let report = RunEvidence::read(artifacts)?.decode(artifacts)?;
        self.runs += 1;
        let by_cm = report.connections.iter().filter(|connection| connection.port_space.is_some());
        self.psns.add(by_cm.filter_map(|connection| connection.active.psn_first).map(|psn| psn.value()));
        self.rkeys.add(report.messages.iter().filter_map(|message| message.rkey));
        Ok(())
    }

    /// Demands that the runs drew fresh values: nine in ten starting PSNs differ, and as many rkeys as eight
    /// random bits allow. Gives the numbers.
    ///
    /// # Errors
    ///
    /// They do not: the machines share their randomness, and identical traces prove less than they seem to.
    pub fn demand_fresh(&self) -> Result<String> {
        let (psns, rkeys, runs) = (self.psns.values.len(), self.rkeys.values.len(), self.runs);
        let text = format!("{psns} starting PSNs and {rkeys} rkeys differ in {runs} runs");
        // rxe draws eight bits of an rkey; the rest counts memory regions. That many draws from 256 collide
        // about runs²/512 times, and four standard deviations more are luck.
        let collisions = (self.rkeys.runs * self.rkeys.runs) as f64 / 512.0;
        let rkeys_least = self.rkeys.runs as f64 - (collisions + 4.0 * collisions.sqrt() + 2.0);
        if psns * 10 >= self.psns.runs * 9 && rkeys as f64 >= rkeys_least {
            return Ok(text);
        }
        Err(Error::boot(format!("the machines do not draw fresh values: only {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(runs: usize, psns: u32, rkeys: u32) -> Raw {
        let drawn =
            |values: u32| Drawn { runs: runs * usize::from(values > 0), values: (0..values).collect() };
        Raw { runs, psns: drawn(psns), rkeys: drawn(rkeys) }
    }

    #[test]
    fn shared_randomness_is_found() {
        assert_eq!(
            raw(50, 50, 45).demand_fresh().unwrap(),
            "50 starting PSNs and 45 rkeys differ in 50 runs"
        );
        raw(50, 45, 35).demand_fresh().unwrap();
        raw(50, 44, 45).demand_fresh().unwrap_err();
        raw(50, 50, 34).demand_fresh().unwrap_err();
        raw(50, 1, 1).demand_fresh().unwrap_err();
        raw(1, 1, 1).demand_fresh().unwrap();
        // None were drawn.
        raw(50, 50, 0).demand_fresh().unwrap();
        raw(50, 0, 45).demand_fresh().unwrap();
    }
}
