//! Proof that the harness goes red: what is mutated, and the whole set of reasons that it must give.
//!
//! - [`mutation`]: the list
//! - [`capture`]: kept artifacts, altered and judged again
//! - [`environment`]: machines that are tampered with while a scenario runs
//!
//! The programs are built for it, with a feature that lets them do other than they say: they run in scenarios of
//! the catalogue as those are, with their snapshots. Each kind has a neighbour that is left alone and must be
//! green.

pub mod capture;
pub mod environment;
pub mod mutation;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result};
use crate::base::program::Program;
use crate::judge::judge;
use crate::judge::snapshot::{self, Accepted};
use crate::judge::verdict::{Reason, Verdict};
use crate::provider::Qemu;
use crate::run::Case;
use crate::run::evidence::RunEvidence;
use crate::scenario::Scenario;
use crate::trial::artifacts::{self, Artifacts};
use crate::trial::trial;

pub use mutation::{Act, MUTATIONS, Mutation};

/// Outcome of one mutation.
#[derive(Debug)]
pub struct MutationOutcome {
    /// The mutation.
    pub mutation: &'static Mutation,
    /// The reasons that the verdict gave, each once.
    pub reasons: BTreeSet<Reason>,
    /// Where everything about the run is kept.
    pub artifacts: PathBuf,
}

impl MutationOutcome {
    /// Whether the reasons are the expected ones, all of them and no other.
    pub fn is_as_expected(&self) -> bool {
        self.reasons.iter().eq(self.mutation.reasons().iter())
    }
}

/// Subject of mutations.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Where machines come from.
    pub provider: &'a Qemu,
    /// Programs built with the feature `mutants`.
    pub programs: &'a [Program],
    /// The catalogue.
    pub scenarios: &'a Path,
    /// Its accepted traces.
    pub snapshots: &'a Path,
    /// Where everything is kept.
    pub kept: &'a Artifacts,
}

impl Subject<'_> {
    /// Applies one mutation and judges.
    ///
    /// # Errors
    ///
    /// It could not be applied, or nothing could be kept.
    pub fn apply(&self, mutation: &'static Mutation) -> Result<MutationOutcome> {
        let directory = self.kept.scenario(mutation.name);
        let mut scenario = Scenario::read(&self.scenarios.join(format!("{}.toml", mutation.scenario)))?;
        let verdict = match mutation.act {
            Act::Program { client } => {
                scenario.client = client.replace("{client}", &scenario.client);
                trial(self.provider, &self.case(&scenario, &self.snapshot(&scenario)), &directory)?
            }
            Act::Environment(tamper) => {
                let provider = environment::Tampered::new(self.provider, tamper);
                trial(&provider, &self.case(&scenario, &self.snapshot(&scenario)), &directory)?
            }
            Act::Capture(alter) => self.judge_altered(&scenario, alter, &directory)?,
        };
        let reasons = verdict.failures.iter().map(|failure| failure.reason).collect();
        Ok(MutationOutcome { mutation, reasons, artifacts: verdict.artifacts })
    }

    /// Judges a copy of a green run's artifacts whose capture is altered. The run is made by the first that needs
    /// it.
    fn judge_altered(&self, scenario: &Scenario, alter: capture::Alter, directory: &Path) -> Result<Verdict> {
        let green = self.kept.directory().join(format!("green-{}", scenario.name));
        if !green.is_dir() {
            let verdict = trial(self.provider, &self.case(scenario, &self.snapshot(scenario)), &green)?;
            if !verdict.passed {
                return Err(Error::setup(format!("{} is not green without a mutation", scenario.name))
                    .detail(verdict.to_string()));
            }
        }
        let evidence = RunEvidence::read(&green)?;
        capture::copy(&green, directory, alter)?;
        let accepted = Accepted::read(Some(&self.snapshot(scenario)))?;
        let verdict = judge(&evidence, directory, &accepted);
        artifacts::keep(&verdict, directory)?;
        Ok(verdict)
    }

    fn snapshot(&self, scenario: &Scenario) -> PathBuf {
        snapshot::file(self.snapshots, &scenario.name)
    }

    fn case<'a>(&'a self, scenario: &'a Scenario, snapshot: &'a Path) -> Case<'a> {
        Case {
            scenario,
            programs: self.programs,
            snapshot: Some(snapshot),
            replay: "cargo xtask self-test",
            accept: "",
        }
    }
}
