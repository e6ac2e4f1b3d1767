//! A run as a page shows it: the verdict, and everything beside the wire.

use crate::calls::Calls;

/// State of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunState {
    /// Every check passed.
    Passed,
    /// A check failed.
    Failed,
    /// The machines stood still, so it proves nothing.
    Disturbed,
    /// Nothing ran.
    NotRun,
    /// Nobody judged it: a capture alone.
    #[default]
    NotJudged,
}

impl RunState {
    /// A word for it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Disturbed => "disturbed",
            Self::NotRun => "not run",
            Self::NotJudged => "not judged",
        }
    }

    /// A sign for it, so that colour does not say it alone.
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Passed => "✓",
            Self::Failed => "✗",
            Self::Disturbed => "≈",
            Self::NotRun => "–",
            Self::NotJudged => "?",
        }
    }

    /// Its class in the style sheet.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Disturbed => "disturbed",
            Self::NotRun | Self::NotJudged => "quiet",
        }
    }
}

/// Failed check, or cause of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// Check, in one word: `WIRE`.
    pub check: String,
    /// The fault in words, in short in the first line.
    pub text: String,
}

/// Counter of both machines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counter {
    /// Its name.
    pub name: String,
    /// Distance that it moved, node by node in the order of [`Run::nodes`]; `None` where it is not known.
    pub values: Vec<Option<u64>>,
}

/// Text that a run left: a program's output, a kernel's log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunText {
    /// Whose it is: `server: rdma_server`.
    pub title: String,
    /// A few words on it: `exit code 0`.
    pub remark: String,
    /// The text.
    pub text: String,
}

/// Run of two programs between machines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// Its state.
    pub state: RunState,
    /// The headline: the first failed check, or what proves that all passed.
    pub headline: String,
    /// Subject of the scenario.
    pub summary: String,
    /// Ends of the programs: `client: exit code 3`.
    pub ends: Vec<String>,
    /// Faults made on purpose: `the switch is told to drop RC RDMA WRITE Middle`.
    pub faults: Vec<String>,
    /// Failures that were expected, in a sentence each.
    pub expected: Vec<String>,
    /// Data as each program judges it: `client: 4096 bytes written, verified`.
    pub data: Vec<String>,
    /// Failed checks, the most telling first.
    pub causes: Vec<Cause>,
    /// Causes of what went wrong, where the scenario expects them.
    pub expected_causes: Vec<Cause>,
    /// Further facts, as names and values: the machines, the time, the command that runs it again.
    pub facts: Vec<(String, String)>,
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// Counters of the RDMA devices.
    pub counters: Vec<Counter>,
    /// Verbs calls, completions and CM events of the programs that log them.
    pub calls: Vec<Calls>,
    /// Outputs of programs, and logs.
    pub outputs: Vec<RunText>,
}
