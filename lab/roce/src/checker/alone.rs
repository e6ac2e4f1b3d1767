//! Rules that a packet is held to by itself.

use crate::finding::Evidence;
use crate::rule::Rule;
use crate::wire::{Icrc, Opcode, Packet};

/// Bytes behind the BTH of a congestion notification.
const CNP_RESERVED_BYTES: usize = 16;

/// What a packet is by itself.
pub(crate) enum Alone {
    /// No rule is broken.
    Clean,
    /// The capture has not all of it; what there is of it is as good as whole.
    Cut,
    /// A rule is broken.
    Broken {
        /// The rule.
        rule: Rule,
        /// What was expected and what came.
        evidence: Evidence,
        /// Whether a receiver takes it all the same.
        is_taken: bool,
    },
}

/// Judges a packet; `is_short` says that it was short on the wire and not cut by the capture.
#[inline]
pub(crate) fn judge(packet: &Packet<'_>, is_short: bool) -> Alone {
    let (rule, evidence, is_taken) = if let Icrc::Bad { expected, got } = packet.icrc {
        (Rule::IcrcMismatch, Evidence::Icrc { expected, got }, false)
    } else if packet.is_cut && !is_short {
        return Alone::Cut;
    } else if let Some(stop) = packet.stop {
        (Rule::MalformedPacket, Evidence::Stop(stop), false)
    } else {
        let expected = (4 - packet.payload.len() % 4) as u8 % 4;
        let got = packet.pad.len() as u8;
        if expected != got {
            (Rule::PadCountMismatch, Evidence::Pad { expected, got }, true)
        } else if packet.pad.iter().any(|byte| *byte != 0) {
            (Rule::PadNotZero, Evidence::PadNotZero, true)
        } else if packet.opcode() == Some(Opcode::CNP)
            && let Some(evidence) = cnp(packet)
        {
            (Rule::CnpMalformed, evidence, true)
        } else {
            return Alone::Clean;
        }
    };
    Alone::Broken { rule, evidence, is_taken }
}

fn cnp(packet: &Packet<'_>) -> Option<Evidence> {
    if packet.payload.len() != CNP_RESERVED_BYTES || packet.payload.iter().any(|byte| *byte != 0) {
        Some(Evidence::Words { expected: "16 reserved bytes of zero", got: "others" })
    } else if packet.bth.is_some_and(|bth| !bth.becn()) {
        Some(Evidence::Words { expected: "BECN", got: "none" })
    } else {
        None
    }
}
