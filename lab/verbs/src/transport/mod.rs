//! Connections: how two endpoints find each other, with the parameters that work and a defined end.
//!
//! A [`Transport`] listens and connects. There are two: [`Cm`], RDMA CM, and [`Tcp`], which exchanges the queue pairs'
//! parameters over TCP. Source: `rdma_connect(3)`, `rdma_accept(3)`, `rdma_disconnect(3)`.

pub mod cm;
pub mod tcp;

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

pub use cm::Cm;
pub use tcp::Tcp;

pub use crate::link::{ConnectParams, Link};

use crate::deadline::Deadline;
use crate::endpoint::{Endpoint, EndpointBuilder};
use crate::error::Result;

/// The most private data that `rdma_connect` takes, in bytes (RDMA_PS_TCP).
pub const CONNECT_LIMIT: usize = 56;
/// The most private data that `rdma_accept` takes, in bytes.
pub const ACCEPT_LIMIT: usize = 196;
/// The most private data that `rdma_reject` takes, in bytes.
pub const REJECT_LIMIT: usize = 148;

/// Called on an endpoint before it connects: the place to post RECVs.
pub type Prepare<'a> = &'a mut dyn FnMut(&mut Endpoint) -> Result<()>;

/// A way to connect endpoints.
pub trait Transport: Debug + Send + Sync {
    /// Listens for clients on `address`; port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) or [`Error::Tcp`](crate::Error::Tcp): EADDRNOTAVAIL for an address this host
    /// does not have, EADDRINUSE for a port that is taken; with CM ENODEV for an address without RDMA.
    fn listen(&self, address: SocketAddr) -> Result<Box<dyn Listener>>;

    /// Connects to `target`, all within `deadline`; returns the endpoint with the server's private data, which CM pads
    /// with zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`](crate::Error::Rejected) if nobody listens or the server refuses,
    /// [`Error::Timeout`](crate::Error::Timeout), [`Error::Verb`](crate::Error::Verb) for a refused call, and what
    /// `prepare` says; with CM [`Error::CmEvent`](crate::Error::CmEvent) for ADDR_ERROR, ROUTE_ERROR, UNREACHABLE and
    /// CONNECT_ERROR, with TCP [`Error::Tcp`](crate::Error::Tcp), [`Error::Parameters`](crate::Error::Parameters) and
    /// [`Error::NoDeviceAt`](crate::Error::NoDeviceAt).
    fn connect(
        &self,
        target: &ConnectTarget,
        params: &ConnectParams,
        builder: &EndpointBuilder,
        prepare: Prepare<'_>,
        deadline: &Deadline,
    ) -> Result<(Endpoint, Vec<u8>)>;
}

/// An address that is listened on.
pub trait Listener: Debug + Send + Sync {
    /// The address, with the port that the system chose if none was given.
    fn address(&self) -> SocketAddr;

    /// Waits for the next client that asks to connect.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`](crate::Error::Timeout); with CM [`Error::CmEvent`](crate::Error::CmEvent) if the device goes
    /// away and [`Error::Verb`](crate::Error::Verb) naming `rdma_get_cm_event`. With TCP
    /// [`Error::Tcp`](crate::Error::Tcp), and for one client, after which the next call serves the others:
    /// [`Error::Disconnected`](crate::Error::Disconnected), [`Error::Parameters`](crate::Error::Parameters),
    /// [`Error::Timeout`](crate::Error::Timeout) if it is silent for 2 s.
    fn next_request(&self, deadline: &Deadline) -> Result<Box<dyn ConnectRequest>>;
}

/// A client's request to connect, not answered yet. Dropping it refuses the client.
pub trait ConnectRequest: Debug + Send {
    /// The client's address, if it is known.
    fn peer(&self) -> Option<SocketAddr>;

    /// The client's private data; CM pads it with zeros.
    fn private_data(&self) -> &[u8];

    /// READs and atomics that the client means to have outstanding here.
    fn reads_at_once(&self) -> u8;

    /// Makes the endpoint of the connection, to be accepted when memory and RECVs are ready.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming the call that was refused; with TCP
    /// [`Error::NoDevice`](crate::Error::NoDevice), [`Error::NoDeviceAt`](crate::Error::NoDeviceAt) and
    /// [`Error::Tcp`](crate::Error::Tcp).
    fn into_endpoint(self: Box<Self>, builder: &EndpointBuilder) -> Result<Endpoint>;

    /// Refuses the client, telling it `reason`.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `rdma_reject`: EINVAL if the client has gone meanwhile;
    /// [`Error::Tcp`](crate::Error::Tcp).
    fn reject(self: Box<Self>, reason: &str) -> Result<()>;
}

/// A server to connect to.
#[derive(Clone, Debug)]
pub struct ConnectTarget {
    /// The server.
    pub server: SocketAddr,
    /// The source address, if it is not to be left to the route; with CM only.
    pub source: Option<IpAddr>,
}

/// The printable text of REJ private data, up to its first NUL; `None` if there is none.
fn reject_text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Cuts `reason` to what REJ private data holds, at a character boundary.
fn reject_bytes(reason: &str) -> &[u8] {
    let mut end = reason.len().min(REJECT_LIMIT);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason.as_bytes()[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reject_reasons_are_cut_at_a_character_and_read_back() {
        let reason = "é".repeat(100);
        assert_eq!(reject_bytes(&reason).len(), 148);
        assert_eq!(reject_bytes(&format!("x{reason}")).len(), 147);
        assert_eq!(reject_text(b"too large\0\0\0").as_deref(), Some("too large"));
        assert_eq!(reject_text(&[0; 148]), None);
        assert_eq!(reject_text(&[0xff, 0xfe]), None);
        assert_eq!(reject_text(b"\x1b[2J"), None);
    }
}
