//! Facts of a run that are compared between guests, read from its artifacts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use roce::RetransmissionClass;

use crate::base::error::Result;
use crate::base::role::Role;
use crate::run::evidence::RunEvidence;
use crate::run::kernel_log;
use crate::scenario::Scenario;
use crate::scenario::differences::Differences;
use crate::trial::artifacts::TRACE;

/// Classes of retransmissions, as people name them.
const CLASSES: [(RetransmissionClass, &str); 6] = [
    (RetransmissionClass::GoBackN, "go-back-N"),
    (RetransmissionClass::RnrRetry, "RNR retry"),
    (RetransmissionClass::ReadRetry, "READ retry"),
    (RetransmissionClass::Timeout, "timeout"),
    (RetransmissionClass::Spurious, "spurious"),
    (RetransmissionClass::Duplicate, "duplicate"),
];

/// Facts of one run.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// The scenario that was run.
    pub scenario: Scenario,
    /// Declared differences of the machines.
    pub declared: Differences,
    /// The trace, as the scenario compares it; empty if there is none.
    pub trace: String,
    /// Counters of trouble, by node and name.
    pub counters: BTreeMap<Role, BTreeMap<String, u64>>,
    /// Texts of the kernels' warnings, by node.
    pub kernel_log: BTreeMap<Role, BTreeSet<String>>,
    /// Packets that were sent again, by class; classes without any are left out.
    pub recovery: BTreeMap<&'static str, u64>,
    /// Rules that the wire breaks, by name.
    pub findings: BTreeSet<String>,
}

impl RunFacts {
    /// Reads them from the artifacts of a run.
    ///
    /// # Errors
    ///
    /// Its evidence or its capture cannot be read.
    pub fn read(artifacts: &Path) -> Result<RunFacts> {
        let evidence = RunEvidence::read(artifacts)?;
        let report = evidence.decode(artifacts)?;
        let again = |(class, name): (RetransmissionClass, &'static str)| {
            let count = report.retransmissions.of(class);
            (count > 0).then_some((name, count))
        };
        let nodes = || evidence.nodes.iter();
        Ok(RunFacts {
            trace: fs::read_to_string(artifacts.join(TRACE)).unwrap_or_default(),
            counters: nodes().map(|(role, node)| (*role, node.counters.clone())).collect(),
            kernel_log: nodes().map(|(role, node)| (*role, kernel_log::texts(&node.kernel_log))).collect(),
            recovery: CLASSES.into_iter().filter_map(again).collect(),
            findings: report.findings.iter().map(|finding| finding.rule.name()).collect(),
            declared: evidence.differences,
            scenario: evidence.scenario,
        })
    }
}
