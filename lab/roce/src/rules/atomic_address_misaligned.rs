//! [`Rule::AtomicAddressMisaligned`]: an atomic across two words.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed};

pub(super) const TEXT: RuleText = RuleText::new(
    "CmpSwap and FetchAdd work on eight bytes at an address that is a multiple of eight.",
    "Linux drivers/infiniband/sw/rxe/rxe_mr.c (rxe_mr_do_atomic_op)",
);

/// Holds an atomic's virtual address against its alignment.
#[inline]
pub(crate) fn check(va: u64) -> Option<Broken> {
    let evidence = Evidence::Number { what: "address", expected: va & !7, got: va };
    (!va.is_multiple_of(8)).then(|| Broken::new(Rule::AtomicAddressMisaligned, evidence))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().fetch_add(0, 65).atomic_ack(0, 1, 7),
    keeps: || managed().fetch_add(0, 64).atomic_ack(0, 1, 7),
    beside: &[],
};
