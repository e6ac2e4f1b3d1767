//! A broken rule on its way to a finding, and the packet that shows it.

use crate::finding::Evidence;
use crate::rule::{Rule, Severity};
use crate::wire::Psn;

/// A rule that is broken, on its way to a finding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    pub(crate) severity: Severity,
    pub(crate) evidence: Evidence,
    /// The packet that shows it, when it is another than the one that is looked at.
    pub(crate) at: Option<Spot>,
}

/// A packet of a connection that a later one tells something of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) number: u64,
    pub(crate) psn: Psn,
    /// True if the requester sent it.
    pub(crate) is_request: bool,
}

impl Broken {
    pub(crate) fn new(rule: Rule, evidence: Evidence) -> Self {
        Self { rule, severity: rule.severity(), evidence, at: None }
    }

    /// The same, of another severity.
    pub(crate) fn with(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// The same as a warning unless it is sure: a fault of the capture would explain it as well.
    pub(crate) fn sure_if(self, is_sure: bool) -> Self {
        if is_sure { self } else { self.with(Severity::Warning) }
    }

    /// The same as a note unless it is certain: a recorder that lost one packet explains it as well, and nothing tells the two apart.
    pub(crate) fn note_unless(self, is_certain: bool) -> Self {
        if is_certain { self } else { self.with(Severity::Note) }
    }

    /// The same, shown by another packet than the one that is looked at.
    pub(crate) fn at(self, spot: Spot) -> Self {
        Self { at: Some(spot), ..self }
    }
}
