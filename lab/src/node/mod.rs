//! What every source of machines gives.
//!
//! - [`pair`]: two nodes, and what can be asked of them
//! - [`parcel`]: files on their way to a node and back

pub mod pair;
pub mod parcel;

pub use pair::{Node, NodePair, Plan, Provenance, Provider, Running, SLICE};
