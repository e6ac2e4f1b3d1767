//! [`Rule::IcrcMismatch`]: a packet that changed on its way.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, bare, send};
use crate::wire::{Icrc, Packet};

pub(super) const TEXT: RuleText = RuleText::new(
    "The CRC-32 over the packet, with the fields that routers change set to ones, is not the one in its last four bytes. A receiver discards such a packet, so the rules go on as if it had not arrived, and the gap that it leaves is not reported again. A packet that the snap length cut is unverifiable, not bad. Where no packet of a direction has the right one, what was recorded is not what was sent: addresses that were translated, ICRCs that a network card adds behind the place of capture. Then the first is reported, and the rules take the others as if they were right. A FLUSH of rxe's, whose ICRC covers its headers twice, is as its sender meant it and counts as right.",
    "Linux drivers/infiniband/sw/rxe/rxe_icrc.c",
);

/// Compares the packet's ICRC with its bytes'.
#[inline]
pub(crate) fn check(packet: &Packet<'_>) -> Option<Broken> {
    let Icrc::Bad { expected, got } = packet.icrc else { return None };
    Some(Broken::new(Rule::IcrcMismatch, Evidence::Icrc { expected, got }))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        let mut frame = send(0);
        if let Some(last) = frame.last_mut() {
            *last ^= 1;
        }
        bare().put(frame).ack(0, 1)
    },
    keeps: || {
        // A router takes one off the time to live, which the ICRC does not cover.
        let mut frame = send(0);
        if let Some(time_to_live) = frame.get_mut(22) {
            *time_to_live -= 1;
        }
        bare().put(frame).ack(0, 1)
    },
    beside: &[],
};
