//! [`Rule::RetryCountExceeded`]: a requester that does not give up.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, Script, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "The REQ says how often a requester may repeat a request that nothing answers. rxe takes 7 for no limit, which no other requester does. Told once for each direction.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (retry_cnt != 7)",
);

/// Holds how often a request was repeated against the connection's retry count.
pub(crate) fn check(most: u8, got: u64) -> Option<Broken> {
    let most = u64::from(most);
    (got > most).then(|| Broken::new(Rule::RetryCountExceeded, Evidence::Repetitions { most, got }))
}

/// A SEND that is repeated so often before its answer.
#[cfg(any(test, feature = "synth"))]
fn repeated(times: u64) -> Script {
    (0..times).fold(managed().put(send(0)), |script, _| script.after(500_000, send(0))).ack(0, 1)
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples { breaks: || repeated(8), keeps: || repeated(7), beside: &[] };
