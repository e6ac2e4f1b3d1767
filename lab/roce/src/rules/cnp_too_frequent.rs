//! [`Rule::CnpTooFrequent`]: congestion notifications without a pace.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Once, Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed};

pub(super) const TEXT: RuleText = RuleText::new(
    "A notification point paces its CNPs, by default at least 4 microseconds apart for each flow. Told once for each receiver.",
    "Linux drivers/net/ethernet/mellanox (np min_time_between_cnps), Lumina (SIGCOMM 2023)",
)
.once(Once::ByReceiver);

/// Least time between two congestion notifications of a flow.
const PACE_NS: u64 = 4_000;

/// Holds the time since the last one against the pace.
pub(crate) fn check(got_ns: u64) -> Option<Broken> {
    let evidence = Evidence::Time { expected_ns: PACE_NS, got_ns };
    (got_ns < PACE_NS).then(|| Broken::new(Rule::CnpTooFrequent, evidence))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().cnp(10, true).cnp(1, true),
    keeps: || managed().cnp(10, true).cnp(4, true),
    beside: &[],
};
