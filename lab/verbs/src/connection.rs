//! Connections: connect and accept with the parameters that work, and the defined end.
//!
//! The active side disconnects, and the passive side waits for it: so the order of DREQ and DREP on the wire is defined.
//! Source: `rdma_connect(3)`, `rdma_accept(3)`, `rdma_disconnect(3)`.

use std::net::{IpAddr, SocketAddr};
use std::ptr;
use std::sync::Arc;

use rdma_sys::rdma_conn_param;

use crate::builders::QueuePairBuilder;
use crate::cm::{self, CmId, Event};
use crate::deadline::Deadline;
use crate::device::Device;
use crate::error::{CmEventKind, Error, RejectReason, Result, errno};
use crate::link::Link;
use crate::ops::Endpoint;
use crate::plain;
use crate::private_data::{self, ACCEPT_LIMIT, CONNECT_LIMIT};
use crate::sys;

/// How much longer than our own limit the kernel is told to try, so that it is our message that ends the wait.
const KERNEL_MARGIN_MS: i32 = 1000;

/// What both sides tell CM about a connection.
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

    /// In C's layout; valid while `self` is.
    fn to_raw(&self, limit: usize) -> Result<rdma_conn_param> {
        private_data::check_limit(&self.private_data, limit)?;
        Ok(rdma_conn_param {
            private_data: match self.private_data.as_slice() {
                [] => ptr::null(),
                bytes => bytes.as_ptr().cast(),
            },
            // The limit is below 256.
            private_data_len: self.private_data.len() as u8,
            responder_resources: self.responder_resources,
            initiator_depth: self.initiator_depth,
            flow_control: 1,
            retry_count: self.retry_count,
            rnr_retry_count: self.rnr_retry_count,
            srq: 0,
            qp_num: 0,
        })
    }
}

/// Whom to connect to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub server: SocketAddr,
    /// The source address, if it is not to be left to the route.
    pub source: Option<IpAddr>,
    /// The program that should listen there, for the message when none does.
    pub server_program: String,
}

/// Connects to `target`, all within `deadline`, and returns the endpoint with the REP's private data (zero-padded).
///
/// `prepare` is called on the endpoint before it connects: the place to post RECVs. A stale connection, which a restart of
/// one host leaves behind, is tried once more, with a new endpoint.
///
/// # Errors
///
/// [`Error::Rejected`] if nobody listens or the server refuses, [`Error::Timeout`], [`Error::CmEvent`] for ADDR_ERROR,
/// ROUTE_ERROR, UNREACHABLE and CONNECT_ERROR, [`Error::Verb`] for a refused call, and what `prepare` says.
pub fn connect(
    target: &Target,
    params: &ConnectParams,
    builder: &QueuePairBuilder,
    mut prepare: impl FnMut(&mut Endpoint) -> Result<()>,
    deadline: &Deadline,
) -> Result<(Endpoint, Vec<u8>)> {
    let result = connect_once(target, params, builder, &mut prepare, deadline);
    match result {
        Err(error) if error.is_stale_connection() => {
            tracing::warn!(
                "{} still knows an earlier connection of this host (REJECTED, stale connection); trying once more",
                target.server
            );
            connect_once(target, params, builder, &mut prepare, deadline)
        }
        result => result,
    }
}

fn connect_once(
    target: &Target,
    params: &ConnectParams,
    builder: &QueuePairBuilder,
    prepare: &mut impl FnMut(&mut Endpoint) -> Result<()>,
    deadline: &Deadline,
) -> Result<(Endpoint, Vec<u8>)> {
    let id = resolve(target, params, deadline)?;
    let qp = builder.build(Device::Cm(Arc::clone(&id)))?;
    let link = Link::Cm(Arc::clone(&id));
    let mut endpoint = Endpoint::new(qp, link, builder.observer_of_completions());
    prepare(&mut endpoint)?;

    let mut raw = params.to_raw(CONNECT_LIMIT)?;
    // SAFETY: the identifier is alive (we hold its Arc) and has a queue pair; `raw` and the private data it points to, in
    // `params`, live through the call, which copies them.
    let returned = unsafe { rdma_sys::rdma_connect(id.as_ptr(), &raw mut raw) };
    sys::check_minus_one(returned, "rdma_connect", || format!("connect to {}", target.server))?;
    log_params("rdma_connect", params);

    let awaited = format!("{} to answer (ESTABLISHED)", target.server);
    let event = expect_event(&id, CmEventKind::Established, &awaited, target, deadline)?;
    endpoint.set_peer_qp_num(event.remote_qpn);
    endpoint.qp().log_attributes();
    Ok((endpoint, event.private_data))
}

/// Resolves address and route; the identifier is bound to a device afterwards.
fn resolve(target: &Target, params: &ConnectParams, deadline: &Deadline) -> Result<Arc<CmId>> {
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
    target: &Target,
    deadline: &Deadline,
) -> Result<Event> {
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
            text: private_data::reject_text(&event.private_data),
            server_program: target.server_program.clone(),
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

/// Waits for clients, by CM or without.
#[derive(Debug)]
pub enum Listener {
    /// By CM.
    Cm(cm::Listener),
    /// Over TCP.
    Plain(plain::Listener),
}

impl Listener {
    /// The address it listens on, with the port the system chose if none was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Cm(listener) => listener.address(),
            Self::Plain(listener) => listener.address(),
        }
    }

    /// Waits for the next client.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; those of [`cm::Listener::next_request`] and [`plain::Listener::next_request`].
    pub fn next_request(&self, deadline: &Deadline) -> Result<Request> {
        match self {
            Self::Cm(listener) => listener.next_request(deadline).map(Request::Cm),
            Self::Plain(listener) => listener.next_request(deadline).map(Request::Plain),
        }
    }
}

/// A client's request to connect, not answered yet. Dropping it refuses the client.
#[derive(Debug)]
pub enum Request {
    /// By CM.
    Cm(cm::ConnectRequest),
    /// Over TCP.
    Plain(plain::ConnectRequest),
}

impl Request {
    /// Who asks.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Cm(request) => request.peer(),
            Self::Plain(request) => Some(request.peer()),
        }
    }

    /// The client's private data; CM pads it with zeros.
    #[must_use]
    pub fn private_data(&self) -> &[u8] {
        match self {
            Self::Cm(request) => request.private_data(),
            Self::Plain(request) => request.private_data(),
        }
    }

    /// READs and atomics that the client means to have outstanding here.
    #[must_use]
    pub fn reads_at_once(&self) -> u8 {
        match self {
            Self::Cm(request) => request.reads_at_once(),
            Self::Plain(request) => request.reads_at_once(),
        }
    }

    /// Makes the endpoint of the connection, to be accepted when memory and RECVs are ready.
    ///
    /// # Errors
    ///
    /// Those of [`cm::ConnectRequest::into_endpoint`] and [`plain::ConnectRequest::into_endpoint`].
    pub fn into_endpoint(self, builder: &QueuePairBuilder) -> Result<Endpoint> {
        match self {
            Self::Cm(request) => request.into_endpoint(builder),
            Self::Plain(request) => request.into_endpoint(builder),
        }
    }

    /// Refuses the client, telling it `reason`.
    ///
    /// # Errors
    ///
    /// Those of [`cm::ConnectRequest::reject`] and [`plain::ConnectRequest::reject`].
    pub fn reject(self, reason: &str) -> Result<()> {
        match self {
            Self::Cm(request) => request.reject(reason),
            Self::Plain(request) => request.reject(reason),
        }
    }
}

impl Endpoint {
    /// Accepts the client and waits until the connection stands. RECVs must be posted before.
    ///
    /// The client's RTU proves that it stands. If that is lost or late, so do the completion of a RECV and the client's
    /// DREQ; otherwise CM sends its REP again and draws another RTU.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `rdma_accept`: EINVAL if the client has gone meanwhile; [`Error::Timeout`];
    /// [`Error::CmEvent`] for REJECTED, UNREACHABLE and CONNECT_ERROR. Without CM [`Error::Verb`] naming `ibv_modify_qp`,
    /// [`Error::Disconnected`] if the client has gone meanwhile, [`Error::Tcp`].
    pub fn accept(&mut self, params: &ConnectParams, deadline: &Deadline) -> Result<()> {
        match self.link() {
            Link::Cm(id) => {
                let id = Arc::clone(id);
                self.accept_on(&id, params, deadline)?;
            }
            Link::Tcp(link) => plain::accept(self.qp(), link, params)?,
        }
        self.qp().log_attributes();
        Ok(())
    }

    /// Accepts through CM (`rdma_accept`, ESTABLISHED).
    fn accept_on(&mut self, id: &CmId, params: &ConnectParams, deadline: &Deadline) -> Result<()> {
        if let Some(exponent) = params.ack_timeout {
            id.set_ack_timeout(exponent)?;
        }
        let mut raw = params.to_raw(ACCEPT_LIMIT)?;
        // SAFETY: the identifier is alive (the caller holds its Arc); `raw` and the private data it points to, in `params`,
        // live through the call, which copies them.
        let returned = unsafe { rdma_sys::rdma_accept(id.as_ptr(), &raw mut raw) };
        sys::check_minus_one(returned, "rdma_accept", || "accept the client".into())?;
        log_params("rdma_accept", params);

        let awaited = "the client to confirm the connection (ESTABLISHED)";
        let event = self.wait_confirmation(id, awaited, deadline)?;
        match event.kind {
            CmEventKind::Established if event.status == 0 => Ok(()),
            CmEventKind::Disconnected => {
                // Only a connection that stands is disconnected: the RTU is lost or late, and the client has finished.
                tracing::debug!("the client disconnected before its RTU came");
                self.set_disconnected();
                Ok(())
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

    /// Ends the connection and waits until the peer agreed (`rdma_disconnect`, DISCONNECTED). For the active side.
    ///
    /// If the peer was first, as a C peer may be, this answers it. RECVs that are still posted are flushed.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `rdma_disconnect`, [`Error::Timeout`], [`Error::CmEvent`] if the device goes away.
    pub fn disconnect(&mut self, deadline: &Deadline) -> Result<()> {
        // An event that is waiting already decides whether this sends DREQ or DREP.
        self.send_disconnect()?;
        self.await_disconnected("the peer to agree to disconnect (DISCONNECTED)", deadline)?;
        self.finish_flush();
        Ok(())
    }

    /// Waits until the peer ends the connection, then answers it (DISCONNECTED, `rdma_disconnect`). For the passive side.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`], [`Error::Verb`] naming `rdma_disconnect`, [`Error::CmEvent`] if the device goes away.
    pub fn wait_disconnected(&mut self, deadline: &Deadline) -> Result<()> {
        self.await_disconnected("the peer to disconnect (DISCONNECTED)", deadline)?;
        // The kernel answers the DREQ with a DREP only now; the state that DISCONNECTED left makes the call send that.
        self.send_disconnect()?;
        self.finish_flush();
        Ok(())
    }

    fn send_disconnect(&mut self) -> Result<()> {
        match self.link() {
            Link::Cm(id) => id.disconnect(),
            Link::Tcp(link) => {
                // As rdma_disconnect does it: nothing more is sent or received.
                self.qp().to_error_state()?;
                link.leave();
                Ok(())
            }
        }
    }
}

fn log_params(call: &str, params: &ConnectParams) {
    tracing::debug!(
        "{call}: responder_resources {}, initiator_depth {}, retry_count {}, rnr_retry_count {}, {} bytes of private data",
        params.responder_resources,
        params.initiator_depth,
        params.retry_count,
        params.rnr_retry_count,
        params.private_data.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_let_reads_through_and_retry() {
        let raw = ConnectParams::default().to_raw(CONNECT_LIMIT).unwrap();
        assert!(raw.private_data.is_null());
        assert_eq!((raw.responder_resources, raw.initiator_depth), (1, 1));
        assert_eq!((raw.retry_count, raw.rnr_retry_count), (7, 7));
    }

    #[test]
    fn private_data_is_refused_above_its_limit() {
        let params = ConnectParams::with_private_data(vec![1; 57]);
        assert!(params.to_raw(CONNECT_LIMIT).is_err());
        assert_eq!(params.to_raw(ACCEPT_LIMIT).unwrap().private_data_len, 57);
    }
}
