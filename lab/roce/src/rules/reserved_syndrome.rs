//! [`Rule::ReservedSyndrome`]: an answer that says nothing.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};
use crate::wire::{NakCode, Syndrome};

pub(super) const TEXT: RuleText = RuleText::new(
    "An AETH is an ACK (0x00 to 0x1f), an RNR NAK (0x20 to 0x3f) or a NAK (0x60 to 0x63; 0x64 is for RD alone). What it says of the request is unknown.",
    "Linux drivers/infiniband/sw/rxe/rxe_hdr.h (enum aeth_syndrome), rxe_comp.c (check_ack)",
);

/// True for a syndrome without a meaning.
pub(crate) fn is_reserved(syndrome: Syndrome) -> bool {
    matches!(syndrome, Syndrome::Unknown(_) | Syndrome::Nak(NakCode::Unknown(_) | NakCode::InvalidRdRequest))
}

/// Looks the syndrome of an answer up.
pub(crate) fn check(byte: u8) -> Option<Broken> {
    is_reserved(Syndrome::from_byte(byte))
        .then(|| Broken::new(Rule::ReservedSyndrome, Evidence::Syndrome(byte)))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).answer(0, 0x45, 1),
    keeps: || managed().put(send(0)).answer(0, 0x00, 1),
    beside: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_each_kind_of_answer_have_a_meaning() {
        assert!([0x00, 0x1f, 0x20, 0x3f, 0x60, 0x63].into_iter().all(|known| check(known).is_none()));
        assert!([0x45, 0x64, 0x65, 0x7f, 0x80, 0xff].into_iter().all(|reserved| check(reserved).is_some()));
    }
}
