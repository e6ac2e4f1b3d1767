//! Destination of messages and findings: everything that the streams of all connections write to.

use crate::broken::Broken;
use crate::checker::sink::{Budget, DiscardedPacket, Sink};
use crate::checker::{Adverts, CaptureFaults};
use crate::flow::{ConnectionId, Side};
use crate::message_log::MessageLog;
use crate::profile::Profile;
use crate::stats::Stats;

/// The one of an analysis; a stream gets it lent for one packet.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) messages: MessageLog,
    /// Rules that the packet which is looked at breaks.
    pub(crate) broken: Vec<Broken>,
    pub(crate) discarded: Vec<DiscardedPacket>,
    pub(crate) budget: Budget,
    pub(crate) stats: Stats,
    pub(crate) capture: CaptureFaults,
    pub(crate) adverts: Adverts,
    pub(crate) profile: Profile,
}

impl Ledger {
    /// Makes room for `requests` without an answer.
    pub(crate) fn new(requests: usize) -> Self {
        Self {
            messages: MessageLog::default(),
            broken: Vec::new(),
            discarded: Vec::new(),
            budget: Budget { left: requests, forgotten: 0 },
            stats: Stats::default(),
            capture: CaptureFaults::default(),
            adverts: Adverts::default(),
            profile: Profile::default(),
        }
    }

    /// Lends it for packet `number` of connection `flow`, to the requests of a side or their answers.
    #[inline]
    pub(crate) fn lend(&mut self, number: u64, flow: ConnectionId, requester: Side) -> Sink<'_> {
        Sink {
            messages: &mut self.messages,
            findings: &mut self.broken,
            discarded: &mut self.discarded,
            budget: &mut self.budget,
            stats: &mut self.stats,
            capture: &mut self.capture,
            adverts: &mut self.adverts,
            profile: self.profile,
            number,
            flow,
            requester,
        }
    }
}
