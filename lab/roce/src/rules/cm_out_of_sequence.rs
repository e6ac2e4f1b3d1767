//! [`Rule::CmOutOfSequence`]: an RTU without a REP, or a DREP without a DREQ.

use crate::broken::Broken;
use crate::cm::Message;
use crate::finding::Evidence;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, bare, managed, pair, send};

pub(super) const TEXT: RuleText = RuleText::new(
    "An RTU follows a REP, a DREP follows a DREQ. Either it was never sent, or the capture has not got it; without fates that is more likely, and a note. Only connections whose REQ is in the capture, and something of both sides, are held to this.",
    "Linux drivers/infiniband/core/cm.c (cm_rtu_handler, cm_drep_handler)",
);

/// Holds a message against those that reached a side of the connection before it.
pub(crate) fn check(message: &Message<'_>, has_rep: bool, has_dreq: bool) -> Option<Broken> {
    let (expected, got) = match message {
        Message::Rtu(_) if !has_rep => ("a REP before it", "RTU"),
        Message::Drep(_) if !has_dreq => ("a DREQ before it", "DREP"),
        _ => return None,
    };
    Some(Broken::new(Rule::CmOutOfSequence, Evidence::Words { expected, got }))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || bare().put(pair().req(7471, &[])).put(pair().rtu()).ack(0, 1),
    keeps: || managed().put(send(0)).ack(0, 1).end(),
    beside: &[],
};
