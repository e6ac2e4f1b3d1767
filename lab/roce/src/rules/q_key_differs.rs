//! [`Rule::QKeyDiffers`]: a datagram that its receiver drops.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Once, Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, bare};

pub(super) const TEXT: RuleText = RuleText::new(
    "A queue pair of datagrams has one Q_Key, and drops what carries another, without a word. That of queue pair 1 is 0x80010000; that of a service is in the answer of service id resolution. Where the capture has only datagrams of different Q_Keys to one queue pair, nothing tells which is right, and the finding is a note. Reported once for each receiver.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (check_keys), include/rdma/ib_mad.h (IB_QP1_QKEY)",
)
.once(Once::ByReceiver);

/// Holds the Q_Key of a datagram against its receiver's.
pub(crate) fn check(expected: u32, got: u32) -> Option<Broken> {
    let (is_other, expected, got) = (expected != got, u64::from(expected), u64::from(got));
    is_other.then(|| Broken::new(Rule::QKeyDiffers, Evidence::Number { what: "Q_Key", expected, got }))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || bare().datagram(0x1f2, 0x1111_1111).datagram(0x1f2, 0x2222_2222),
    keeps: || bare().datagram(0x1f2, 0x1111_1111).datagram(0x1f3, 0x2222_2222),
    beside: &[],
};
