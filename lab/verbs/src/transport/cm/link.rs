//! The control path of a connection with CM: ESTABLISHED and DISCONNECTED of its identifier.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::event::CmEvent;
use super::id::CmId;
use crate::cm_event::CmEventKind;
use crate::deadline::Deadline;
use crate::endpoint::{Endpoint, EndpointBuilder};
use crate::error::{Error, Result};
use crate::qp::{QueuePair, ServiceType};
use crate::transport::{ConnectParams, Link};
use crate::work_queue::WorkQueue;

/// Makes the endpoint of an identifier that is bound to a device.
pub(super) fn endpoint(
    id: Arc<CmId>,
    remote_qpn: Option<u32>,
    builder: &EndpointBuilder,
) -> Result<Endpoint> {
    builder.demand_service(&[ServiceType::Rc], "rdma_create_qp")?;
    let device = id.device()?;
    let mut work = builder.build(&device, |pd, cq, capacity| id.create_queue_pair(pd, cq, capacity))?;
    work.set_peer_qp_num(remote_qpn);
    Ok(Endpoint::new(work, Box::new(CmLink(id))))
}

/// The control path of a connection with CM.
#[derive(Debug)]
struct CmLink(Arc<CmId>);

impl AsFd for CmLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Link for CmLink {
    fn accept(&mut self, work: &mut WorkQueue, params: &ConnectParams, deadline: &Deadline) -> Result<bool> {
        let id = &self.0;
        if let Some(exponent) = params.ack_timeout {
            id.set_ack_timeout(exponent)?;
        }
        params.log("rdma_accept");
        id.accept(params)?;

        let awaited = "the client to confirm the connection (ESTABLISHED)";
        let event = wait_confirmation(id, work, awaited, deadline)?;
        match event.kind {
            CmEventKind::Established if event.status == 0 => Ok(false),
            CmEventKind::Disconnected => {
                // Only a connection that stands is disconnected: the RTU is lost or late, and the client has finished.
                tracing::debug!("the client disconnected before its RTU came");
                Ok(true)
            }
            kind => Err(Error::CmEvent {
                awaited: awaited.into(),
                event: kind,
                status: event.status,
                elapsed: deadline.elapsed(),
                hint: Some("look at the client's own error".into()),
            }),
        }
    }

    fn peer_left(&mut self, awaited: &str, deadline: &Deadline) -> Result<bool> {
        let Some(event) = self.0.next_event()? else {
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

    fn disconnect(&mut self, _qp: &QueuePair) -> Result<()> {
        self.0.disconnect()
    }
}

/// Waits for the CM event that answers an accepted client. Data that comes first is told to CM, which then says
/// ESTABLISHED.
///
/// A device may announce such data itself (IBV_EVENT_COMM_EST); rxe does not, so completions are looked at.
fn wait_confirmation(id: &CmId, work: &mut WorkQueue, awaited: &str, deadline: &Deadline) -> Result<CmEvent> {
    let mut is_told = false;
    loop {
        if let Some(event) = id.next_event()? {
            return Ok(event);
        }
        work.qp().cq().req_notify()?;
        work.poll()?;
        if !is_told && work.has_heard() {
            id.notify_established();
            is_told = true;
        }
        if !work.qp().wait(Some(id.as_fd()), deadline)? {
            return Err(Error::timeout(awaited, deadline));
        }
    }
}
