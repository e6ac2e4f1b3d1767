//! One scenario to its verdict: run, judge, keep. A disturbed run is made once more, from fresh machines.

use std::collections::BTreeSet;
use std::path::Path;

use crate::artifacts;
use crate::error::{Error, Result};
use crate::evidence::{Evidence, decode};
use crate::judge::judge;
use crate::node::Provider;
use crate::programs::Program;
use crate::progress::say;
use crate::run::run;
use crate::scenario::Scenario;
use crate::snapshot;
use crate::verdict::Verdict;

/// A scenario with what it is run and judged by.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What runs.
    pub scenario: &'a Scenario,
    /// What is deployed.
    pub programs: &'a [Program],
    /// Where accepted traces are.
    pub snapshots: &'a Path,
    /// The command that runs it again.
    pub replay: &'a str,
}

/// Runs a case, keeps everything in `directory` and judges it. The last run's verdict counts; a disturbed one
/// before it is kept and said.
///
/// # Errors
///
/// The artifacts or the snapshot cannot be read or written.
pub fn trial(provider: &dyn Provider, case: &Case<'_>, directory: &Path) -> Result<Verdict> {
    let name = &case.scenario.name;
    let accepted = snapshot::read(case.snapshots, name)?;
    let attempt = |directory: &Path| {
        let evidence = run(provider, case.scenario, case.programs, directory)?;
        let mut verdict = judge(&evidence, directory, accepted.as_deref());
        case.replay.clone_into(&mut verdict.replay);
        artifacts::keep(&verdict)?;
        Ok(verdict)
    };
    let first = attempt(directory)?;
    if !first.is_disturbed {
        return Ok(first);
    }
    let kept = first.artifacts.display();
    say(&format!("{name}: disturbed, and run once more; the disturbed run is kept in {kept}"));
    attempt(&directory.with_file_name(format!("{name}-again")))
}

/// What machines drew at random in a number of runs: the values that a trace names and does not show.
#[derive(Debug, Default)]
pub struct Raw {
    runs: usize,
    psns: BTreeSet<u32>,
    rkeys: BTreeSet<u32>,
}

impl Raw {
    /// Takes in the run that is kept in `artifacts`.
    ///
    /// # Errors
    ///
    /// Its evidence or its capture cannot be read.
    pub fn add(&mut self, artifacts: &Path) -> Result<()> {
        let report = decode(artifacts, &Evidence::read(artifacts)?.addresses)?;
        self.runs += 1;
        self.psns.extend(
            report
                .connections
                .iter()
                .filter_map(|connection| connection.active.psn_first)
                .map(|psn| psn.value()),
        );
        self.rkeys.extend(report.messages.iter().filter_map(|message| message.rkey));
        Ok(())
    }

    /// Demands that the runs drew fresh values: nine in ten starting PSNs differ, and as many rkeys as eight
    /// random bits allow. Gives the numbers.
    ///
    /// # Errors
    ///
    /// They do not: the machines share their randomness, and identical traces prove less than they seem to.
    pub fn demand_fresh(&self) -> Result<String> {
        let (psns, rkeys, runs) = (self.psns.len(), self.rkeys.len(), self.runs);
        let text = format!("{psns} starting PSNs and {rkeys} rkeys differ in {runs} runs");
        // rxe draws eight bits of an rkey; the rest counts memory regions. That many draws from 256 collide
        // about runs²/512 times, and four standard deviations more are luck.
        let collisions = (runs * runs) as f64 / 512.0;
        let rkeys_least = runs as f64 - (collisions + 4.0 * collisions.sqrt() + 2.0);
        if psns * 10 >= runs * 9 && rkeys as f64 >= rkeys_least {
            return Ok(text);
        }
        Err(Error::boot(format!("the machines do not draw fresh values: only {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(runs: usize, psns: u32, rkeys: u32) -> Raw {
        Raw { runs, psns: (0..psns).collect(), rkeys: (0..rkeys).collect() }
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
    }
}
