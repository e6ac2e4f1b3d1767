//! [`Rule::CnpMalformed`]: a congestion notification with something else in it.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed};
use crate::wire::{Opcode, Packet};

pub(super) const TEXT: RuleText = RuleText::new(
    "Behind the BTH of a CNP are 16 reserved bytes of zero and nothing else, and the BTH says BECN.",
    "observed: ConnectX-4 Lx",
);

/// Bytes behind the BTH of a congestion notification.
const RESERVED_BYTES: usize = 16;

/// Looks into a congestion notification; passes every other packet.
#[inline]
pub(crate) fn check(packet: &Packet<'_>) -> Option<Broken> {
    if packet.opcode() != Some(Opcode::CNP) {
        return None;
    }
    let is_reserved = packet.payload.len() == RESERVED_BYTES && packet.payload.iter().all(|byte| *byte == 0);
    let (expected, got) = match (is_reserved, packet.bth.is_some_and(|bth| bth.becn())) {
        (false, _) => ("16 reserved bytes of zero", "others"),
        (true, false) => ("BECN", "none"),
        (true, true) => return None,
    };
    Some(Broken::new(Rule::CnpMalformed, Evidence::Words { expected, got }))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples =
    Examples { breaks: || managed().cnp(10, false), keeps: || managed().cnp(10, true), beside: &[] };
