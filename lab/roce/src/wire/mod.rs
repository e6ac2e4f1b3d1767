//! The wire: one file a header, each a view over borrowed bytes.
//!
//! A RoCEv2 packet is `Ethernet | IPv4 or IPv6 | UDP to port 4791 | BTH | extended headers | payload | pad | ICRC`.
//! [`Frame::decode`] takes one frame of a capture apart. Nothing is copied and nothing panics, whatever the bytes.

mod aeth;
mod atomic_eth;
mod bth;
mod bytes;
mod deth;
mod feth;
mod icrc;
mod ieth;
mod immdt;
mod opcode;
mod packet;
mod psn;
mod rdeth;
mod reth;
mod stop;
mod view;
mod xrceth;

pub use aeth::{Aeth, NakCode, Syndrome, rnr_timer_us};
pub use atomic_eth::{AtomicAckEth, AtomicEth};
pub use bth::Bth;
pub use deth::Deth;
pub use feth::Feth;
pub use icrc::{Icrc, icrc};
pub use ieth::Ieth;
pub use immdt::ImmDt;
pub use opcode::{Header, Headers, Opcode, Operation, Place, Role, Transport};
pub use packet::{Frame, LinkType, NotRoce, Packet, UDP_PORT};
pub use psn::Psn;
pub use rdeth::Rdeth;
pub use reth::Reth;
pub use stop::DecodeStop;
pub use xrceth::XrcEth;

pub(crate) use bytes::{be_u8, be_u16, be_u32, be_u64};
pub(crate) use view::view;

#[cfg(test)]
pub(crate) use view::every_shorter_length_stops;
