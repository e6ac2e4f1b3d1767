//! [`Rule::TrafficAfterFatalNak`]: a queue pair that goes on in the error state.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "NAKs \"invalid request\", \"remote access error\" and \"remote operational error\" put both queue pairs into the error state: no answer follows, and no request but those on their way (100 ms are allowed).",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (COMPST_ERROR), rxe_resp.c",
);

/// Requests may be on their way for this long when a fatal NAK is.
const GRACE_NS: u64 = 100_000_000;

/// Holds a request against the time since a fatal NAK.
#[inline]
pub(crate) fn check_request(passed_ns: u64) -> Option<Broken> {
    let evidence = Evidence::Words { expected: "no further request", got: "one" };
    (passed_ns > GRACE_NS).then(|| Broken::new(Rule::TrafficAfterFatalNak, evidence))
}

/// Tells of an answer behind a fatal NAK.
pub(crate) fn found_answer() -> Broken {
    let evidence = Evidence::Words { expected: "no further answer", got: "one" };
    Broken::new(Rule::TrafficAfterFatalNak, evidence)
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).answer(0, 0x62, 0).after(500_000, send(1)),
    keeps: || managed().put(send(0)).answer(0, 0x62, 0).after(100_000, send(1)),
    beside: &[Rule::RequestRefused],
};
