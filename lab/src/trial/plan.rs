//! Plan of an invocation, written before the first run: what has no verdict in the end was interrupted.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::cache::write_whole;
use crate::base::error::{Error, IoContext as _, Result};
use crate::judge::verdict::Verdict;

/// The plan's file in an invocation's directory.
pub const FILE: &str = "plan.json";

/// The scenarios of an invocation, and how often each is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPlan {
    /// The names.
    pub scenarios: Vec<String>,
    /// Number of times that each is run.
    pub repeat: u16,
}

impl RunPlan {
    /// A plan of these scenarios.
    pub fn new<S: Into<String>>(scenarios: impl IntoIterator<Item = S>, repeat: u16) -> RunPlan {
        RunPlan { scenarios: scenarios.into_iter().map(Into::into).collect(), repeat }
    }

    /// Writes it into an invocation's directory.
    ///
    /// # Errors
    ///
    /// The directory cannot be written.
    pub fn write(&self, run: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| Error::setup("failed to write the plan").source(source))?;
        write_whole(&run.join(FILE), &text)
    }

    /// Reads that of an invocation; `None` where it has none.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(run: &Path) -> Result<Option<RunPlan>> {
        let file = run.join(FILE);
        if !file.is_file() {
            return Ok(None);
        }
        let text = fs::read(&file).at("failed to read", &file)?;
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| Error::setup(format!("{} is no plan", file.display())).source(source))
    }

    /// The runs that have no verdict among `verdicts`. A run that was disturbed was made once more, so it counts once; a
    /// scenario with a red run is not repeated.
    pub fn missing(&self, verdicts: &[Verdict]) -> Vec<Verdict> {
        let mut missing = Vec::new();
        for name in &self.scenarios {
            let own =
                || verdicts.iter().filter(|verdict| verdict.scenario == *name && !verdict.is_superseded);
            let is_over = own().any(|verdict| !verdict.passed);
            let judged = own().count();
            let why = match judged {
                0 => "the run ended before its turn, or in the middle of it".to_owned(),
                _ => format!("the run ended after {judged} of {} runs of it", self.repeat),
            };
            if !is_over {
                let lacking = usize::from(self.repeat).saturating_sub(judged);
                missing.extend((0..lacking).map(|_| Verdict::interrupted(name, why.as_str())));
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_without_a_verdict_are_missing() {
        let of = |name: &str| Verdict { scenario: name.to_owned(), passed: true, ..Verdict::default() };
        let plan = RunPlan::new(["a", "b", "c"], 2);
        let disturbed = Verdict { is_superseded: true, passed: false, ..of("a") };
        let red = Verdict { passed: false, ..of("c") };
        let missing = plan.missing(&[of("a"), disturbed, red]);
        let names: Vec<&str> = missing.iter().map(|verdict| verdict.scenario.as_str()).collect();
        assert_eq!(names, ["a", "b", "b"]);
        assert_eq!(missing[0].not_run.as_deref(), Some("the run ended after 1 of 2 runs of it"));
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(RunPlan::read(directory.path()).unwrap(), None);
        plan.write(directory.path()).unwrap();
        assert_eq!(RunPlan::read(directory.path()).unwrap(), Some(plan));
    }
}
