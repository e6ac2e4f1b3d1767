//! Connections: how two endpoints find each other, with the parameters that work and a defined end.
//!
//! A [`Transport`] listens and connects. There are two: [`Cm`], RDMA CM, and [`Tcp`], which exchanges the queue pairs'
//! parameters over TCP. Source: `rdma_connect(3)`, `rdma_accept(3)`, `rdma_disconnect(3)`.

pub mod cm;
pub mod tcp;

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

pub use cm::Cm;
pub use tcp::Tcp;

use crate::deadline::Deadline;
use crate::endpoint::{Endpoint, EndpointBuilder};
use crate::error::{Error, Result};
use crate::qp::QueuePair;
use crate::work_queue::WorkQueue;

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
    /// [`Error::Verb`] or [`Error::Tcp`]: EADDRNOTAVAIL for an address this host does not have, EADDRINUSE for a port
    /// that is taken; with CM ENODEV for an address without RDMA.
    fn listen(&self, address: SocketAddr) -> Result<Box<dyn Listener>>;

    /// Connects to `target`, all within `deadline`; returns the endpoint with the server's private data, which CM pads
    /// with zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if nobody listens or the server refuses, [`Error::Timeout`], [`Error::Verb`] for a refused
    /// call, and what `prepare` says; with CM [`Error::CmEvent`] for ADDR_ERROR, ROUTE_ERROR, UNREACHABLE and
    /// CONNECT_ERROR, with TCP [`Error::Tcp`], [`Error::Parameters`] and [`Error::NoDeviceAt`].
    fn connect(
        &self,
        target: &Target,
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
    /// [`Error::Timeout`]; with CM [`Error::CmEvent`] if the device goes away and [`Error::Verb`] naming
    /// `rdma_get_cm_event`. With TCP [`Error::Tcp`], and for one client, after which the next call serves the others:
    /// [`Error::Disconnected`], [`Error::Parameters`], [`Error::Timeout`] if it is silent for 2 s.
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
    /// [`Error::Verb`] naming the call that was refused; with TCP [`Error::NoDevice`], [`Error::NoDeviceAt`] and
    /// [`Error::Tcp`].
    fn into_endpoint(self: Box<Self>, builder: &EndpointBuilder) -> Result<Endpoint>;

    /// Refuses the client, telling it `reason`.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `rdma_reject`: EINVAL if the client has gone meanwhile; [`Error::Tcp`].
    fn reject(self: Box<Self>, reason: &str) -> Result<()>;
}

/// The control path of one connection: what joins two endpoints beside their queue pairs, and says when the peer leaves.
/// Its descriptor is readable when there is something to take.
pub trait Link: AsFd + Debug + Send + Sync {
    /// Accepts the client, whose request this link came from, and waits until the connection stands. Returns true if the
    /// client has left already, which only a connection that stood can be.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::accept`].
    fn accept(&mut self, work: &mut WorkQueue, params: &ConnectParams, deadline: &Deadline) -> Result<bool>;

    /// Takes one event, if there is one, and tells whether it says that the peer has left.
    ///
    /// # Errors
    ///
    /// [`Error::CmEvent`] if the device goes away, [`Error::Verb`] naming `rdma_get_cm_event`.
    fn peer_left(&mut self, awaited: &str, deadline: &Deadline) -> Result<bool>;

    /// Tells the peer that this side leaves, or answers that it has; the queue pair is in the error state afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `rdma_disconnect` or `ibv_modify_qp`.
    fn disconnect(&mut self, qp: &QueuePair) -> Result<()>;
}

/// Parameters of a connection, as each side gives them.
#[derive(Clone, Debug)]
pub struct ConnectParams {
    /// For the peer; at most 56 bytes to connect, 196 to accept.
    pub private_data: Vec<u8>,
    /// READs and atomics that the peer may have outstanding here. Zero refuses every READ.
    pub responder_resources: u8,
    /// READs and atomics that this side may have outstanding at the peer. With zero a READ on rxe never completes.
    pub initiator_depth: u8,
    /// Retries without acknowledgement, 0 to 7.
    pub retry_count: u8,
    /// Retries of the *peer's* sends when this side has no RECV posted, 0 to 7; 7 is without end.
    pub rnr_retry_count: u8,
    /// The time without acknowledgement after which this side sends again, 4.096 us times two to this power, up to 31; if
    /// it is not to be left to the path.
    pub ack_timeout: Option<u8>,
    /// PSN of the first packet that this side sends, 24 bits; without CM only, which chooses it.
    pub psn: Option<u32>,
    /// The path MTU in bytes; without CM only, which takes the ports'.
    pub path_mtu_bytes: Option<u32>,
}

impl Default for ConnectParams {
    fn default() -> Self {
        Self {
            private_data: Vec::new(),
            responder_resources: 1,
            initiator_depth: 1,
            retry_count: 7,
            rnr_retry_count: 7,
            ack_timeout: None,
            psn: None,
            path_mtu_bytes: None,
        }
    }
}

impl ConnectParams {
    /// The defaults, with private data.
    #[must_use]
    pub fn with_private_data(private_data: Vec<u8>) -> Self {
        Self { private_data, ..Self::default() }
    }

    /// Checks that the private data fits into a message that carries at most `limit` bytes of it.
    fn check_private_data(&self, limit: usize) -> Result<()> {
        match self.private_data.len() {
            got if got > limit => Err(Error::PrivateDataTooLong { limit, got }),
            _ => Ok(()),
        }
    }

    fn log(&self, call: &str) {
        tracing::debug!(
            "{call}: responder_resources {}, initiator_depth {}, retry_count {}, rnr_retry_count {}, {} bytes of private data",
            self.responder_resources,
            self.initiator_depth,
            self.retry_count,
            self.rnr_retry_count,
            self.private_data.len()
        );
    }
}

/// A server to connect to.
#[derive(Clone, Debug)]
pub struct Target {
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
