//! The checker's side of a connection: the streams of both sides, and what connection management may say next.
//!
//! In: the changes that the tracker sees. Out: the stream of a side. Connections have the tracker's numbers.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::broken::Broken;
use crate::checker::sink::Budget;
use crate::checker::stream::Stream;
use crate::cm::Message as CmMessage;
use crate::flow::{Connection, ConnectionId, FlowChange, Side};
use crate::retransmission::Retransmissions;
use crate::rules::{cm_out_of_sequence, dreq_for_other_queue_pair};

/// One connection.
#[derive(Debug)]
pub(crate) struct Conversation {
    streams: [Stream; 2],
    /// Connection management messages that reached their receiver.
    has_rep: bool,
    has_dreq: bool,
    /// Requests of both sides that came as copies.
    copies: u64,
    /// True if the path MTU was held against those that there are.
    mtu_is_judged: bool,
}

impl Conversation {
    fn new(connection: &Connection) -> Self {
        // Without connection management, no more is known of the first PSN than that it came first.
        let announced = |side| connection.port_space.and(connection.endpoint(side).psn_first);
        Self {
            streams: Side::BOTH.map(|side| Stream::new(announced(side))),
            has_rep: false,
            has_dreq: false,
            copies: 0,
            mtu_is_judged: connection.port_space.is_some() && connection.path_mtu_bytes.is_some(),
        }
    }

    /// True if its end is in the capture.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_dreq
    }

    /// The stream of requests that `side` sends.
    #[inline]
    pub(crate) fn stream(&mut self, side: Side) -> &mut Stream {
        &mut self.streams[side as usize]
    }

    /// Counts a copy of a request.
    pub(crate) fn count_copy(&mut self) {
        self.copies += 1;
    }

    /// True if the path MTU is still to be held against those that there are; asked once.
    #[inline]
    pub(crate) fn judges_mtu(&mut self) -> bool {
        !std::mem::replace(&mut self.mtu_is_judged, true)
    }

    /// Holds a message behind REQ and REP against what came before.
    pub(crate) fn judge(
        &mut self,
        connection: &Connection,
        receiver: IpAddr,
        message: &CmMessage<'_>,
        findings: &mut Vec<Broken>,
    ) {
        findings.extend(cm_out_of_sequence::check(message, self.has_rep, self.has_dreq));
        match message {
            CmMessage::Rep(_) => self.has_rep = true,
            CmMessage::Dreq(dreq) => {
                self.has_dreq = true;
                let qpn = dreq.remote_qpn();
                findings.extend(dreq_for_other_queue_pair::check(connection, receiver, qpn));
            }
            _ => {}
        }
    }

    /// Returns to the budget what its streams took; returns their retransmissions.
    pub(crate) fn settle(&mut self, budget: &mut Budget, counts_copies: bool) -> Retransmissions {
        let mut sum = Retransmissions::default();
        sum.duplicate += if counts_copies { self.copies } else { 0 };
        for stream in &mut self.streams {
            stream.release(budget);
            sum += stream.retransmissions();
        }
        sum
    }
}

/// Every connection that the tracker follows.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    items: VecDeque<Conversation>,
    /// Number of the first.
    base: usize,
}

impl Conversations {
    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Conversation> {
        self.items.get_mut(id.0.checked_sub(self.base)?)
    }

    /// Follows a change of connection `id`.
    pub(crate) fn follow(&mut self, id: ConnectionId, change: FlowChange, connection: &Connection) {
        match change {
            FlowChange::None => {}
            FlowChange::Begun | FlowChange::Replaced { .. } => {
                self.items.push_back(Conversation::new(connection))
            }
            FlowChange::Answered => {
                if let Some(conversation) = self.get_mut(id) {
                    let stream = conversation.stream(Side::Active);
                    // A REP that stands behind what follows it tells nothing new.
                    if !stream.has_begun() {
                        *stream = Stream::new(connection.active.psn_first);
                    }
                }
            }
            FlowChange::Merged { from, side } => {
                let Some(from) = self.get_mut(from) else { return };
                let stream = std::mem::replace(from.stream(Side::Active), Stream::new(None));
                if let Some(into) = self.get_mut(id) {
                    *into.stream(side) = stream;
                }
            }
        }
    }

    /// Takes the oldest out.
    pub(crate) fn drop_oldest(&mut self) -> Option<Conversation> {
        self.base += 1;
        self.items.pop_front()
    }
}
