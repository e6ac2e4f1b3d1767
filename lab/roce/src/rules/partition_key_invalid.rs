//! [`Rule::PartitionKeyInvalid`]: a packet of no partition.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Once, Rule, RuleText};
use crate::rules::partition_key_differs::PARTITION;
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, bare, first};
use crate::wire::Bth;

pub(super) const TEXT: RuleText = RuleText::new(
    "The low 15 bits of a P_Key name the partition; zero names none. Reported once for each receiver.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (check_keys), include/rdma/ib_cache.h",
)
.once(Once::ByReceiver);

/// Looks for a key that names no partition.
#[inline]
pub(crate) fn check(bth: Bth<'_>) -> Option<Broken> {
    let got = u64::from(bth.p_key());
    let evidence = Evidence::Number { what: "a partition such as", expected: 0xffff, got };
    (bth.p_key() & PARTITION == 0).then(|| Broken::new(Rule::PartitionKeyInvalid, evidence))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || bare().put(first(|bth| bth.p_key = 0x8000)).ack(0, 1),
    keeps: || bare().put(first(|bth| bth.p_key = 0x8001)).ack(0, 1),
    beside: &[],
};
