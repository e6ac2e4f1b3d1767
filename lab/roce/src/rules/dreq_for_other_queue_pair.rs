//! [`Rule::DreqForOtherQueuePair`]: a DREQ for a queue pair of another connection.

use std::net::IpAddr;

use crate::broken::Broken;
use crate::finding::Evidence;
use crate::flow::Connection;
use crate::rule::{Rule, RuleText};
#[cfg(any(test, feature = "synth"))]
use crate::synth::script::{Examples, managed, pair};

pub(super) const TEXT: RuleText = RuleText::new(
    "The remote QPN of a DREQ is the one that its receiver gave in its REQ or REP.",
    "Linux drivers/infiniband/core/cm.c (cm_dreq_handler)",
);

/// Compares the remote queue pair number of a DREQ with its receiver's.
pub(crate) fn check(connection: &Connection, receiver: IpAddr, qpn: u32) -> Option<Broken> {
    let ends = [&connection.active, &connection.passive];
    let mut own = ends.into_iter().filter(|end| end.address == receiver).filter_map(|end| end.qpn);
    let (expected, got) = (u64::from(own.clone().next()?), u64::from(qpn));
    let evidence = Evidence::Number { what: "queue pair", expected, got };
    (!own.any(|own| own == qpn)).then(|| Broken::new(Rule::DreqForOtherQueuePair, evidence))
}

#[cfg(any(test, feature = "synth"))]
pub(super) const EXAMPLES: Examples = Examples {
    breaks: || {
        let mut other = pair();
        other.passive.qpn += 1;
        managed().put(other.dreq()).put(pair().drep())
    },
    keeps: || managed().put(pair().dreq()).put(pair().drep()),
    beside: &[],
};
