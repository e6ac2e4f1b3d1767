//! [`Rule::RequestRefused`]: a request that its responder does not allow.

use crate::broken::Broken;
use crate::finding::{Evidence, Refusal};
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, pair};

pub(super) const TEXT: RuleText = RuleText::new(
    "A NAK \"invalid request\", \"remote access error\" or \"remote operational error\" ends a queue pair. Named with the request's address, key and length as they are on the wire, and how they differ from what the responder advertised or took before, where that is known: key or address in another byte order, cut to 32 bits, a few bits flipped, out of bounds. Told when nothing contradicts the refusal.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_rkey, send_ack)",
);

/// Tells of a refusal that nothing contradicts.
pub(crate) fn found(refusal: Refusal) -> Broken {
    Broken::new(Rule::RequestRefused, Evidence::Refusal(refusal))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        let (va, rkey) = (pair().passive.va, pair().passive.rkey.swap_bytes());
        let frame = pair().request(0x0a, 0).ack_request().reth(va, rkey, 4).payload(b"four").build();
        managed().put(frame).answer(0, 0x62, 0)
    },
    keeps: || managed().write(0x0a, 0, 4, 4).ack(0, 1),
    beside: &[],
};
