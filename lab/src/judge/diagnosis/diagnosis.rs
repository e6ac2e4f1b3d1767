//! One cause of a failed run, with the values of that run.

use serde::{Deserialize, Serialize};

use crate::scenario::cause::Cause;

/// A cause with the values of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The cause.
    pub cause: Cause,
    /// The fault, in one sentence with the values at hand.
    pub sentence: String,
    /// Evidence of it, each in a line: a packet, a counter, a line of a log or of a program.
    pub evidence: Vec<String>,
    /// The next step.
    pub next: String,
}

impl Diagnosis {
    /// A cause with its usual advice.
    pub fn new(cause: Cause, sentence: impl Into<String>) -> Diagnosis {
        Diagnosis { cause, sentence: sentence.into(), evidence: Vec::new(), next: cause.next().to_owned() }
    }

    /// Adds what shows it.
    #[must_use]
    pub fn shown_by(mut self, evidence: impl IntoIterator<Item = String>) -> Diagnosis {
        for line in evidence {
            if !self.evidence.contains(&line) {
                self.evidence.push(line);
            }
        }
        self
    }
}
