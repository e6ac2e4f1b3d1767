//! [`Rule::NakWithoutRetransmission`]: a refused request that is taken all the same.

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, send};
use crate::wire::Psn;

pub(super) const TEXT: RuleText = RuleText::new(
    "After a NAK \"PSN sequence error\" or an RNR NAK the responder discards everything until the refused PSN comes again. Either it does not, or the capture has not got what came again: without fates that is more likely, and a note.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_psn, sent_psn_nak)",
);

/// Tells of the answer to `got`, behind the refusal of `refused`.
pub(crate) fn found(refused: Psn, got: Psn) -> Broken {
    let expected = refused.previous();
    Broken::new(Rule::NakWithoutRetransmission, Evidence::Psn { expected, got })
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || managed().put(send(0)).answer(0, 0x2e, 0).ack(0, 1),
    keeps: || managed().put(send(0)).answer(0, 0x2e, 0).after(2_000, send(0)).ack(0, 1),
    beside: &[],
};
