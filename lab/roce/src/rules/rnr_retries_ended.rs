//! [`Rule::RnrRetriesEnded`]: a request that is given up as its receiver is never ready.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "The last answer to a request is an RNR NAK, the request came again and was refused again, and it did not come once more in four times the time that the NAK named, or until the capture or the connection ended.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (COMPST_RNR_RETRY, rnr_retry_count)",
);

/// Times that an RNR NAK names before its request, not sent again, was given up.
const TIMERS: u64 = 4;

/// Least time for that, in nanoseconds.
const GIVEN_UP_NS: u64 = 10_000_000;

/// The time at which a request counts as given up: refused at `nak_ns`, to be sent again after `timer_ns`.
pub(crate) fn given_up_ns(nak_ns: u64, timer_ns: u64) -> u64 {
    nak_ns.saturating_add((TIMERS * timer_ns).max(GIVEN_UP_NS))
}

/// Tells of the last of so many RNR NAKs for one request.
pub(crate) fn found(naks: u64) -> Broken {
    Broken::new(Rule::RnrRetriesEnded, Evidence::NotReady { naks })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).answer(0, 0x2e, 0).after(2_000, send(0)).answer(0, 0x2e, 0).end(),
    keeps: || managed().put(send(0)).answer(0, 0x2e, 0).after(2_000, send(0)).answer(0, 0x2e, 0),
    beside: &[],
};
