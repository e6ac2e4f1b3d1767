//! [`Rule::AtomicReplayDiffers`]: an atomic that was executed twice.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, Script, managed, pair};

pub(super) const TEXT: RuleText = RuleText::new(
    "A responder keeps the result of an atomic and repeats it; it does not execute it twice.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (duplicate_request)",
);

/// Compares the original value of an answer with that of the first answer to the same request.
pub(crate) fn check(expected: u64, got: u64) -> Option<Broken> {
    let evidence = Evidence::Number { what: "original value", expected, got };
    (expected != got).then(|| Broken::new(Rule::AtomicReplayDiffers, evidence))
}

/// A FetchAdd that is sent again after two seconds, answered with 7 and then with `replayed`.
#[cfg(any(test, feature = "synth"))]
fn replay(replayed: u64) -> Script {
    let rkey = pair().passive.rkey;
    let again = pair().request(0x14, 0).ack_request().atomic_eth(64, rkey, 1, 0).build();
    managed().fetch_add(0, 64).atomic_ack(0, 1, 7).after(2_000_000, again).atomic_ack(0, 1, replayed)
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples { breaks: || replay(8), keeps: || replay(7), beside: &[] };
