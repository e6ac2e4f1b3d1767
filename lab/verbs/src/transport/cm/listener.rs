//! Listening with CM: connection requests as they come.
//!
//! A request arrives on its listener's channel and is moved off it (`rdma_migrate_id`) before it is answered, so that one
//! connection never takes another's events.

use std::net::SocketAddr;
use std::sync::Arc;

use super::event::CmEvent;
use super::id::CmId;
use super::link::endpoint;
use crate::cm_event::CmEventKind;
use crate::deadline::Deadline;
use crate::endpoint::{Endpoint, EndpointBuilder};
use crate::error::{Error, Result};
use crate::sys;
use crate::transport::{ConnectRequest, Listener};

/// Connection requests that the kernel keeps for us while one is served.
const BACKLOG: i32 = 16;

/// Listens for connection requests on an address.
#[derive(Debug)]
pub(super) struct CmListener {
    id: CmId,
    address: SocketAddr,
}

impl CmListener {
    /// Binds `address` and listens on it (`rdma_bind_addr`, `rdma_listen`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`]: EADDRNOTAVAIL for an address this host does not have, ENODEV for one without RDMA, EADDRINUSE for a
    /// port that is taken.
    pub(super) fn bind(address: SocketAddr) -> Result<Self> {
        let id = CmId::create()?;
        id.bind(address)?;
        id.listen(BACKLOG, address)?;
        let port = id.local_port();
        Ok(Self { id, address: SocketAddr::new(address.ip(), port) })
    }
}

impl Listener for CmListener {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn next_request(&self, deadline: &Deadline) -> Result<Box<dyn ConnectRequest>> {
        let awaited = format!("a client on {} (CONNECT_REQUEST)", self.address);
        loop {
            let Some(event) = self.id.channel().wait_event(deadline)? else {
                return Err(Error::timeout(awaited, deadline));
            };
            match event.kind {
                CmEventKind::ConnectRequest => {
                    let raw = sys::check_null(event.id, "rdma_get_cm_event", || {
                        "take a connection request".into()
                    })?;
                    // SAFETY: the event gave us the identifier to own, once, and its channel is the listener's.
                    let id = unsafe { CmId::adopt(raw, Arc::clone(self.id.channel())) };
                    let peer = id.peer();
                    let CmEvent { private_data, remote_qpn, responder_resources, .. } = event;
                    return Ok(Box::new(CmRequest {
                        id,
                        peer,
                        private_data,
                        remote_qpn,
                        reads_at_once: responder_resources,
                    }));
                }
                CmEventKind::DeviceRemoval => {
                    return Err(Error::CmEvent {
                        awaited,
                        event: event.kind,
                        status: event.status,
                        elapsed: deadline.elapsed(),
                        hint: Some("the RDMA device went away: see `rdma link`".into()),
                    });
                }
                kind => tracing::warn!("ignored CM event {kind} while listening"),
            }
        }
    }
}

/// A REQ, not answered yet. Dropping it rejects the client.
#[derive(Debug)]
struct CmRequest {
    id: CmId,
    peer: Option<SocketAddr>,
    private_data: Vec<u8>,
    remote_qpn: Option<u32>,
    reads_at_once: u8,
}

impl ConnectRequest for CmRequest {
    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn private_data(&self) -> &[u8] {
        &self.private_data
    }

    fn reads_at_once(&self) -> u8 {
        self.reads_at_once
    }

    fn into_endpoint(mut self: Box<Self>, builder: &EndpointBuilder) -> Result<Endpoint> {
        self.id.migrate()?;
        endpoint(Arc::new(self.id), self.remote_qpn, builder)
    }

    fn reject(self: Box<Self>, reason: &str) -> Result<()> {
        self.id.reject(reason)
    }
}
