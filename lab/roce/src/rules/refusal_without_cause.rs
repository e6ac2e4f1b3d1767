//! [`Rule::RefusalWithoutCause`]: a refusal of what follows from a request that was taken.

use crate::broken::Broken;
use crate::finding::{Evidence, Refusal};
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed};

pub(super) const TEXT: RuleText = RuleText::new(
    "A Middle or Last of a WRITE that follows the packet before it, within the announced length, is not invalid: address, key and permission were taken with its First.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_op_seq, check_rkey)",
);

/// Tells of a refusal that the capture contradicts.
pub(crate) fn found(refusal: Refusal) -> Broken {
    Broken::new(Rule::RefusalWithoutCause, Evidence::Refusal(refusal))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().write(0x06, 0, 2048, 1024).write(0x08, 1, 0, 1024).answer(1, 0x61, 0),
    keeps: || {
        // The First is refused, with the address and the key in it.
        managed().write(0x06, 0, 2048, 1024).write(0x08, 1, 0, 1024).answer(0, 0x61, 0)
    },
    beside: &[Rule::RequestRefused],
};
