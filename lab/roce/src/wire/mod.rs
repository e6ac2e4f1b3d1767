//! The wire: one file a header, each a view over borrowed bytes.
//!
//! A RoCEv2 packet is `Ethernet | IPv4 or IPv6 | UDP to port 4791 | BTH | extended headers | payload | pad | ICRC`; version 1 has a GRH instead of IP and UDP.
//! Tunnels may be around it. [`Frame::decode`] takes one frame of a capture apart; a [`Decoder`] puts IP fragments together as well. Nothing panics, whatever
//! the bytes.

mod bth;
mod bytes;
mod datagram;
mod decoder;
mod encapsulation;
mod extended;
mod field;
mod fragments;
mod grh;
mod header;
mod icrc;
mod ip;
mod layer;
mod link;
mod link_type;
mod lrh;
mod not_roce;
mod opcode;
mod packet;
mod path_mtu;
mod psn;
mod stop;
mod tunnel;
mod walk;

pub use bth::{Bth, BthValues};
pub use datagram::{Datagram, UDP_PORT};
pub use decoder::Decoder;
pub use encapsulation::Encapsulation;
pub use extended::*;
pub use field::Field;
pub use grh::{Grh, GrhValues};
pub use header::{PlacedField, PlacedHeader};
pub use icrc::{Icrc, icrc, icrc_of_grh};
pub use link_type::LinkType;
pub use lrh::{Lrh, LrhValues};
pub use not_roce::NotRoce;
pub use opcode::{Opcode, Operation, PacketRole, Place, TransportService};
pub use packet::{Frame, Packet};
pub use psn::Psn;
pub use stop::DecodeStop;

pub(crate) use bytes::{be_u8, be_u16};
pub(crate) use field::Notation;
pub(crate) use header::{FieldValue, header};
pub(crate) use path_mtu::{PATH_MTUS, is_of_path_mtu, is_of_some_path_mtu};

#[cfg(test)]
pub(crate) use header::{every_shorter_length_stops, table_holds};
