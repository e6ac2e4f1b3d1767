//! Is each warning true? What a recorder did to a clean capture must not be told as the fault of the network or of a node.
//!
//! A warning is true where the capture, before it was mutilated, has one of the same PSNs: some of the captures have real losses. That the capture lacks packets is
//! true where it does. Every other warning blames who did nothing.

use roce::{Evidence, Finding, Rule, Severity};

/// Bounds of one way to mutilate, in variants.
pub(crate) struct Bound {
    pub(crate) way: &'static str,
    /// True if every packet is still there.
    keeps_all: bool,
    /// The most variants with a warning that is not true.
    pub(crate) false_most: u64,
    /// The least of each hundred real losses that are still told as warnings.
    pub(crate) real_least_percent: u64,
}

const fn bound(way: &'static str, keeps_all: bool, false_most: u64, real_least_percent: u64) -> Bound {
    Bound { way, keeps_all, false_most, real_least_percent }
}

/// Bounds of each way, of 1,170 variants.
///
/// Left where packets are gone: a gap right before the capture's end, answers of READs that were asked for twice. Left where packets stand elsewhere: those that are
/// late by more than a requester takes to send again, or that stand before their connection management.
pub(crate) const BOUNDS: [Bound; 13] = [
    bound("gaps of 1 %", false, 1, 97),
    bound("gaps of 5 %", false, 0, 90),
    bound("gaps of 30 %", false, 20, 30),
    bound("bursts", false, 18, 70),
    bound("cut at either end", false, 0, 25),
    bound("everything twice", true, 15, 100),
    bound("some twice", true, 0, 100),
    bound("another order", true, 62, 55),
    bound("gaps, copies and another order", false, 28, 50),
    bound("shuffled", true, 26, 0),
    bound("refusals twice", true, 0, 100),
    bound("one direction", false, 2, 0),
    bound("snap length", false, 8, 75),
];

/// PSNs that a finding names.
fn psns(finding: &Finding) -> Vec<u32> {
    let mut all: Vec<u32> = finding.psn.iter().map(|psn| psn.value()).collect();
    if let Evidence::Psn { expected, got } = finding.evidence {
        all.extend([expected.value(), got.value()]);
    }
    all
}

/// True if two findings name the same PSN.
fn are_of_one(one: &Finding, other: &Finding) -> bool {
    let known = psns(other);
    psns(one).iter().any(|psn| known.contains(psn))
}

/// True for a NAK of a capture that has real ones: it is there, whatever else is told of its loss.
fn is_refused(finding: &Finding, known: &Finding) -> bool {
    (finding.rule, known.rule) == (Rule::NakWithoutGap, Rule::RequestPsnGap)
}

impl Bound {
    /// True if a finding is a warning, and nothing of the whole capture bears it out.
    pub(crate) fn is_false(&self, finding: &Finding, whole: &[Finding]) -> bool {
        finding.severity >= Severity::Warning
            && (self.keeps_all || finding.rule != Rule::CaptureLostPackets)
            && !whole.iter().any(|known| are_of_one(finding, known) || is_refused(finding, known))
    }
}

/// Warnings of the whole capture, and how many of them are among those of the mutilated one.
pub(crate) fn kept(found: &[Finding], whole: &[Finding]) -> (u64, u64) {
    let is_warning = |finding: &&Finding| finding.severity >= Severity::Warning;
    let is_told =
        |known: &&Finding| found.iter().filter(is_warning).any(|finding| are_of_one(finding, known));
    let real = whole.iter().filter(is_warning);
    (real.clone().count() as u64, real.filter(is_told).count() as u64)
}
