//! [`Rule::QKeyUntold`]: a Q_Key that may well be wrong.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, told};

pub(super) const TEXT: RuleText = RuleText::new(
    "A queue pair drops a datagram of another Q_Key than its own, without a word. Programs take a usual one (0x11111111 of perftest and ibv_ud_pingpong, 0x01234567 of librdmacm, 0xb1b of IPoIB) or tell each other. When the capture has the number of the receiver as its node told it, but not this Q_Key, which is none of the usual ones, and the receiver sends nothing, then nothing shows that it takes the datagram. Told once for each receiver, of 1,024 receivers.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (check_keys), include/rdma/rdma_cm.h (RDMA_UDP_QKEY)",
);

/// Q_Keys that programs take without telling each other.
const USUAL: [u32; 3] = [0x1111_1111, 0x0123_4567, 0xb1b];

/// True if programs take that Q_Key without telling each other.
pub(crate) fn is_usual(q_key: u32) -> bool {
    USUAL.contains(&q_key)
}

/// Tells of a Q_Key that nothing shows to be the receiver's.
pub(crate) fn found(qpn: u32, q_key: u32) -> Broken {
    Broken::new(Rule::QKeyUntold, Evidence::UntoldQKey { qpn, q_key })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || told(0x1f1, 0x1f2).datagram(0x1f2, 0x2222_2222),
    keeps: || told(0x1f1, 0x1f2).datagram(0x1f2, 0x1111_1111),
    beside: &[],
};
