//! Errors of calls and waits, each with the call, its error number and what to do next.
//!
//! The operating system refused a call, or the peer or the fabric ended a wait. Error numbers are Linux's: verbs exist
//! nowhere else.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::cm_event::{CmEventKind, RejectReason};
use crate::completion::{Completion, WcStatus};
use crate::deadline::{Deadline, Seconds};

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Linux's numbers of the errors that carry a hint.
pub mod errno {
    /// Not permitted.
    pub const EPERM: i32 = 1;
    /// Try again.
    pub const EAGAIN: i32 = 11;
    /// Out of memory, or of memory that may be locked.
    pub const ENOMEM: i32 = 12;
    /// Permission denied.
    pub const EACCES: i32 = 13;
    /// No such device.
    pub const ENODEV: i32 = 19;
    /// Function not implemented: no device, says `ibv_get_device_list`.
    pub const ENOSYS: i32 = 38;
    /// Address in use.
    pub const EADDRINUSE: i32 = 98;
    /// No such address on this host.
    pub const EADDRNOTAVAIL: i32 = 99;
    /// Network unreachable.
    pub const ENETUNREACH: i32 = 101;
    /// Connection timed out.
    pub const ETIMEDOUT: i32 = 110;
    /// No route to host.
    pub const EHOSTUNREACH: i32 = 113;
}

const NO_DEVICE_HINT: &str = "this host has no RDMA device: load rdma_rxe, ib_uverbs and rdma_ucm, then `rdma link add rxe0 type rxe netdev eth0`";

/// Advice on a port that another program listens on.
pub(crate) const PORT_IN_USE_HINT: &str =
    "another program listens on that port: stop it, or give another PORT";

/// A failed call or wait.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call to libibverbs or librdmacm failed.
    #[error("failed to {action} (`{call}`): {}{}", errno_text(*.errno), next_step(.hint))]
    Verb {
        /// The action, after "failed to".
        action: String,
        /// The C function.
        call: &'static str,
        /// The error number.
        errno: i32,
        /// The next step, where it is known.
        hint: Option<String>,
    },
    /// There is no RDMA device.
    #[error("no RDMA device found (`ibv_get_device_list`); {NO_DEVICE_HINT}")]
    NoDevice,
    /// No RDMA device has an address.
    #[error(
        "no RDMA device of this host has the address {address}: see `rdma link`, or `rdma link add rxe0 type rxe netdev eth0` for its interface"
    )]
    NoDeviceAt {
        /// The address of the TCP connection.
        address: IpAddr,
    },
    /// Memory for a region could not be had.
    #[error("failed to allocate {length_bytes} bytes for a memory region")]
    Allocation {
        /// The length.
        length_bytes: usize,
    },
    /// A range does not lie within its memory region.
    #[error(
        "range of {length_bytes} bytes at offset {offset} exceeds the memory region of {region_bytes} bytes"
    )]
    Range {
        /// Start of the range.
        offset: usize,
        /// Length of the range.
        length_bytes: usize,
        /// Length of the region.
        region_bytes: usize,
    },
    /// The device does not have an ability.
    #[error("{device} does not offer {ability}{}", next_step(.hint))]
    NotOffered {
        /// The device.
        device: String,
        /// The ability.
        ability: &'static str,
        /// The next step, where it is known.
        hint: Option<String>,
    },
    /// A memory window that its queue pair has taken along when it was destroyed.
    #[error("the memory window is gone: the queue pair that it was bound through has been destroyed")]
    WindowGone,
    /// A list names memory that its queue pair does not keep.
    #[error("the list of work requests names memory that is attached to another queue pair")]
    NotAttached,
    /// A wait reached its limit.
    #[error("timed out after {} waiting for {awaited}{}", Seconds(*.limit), next_step(.hint))]
    Timeout {
        /// The awaited thing.
        awaited: String,
        /// The limit.
        limit: Duration,
        /// The next step, where it is known.
        hint: Option<String>,
    },
    /// The connection ended while something else was awaited.
    #[error("the peer disconnected while this side waited for {awaited}; look at the peer's own error")]
    Disconnected {
        /// The awaited thing.
        awaited: String,
    },
    /// CM reported a failure.
    #[error("waiting for {awaited} ended with {event}, {} after {}{}", status_text(*.status), Seconds(*.elapsed), next_step(.hint))]
    CmEvent {
        /// The awaited thing.
        awaited: String,
        /// The event that came.
        event: CmEventKind,
        /// The status: a negative errno, or a number of the transport.
        status: i32,
        /// Time that it was awaited.
        elapsed: Duration,
        /// The next step, where it is known.
        hint: Option<String>,
    },
    /// The peer rejected the connection.
    #[error("{}{}", rejected_text(.peer, *.reason, .text), next_step(.hint))]
    Rejected {
        /// The server asked: ADDRESS:PORT.
        peer: String,
        /// The reason it gave.
        reason: RejectReason,
        /// The text in its private data, if there is one.
        text: Option<String>,
        /// The next step, where it is known.
        hint: Option<String>,
    },
    /// A work request completed with an error.
    #[error("{} (wr_id {}) completed with {} (vendor_err {:#x}): {}", posted_text(.0), .0.wr_id, .0.status, .0.vendor_err, .0.status.meaning())]
    Completion(Box<Completion>),
    /// Private data that does not fit into its CM message.
    #[error("{got} bytes of private data, but this message carries at most {limit}")]
    PrivateDataTooLong {
        /// The most that fits.
        limit: usize,
        /// Bytes given.
        got: usize,
    },
    /// The other side's queue pair parameters make no sense.
    #[error("queue pair parameters over TCP: {0}; does the peer connect the same way?")]
    Parameters(String),
    /// A call on the TCP connection failed.
    #[error("failed to {action} (TCP): {source}")]
    Tcp {
        /// The action, after "failed to".
        action: String,
        /// The cause.
        source: io::Error,
    },
    /// Waiting itself failed.
    #[error("failed to wait for events (`poll`): {0}")]
    Poll(#[source] io::Error),
}

impl Error {
    /// A failed call, with the hint that `call` and `errno` have by themselves.
    #[must_use]
    pub fn verb(action: impl Into<String>, call: &'static str, errno: i32) -> Self {
        Self::Verb { action: action.into(), call, errno, hint: hint(call, errno).map(str::to_owned) }
    }

    /// A failed call on a TCP connection.
    #[must_use]
    pub fn tcp(action: impl Into<String>, source: io::Error) -> Self {
        Self::Tcp { action: action.into(), source }
    }

    /// A wait that reached its limit.
    #[must_use]
    pub fn timeout(awaited: impl Into<String>, deadline: &Deadline) -> Self {
        Self::Timeout {
            awaited: awaited.into(),
            limit: deadline.limit().unwrap_or_else(|| deadline.elapsed()),
            hint: None,
        }
    }

    /// Adds what to do next, if nothing more specific is there.
    #[must_use]
    pub fn or_hint(mut self, text: impl FnOnce() -> String) -> Self {
        if let Self::Verb { hint, .. }
        | Self::Timeout { hint, .. }
        | Self::CmEvent { hint, .. }
        | Self::Rejected { hint, .. } = &mut self
        {
            hint.get_or_insert_with(text);
        }
        self
    }

    /// True if trying again once is likely to help: the peer kept a connection from before our restart.
    #[must_use]
    pub fn is_stale_connection(&self) -> bool {
        matches!(self, Self::Rejected { reason: RejectReason::StaleConnection, .. })
    }
}

impl Completion {
    /// Returns the completion if it is a success.
    ///
    /// # Errors
    ///
    /// [`Error::Completion`] for every status but SUCCESS.
    pub fn into_result(self) -> Result<Self> {
        match self.status {
            WcStatus::Success => Ok(self),
            _ => Err(Error::Completion(Box::new(self))),
        }
    }
}

/// The system's text of an error number, without the number.
#[must_use]
pub fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Text of a CM event's status: a negative errno, or a number of the transport.
fn status_text(status: i32) -> String {
    match status {
        ..0 => format!("status {status} ({})", errno_text(status.saturating_neg())),
        _ => format!("status {status}"),
    }
}

fn next_step(hint: &Option<String>) -> String {
    hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default()
}

fn posted_text(completion: &Completion) -> String {
    completion.posted.map_or_else(|| "RECV".to_owned(), |posted| posted.to_string())
}

fn rejected_text(peer: &str, reason: RejectReason, text: &Option<String>) -> String {
    let status = reason.raw();
    match (reason, text) {
        (RejectReason::InvalidServiceId, _) => {
            format!("no server listens on {peer} (REJECTED, status {status}: {reason})")
        }
        (RejectReason::StaleConnection, _) => format!(
            "{peer} still knows an earlier connection of this host (REJECTED, status {status}: {reason}); try again in a minute"
        ),
        (_, Some(text)) => {
            format!("{peer} rejected the connection (REJECTED, status {status}: {reason}): {text}")
        }
        (_, None) => {
            format!(
                "{peer} rejected the connection (REJECTED, status {status}: {reason}); look at the server's own error"
            )
        }
    }
}

fn hint(call: &str, errno: i32) -> Option<&'static str> {
    use self::errno::{
        EACCES, EADDRINUSE, EADDRNOTAVAIL, EHOSTUNREACH, ENETUNREACH, ENODEV, ENOMEM, ENOSYS, EPERM,
    };
    match (call, errno) {
        // EPERM: the limit is zero, says `can_do_mlock` of Linux 6.1.
        ("ibv_reg_mr", ENOMEM | EPERM) | ("ibv_create_cq" | "rdma_create_qp", ENOMEM) => Some(
            "the limit of locked memory is probably too small: see `ulimit -l`, raise it with `ulimit -l unlimited` or in /etc/security/limits.conf",
        ),
        ("rdma_bind_addr" | "rdma_resolve_addr" | "rdma_resolve_route", ENODEV) => Some(
            "no RDMA device serves that address: see `rdma link`, or `rdma link add rxe0 type rxe netdev eth0` for its interface",
        ),
        (_, ENODEV | ENOSYS) => Some(NO_DEVICE_HINT),
        ("rdma_bind_addr" | "rdma_resolve_addr", EADDRNOTAVAIL) => {
            Some("this host does not have that address: see `ip address`, then give another `--bind`")
        }
        ("rdma_bind_addr" | "rdma_listen", EADDRINUSE) => Some(PORT_IN_USE_HINT),
        ("rdma_resolve_addr", ENETUNREACH | EHOSTUNREACH) => {
            Some("this host has no route to that address: see `ip route`")
        }
        (_, EACCES) => Some("the rights of /dev/infiniband/* forbid it: see `ls -l /dev/infiniband`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::{CompletionSide, WcOpcode, WrOpcode};

    #[test]
    fn memlock_names_the_call_and_ulimit() {
        let error = Error::verb("register 4096-byte memory region", "ibv_reg_mr", errno::ENOMEM).to_string();
        assert!(error.starts_with("failed to register 4096-byte memory region (`ibv_reg_mr`): "), "{error}");
        assert!(error.contains("`ulimit -l`"), "{error}");
        assert!(!error.contains("os error"), "{error}");
    }

    #[test]
    fn a_memlock_limit_of_zero_is_explained_like_a_small_one() {
        let error = Error::verb("register", "ibv_reg_mr", errno::EPERM).to_string();
        assert!(error.contains("`ulimit -l`"), "{error}");
    }

    #[test]
    fn missing_device_says_how_to_make_one() {
        for errno in [errno::ENODEV, errno::ENOSYS] {
            let error = Error::verb("open event channel", "rdma_create_event_channel", errno).to_string();
            assert!(error.contains("rdma link add rxe0 type rxe netdev eth0"), "{error}");
        }
        assert!(Error::NoDevice.to_string().contains("rdma link add rxe0 type rxe netdev eth0"));
    }

    #[test]
    fn bind_errors_differ_by_cause() {
        let missing = Error::verb("bind 192.0.2.1:7471", "rdma_bind_addr", errno::EADDRNOTAVAIL).to_string();
        assert!(missing.contains("does not have that address"), "{missing}");
        let taken = Error::verb("bind 0.0.0.0:7471", "rdma_bind_addr", errno::EADDRINUSE).to_string();
        assert!(taken.contains("another program listens on that port"), "{taken}");
    }

    #[test]
    fn no_listener_says_what_to_start() {
        let error = Error::Rejected {
            peer: "198.51.100.2:7471".into(),
            reason: RejectReason::from_raw(8),
            text: None,
            hint: None,
        };
        let text = "no server listens on 198.51.100.2:7471 (REJECTED, status 8: invalid service ID)";
        assert_eq!(error.to_string(), text);
        assert!(!error.is_stale_connection());
        let error = error.or_hint(|| "start it there".into());
        assert_eq!(error.to_string(), format!("{text}; start it there"));
    }

    #[test]
    fn rejection_by_a_program_shows_its_text() {
        let error = Error::Rejected {
            peer: "198.51.100.2:7471".into(),
            reason: RejectReason::from_raw(28),
            text: Some("too large".into()),
            hint: None,
        };
        assert_eq!(
            error.to_string(),
            "198.51.100.2:7471 rejected the connection (REJECTED, status 28: consumer defined): too large"
        );
    }

    #[test]
    fn unknown_reject_reason_keeps_its_number() {
        let error =
            Error::Rejected { peer: "p".into(), reason: RejectReason::from_raw(33), text: None, hint: None };
        assert!(error.to_string().contains("status 33: UNKNOWN(0x21)"), "{error}");
    }

    #[test]
    fn timeout_names_what_and_how_long() {
        let deadline = Deadline::after(Duration::from_secs(10));
        let error = Error::timeout("the completion of RDMA_READ (wr_id 2)", &deadline);
        assert_eq!(
            error.to_string(),
            "timed out after 10 s waiting for the completion of RDMA_READ (wr_id 2)"
        );
        let error = error.or_hint(|| "first".into()).or_hint(|| "second".into());
        assert!(error.to_string().ends_with("; first"));
    }

    #[test]
    fn cm_failure_translates_a_negative_status() {
        let error = Error::CmEvent {
            awaited: "ADDR_RESOLVED".into(),
            event: CmEventKind::AddrError,
            status: -errno::ETIMEDOUT,
            elapsed: Duration::from_secs(3),
            hint: None,
        };
        assert!(
            error.to_string().starts_with("waiting for ADDR_RESOLVED ended with ADDR_ERROR, status -110 ("),
            "{error}"
        );
        assert!(error.to_string().ends_with(") after 3 s"), "{error}");
    }

    #[test]
    fn failed_completion_is_named() {
        let completion = Completion {
            side: CompletionSide::Requester,
            opcode: WcOpcode::RdmaRead,
            status: WcStatus::RemAccessErr,
            wr_id: 2,
            qp_num: 17,
            peer_qp_num: None,
            posted: Some(WrOpcode::RdmaRead),
            length_bytes: 0,
            imm: None,
            vendor_err: 0x88,
            invalidated_rkey: None,
        };
        let error = completion.into_result().unwrap_err();
        assert_eq!(
            error.to_string(),
            "RDMA_READ (wr_id 2) completed with REM_ACCESS_ERR (vendor_err 0x88): the responder refused rkey, bounds or access: check address, rkey and access flags"
        );
    }

    #[test]
    fn numbers_equal_the_headers() {
        assert_eq!(
            [errno::EPERM, errno::EAGAIN, errno::ENOMEM, errno::EACCES, errno::ENODEV, errno::ENOSYS],
            [libc::EPERM, libc::EAGAIN, libc::ENOMEM, libc::EACCES, libc::ENODEV, libc::ENOSYS]
        );
        assert_eq!(
            [
                errno::EADDRINUSE,
                errno::EADDRNOTAVAIL,
                errno::ENETUNREACH,
                errno::ETIMEDOUT,
                errno::EHOSTUNREACH
            ],
            [libc::EADDRINUSE, libc::EADDRNOTAVAIL, libc::ENETUNREACH, libc::ETIMEDOUT, libc::EHOSTUNREACH]
        );
    }
}
