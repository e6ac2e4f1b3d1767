//! CM identifiers and their events: the channel they arrive on, the listener, the connection request.
//!
//! Every event is copied and acknowledged at once, because destroying an identifier blocks until that is done. Every
//! identifier has a channel of its own, so that one connection never takes another's events: a request arrives on its
//! listener's channel and is moved off it (`rdma_migrate_id`). Source: `rdma_cm(7)`, `rdma_get_cm_event(3)`,
//! `librdmacm/cma.c` of rdma-core 44.

use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdma_sys::{ibv_context, ibv_event_type, rdma_cm_event, rdma_cm_id, rdma_event_channel, rdma_port_space};

use crate::builders::QueuePairBuilder;
use crate::deadline::Deadline;
use crate::device::Device;
use crate::error::{CmEventKind, Error, PORT_IN_USE_HINT, Result, errno};
use crate::link::Link;
use crate::ops::Endpoint;
use crate::private_data;
use crate::sys::{self, RawSocketAddr};

/// Connection requests that the kernel keeps for us while one is served.
const BACKLOG: i32 = 16;

/// Where the events of identifiers arrive, as a descriptor to poll.
#[derive(Debug)]
pub struct EventChannel {
    raw: NonNull<rdma_event_channel>,
}

// SAFETY: librdmacm is thread-safe: an event is taken by one write(2) on the descriptor; the pointer is used only in calls to
// it, and the object is freed once, by the last owner.
unsafe impl Send for EventChannel {}
// SAFETY: as for Send: the structure behind the pointer is one descriptor number that never changes.
unsafe impl Sync for EventChannel {}

impl EventChannel {
    /// Creates a non-blocking one (`rdma_create_event_channel`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`]: ENODEV without the module rdma_ucm, EACCES, EMFILE.
    pub(crate) fn create() -> Result<Arc<Self>> {
        // SAFETY: the call takes nothing and returns an object that we own, or NULL.
        let raw = unsafe { rdma_sys::rdma_create_event_channel() };
        let raw = sys::check_null(raw, "rdma_create_event_channel", || "create event channel".into())?;
        let channel = Arc::new(Self { raw });
        sys::set_nonblocking(channel.fd(), "event channel")?;
        tracing::debug!("rdma_create_event_channel");
        Ok(channel)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `raw` is alive until our drop.
        let fd = unsafe { (*self.raw.as_ptr()).fd };
        // SAFETY: the channel owns `fd` and closes it only in our drop; the borrow is tied to `self`.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    /// Takes, copies and acknowledges the next event, if there is one (`rdma_get_cm_event`, `rdma_ack_cm_event`).
    fn next_event(&self) -> Result<Option<Event>> {
        let mut raw = ptr::null_mut();
        // SAFETY: the channel is alive (we own it) and `raw` is a live local.
        let returned = unsafe { rdma_sys::rdma_get_cm_event(self.raw.as_ptr(), &raw mut raw) };
        match sys::check_minus_one(returned, "rdma_get_cm_event", || "take a CM event".into()) {
            Ok(()) => {}
            Err(Error::Verb { errno: errno::EAGAIN, .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let raw = sys::check_null(raw, "rdma_get_cm_event", || "take a CM event".into())?;
        // SAFETY: the call succeeded, so `raw` is a filled event, ours until it is acknowledged below; its members are
        // integers, pointers and unions of them, for which every bit pattern is valid.
        let event = Event::copy(unsafe { raw.as_ref() });
        // SAFETY: `raw` was not acknowledged yet; the reference above ended with the copy.
        let returned = unsafe { rdma_sys::rdma_ack_cm_event(raw.as_ptr()) };
        sys::check_minus_one(returned, "rdma_ack_cm_event", || "acknowledge a CM event".into())?;
        tracing::debug!("CM event {}, status {}", event.kind, event.status);
        Ok(Some(event))
    }

    /// Waits for the next event; `None` when the deadline passed.
    fn wait_event(&self, deadline: &Deadline) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.next_event()? {
                return Ok(Some(event));
            }
            if !sys::wait_readable(&[self.fd()], deadline)? {
                return Ok(None);
            }
        }
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `rdma_create_event_channel` and is freed once, here. Identifiers hold our Arc, so none is
        // left, and every event taken was acknowledged.
        unsafe { rdma_sys::rdma_destroy_event_channel(self.raw.as_ptr()) };
    }
}

/// Tells a port that is taken from an address that this host does not have.
///
/// The kernel says EADDRNOTAVAIL for both, if one of two listeners takes all addresses; observed: Linux 6.1, and read in
/// its `cma_check_port`. Whether the address is there, an ordinary socket knows.
fn explain_bind(error: Error, address: SocketAddr) -> Error {
    match error {
        Error::Verb { action, call, errno: errno::EADDRNOTAVAIL, .. }
            if UdpSocket::bind((address.ip(), 0)).is_ok() =>
        {
            let hint = Some(PORT_IN_USE_HINT.to_owned());
            Error::Verb { action, call, errno: errno::EADDRINUSE, hint }
        }
        error => error,
    }
}

/// A CM event, copied.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: CmEventKind,
    pub(crate) status: i32,
    /// The identifier it is for; of CONNECT_REQUEST a new one. Only compared, or adopted by [`Listener`].
    id: *mut rdma_cm_id,
    /// As padded by CM; empty if the event has none.
    pub(crate) private_data: Vec<u8>,
    /// The peer's queue pair number, if the event has it.
    pub(crate) remote_qpn: Option<u32>,
    /// READs and atomics that the peer means to have outstanding here, if the event says it.
    responder_resources: u8,
}

impl Event {
    fn copy(event: &rdma_cm_event) -> Self {
        let kind = CmEventKind::from_raw(event.event);
        let mut copied = Self {
            kind,
            status: event.status,
            id: event.id,
            private_data: Vec::new(),
            remote_qpn: None,
            responder_resources: 0,
        };
        let carries_connection = matches!(
            kind,
            CmEventKind::ConnectRequest
                | CmEventKind::ConnectResponse
                | CmEventKind::Established
                | CmEventKind::Rejected
        );
        if !carries_connection {
            return copied;
        }
        // SAFETY: all our identifiers are RDMA_PS_TCP, so librdmacm fills `conn`, after having zeroed the whole event; its
        // members are integers and a pointer, for which every bit pattern is valid.
        let conn = unsafe { event.param.conn };
        copied.remote_qpn = Some(conn.qp_num).filter(|&number| number != 0);
        copied.responder_resources = conn.responder_resources;
        if !conn.private_data.is_null() && conn.private_data_len > 0 {
            let length = usize::from(conn.private_data_len);
            // SAFETY: the pointer is non-null (checked) and librdmacm keeps that many bytes behind it inside the event, which
            // is not acknowledged before we return.
            let bytes = unsafe { std::slice::from_raw_parts(conn.private_data.cast::<u8>(), length) };
            copied.private_data = bytes.to_vec();
        }
        copied
    }
}

/// A CM identifier: RDMA's socket.
#[derive(Debug)]
pub struct CmId {
    raw: NonNull<rdma_cm_id>,
    channel: Arc<EventChannel>,
}

// SAFETY: librdmacm is thread-safe; the pointer is used only in calls to it and in reads of members that are set before the
// identifier is shared (`verbs`, `qp`, addresses); the object is freed once, by the last owner.
unsafe impl Send for CmId {}
// SAFETY: as for Send.
unsafe impl Sync for CmId {}

impl CmId {
    /// Creates one on a channel of its own (`rdma_create_id`, RDMA_PS_TCP).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `rdma_create_event_channel` or `rdma_create_id`: ENODEV without a device.
    pub(crate) fn create() -> Result<Self> {
        let channel = EventChannel::create()?;
        let mut raw = ptr::null_mut();
        // SAFETY: the channel is alive and outlives the identifier: we store its Arc; `raw` is a live local.
        let returned = unsafe {
            rdma_sys::rdma_create_id(
                channel.raw.as_ptr(),
                &raw mut raw,
                ptr::null_mut(),
                rdma_port_space::RDMA_PS_TCP,
            )
        };
        sys::check_minus_one(returned, "rdma_create_id", || "create CM identifier".into())?;
        let raw = sys::check_null(raw, "rdma_create_id", || "create CM identifier".into())?;
        tracing::debug!("rdma_create_id: RDMA_PS_TCP");
        Ok(Self { raw, channel })
    }

    /// Binds a local address (`rdma_bind_addr`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`]: EADDRNOTAVAIL for an address this host does not have, ENODEV for one without RDMA, EADDRINUSE.
    fn bind(&self, address: SocketAddr) -> Result<()> {
        let mut raw_address = RawSocketAddr::from(address);
        // SAFETY: the identifier is alive (we own it), and the address lives through the call, which copies it.
        let returned = unsafe { rdma_sys::rdma_bind_addr(self.raw.as_ptr(), raw_address.as_mut_ptr()) };
        sys::check_minus_one(returned, "rdma_bind_addr", || format!("bind {address}"))
            .map_err(|error| explain_bind(error, address))?;
        tracing::debug!("rdma_bind_addr: {address}");
        Ok(())
    }

    /// Begins to resolve `to`, from the address `from` if given (`rdma_resolve_addr`); ADDR_RESOLVED follows.
    pub(crate) fn resolve_addr(
        &self,
        from: Option<SocketAddr>,
        to: SocketAddr,
        timeout_ms: i32,
    ) -> Result<()> {
        let mut raw_from = from.map(RawSocketAddr::from);
        let raw_from = raw_from.as_mut().map_or(ptr::null_mut(), RawSocketAddr::as_mut_ptr);
        let mut raw_to = RawSocketAddr::from(to);
        // SAFETY: the identifier is alive (we own it), and both addresses live through the call, which copies them.
        let returned = unsafe {
            rdma_sys::rdma_resolve_addr(self.raw.as_ptr(), raw_from, raw_to.as_mut_ptr(), timeout_ms)
        };
        sys::check_minus_one(returned, "rdma_resolve_addr", || match from {
            Some(from) => format!("resolve {to} from {}", from.ip()),
            None => format!("resolve {to}"),
        })?;
        tracing::debug!("rdma_resolve_addr: {to}");
        Ok(())
    }

    /// Begins to resolve the route (`rdma_resolve_route`); ROUTE_RESOLVED follows.
    pub(crate) fn resolve_route(&self, timeout_ms: i32) -> Result<()> {
        // SAFETY: the identifier is alive (we own it).
        let returned = unsafe { rdma_sys::rdma_resolve_route(self.raw.as_ptr(), timeout_ms) };
        sys::check_minus_one(returned, "rdma_resolve_route", || "resolve the route".into())?;
        tracing::debug!("rdma_resolve_route");
        Ok(())
    }

    /// Sets the time without acknowledgement after which the queue pair sends again: 4.096 us times two to the power of
    /// `exponent` (`rdma_set_option`, RDMA_OPTION_ID_ACK_TIMEOUT).
    ///
    /// Before the route is resolved it also reaches the peer, in the REQ. Source: `rdma_set_option(3)`.
    pub(crate) fn set_ack_timeout(&self, mut exponent: u8) -> Result<()> {
        // Of rdma_cma.h; rdma-sys has neither.
        const RDMA_OPTION_ID: i32 = 0;
        const RDMA_OPTION_ID_ACK_TIMEOUT: i32 = 3;
        let (value, length) = ((&raw mut exponent).cast(), mem::size_of_val(&exponent));
        // SAFETY: the identifier is alive (its owner calls); the option is one byte, which lives through the call, which
        // copies it.
        let returned = unsafe {
            rdma_sys::rdma_set_option(
                self.raw.as_ptr(),
                RDMA_OPTION_ID,
                RDMA_OPTION_ID_ACK_TIMEOUT,
                value,
                length,
            )
        };
        sys::check_minus_one(returned, "rdma_set_option", || "set the ACK timeout".into())?;
        tracing::debug!("rdma_set_option: RDMA_OPTION_ID_ACK_TIMEOUT {exponent}");
        Ok(())
    }

    /// Tells CM that data came over a connection whose RTU did not (`rdma_notify`, IBV_EVENT_COMM_EST); ESTABLISHED follows.
    ///
    /// CM refuses it if it has learnt of the connection meanwhile; then that event follows.
    pub(crate) fn notify_established(&self) {
        let event = ibv_event_type::IBV_EVENT_COMM_EST;
        // SAFETY: the identifier is alive (we own it); the event is an integer that the call copies.
        let returned = unsafe { rdma_sys::rdma_notify(self.raw.as_ptr(), event) };
        match sys::check_minus_one(returned, "rdma_notify", || "report data before the RTU".into()) {
            Ok(()) => tracing::debug!("rdma_notify: IBV_EVENT_COMM_EST"),
            Err(error) => tracing::debug!("{error}"),
        }
    }

    /// Sends a DREQ, or the DREP to one that has come (`rdma_disconnect`); the queue pair goes to the error state.
    pub(crate) fn disconnect(&self) -> Result<()> {
        // SAFETY: the identifier is alive (its owner calls).
        let returned = unsafe { rdma_sys::rdma_disconnect(self.raw.as_ptr()) };
        sys::check_minus_one(returned, "rdma_disconnect", || "disconnect".into())?;
        tracing::debug!("rdma_disconnect");
        Ok(())
    }

    /// Waits for the next event of this identifier; `None` when the deadline passed.
    pub(crate) fn wait_event(&self, deadline: &Deadline) -> Result<Option<Event>> {
        loop {
            let event = self.channel.wait_event(deadline)?;
            match event {
                Some(event) if event.id != self.raw.as_ptr() => {
                    tracing::warn!("ignored CM event {} for another identifier", event.kind);
                }
                event => return Ok(event),
            }
        }
    }

    /// Takes the next event of this identifier, if one is there.
    pub(crate) fn next_event(&self) -> Result<Option<Event>> {
        let event = self.channel.next_event()?;
        Ok(event.filter(|event| event.id == self.raw.as_ptr()))
    }

    /// Moves the identifier to a channel of its own (`rdma_migrate_id`).
    fn migrate(&mut self) -> Result<()> {
        let channel = EventChannel::create()?;
        // SAFETY: the identifier is alive (we own it, and nobody shares it yet: `&mut`); both channels are alive, the new one
        // outlives the identifier because its Arc is stored next. All events taken were acknowledged, so the call, which
        // waits for that, returns.
        let returned = unsafe { rdma_sys::rdma_migrate_id(self.raw.as_ptr(), channel.raw.as_ptr()) };
        sys::check_minus_one(returned, "rdma_migrate_id", || {
            "move the connection to a channel of its own".into()
        })?;
        self.channel = channel;
        tracing::debug!("rdma_migrate_id");
        Ok(())
    }

    /// The device context, null while the identifier is bound to no device.
    pub(crate) fn context(&self) -> *mut ibv_context {
        // SAFETY: `raw` is alive until our drop.
        unsafe { (*self.raw.as_ptr()).verbs }
    }

    /// The peer's address, once there is one.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        // SAFETY: `raw` is alive until our drop; only an address inside it is formed.
        let storage = unsafe { &raw const (*self.raw.as_ptr()).route.addr.dst_addr_union };
        // SAFETY: the union is a `sockaddr_storage`, 128 bytes that librdmacm zeroed when it made the identifier.
        let bytes = unsafe { storage.cast::<[u8; 128]>().read() };
        sys::socket_addr_from_bytes(&bytes)
    }

    /// The local port in host order, zero if there is none.
    fn local_port(&self) -> u16 {
        // SAFETY: the identifier is alive (we own it).
        u16::from_be(unsafe { rdma_sys::rdma_get_src_port(self.raw.as_ptr()) })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.channel.fd()
    }

    pub(crate) fn as_ptr(&self) -> *mut rdma_cm_id {
        self.raw.as_ptr()
    }
}

impl Drop for CmId {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `rdma_create_id` or a CONNECT_REQUEST and is freed once, here. What was made on its device
        // holds our Arc, so none is left; all its events were acknowledged, so the call does not wait; the channel, a field,
        // is alive until after it.
        let returned = unsafe { rdma_sys::rdma_destroy_id(self.raw.as_ptr()) };
        sys::log_drop(sys::check_minus_one(returned, "rdma_destroy_id", || "destroy CM identifier".into()));
    }
}

/// Waits for connection requests on an address.
#[derive(Debug)]
pub struct Listener {
    id: CmId,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address` and listens on it (`rdma_bind_addr`, `rdma_listen`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`]: EADDRNOTAVAIL for an address this host does not have, ENODEV for one without RDMA, EADDRINUSE for a
    /// port that is taken.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        let id = CmId::create()?;
        id.bind(address)?;
        // SAFETY: the identifier is alive (we own it).
        let returned = unsafe { rdma_sys::rdma_listen(id.raw.as_ptr(), BACKLOG) };
        sys::check_minus_one(returned, "rdma_listen", || format!("listen on {address}"))?;
        tracing::debug!("rdma_listen: backlog {BACKLOG}");
        let port = id.local_port();
        Ok(Self { id, address: SocketAddr::new(address.ip(), port) })
    }

    /// The address it listens on, with the port the system chose if none was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next connection request.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; [`Error::CmEvent`] if the device goes away; [`Error::Verb`] naming `rdma_get_cm_event`.
    pub fn next_request(&self, deadline: &Deadline) -> Result<ConnectRequest> {
        let awaited = format!("a client on {} (CONNECT_REQUEST)", self.address);
        loop {
            let Some(event) = self.id.channel.wait_event(deadline)? else {
                return Err(Error::timeout(awaited, deadline));
            };
            match event.kind {
                CmEventKind::ConnectRequest => {
                    let raw = sys::check_null(event.id, "rdma_get_cm_event", || {
                        "take a connection request".into()
                    })?;
                    // The event gave us the identifier to own.
                    let id = CmId { raw, channel: Arc::clone(&self.id.channel) };
                    let peer = id.peer();
                    return Ok(ConnectRequest {
                        id,
                        peer,
                        private_data: event.private_data,
                        remote_qpn: event.remote_qpn,
                        reads_at_once: event.responder_resources,
                    });
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

/// A client's request to connect, not answered yet. Dropping it rejects the client.
#[derive(Debug)]
pub struct ConnectRequest {
    id: CmId,
    peer: Option<SocketAddr>,
    private_data: Vec<u8>,
    remote_qpn: Option<u32>,
    reads_at_once: u8,
}

impl ConnectRequest {
    /// Who asks.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The REQ's private data, zero-padded by CM.
    #[must_use]
    pub fn private_data(&self) -> &[u8] {
        &self.private_data
    }

    /// READs and atomics that the client means to have outstanding here.
    #[must_use]
    pub fn reads_at_once(&self) -> u8 {
        self.reads_at_once
    }

    /// Makes the endpoint of the connection, to be accepted when memory and RECVs are ready.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `rdma_migrate_id`, `ibv_alloc_pd`, `ibv_create_comp_channel`, `ibv_create_cq` or `rdma_create_qp`.
    pub fn into_endpoint(mut self, builder: &QueuePairBuilder) -> Result<Endpoint> {
        self.id.migrate()?;
        let id = Arc::new(self.id);
        let qp = builder.build(Device::Cm(Arc::clone(&id)))?;
        let mut endpoint = Endpoint::new(qp, Link::Cm(id), builder.observer_of_completions());
        endpoint.set_peer_qp_num(self.remote_qpn);
        Ok(endpoint)
    }

    /// Rejects the client, telling it `reason` in private data (`rdma_reject`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`] naming `rdma_reject`: EINVAL if the client has gone meanwhile.
    pub fn reject(self, reason: &str) -> Result<()> {
        let bytes = private_data::reject_bytes(reason);
        // SAFETY: the identifier is alive (we own it), and `bytes` lives through the call, which copies it; its length fits,
        // `reject_bytes` cut it to 148.
        let returned =
            unsafe { rdma_sys::rdma_reject(self.id.raw.as_ptr(), bytes.as_ptr().cast(), bytes.len() as u8) };
        sys::check_minus_one(returned, "rdma_reject", || "reject the client".into())?;
        tracing::debug!("rdma_reject: {reason}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind_error(address: &str) -> String {
        let address = address.parse().unwrap();
        let error = Error::verb(format!("bind {address}"), "rdma_bind_addr", errno::EADDRNOTAVAIL);
        explain_bind(error, address).to_string()
    }

    #[test]
    fn a_taken_port_is_told_from_a_missing_address() {
        assert!(bind_error("0.0.0.0:7471").contains("another program listens on that port"));
        assert!(bind_error("127.0.0.1:7471").contains("another program listens on that port"));
        assert!(bind_error("192.0.2.1:7471").contains("does not have that address"));
    }
}
