//! What joins two endpoints beside their queue pairs, and says when the peer leaves: a CM identifier, or a TCP connection
//! where there is no CM.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::cm::CmId;
use crate::deadline::Deadline;
use crate::error::{CmEventKind, Error, Result};
use crate::plain::TcpLink;

#[derive(Debug)]
pub(crate) enum Link {
    Cm(Arc<CmId>),
    Tcp(TcpLink),
}

impl Link {
    /// Readable when there is something to take.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Cm(id) => id.fd(),
            Self::Tcp(link) => link.fd(),
        }
    }

    /// Takes one event, if there is one, and tells whether it says that the peer has left.
    ///
    /// # Errors
    ///
    /// [`Error::CmEvent`] if the device goes away, [`Error::Verb`] naming `rdma_get_cm_event`.
    pub(crate) fn peer_left(&self, awaited: &str, deadline: &Deadline) -> Result<bool> {
        match self {
            Self::Cm(id) => cm_peer_left(id, awaited, deadline),
            Self::Tcp(link) => Ok(link.peer_left()),
        }
    }
}

fn cm_peer_left(id: &CmId, awaited: &str, deadline: &Deadline) -> Result<bool> {
    let Some(event) = id.next_event()? else {
        return Ok(false);
    };
    match event.kind {
        CmEventKind::Disconnected => Ok(true),
        CmEventKind::DeviceRemoval => Err(Error::CmEvent {
            awaited: awaited.to_owned(),
            event: event.kind,
            status: event.status,
            elapsed: deadline.elapsed(),
            hint: Some("the RDMA device went away: see `rdma link`".into()),
        }),
        kind => {
            tracing::debug!("ignored CM event {kind} while waiting for {awaited}");
            Ok(false)
        }
    }
}
