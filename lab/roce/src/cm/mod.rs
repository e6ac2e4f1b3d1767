//! Connection management: the management datagrams that make and end a connection, and the private data in them.
//!
//! In: the payload of a datagram to queue pair 1. Out: views, as for the headers of [`wire`](crate::wire). A message with an attribute that has no name here
//! stays visible as [`Message::Unknown`].

mod ip_cm;
mod mad;
mod message;
mod private_data;
mod rej_reason;
mod rep;
mod req;
mod small;

pub use ip_cm::{IpCm, IpCmValues};
pub use mad::{Mad, MadHeader, MadHeaderValues};
pub use message::{Message, attribute_name};
pub use private_data::{Advert, PrivateData};
pub use rej_reason::RejReason;
pub use rep::{Rep, RepValues};
pub use req::{PortSpace, Req, ReqValues, ack_timeout_ns, path_mtu_bytes};
pub use small::{
    Drep, DrepValues, Dreq, DreqValues, Mra, MraValues, Rej, RejValues, Rtu, RtuValues, SidrRep,
    SidrRepValues,
};
