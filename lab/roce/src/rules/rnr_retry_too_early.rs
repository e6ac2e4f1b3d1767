//! [`Rule::RnrRetryTooEarly`]: a request that comes again before its receiver asked for it.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "An RNR NAK names the least time to wait before the request is sent again; a tenth of it is allowed for the clock of the capture. If the RNR NAK was lost behind the place of capture, the ACK timeout made the requester send again: then, and when the capture lacks packets, it is a warning.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (rnrnak_usec, rnrnak_jiffies)",
);

/// A requester needs longer than this to send a request again.
const COPY_NS: u64 = 20_000;

/// Holds the time since an RNR NAK against the one that it names. No time at all is a clock that is too coarse to tell.
pub(crate) fn check(least_ns: u64, got_ns: u64) -> Option<Broken> {
    let evidence = Evidence::Time { expected_ns: least_ns, got_ns };
    (got_ns > 0 && got_ns < least_ns - least_ns / 10).then(|| Broken::new(Rule::RnrRetryTooEarly, evidence))
}

/// True for a time in which a requester can send again; in less, a recorder may have written the refusal behind a copy.
pub(crate) fn is_possible(got_ns: u64) -> bool {
    got_ns > COPY_NS
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).answer(0, 0x2e, 0).after(100, send(0)).ack(0, 1),
    keeps: || {
        // Nine tenths of 1.28 ms.
        managed().put(send(0)).answer(0, 0x2e, 0).after(1_152, send(0)).ack(0, 1)
    },
    beside: &[],
};
