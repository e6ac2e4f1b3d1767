//! The control path of a connection: what joins two endpoints beside their queue pairs, and what each side asks for.

use std::fmt::Debug;
use std::os::fd::AsFd;

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::qp::QueuePair;
use crate::work_queue::WorkQueue;

/// The control path of one connection, which brings queue pairs into their states and says when the peer leaves. Its
/// descriptor is readable when there is something to take.
pub trait Link: AsFd + Debug + Send + Sync {
    /// Accepts the client, whose request this link came from, and waits until the connection stands. Returns true if the
    /// client has left already, which only a connection that stood can be.
    ///
    /// # Errors
    ///
    /// Errors of [`Endpoint::accept`](crate::endpoint::Endpoint::accept).
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
    pub(crate) fn check_private_data(&self, limit: usize) -> Result<()> {
        match self.private_data.len() {
            got if got > limit => Err(Error::PrivateDataTooLong { limit, got }),
            _ => Ok(()),
        }
    }

    pub(crate) fn log(&self, call: &str) {
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
