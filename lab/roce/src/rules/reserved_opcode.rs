//! [`Rule::ReservedOpcode`]: an opcode that names nothing.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Once, Rule, RuleText, Severity};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, pair};
#[cfg(any(test, feature = "synth"))]
use crate::wire::IethValues;
use crate::wire::{Opcode, TransportService};

pub(super) const TEXT: RuleText = RuleText::new(
    "Neither the standard nor a known extension names this operation for its transport. Codes from 0xc0 on are left to manufacturers, so one of those is a warning. Reported once for each opcode and receiver.",
    "Linux include/rdma/ib_pack.h, drivers/infiniband/sw/rxe/rxe_opcode.c",
)
.once(Once::ByOpcodeAndReceiver);

/// Looks an opcode up; a manufacturer's is a warning.
#[inline]
pub(crate) fn check(opcode: Opcode) -> Option<Broken> {
    (!opcode.is_known()).then(|| broken(opcode))
}

#[cold]
fn broken(opcode: Opcode) -> Broken {
    let is_vendor = opcode.transport() == TransportService::Vendor;
    let expected = if is_vendor { "an opcode of the standard" } else { "an opcode with a meaning" };
    let broken = Broken::new(Rule::ReservedOpcode, Evidence::Opcode { expected, got: opcode });
    if is_vendor { broken.with(Severity::Warning) } else { broken }
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        let reserved = (0..0x20).rfind(|low| !Opcode(*low).is_known()).unwrap_or_default();
        managed().put(pair().request(reserved, 0).payload(b"four").build())
    },
    keeps: || {
        let invalidate = IethValues { rkey: 1 };
        let frame = pair().request(0x17, 0).ack_request().header(&invalidate.emit()).payload(b"four");
        managed().put(frame.build()).ack(0, 1)
    },
    beside: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_of_manufacturers_are_warnings_and_known_ones_pass() {
        let severity = |opcode| check(Opcode(opcode)).map(|broken| broken.severity);
        assert_eq!([severity(0x15), severity(0x2c), severity(0x80)], [Some(Severity::Error); 3]);
        assert_eq!([severity(0xc0), severity(0x04), severity(0x44)], [Some(Severity::Warning), None, None]);
    }
}
