//! Interface of every source of machines.
//!
//! - [`gids`]: the command that prints a node's GIDs
//! - [`pair`]: two nodes, and what can be asked of them
//! - [`parcel`]: files on their way to a node and back

pub mod gids;
pub mod pair;
pub mod parcel;

pub use pair::{Node, NodePair, Plan, Provenance, Provider, Running, SLICE};
