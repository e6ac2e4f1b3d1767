//! The wire: one file a header, each a view over borrowed bytes.
//!
//! A RoCEv2 packet is `Ethernet | IPv4 or IPv6 | UDP to port 4791 | BTH | extended headers | payload | pad | ICRC`; version 1 has a GRH instead of IP and UDP.
//! Tunnels may be around it. [`Frame::decode`] takes one frame of a capture apart; a [`Decoder`] puts IP fragments together as well. Nothing panics, whatever
//! the bytes.

mod aeth;
mod atomic_eth;
mod bth;
mod bytes;
mod decoder;
mod deth;
mod encapsulation;
mod feth;
mod field;
mod fragments;
mod grh;
mod header;
mod icrc;
mod ieth;
mod immdt;
mod ip;
mod layer;
mod link;
mod lrh;
mod not_roce;
mod opcode;
mod packet;
mod psn;
mod rdeth;
mod reth;
mod stop;
mod tunnel;
mod walk;
mod xrceth;

pub use aeth::{Aeth, AethValues, NakCode, Syndrome, rnr_timer_us};
pub use atomic_eth::{AtomicAckEth, AtomicAckEthValues, AtomicEth, AtomicEthValues};
pub use bth::{Bth, BthValues};
pub use decoder::Decoder;
pub use deth::{Deth, DethValues};
pub use encapsulation::Encapsulation;
pub use feth::{Feth, FethValues};
pub use field::Field;
pub use grh::{Grh, GrhValues};
pub use header::PlacedHeader;
pub use icrc::{Icrc, icrc, icrc_of_grh};
pub use ieth::{Ieth, IethValues};
pub use immdt::{ImmDt, ImmDtValues};
pub use link::LinkType;
pub use lrh::{Lrh, LrhValues};
pub use not_roce::NotRoce;
pub use opcode::{Header, Headers, Opcode, Operation, Place, Role, Transport};
pub use packet::{Frame, Packet, UDP_PORT};
pub use psn::Psn;
pub use rdeth::{Rdeth, RdethValues};
pub use reth::{Reth, RethValues};
pub use stop::DecodeStop;
pub use xrceth::{XrcEth, XrcEthValues};

pub(crate) use bytes::{be_u8, be_u16};
pub(crate) use field::Notation;
pub(crate) use header::{FieldValue, header};

#[cfg(test)]
pub(crate) use header::{every_shorter_length_stops, table_holds};
