//! [`Rule::CaptureLostPackets`]: packets that the recorder did not write.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "An answer, or the number of completed messages in it, proves that a request arrived which the capture has not got, or a requester goes on though a response seems to be missing: what recorded it lost it, and no peer is to blame. Told once with its extent. The rules go on behind it with what is certain.",
    "the rules of this catalogue",
);

/// Tells of so many packets, requests and answers, in so many places.
pub(crate) fn found(count: u64, places: u64) -> Broken {
    Broken::new(Rule::CaptureLostPackets, Evidence::Extent { what: "packet", count, places })
}

/// Tells of so many request packets, in so many places.
pub(crate) fn found_requests(count: u64, places: u64) -> Broken {
    Broken::new(Rule::CaptureLostPackets, Evidence::Extent { what: "request packet", count, places })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).ack(0, 1).ack(1, 2).put(send(2)).ack(2, 3),
    keeps: || managed().put(send(0)).ack(0, 1).put(send(1)).put(send(2)).ack(2, 3),
    beside: &[],
};
