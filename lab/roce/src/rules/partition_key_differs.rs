//! [`Rule::PartitionKeyDiffers`]: a packet of another partition than its connection's.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::flow::Connection;
use crate::rule::{Once, Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, first, managed};
use crate::wire::Bth;

pub(super) const TEXT: RuleText = RuleText::new(
    "The low 15 bits of a P_Key name the partition, and both ends of a connection are in that of its REQ. The highest bit, full or limited membership, may differ. A receiver drops such a packet and counts a violation. Reported once for each receiver.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (check_keys)",
)
.once(Once::ByReceiver);

/// Bits of a P_Key that name the partition.
pub(super) const PARTITION: u16 = 0x7fff;

/// Holds the partition of a packet against that of its connection.
#[inline]
pub(crate) fn check(connection: &Connection, bth: Bth<'_>) -> Option<Broken> {
    let expected = connection.p_key?;
    let got = bth.p_key();
    let is_other = (expected ^ got) & PARTITION != 0 && got & PARTITION != 0;
    is_other.then(|| {
        let (expected, got) = (u64::from(expected), u64::from(got));
        Broken::new(Rule::PartitionKeyDiffers, Evidence::Number { what: "P_Key", expected, got })
    })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(first(|bth| bth.p_key = 0x8001)).ack(0, 1),
    keeps: || {
        // A limited member of the same partition.
        managed().put(first(|bth| bth.p_key = 0x7fff)).ack(0, 1)
    },
    beside: &[],
};
