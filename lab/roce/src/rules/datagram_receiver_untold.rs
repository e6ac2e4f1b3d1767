//! [`Rule::DatagramReceiverUntold`]: a queue pair number that may well be wrong.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, told};

pub(super) const TEXT: RuleText = RuleText::new(
    "Programs tell each other the numbers of their queue pairs: in the private data of connection management, in SENDs, over TCP. When the capture has the number of the sender so, but nothing that tells the receiver's, and no packet that it sent, then the datagram probably goes nowhere: a node drops what is for a queue pair that it has not, without a word. Told once for each receiver, of 1,024 receivers.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (hdr_check: no qp matches qpn)",
);

/// Tells of a receiver that nothing shows to be there.
pub(crate) fn found(qpn: u32) -> Broken {
    Broken::new(Rule::DatagramReceiverUntold, Evidence::Untold { qpn })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || told(0x1f1, 0x1f2).datagram(0x777, 0x1111_1111),
    keeps: || told(0x1f1, 0x1f2).datagram(0x1f2, 0x1111_1111),
    beside: &[],
};
