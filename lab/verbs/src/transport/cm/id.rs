//! CM identifiers: RDMA's sockets.
//!
//! Every identifier has an event channel of its own. Source: `rdma_cm(7)`, `rdma_create_id(3)`, `librdmacm/cma.c` of
//! rdma-core 44.

use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use super::event::{CmEvent, EventChannel, wait_for_event};
use crate::deadline::Deadline;
use crate::device::{ContextOwner, Device};
use crate::error::{Error, PORT_IN_USE_HINT, Result, errno};
use crate::extended::extended_attributes;
use crate::pd::ProtectionDomain;
use crate::qp::{self, Capacity, QueueCompletions, QueuePair, QueuePairOwner};
use crate::raw::rdma_cm_id;
use crate::rdma_sys;
use crate::rdma_sys::{ibv_event_type, rdma_conn_param, rdma_port_space};
use crate::sys::{self, RawSocketAddr};
use crate::transport::{ACCEPT_LIMIT, CONNECT_LIMIT, ConnectParams, reject_bytes};

/// A CM identifier: RDMA's socket.
#[derive(Debug)]
pub struct CmId {
    raw: NonNull<rdma_cm_id>,
    channel: Arc<EventChannel>,
    /// Held by whoever calls librdmacm with `raw`, or reads or writes a member of it.
    calls: Mutex<()>,
}

// SAFETY: nothing of the object belongs to the thread that made it, and it is freed once, by the last owner.
unsafe impl Send for CmId {}
// SAFETY: every access to the object, librdmacm's as well as ours, is inside `locked`, so two threads that share it never
// meet: `rdma_create_qp` and `rdma_destroy_qp` write `qp`, taking ADDR_RESOLVED writes `verbs` and the addresses. One
// access is without that lock: a listener takes an event of a request that was not moved off its channel yet, which is
// that the client has gone; librdmacm then reads the object and changes none of the members that we read.
unsafe impl Sync for CmId {}

impl CmId {
    /// Creates an identifier on a channel of its own (`rdma_create_id`, RDMA_PS_TCP).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb) naming `rdma_create_event_channel` or `rdma_create_id`: ENODEV without a device.
    pub(super) fn create() -> Result<Self> {
        let channel = EventChannel::create()?;
        let mut raw = ptr::null_mut();
        // SAFETY: the channel is alive and outlives the identifier: we store its Arc; `raw` is a live local.
        let returned = unsafe {
            rdma_sys::rdma_create_id(
                channel.as_raw(),
                &raw mut raw,
                ptr::null_mut(),
                rdma_port_space::RDMA_PS_TCP,
            )
        };
        sys::check_minus_one(returned, "rdma_create_id", || "create CM identifier".into())?;
        let raw = sys::check_null(raw, "rdma_create_id", || "create CM identifier".into())?;
        tracing::debug!("rdma_create_id: RDMA_PS_TCP");
        Ok(Self { raw, channel, calls: Mutex::new(()) })
    }

    /// Takes over the identifier that a CONNECT_REQUEST brought.
    ///
    /// # Safety
    ///
    /// `raw` is alive, nobody else's, and its events come to `channel`.
    pub(super) unsafe fn adopt(raw: NonNull<rdma_cm_id>, channel: Arc<EventChannel>) -> Self {
        Self { raw, channel, calls: Mutex::new(()) }
    }

    /// Calls librdmacm, or reads a member, while nobody else does.
    fn locked<T>(&self, call: impl FnOnce(*mut rdma_cm_id) -> T) -> T {
        let _alone = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        call(self.raw.as_ptr())
    }

    /// Calls a function of librdmacm that returns -1 and sets errno.
    fn checked(
        &self,
        name: &'static str,
        action: impl FnOnce() -> String,
        call: impl FnOnce(*mut rdma_cm_id) -> i32,
    ) -> Result<()> {
        // Inside the lock, whose release may change errno.
        self.locked(|raw| sys::check_minus_one(call(raw), name, action))
    }

    /// C's pointer, valid while `self` is.
    #[must_use]
    pub fn as_raw(&self) -> *mut rdma_cm_id {
        self.raw.as_ptr()
    }

    /// Binds a local address (`rdma_bind_addr`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`](crate::Error::Verb): EADDRNOTAVAIL for an address this host does not have, ENODEV for one without
    /// RDMA, EADDRINUSE.
    pub(super) fn bind(&self, address: SocketAddr) -> Result<()> {
        let mut raw_address = RawSocketAddr::from(address);
        let action = || format!("bind {address}");
        self.checked("rdma_bind_addr", action, |raw| {
            // SAFETY: the identifier is alive (we own it), and the address lives through the call, which copies it.
            unsafe { rdma_sys::rdma_bind_addr(raw, raw_address.as_mut_ptr()) }
        })
        .map_err(|error| explain_bind(error, address))?;
        tracing::debug!("rdma_bind_addr: {address}");
        Ok(())
    }

    /// Listens on the bound address (`rdma_listen`).
    pub(super) fn listen(&self, backlog: i32, address: SocketAddr) -> Result<()> {
        self.checked(
            "rdma_listen",
            || format!("listen on {address}"),
            |raw| {
                // SAFETY: the identifier is alive (we own it).
                unsafe { rdma_sys::rdma_listen(raw, backlog) }
            },
        )?;
        tracing::debug!("rdma_listen: backlog {backlog}");
        Ok(())
    }

    /// Begins to resolve `to`, from the address `from` if given (`rdma_resolve_addr`); ADDR_RESOLVED follows.
    pub(super) fn resolve_addr(
        &self,
        from: Option<SocketAddr>,
        to: SocketAddr,
        timeout_ms: i32,
    ) -> Result<()> {
        let mut raw_from = from.map(RawSocketAddr::from);
        let raw_from = raw_from.as_mut().map_or(ptr::null_mut(), RawSocketAddr::as_mut_ptr);
        let mut raw_to = RawSocketAddr::from(to);
        let action = || match from {
            Some(from) => format!("resolve {to} from {}", from.ip()),
            None => format!("resolve {to}"),
        };
        self.checked("rdma_resolve_addr", action, |raw| {
            // SAFETY: the identifier is alive (we own it), and both addresses live through the call, which copies them.
            unsafe { rdma_sys::rdma_resolve_addr(raw, raw_from, raw_to.as_mut_ptr(), timeout_ms) }
        })?;
        tracing::debug!("rdma_resolve_addr: {to}");
        Ok(())
    }

    /// Begins to resolve the route (`rdma_resolve_route`); ROUTE_RESOLVED follows.
    pub(super) fn resolve_route(&self, timeout_ms: i32) -> Result<()> {
        self.checked(
            "rdma_resolve_route",
            || "resolve the route".into(),
            |raw| {
                // SAFETY: the identifier is alive (we own it).
                unsafe { rdma_sys::rdma_resolve_route(raw, timeout_ms) }
            },
        )?;
        tracing::debug!("rdma_resolve_route");
        Ok(())
    }

    /// Sets the time without acknowledgement after which the queue pair sends again: 4.096 us times two to the power of
    /// `exponent` (`rdma_set_option`, RDMA_OPTION_ID_ACK_TIMEOUT).
    ///
    /// Before the route is resolved it also reaches the peer, in the REQ. Source: `rdma_set_option(3)`.
    pub(super) fn set_ack_timeout(&self, mut exponent: u8) -> Result<()> {
        // Of rdma_cma.h; rdma-sys has neither.
        const RDMA_OPTION_ID: i32 = 0;
        const RDMA_OPTION_ID_ACK_TIMEOUT: i32 = 3;
        let (value, length) = ((&raw mut exponent).cast(), mem::size_of_val(&exponent));
        self.checked(
            "rdma_set_option",
            || "set the ACK timeout".into(),
            |raw| {
                // SAFETY: the identifier is alive (we own it); the option is one byte, which lives through the call, which
                // copies it.
                unsafe {
                    rdma_sys::rdma_set_option(raw, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, value, length)
                }
            },
        )?;
        tracing::debug!("rdma_set_option: RDMA_OPTION_ID_ACK_TIMEOUT {exponent}");
        Ok(())
    }

    /// Creates the identifier's queue pair (`rdma_create_qp`), which CM brings into its states.
    pub(super) fn create_queue_pair(
        self: &Arc<Self>,
        pd: Arc<ProtectionDomain>,
        completions: QueueCompletions,
        capacity: &Capacity,
    ) -> Result<QueuePair> {
        let call = "rdma_create_qp";
        let action = || qp::action(capacity);
        qp::check_operations(pd.device(), capacity)?;
        let is_extended = !capacity.operations.is_empty();
        let call = if is_extended { "rdma_create_qp_ex" } else { call };
        let mut attr = qp::attributes(completions.queue(), capacity);
        let mut extended = extended_attributes(&attr, pd.as_raw(), capacity.operations);
        let made = self.locked(|raw| {
            let returned = if is_extended {
                // SAFETY: identifier, domain and queue are alive; those of another device are refused by the call. The
                // attributes live through it.
                unsafe { rdma_sys::rdma_create_qp_ex(raw, &raw mut extended) }
            } else {
                // SAFETY: as above.
                unsafe { rdma_sys::rdma_create_qp(raw, pd.as_raw(), &raw mut attr) }
            };
            sys::check_minus_one(returned, call, action)?;
            // SAFETY: the identifier is alive, and the call above has set its queue pair.
            sys::check_null(unsafe { (*raw).qp }, call, action)
        })?;
        // SAFETY: the call made it of these parts, for these operations, and only `destroy_queue_pair` destroys it.
        unsafe { QueuePair::made(made, call, capacity, Some(Arc::clone(self) as _), completions, pd) }
    }

    /// Sends a REQ (`rdma_connect`); ESTABLISHED follows.
    pub(super) fn connect(&self, params: &ConnectParams, server: SocketAddr) -> Result<()> {
        let mut param = raw_params(params, CONNECT_LIMIT)?;
        self.checked(
            "rdma_connect",
            || format!("connect to {server}"),
            |raw| {
                // SAFETY: the identifier is alive (we own it); `param` and the private data it points to, in `params`, live
                // through the call, which copies them.
                unsafe { rdma_sys::rdma_connect(raw, &raw mut param) }
            },
        )
    }

    /// Sends a REP (`rdma_accept`); ESTABLISHED follows.
    pub(super) fn accept(&self, params: &ConnectParams) -> Result<()> {
        let mut param = raw_params(params, ACCEPT_LIMIT)?;
        self.checked(
            "rdma_accept",
            || "accept the client".into(),
            |raw| {
                // SAFETY: as in `connect`.
                unsafe { rdma_sys::rdma_accept(raw, &raw mut param) }
            },
        )
    }

    /// Sends a REJ with `reason` as private data (`rdma_reject`).
    pub(super) fn reject(&self, reason: &str) -> Result<()> {
        let bytes = reject_bytes(reason);
        self.checked(
            "rdma_reject",
            || "reject the client".into(),
            |raw| {
                // SAFETY: the identifier is alive (we own it), and `bytes` lives through the call, which copies it; its length
                // fits, `reject_bytes` cut it to 148.
                unsafe { rdma_sys::rdma_reject(raw, bytes.as_ptr().cast(), bytes.len() as u8) }
            },
        )?;
        tracing::debug!("rdma_reject: {reason}");
        Ok(())
    }

    /// Tells CM that data came over a connection whose RTU did not (`rdma_notify`, IBV_EVENT_COMM_EST); ESTABLISHED follows.
    ///
    /// CM refuses it if it has learnt of the connection meanwhile; then that event follows.
    pub(super) fn notify_established(&self) {
        let event = ibv_event_type::IBV_EVENT_COMM_EST;
        let told = self.checked(
            "rdma_notify",
            || "report data before the RTU".into(),
            |raw| {
                // SAFETY: the identifier is alive (we own it); the event is an integer that the call copies.
                unsafe { rdma_sys::rdma_notify(raw, event) }
            },
        );
        match told {
            Ok(()) => tracing::debug!("rdma_notify: IBV_EVENT_COMM_EST"),
            Err(error) => tracing::debug!("{error}"),
        }
    }

    /// Sends a DREQ, or the DREP to one that has come (`rdma_disconnect`); the queue pair goes to the error state.
    pub(super) fn disconnect(&self) -> Result<()> {
        tracing::debug!("rdma_disconnect");
        self.checked(
            "rdma_disconnect",
            || "disconnect".into(),
            |raw| {
                // SAFETY: the identifier is alive (we own it).
                unsafe { rdma_sys::rdma_disconnect(raw) }
            },
        )
    }

    /// Waits for the next event of this identifier; `None` when the deadline passed.
    pub(super) fn wait_event(&self, deadline: &Deadline) -> Result<Option<CmEvent>> {
        wait_for_event(self.as_fd(), || self.next_event(), deadline)
    }

    /// Takes the next event of this identifier, if one is there.
    pub(super) fn next_event(&self) -> Result<Option<CmEvent>> {
        self.locked(|raw| {
            let event = self.channel.next_event()?;
            Ok(event.filter(|event| {
                let is_ours = event.id == raw;
                if !is_ours {
                    tracing::warn!("ignored CM event {} for another identifier", event.kind);
                }
                is_ours
            }))
        })
    }

    /// Moves the identifier to a channel of its own (`rdma_migrate_id`).
    pub(super) fn migrate(&mut self) -> Result<()> {
        let channel = EventChannel::create()?;
        let action = || "move the connection to a channel of its own".into();
        self.checked("rdma_migrate_id", action, |raw| {
            // SAFETY: the identifier is alive (we own it, and nobody shares it yet: `&mut`); both channels are alive, the
            // new one outlives the identifier because its Arc is stored next. All events taken were acknowledged, so the
            // call, which waits for that, returns.
            unsafe { rdma_sys::rdma_migrate_id(raw, channel.as_raw()) }
        })?;
        self.channel = channel;
        tracing::debug!("rdma_migrate_id");
        Ok(())
    }

    /// The device that CM bound the identifier to.
    ///
    /// # Errors
    ///
    /// [`Error::Verb`]: ENODEV if it is bound to none.
    pub(super) fn device(self: &Arc<Self>) -> Result<Arc<Device>> {
        // SAFETY: `raw` is alive until our drop.
        let context = self.locked(|raw| unsafe { (*raw).verbs });
        let unbound = || Error::verb("use the identifier's device", "rdma_resolve_addr", errno::ENODEV);
        let context = NonNull::new(context).ok_or_else(unbound)?;
        // SAFETY: librdmacm keeps the context of a device open while an identifier is bound to it, and ours stays so.
        Ok(unsafe { Device::of_context(context, Arc::clone(self) as _) })
    }

    /// The peer's address, once there is one.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.locked(|raw| {
            // SAFETY: `raw` is alive until our drop; only an address inside it is formed.
            let storage = unsafe { &raw const (*raw).route.addr.dst_addr_union };
            // SAFETY: the union is a `sockaddr_storage`, 128 bytes that librdmacm zeroed when it made the identifier.
            let bytes = unsafe { storage.cast::<[u8; 128]>().read() };
            sys::socket_addr_from_bytes(&bytes)
        })
    }

    /// The local port in host order, zero if there is none.
    pub(super) fn local_port(&self) -> u16 {
        // SAFETY: the identifier is alive (we own it).
        u16::from_be(self.locked(|raw| unsafe { rdma_sys::rdma_get_src_port(raw) }))
    }

    /// The channel that its events come to.
    #[must_use]
    pub fn channel(&self) -> &Arc<EventChannel> {
        &self.channel
    }
}

impl ContextOwner for CmId {}

impl QueuePairOwner for CmId {
    /// Destroys the identifier's queue pair (`rdma_destroy_qp`).
    fn destroy_queue_pair(&self) {
        // SAFETY: the identifier is alive (we own it); its queue pair came from `rdma_create_qp` and is destroyed once, by
        // the drop of the one value that it was handed to.
        self.locked(|raw| unsafe { rdma_sys::rdma_destroy_qp(raw) });
    }
}

impl AsFd for CmId {
    /// The descriptor of its event channel.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
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

/// The parameters in C's layout; valid while `params` is.
fn raw_params(params: &ConnectParams, limit: usize) -> Result<rdma_conn_param> {
    params.check_private_data(limit)?;
    Ok(rdma_conn_param {
        private_data: match params.private_data.as_slice() {
            [] => ptr::null(),
            bytes => bytes.as_ptr().cast(),
        },
        // The limit is below 256.
        private_data_len: params.private_data.len() as u8,
        responder_resources: params.responder_resources,
        initiator_depth: params.initiator_depth,
        // As the classic C samples leave it.
        flow_control: 0,
        retry_count: params.retry_count,
        rnr_retry_count: params.rnr_retry_count,
        srq: 0,
        qp_num: 0,
    })
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

    #[test]
    fn defaults_let_reads_through_and_retry() {
        let raw = raw_params(&ConnectParams::default(), CONNECT_LIMIT).unwrap();
        assert!(raw.private_data.is_null());
        assert_eq!((raw.responder_resources, raw.initiator_depth), (1, 1));
        assert_eq!((raw.retry_count, raw.rnr_retry_count, raw.flow_control), (7, 7, 0));
    }

    #[test]
    fn private_data_is_refused_above_its_limit() {
        let params = ConnectParams::with_private_data(vec![1; 57]);
        let refused = raw_params(&params, CONNECT_LIMIT).err();
        assert!(matches!(refused, Some(Error::PrivateDataTooLong { limit: 56, got: 57 })), "{refused:?}");
        assert_eq!(raw_params(&params, ACCEPT_LIMIT).unwrap().private_data_len, 57);
    }
}
