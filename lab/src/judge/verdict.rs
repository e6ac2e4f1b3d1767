//! The verdict on a run: passed, or every check that failed, the first named first.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::invocation;
use crate::base::role::Role;
use crate::judge::diagnosis::Diagnosis;
use crate::node::Provenance;
use crate::wire::limits::PortCount;

/// Reasons that a run failed, in the order in which a headline is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Reason {
    /// Build or deployment failed before anything ran.
    Setup,
    /// A machine did not come up or ended.
    Boot,
    /// The capture is missing, cut, or not complete against the kernel's counters.
    Capture,
    /// A program did not end within the limit.
    Timeout,
    /// A kernel logged what a healthy one does not.
    Dmesg,
    /// The trace differs from its snapshot, or there is none.
    Wire,
    /// A program's exit code, result or payload is not what is expected.
    App,
    /// A protocol rule was broken and that was not expected, or the reverse.
    Rule,
    /// The programs' completions do not agree with the wire.
    Agreement,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Reason::Setup => "SETUP",
            Reason::Boot => "BOOT",
            Reason::Capture => "CAPTURE",
            Reason::Timeout => "TIMEOUT",
            Reason::Dmesg => "DMESG",
            Reason::Wire => "WIRE",
            Reason::App => "APP",
            Reason::Rule => "RULE",
            Reason::Agreement => "AGREEMENT",
        })
    }
}

/// One check that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The check.
    pub reason: Reason,
    /// The fault in words, in short in the first line.
    pub text: String,
}

/// Expectations that a run would have met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meant {
    /// As options of `run`.
    pub options: Vec<String>,
    /// As lines of a scenario.
    pub lines: Vec<String>,
}

/// Outcome of one scenario.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The scenario.
    pub scenario: String,
    /// True if every check passed.
    pub passed: bool,
    /// The first failed check's reason.
    pub headline: Option<Reason>,
    /// All failed checks, in the order of their reasons.
    pub failures: Vec<Failure>,
    /// Causes of its failure, as far as the evidence tells, the most direct first; they head the verdict.
    pub causes: Vec<Diagnosis>,
    /// Causes that the scenario expects, and that were found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected_causes: Vec<Diagnosis>,
    /// Remarks that are held against nobody: deviations of SoftRoCE.
    pub notes: Vec<Diagnosis>,
    /// Worth of the checks that passed, in a few words: "complete: 12 packets by rxe's counters".
    pub proof: String,
    /// RoCEv2 packets in the capture.
    pub packets: u64,
    /// The rules that the wire breaks, expected or not, by name.
    pub findings: Vec<String>,
    /// Duration of the run, machines included.
    pub seconds: f64,
    /// True if a machine stood still: the requester's ACK timeout ran out, in a scenario that gives it no reason to, or a
    /// check failed and a kernel says that the host did not let it run. Such a run proves nothing.
    pub is_disturbed: bool,
    /// True if the scenario was run once more for that, so that the other run counts.
    pub is_superseded: bool,
    /// Reason that the scenario was not run; neither passed nor failed then.
    pub not_run: Option<String>,
    /// It was not run, or not to its end, because the invocation ended: red.
    pub is_interrupted: bool,
    /// Proofs of a green run beside that its capture is complete.
    pub proven: String,
    /// The provider, and what ran its machines.
    pub provider: String,
    /// Release and kernel of each machine, as far as that is known.
    pub provenance: BTreeMap<Role, Provenance>,
    /// Declared differences of these machines, by keys; empty where there are none.
    pub differs: String,
    /// Frames that passed the scenario's limited ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortCount>,
    /// Directory in which everything about the run is kept.
    pub artifacts: PathBuf,
    /// The snapshot that a run which was judged again was compared with; else the evidence names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<PathBuf>,
    /// The command that runs it again.
    pub replay: String,
    /// Option that makes that command accept a trace that is meant.
    pub accept: String,
    /// Expectations that would have made the run green but for its trace, if it is meant.
    pub meant: Option<Meant>,
    /// The trace, for the snapshot.
    #[serde(skip)]
    pub trace: Option<String>,
    /// The accepted trace that it was compared with, if it was.
    #[serde(skip)]
    pub accepted: Option<String>,
}

impl Verdict {
    /// True if nothing but the trace is in question, so that a person may accept it.
    pub fn can_be_accepted(&self) -> bool {
        !self.is_disturbed && self.failures.iter().all(|failure| failure.reason == Reason::Wire)
    }

    /// On a scenario that the machines at hand cannot run, or that never had its turn.
    pub fn not_run(scenario: &str, why: impl Into<String>) -> Verdict {
        Verdict { scenario: scenario.to_owned(), not_run: Some(why.into()), ..Verdict::default() }
    }

    /// On a scenario that was planned and has no verdict.
    pub fn interrupted(scenario: &str, why: impl Into<String>) -> Verdict {
        Verdict { is_interrupted: true, ..Verdict::not_run(scenario, why) }
    }

    /// On a scenario that failed before there was anything to judge.
    pub fn failed(scenario: &str, reason: Reason, text: impl Into<String>) -> Verdict {
        let failures = vec![Failure { reason, text: text.into() }];
        Verdict { scenario: scenario.to_owned(), failures, ..Verdict::default() }.concluded()
    }

    /// Puts the failed checks in order and names the headline.
    #[must_use]
    pub fn concluded(mut self) -> Verdict {
        self.failures.sort_by_key(|failure| failure.reason);
        self.make_plain();
        self.passed = self.failures.is_empty() && self.not_run.is_none();
        self.headline = self.failures.first().map(|failure| failure.reason);
        self
    }
}

impl Verdict {
    /// Takes what a terminal would act on out of texts that may hold a machine's or a program's words.
    fn make_plain(&mut self) {
        let plain = |text: &mut String| *text = crate::base::plain::plain(text);
        for failure in &mut self.failures {
            plain(&mut failure.text);
        }
        for diagnosis in self.causes.iter_mut().chain(&mut self.notes) {
            plain(&mut diagnosis.sentence);
            diagnosis.evidence.iter_mut().for_each(plain);
        }
        plain(&mut self.proof);
        // Artifacts from elsewhere may say anything here.
        plain(&mut self.replay);
        plain(&mut self.accept);
    }

    /// A red verdict in one line: its cause, else its first failed check.
    pub fn headline_text(&self) -> String {
        match (self.causes.first(), self.failures.first()) {
            (Some(Diagnosis { cause, sentence, .. }), Some(_)) => format!("{cause}: {sentence}"),
            (_, Some(Failure { reason, text })) => {
                format!("{reason}: {}", text.lines().next().unwrap_or_default())
            }
            (_, None) => String::new(),
        }
    }
}

/// One screen: the headline, every other reason, where to look and how to run it again.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.not_run {
            let what = if self.is_interrupted { "interrupted" } else { "not run" };
            return write!(f, "{}: {what}: {why}", self.scenario);
        }
        if self.failures.is_empty() {
            write!(f, "{}: {}", self.scenario, self.proof)?;
            if !self.proven.is_empty() {
                write!(f, "\n  proven     {}", self.proven)?;
            }
            return self.notes.iter().try_for_each(|note| write!(f, "\n  {}: {}", note.cause, note.sentence));
        }
        writeln!(f, "{}: {}", self.scenario, self.headline_text())?;
        for (index, diagnosis) in self.causes.iter().enumerate() {
            if index > 0 {
                writeln!(f, "  {}: {}", diagnosis.cause, diagnosis.sentence)?;
            }
            for line in &diagnosis.evidence {
                writeln!(f, "             {line}")?;
            }
            writeln!(f, "  next       {}", diagnosis.next)?;
            let explain = invocation::program(&format!("explain {}", diagnosis.cause));
            writeln!(f, "             more: {explain}")?;
        }
        for (index, failure) in self.failures.iter().enumerate() {
            let mut lines = failure.text.lines();
            let line = lines.next().unwrap_or_default();
            if index > 0 || !self.causes.is_empty() {
                writeln!(f, "  {:<9}  {line}", failure.reason)?;
            }
            for line in lines {
                writeln!(f, "             {line}")?;
            }
        }
        for note in &self.notes {
            writeln!(f, "  {}: {}", note.cause, note.sentence)?;
        }
        writeln!(f, "  artifacts  {}", self.artifacts.display())?;
        write!(f, "  replay     {}", self.replay)?;
        if self.can_be_accepted() && !self.accept.is_empty() {
            write!(f, "\n  if meant   {} {}", self.replay, self.accept)?;
        }
        match &self.meant {
            // `run` says what it expects by options; a scenario in its file.
            Some(Meant { options, .. }) if self.accept == "--accept" => {
                write!(f, "\n  if meant   {} {}", self.replay, options.join(" "))?;
            }
            Some(Meant { lines, .. }) => write!(f, "\n  if meant   {}", lines.join("\n             "))?,
            None => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(reasons: &[Reason]) -> Verdict {
        Verdict {
            scenario: "x".to_owned(),
            failures: reasons
                .iter()
                .map(|&reason| Failure { reason, text: format!("about {reason}\nmore") })
                .collect(),
            proof: "12 packets".to_owned(),
            artifacts: "/a".into(),
            replay: "again".to_owned(),
            ..Verdict::default()
        }
        .concluded()
    }

    #[test]
    fn headline_is_the_first_reason_and_all_are_kept() {
        let verdict = verdict(&[Reason::Agreement, Reason::App, Reason::Wire]);
        assert_eq!(verdict.headline, Some(Reason::Wire));
        assert_eq!(
            verdict.to_string(),
            "x: WIRE: about WIRE\n\
             \u{20}            more\n\
             \u{20} APP        about APP\n\
             \u{20}            more\n\
             \u{20} AGREEMENT  about AGREEMENT\n\
             \u{20}            more\n\
             \u{20} artifacts  /a\n\
             \u{20} replay     again"
        );
    }

    #[test]
    fn what_would_make_it_green_is_told_as_options_or_as_lines() {
        let meant =
            Meant { options: vec!["--client-exit 3".into()], lines: vec!["[expect.client] exit = 3".into()] };
        let mut verdict =
            Verdict { meant: Some(meant), accept: "--accept".to_owned(), ..verdict(&[Reason::App]) };
        assert!(verdict.to_string().ends_with("\n  if meant   again --client-exit 3"), "{verdict}");
        verdict.accept = "--review".to_owned();
        assert!(verdict.to_string().ends_with("\n  if meant   [expect.client] exit = 3"), "{verdict}");
    }

    #[test]
    fn command_of_artifacts_from_elsewhere_is_plain() {
        let verdict = Verdict { replay: "again \u{1b}[2J".to_owned(), ..verdict(&[Reason::App]) }.concluded();
        assert!(verdict.to_string().ends_with("  replay     again \\x1b[2J"), "{verdict}");
    }

    #[test]
    fn verdict_without_failures_passed() {
        let verdict = verdict(&[]);
        assert!(verdict.passed && verdict.headline.is_none());
        assert_eq!(verdict.to_string(), "x: 12 packets");
    }
}
