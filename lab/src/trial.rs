//! One scenario to its verdict: run, judge, keep. A disturbed run is made once more, from fresh machines.

use std::path::Path;

use crate::artifacts::{self, Artifacts};
use crate::error::Result;
use crate::judge::judge;
use crate::node::Provider;
use crate::programs::Program;
use crate::progress::say;
use crate::run::run;
use crate::scenario::Scenario;
use crate::snapshot;
use crate::verdict::Verdict;

/// Runs `scenario` and judges it against its snapshot in `snapshots`. The last run's verdict counts; a
/// disturbed one before it is kept beside it and said.
///
/// # Errors
///
/// The artifacts or the snapshot cannot be read or written.
pub fn trial(
    provider: &dyn Provider,
    scenario: &Scenario,
    programs: &[Program],
    kept: &Artifacts,
    snapshots: &Path,
) -> Result<Verdict> {
    let accepted = snapshot::read(snapshots, &scenario.name)?;
    let attempt = |directory: &Path| {
        let evidence = run(provider, scenario, programs, directory)?;
        let verdict = judge(&evidence, directory, accepted.as_deref());
        artifacts::keep(&verdict)?;
        Ok(verdict)
    };
    let first = attempt(&kept.scenario(&scenario.name))?;
    if !first.is_disturbed {
        return Ok(first);
    }
    say(&format!(
        "{}: disturbed, and run once more; the disturbed run is kept in {}",
        scenario.name,
        first.artifacts.display()
    ));
    attempt(&kept.scenario(&format!("{}-again", scenario.name)))
}
