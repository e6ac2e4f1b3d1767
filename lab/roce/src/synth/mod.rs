//! Synthetic packets with a valid ICRC: for tests, examples and benchmarks, without a network.
//!
//! In: addresses, numbers and payload. Out: Ethernet frames. [`Pair`] is two nodes and a connection between them, and knows the packets of the two samples.
//! Headers of RoCE are written from the tables by which [`wire`](crate::wire) and [`cm`](crate::cm) read them, those around it by `etherparse`.

mod crowd;
mod frame;
mod network;
mod pair;
mod pcap;
pub(crate) mod script;
mod workload;
mod wrap;

pub use crate::samples::{conversation, neighbour, sample};
pub use crowd::Crowd;
pub use frame::FrameBuilder;
pub use pair::{Pair, PairEnd};
pub use pcap::Written;
pub use workload::Workload;
pub use wrap::{Tunnel, fragments, with_extensions};
