//! CM events: the channel they arrive on, and each copied and acknowledged at once.
//!
//! No pointer into an event survives its acknowledgement, and destroying an identifier, which waits for it, never blocks.
//! Source: `rdma_get_cm_event(3)`, `librdmacm/cma.c` of rdma-core 44.

use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::cm_event::CmEventKind;
use crate::deadline::Deadline;
use crate::error::{Error, Result, errno};
use crate::raw::{rdma_cm_id, rdma_event_channel};
use crate::rdma_sys::rdma_cm_event;
use crate::{rdma_sys, sys};

/// Channel on which the events of identifiers arrive, as a descriptor to poll.
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
    /// Creates a non-blocking channel (`rdma_create_event_channel`).
    ///
    /// # Errors
    ///
    /// [`Error::Verb`]: ENODEV without the module rdma_ucm, EACCES, EMFILE.
    pub(super) fn create() -> Result<Arc<Self>> {
        // SAFETY: the call takes nothing and returns an object that we own, or NULL.
        let raw = unsafe { rdma_sys::rdma_create_event_channel() };
        let raw = sys::check_null(raw, "rdma_create_event_channel", || "create event channel".into())?;
        let channel = Arc::new(Self { raw });
        sys::set_nonblocking(channel.as_fd(), "event channel")?;
        tracing::debug!("rdma_create_event_channel");
        Ok(channel)
    }

    /// C's pointer, valid while `self` is.
    #[must_use]
    pub fn as_raw(&self) -> *mut rdma_event_channel {
        self.raw.as_ptr()
    }

    /// Takes, copies and acknowledges the next event, if there is one (`rdma_get_cm_event`, `rdma_ack_cm_event`).
    pub(super) fn next_event(&self) -> Result<Option<CmEvent>> {
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
        let event = CmEvent::copy(unsafe { raw.as_ref() });
        // SAFETY: `raw` was not acknowledged yet; the reference above ended with the copy.
        let returned = unsafe { rdma_sys::rdma_ack_cm_event(raw.as_ptr()) };
        sys::check_minus_one(returned, "rdma_ack_cm_event", || "acknowledge a CM event".into())?;
        tracing::debug!("CM event {}, status {}", event.kind, event.status);
        Ok(Some(event))
    }

    /// Waits for the next event; `None` when the deadline passed.
    pub(super) fn wait_event(&self, deadline: &Deadline) -> Result<Option<CmEvent>> {
        wait_for_event(self.as_fd(), || self.next_event(), deadline)
    }
}

impl AsFd for EventChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `raw` is alive until our drop.
        let fd = unsafe { (*self.raw.as_ptr()).fd };
        // SAFETY: the channel owns `fd` and closes it only in our drop; the borrow is tied to `self`.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `rdma_create_event_channel` and is freed once, here. Identifiers hold our Arc, so none is
        // left, and every event taken was acknowledged.
        unsafe { rdma_sys::rdma_destroy_event_channel(self.raw.as_ptr()) };
    }
}

/// A CM event, copied.
#[derive(Debug)]
pub(super) struct CmEvent {
    pub(super) kind: CmEventKind,
    pub(super) status: i32,
    /// The identifier it is for; of CONNECT_REQUEST a new one. Only compared, or adopted by the listener.
    pub(super) id: *mut rdma_cm_id,
    /// As padded by CM; empty if the event has none.
    pub(super) private_data: Vec<u8>,
    /// The peer's queue pair number, if the event has it.
    pub(super) remote_qpn: Option<u32>,
    /// READs and atomics that the peer means to have outstanding here, if the event says it.
    pub(super) responder_resources: u8,
}

impl CmEvent {
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

/// Takes the next event by `next`, waiting on the channel's descriptor; `None` when the deadline passed.
pub(super) fn wait_for_event(
    channel: BorrowedFd<'_>,
    next: impl Fn() -> Result<Option<CmEvent>>,
    deadline: &Deadline,
) -> Result<Option<CmEvent>> {
    loop {
        if let Some(event) = next()? {
            return Ok(Some(event));
        }
        if !sys::wait_readable(&[channel], deadline)? {
            return Ok(None);
        }
    }
}
