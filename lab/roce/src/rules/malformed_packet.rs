//! [`Rule::MalformedPacket`]: a packet whose lengths do not agree.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, bare, send};
use crate::wire::Packet;

pub(super) const TEXT: RuleText = RuleText::new(
    "A header is longer than what is left of the packet, or the UDP and IP lengths disagree. What the snap length cut is not malformed.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (hdr_check), include/rdma/ib_pack.h",
);

/// Tells where the decoding of a packet stopped that nothing cut.
#[inline]
pub(crate) fn check(packet: &Packet<'_>) -> Option<Broken> {
    packet.stop.map(|stop| Broken::new(Rule::MalformedPacket, Evidence::Stop(stop)))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        let mut frame = send(0);
        frame.truncate(frame.len().saturating_sub(3));
        bare().put(frame).ack(0, 1)
    },
    keeps: || {
        // Ethernet's own pad.
        let mut frame = send(0);
        frame.extend([0; 3]);
        bare().put(frame).ack(0, 1)
    },
    beside: &[],
};
