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
    /// Whether the requester sent it.
    pub(crate) is_request: bool,
}

impl Broken {
    pub(crate) fn new(rule: Rule, evidence: Evidence) -> Self {
        Self { rule, severity: rule.severity(), evidence, at: None }
    }
}
