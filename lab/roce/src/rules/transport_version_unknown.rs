//! [`Rule::TransportVersionUnknown`]: a version of the transport header other than 0.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Once, Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, bare, first};
use crate::wire::Bth;

pub(super) const TEXT: RuleText = RuleText::new(
    "The four bits TVer of the BTH are zero; a receiver discards anything else. Reported once for each receiver.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (hdr_check)",
)
.once(Once::ByReceiver);

/// Holds the version against 0.
#[inline]
pub(crate) fn check(bth: Bth<'_>) -> Option<Broken> {
    let got = u64::from(bth.transport_version());
    let evidence = Evidence::Number { what: "transport version", expected: 0, got };
    (got != 0).then(|| Broken::new(Rule::TransportVersionUnknown, evidence))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || bare().put(first(|bth| bth.transport_version = 1)).ack(0, 1),
    keeps: || bare().put(first(|bth| bth.migration_request = true)).ack(0, 1),
    beside: &[],
};
