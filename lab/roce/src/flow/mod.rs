//! Connections: which packets belong together, which asks and which answers, and the names of their queue pairs.
//!
//! In: packets in the order in which they were sent. Out: for each packet its connection, the side that sent it, the distance of its PSN from the first
//! request of the side that it counts, and whether it is new. Everything is known at the packet: whoever reads a capture and whoever stands on the wire
//! gets the same names. Memory is bounded by the number of connections that are followed.
//!
//! - [`Tracker`]: the connections of a capture; [`Connection`], [`ConnectionEnd`]: one of them; [`ConnectionId`], [`StreamId`]: their numbers
//! - [`QueuePairName`]: `qp1`, by the order in which the packets name queue pairs

mod connection;
mod datagrams;
mod ids;
mod numbers;
mod pairing;
mod requests;
mod tracker;

pub use connection::{Connection, ConnectionEnd, Side};
pub(crate) use datagrams::{Datagrams, unknown};
pub use ids::{ConnectionId, StreamId};
pub(crate) use numbers::Numbers;
pub use numbers::QueuePairName;
pub(crate) use requests::packets;
pub(crate) use tracker::{FlowChange, Placed, management};
pub use tracker::{Sighting, Tracker};
