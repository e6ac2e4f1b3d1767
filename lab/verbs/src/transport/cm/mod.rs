//! Connections with RDMA CM: REQ, REP and RTU over the fabric.

mod event;
mod id;
mod link;
mod listener;

use std::net::SocketAddr;
use std::sync::Arc;

pub use event::EventChannel;
pub use id::CmId;

use self::event::CmEvent;
use self::link::endpoint;
use self::listener::CmListener;
use super::{ConnectParams, ConnectTarget, Listener, Prepare, Transport, reject_text};
use crate::cm_event::{CmEventKind, RejectReason};
use crate::deadline::Deadline;
use crate::endpoint::{Endpoint, EndpointBuilder};
use crate::error::{Error, Result, errno};

/// Margin of the kernel's limit beyond ours, so that it is our message that ends the wait.
const KERNEL_MARGIN_MS: i32 = 1000;

/// Connections with RDMA CM.
#[derive(Clone, Copy, Debug)]
pub struct Cm;

impl Transport for Cm {
    fn listen(&self, address: SocketAddr) -> Result<Box<dyn Listener>> {
        Ok(Box::new(CmListener::bind(address)?))
    }

    /// A stale connection, which a restart of one host leaves behind, is tried once more, with a new endpoint.
    fn connect(
        &self,
        target: &ConnectTarget,
        params: &ConnectParams,
        builder: &EndpointBuilder,
        prepare: Prepare<'_>,
        deadline: &Deadline,
    ) -> Result<(Endpoint, Vec<u8>)> {
        match connect_once(target, params, builder, &mut *prepare, deadline) {
            Err(error) if error.is_stale_connection() => {
                tracing::warn!(
                    "{} still knows an earlier connection of this host (REJECTED, stale connection); trying once more",
                    target.server
                );
                connect_once(target, params, builder, prepare, deadline)
            }
            result => result,
        }
    }
}

fn connect_once(
    target: &ConnectTarget,
    params: &ConnectParams,
    builder: &EndpointBuilder,
    prepare: Prepare<'_>,
    deadline: &Deadline,
) -> Result<(Endpoint, Vec<u8>)> {
    let id = resolve(target, params, deadline)?;
    let mut endpoint = endpoint(Arc::clone(&id), None, builder)?;
    prepare(&mut endpoint)?;

    // Before the call: its REQ may be on the wire before it returns.
    params.log("rdma_connect");
    id.connect(params, target.server)?;
    let awaited = format!("{} to answer (ESTABLISHED)", target.server);
    let event = expect_event(&id, CmEventKind::Established, &awaited, target, deadline)?;
    endpoint.work_mut().set_peer_qp_num(event.remote_qpn);
    endpoint.qp().log_attributes();
    Ok((endpoint, event.private_data))
}

/// Resolves address and route; the identifier is bound to a device afterwards.
fn resolve(target: &ConnectTarget, params: &ConnectParams, deadline: &Deadline) -> Result<Arc<CmId>> {
    let server = target.server;
    let id = CmId::create()?;
    if let Some(exponent) = params.ack_timeout {
        id.set_ack_timeout(exponent)?;
    }
    let source = target.source.map(|source| SocketAddr::new(source, 0));
    let limit_ms = || deadline.remaining_ms().saturating_add(KERNEL_MARGIN_MS);

    id.resolve_addr(source, server, limit_ms())?;
    let awaited = format!("the RDMA address of {} (ADDR_RESOLVED)", server.ip());
    expect_event(&id, CmEventKind::AddrResolved, &awaited, target, deadline)?;

    id.resolve_route(limit_ms())?;
    let awaited = format!("the route to {} (ROUTE_RESOLVED)", server.ip());
    expect_event(&id, CmEventKind::RouteResolved, &awaited, target, deadline)?;
    Ok(Arc::new(id))
}

/// Waits for the one event that must come next on the active side; every other one is an error.
fn expect_event(
    id: &CmId,
    expected: CmEventKind,
    awaited: &str,
    target: &ConnectTarget,
    deadline: &Deadline,
) -> Result<CmEvent> {
    let peer = target.server;
    let absent = || {
        format!(
            "check that {} is up (`ping {}`) and has an RDMA device (`rdma link` there)",
            peer.ip(),
            peer.ip()
        )
    };
    let Some(event) = id.wait_event(deadline)? else {
        return Err(Error::timeout(awaited, deadline).or_hint(absent));
    };
    if event.kind == expected && event.status == 0 {
        return Ok(event);
    }
    if event.kind == CmEventKind::Rejected {
        return Err(Error::Rejected {
            peer: peer.to_string(),
            // A negative status cannot be a reason of the transport; it stays visible as an unknown one.
            reason: RejectReason::from_raw(event.status as u32),
            text: reject_text(&event.private_data),
            hint: None,
        });
    }
    let error = Error::CmEvent {
        awaited: awaited.to_owned(),
        event: event.kind,
        status: event.status,
        elapsed: deadline.elapsed(),
        hint: (event.status == -errno::ENODEV).then(|| {
            "no RDMA device serves that route: see `rdma link`, or `rdma link add rxe0 type rxe netdev eth0` for its interface".to_owned()
        }),
    };
    Err(error.or_hint(absent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_without_a_device_says_how_to_make_one() {
        // TEST-NET-1 is no host's.
        let error = Cm.listen("192.0.2.1:0".parse().unwrap()).unwrap_err();
        let has = |text: &str| error.to_string().contains(text);
        // Without the module, without the right to use it, and with a device.
        assert!(
            has("rdma link add") || has("/dev/infiniband") || has("does not have that address"),
            "{error}"
        );
    }
}
