//! Ids of connections, and of the requests of their sides.

use crate::flow::Side;

/// Number of a connection: in a [`Tracker`](super::Tracker) or an [`Analysis`](crate::Analysis) the order of its first packet, in a
/// [`Report`](crate::Report) its place among the connections that stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) usize);

impl ConnectionId {
    /// Index from 0 in that order.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// Requests of one side of a connection, with their answers: one PSN space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The connection.
    pub connection: ConnectionId,
    /// Side that sends the requests.
    pub requester: Side,
}
