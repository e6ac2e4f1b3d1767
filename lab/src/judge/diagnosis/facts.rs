//! What the families of causes ask of a run's evidence.

use std::net::IpAddr;
use std::path::Path;

use roce::{Finding, Report, Rule};

use crate::base::error::Result;
use crate::base::role::Role;
use crate::judge::completeness::{Completeness, Why};
use crate::run::evidence::{NodeEvidence, RunEvidence};

use super::wire::WireFacts;

/// Longest part of a line that is shown.
const SHOWN: usize = 160;

/// The evidence of a run, and what was read from its capture.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What was seen.
    pub evidence: &'a RunEvidence,
    /// The capture's report; `None` where there is no capture.
    pub report: Option<&'a Report>,
    /// What the capture has beyond its report.
    pub wire: WireFacts,
    /// What the devices did not take.
    pub completeness: &'a Completeness,
}

impl<'a> Facts<'a> {
    /// Reads what is asked of the capture in `artifacts`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn gather(
        evidence: &'a RunEvidence,
        report: Option<&'a Report>,
        completeness: &'a Completeness,
        artifacts: &Path,
    ) -> Result<Facts<'a>> {
        let wire = match report {
            Some(report) => WireFacts::read(artifacts, report)?,
            None => WireFacts::default(),
        };
        Ok(Facts { evidence, report, wire, completeness })
    }

    /// The name of the node with that address, or the address.
    pub fn name(&self, address: IpAddr) -> String {
        self.evidence.owner(address).map_or(address.to_string(), |role| role.to_string())
    }

    /// What was seen of a node.
    pub fn node(&self, role: Role) -> Option<&'a NodeEvidence> {
        self.evidence.nodes.get(&role)
    }

    /// The findings of a rule.
    pub fn findings(&self, rule: Rule) -> impl Iterator<Item = &'a Finding> {
        let findings = self.report.map_or(&[][..], |report| &report.findings);
        findings.iter().filter(move |finding| finding.rule == rule)
    }

    /// How many packets of the capture were delivered to a node.
    pub fn delivered(&self, role: Role) -> u64 {
        let Some(report) = self.report else { return 0 };
        let is_own = |address: &IpAddr| self.evidence.owner(*address) == Some(role);
        report.delivered.iter().filter(|(address, _)| is_own(address)).map(|(_, count)| count).sum()
    }

    /// Whether the device of the node with that address took none of the packets that were delivered to it, for a reason that the
    /// capture does not show.
    pub fn is_discarded(&self, address: IpAddr) -> bool {
        self.evidence.owner(address).is_some_and(|role| {
            let count = self.completeness.not_taken(role, |why| *why == Why::Unknown);
            count > 0 && count >= self.delivered(role)
        })
    }

    /// How far a counter of a node moved on.
    pub fn counter(&self, role: Role, name: &str) -> u64 {
        self.node(role).and_then(|node| node.counters.get(name)).copied().unwrap_or(0)
    }

    /// The exit code of a program that ended by itself.
    pub fn exit_code(&self, role: Role) -> Option<i32> {
        let node = self.node(role).filter(|node| !node.is_timed_out && !node.is_stopped)?;
        node.output.as_ref()?.code
    }

    /// Whether a program failed by itself: another exit code than the expected one.
    pub fn has_failed(&self, role: Role) -> bool {
        let node = self.node(role);
        node.is_some_and(|node| {
            !node.is_timed_out
                && !node.is_stopped
                && node.output.is_some()
                && !self.evidence.has_ended_well(role)
        })
    }

    /// Whether a program ended with anything but 0 by itself, expected or not, or had not ended at the limit.
    pub fn is_in_trouble(&self, role: Role) -> bool {
        self.exit_code(role).is_some_and(|code| code != 0) || self.has_failed(role) || self.is_hung(role)
    }

    /// Whether a program was still running when the lab stopped it.
    pub fn is_hung(&self, role: Role) -> bool {
        self.node(role).is_some_and(|node| node.is_timed_out)
    }

    /// The last line in which a program said one of these, whatever the case: "client's stderr: …".
    pub fn said(&self, role: Role, parts: &[&str]) -> Option<String> {
        let output = self.node(role)?.output.as_ref()?;
        let says = |line: &&str| {
            let line = line.to_lowercase();
            parts.iter().any(|part| line.contains(&part.to_lowercase()))
        };
        for (what, text) in [("stderr", &output.stderr), ("stdout", &output.stdout)] {
            if let Some(line) = text.lines().rev().find(says) {
                return Some(format!("{role}'s {what}: {}", shown(line)));
            }
        }
        None
    }

    /// The last line of a node's kernel log with this part.
    pub fn logged(&self, role: Role, part: &str) -> Option<String> {
        let line = self.node(role)?.kernel_log.lines().rev().find(|line| line.contains(part))?;
        Some(format!("{role}'s kernel log: {}", shown(line)))
    }
}

/// A line, cut where it is too long for a screen.
pub fn shown(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}
