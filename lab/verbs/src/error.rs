//! Everything that can go wrong, each with what to do next.
//!
//! Three kinds of cause: the operating system refused a call, the peer or the fabric ended a wait, or the bytes make no
//! sense. Error numbers are Linux's: verbs exist nowhere else.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::completion::{Completion, WcStatus, c_enum};
use crate::deadline::{Deadline, Seconds};
use crate::private_data::PrivateDataError;

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

/// What to do about a port that another program listens on.
pub(crate) const PORT_IN_USE_HINT: &str =
    "another program listens on that port: stop it, or give another PORT";

c_enum! {
    /// `enum rdma_cm_event_type`.
    CmEventKind {
        /// `rdma_resolve_addr` succeeded.
        AddrResolved = 0 => "ADDR_RESOLVED",
        /// `rdma_resolve_addr` failed.
        AddrError = 1 => "ADDR_ERROR",
        /// `rdma_resolve_route` succeeded.
        RouteResolved = 2 => "ROUTE_RESOLVED",
        /// `rdma_resolve_route` failed.
        RouteError = 3 => "ROUTE_ERROR",
        /// Passive side: a REQ arrived.
        ConnectRequest = 4 => "CONNECT_REQUEST",
        /// Active side without a queue pair: a REP arrived.
        ConnectResponse = 5 => "CONNECT_RESPONSE",
        /// Connecting failed.
        ConnectError = 6 => "CONNECT_ERROR",
        /// The peer does not answer.
        Unreachable = 7 => "UNREACHABLE",
        /// A REJ arrived.
        Rejected = 8 => "REJECTED",
        /// The connection stands.
        Established = 9 => "ESTABLISHED",
        /// The connection ended.
        Disconnected = 10 => "DISCONNECTED",
        /// The device went away.
        DeviceRemoval = 11 => "DEVICE_REMOVAL",
        /// Of multicast.
        MulticastJoin = 12 => "MULTICAST_JOIN",
        /// Of multicast.
        MulticastError = 13 => "MULTICAST_ERROR",
        /// The address moved to another device.
        AddrChange = 14 => "ADDR_CHANGE",
        /// The queue pair number may be used again.
        TimewaitExit = 15 => "TIMEWAIT_EXIT",
    }
}

c_enum! {
    /// Why CM rejected a connection: the status of REJECTED. Those that a user meets; the others keep their number.
    RejectReason {
        /// No listener at this service identifier.
        InvalidServiceId = 8 => "invalid service ID",
        /// The peer still knows an earlier connection with our numbers.
        StaleConnection = 10 => "stale connection",
        /// The program on the other side said no.
        ConsumerDefined = 28 => "consumer defined",
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to libibverbs or librdmacm failed.
    #[error("failed to {action} (`{call}`): {}{}", errno_text(*.errno), next_step(.hint))]
    Verb {
        /// What was to be done, after "failed to".
        action: String,
        /// The C function.
        call: &'static str,
        /// Its error number.
        errno: i32,
        /// What to do next, where that is known.
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
        /// Its length.
        length_bytes: usize,
    },
    /// A range does not lie within its memory region.
    #[error(
        "range of {length_bytes} bytes at offset {offset} exceeds the memory region of {region_bytes} bytes"
    )]
    Range {
        /// Where the range starts.
        offset: usize,
        /// How long it is.
        length_bytes: usize,
        /// How long the region is.
        region_bytes: usize,
    },
    /// A wait reached its limit.
    #[error("timed out after {} waiting for {awaited}{}", Seconds(*.limit), next_step(.hint))]
    Timeout {
        /// What was awaited.
        awaited: String,
        /// The limit.
        limit: Duration,
        /// What to do next, where that is known.
        hint: Option<String>,
    },
    /// The connection ended while something else was awaited.
    #[error("the peer disconnected while this side waited for {awaited}; look at the peer's own error")]
    Disconnected {
        /// What was awaited.
        awaited: String,
    },
    /// CM reported a failure.
    #[error("waiting for {awaited} ended with {event}, {} after {}{}", status_text(*.status), Seconds(*.elapsed), next_step(.hint))]
    CmEvent {
        /// What was awaited.
        awaited: String,
        /// What came.
        event: CmEventKind,
        /// Its status: a negative errno, or a number of the transport.
        status: i32,
        /// How long it was awaited.
        elapsed: Duration,
        /// What to do next, where that is known.
        hint: Option<String>,
    },
    /// The peer rejected the connection.
    #[error("{}", rejected_text(.peer, *.reason, .text, .server_program))]
    Rejected {
        /// Whom we asked: ADDRESS:PORT.
        peer: String,
        /// The reason it gave.
        reason: RejectReason,
        /// The text in its private data, if there is one.
        text: Option<String>,
        /// The program that should listen there.
        server_program: String,
    },
    /// A work request completed with an error.
    #[error("{} (wr_id {}) completed with {} (vendor_err {:#x}): {}", posted_text(.0), .0.wr_id, .0.status, .0.vendor_err, .0.status.meaning())]
    Completion(Box<Completion>),
    /// A completion of another kind than the exchange has here.
    #[error("expected a completion {expected}, got {got}")]
    UnexpectedCompletion {
        /// Its opcode.
        expected: String,
        /// What came.
        got: Box<Completion>,
    },
    /// Private data makes no sense.
    #[error(transparent)]
    PrivateData(#[from] PrivateDataError),
    /// The server's region is smaller than this exchange needs.
    #[error(
        "the server's memory region has {have} bytes, this exchange needs {need}; start the server with a larger one"
    )]
    RegionTooSmall {
        /// Bytes the server has.
        have: u64,
        /// Bytes needed.
        need: u64,
    },
    /// A client asks for more than this server gives.
    #[error("the client asks for a memory region of {asked} bytes, this server gives at most {limit}")]
    RegionTooLarge {
        /// Bytes asked for.
        asked: u64,
        /// Bytes there are.
        limit: u64,
    },
    /// A server refuses every client, as it was told to.
    #[error("{reason}")]
    Refused {
        /// What it tells them.
        reason: String,
    },
    /// What was read back is not what was written.
    #[error(
        "read back differs from what was written at offset {offset}: wrote {wrote:#04x}, read {read:#04x}"
    )]
    ReadBackDiffers {
        /// The first byte that differs.
        offset: usize,
        /// What was written there.
        wrote: u8,
        /// What was read there.
        read: u8,
    },
    /// What arrived is not the pattern that a client with `--size` sends.
    #[error(
        "what arrived differs from the pattern at offset {offset}: expected {expected:#04x}, got {got:#04x}"
    )]
    PatternDiffers {
        /// The first byte that differs.
        offset: usize,
        /// The pattern there.
        expected: u8,
        /// What is there.
        got: u8,
    },
    /// An atomic operation found another value than this exchange has there.
    #[error("{operation} found {found} where {expected} must be; does another client use the same memory?")]
    ValueDiffers {
        /// The operation.
        operation: &'static str,
        /// What it found.
        found: u64,
        /// What should be there.
        expected: u64,
    },
    /// The client ended the connection and the server's region is as it was.
    #[error(
        "the client disconnected without writing: the region still holds {}; look at the client's own error", if .initial.is_empty() { "zeros".into() } else { format!("{:?}", .initial) }
    )]
    NothingWritten {
        /// What it holds.
        initial: String,
    },
    /// Immediate and payload contradict each other.
    #[error("the immediate says {imm} bytes, the completion {length_bytes}")]
    ImmediateDiffers {
        /// The immediate.
        imm: u32,
        /// The completion's length.
        length_bytes: u32,
    },
    /// The other side's queue pair parameters make no sense.
    #[error("queue pair parameters over TCP: {0}; is the peer one of these programs, with `--no-cm`?")]
    Parameters(String),
    /// A call on the TCP connection failed.
    #[error("failed to {action} (TCP): {source}")]
    Tcp {
        /// What was to be done, after "failed to".
        action: String,
        /// Why it was not.
        source: io::Error,
    },
    /// A host name has no address.
    #[error("failed to look up `{host}`: {reason}; give an address, or add the name to /etc/hosts")]
    Lookup {
        /// The name.
        host: String,
        /// Why.
        reason: String,
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
        if let Self::Verb { hint, .. } | Self::Timeout { hint, .. } | Self::CmEvent { hint, .. } = &mut self {
            hint.get_or_insert_with(text);
        }
        self
    }

    /// A program's exit code; 0 is success and 2 a mistake on the command line.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Verb { .. }
            | Self::NoDevice
            | Self::NoDeviceAt { .. }
            | Self::Allocation { .. }
            | Self::Range { .. }
            | Self::Tcp { .. }
            | Self::Lookup { .. }
            | Self::Poll(_) => 1,
            Self::Completion(_) => 3,
            Self::Disconnected { .. } => 4,
            Self::Rejected { .. } | Self::CmEvent { .. } => 5,
            Self::Timeout { .. } => 6,
            Self::ReadBackDiffers { .. }
            | Self::PatternDiffers { .. }
            | Self::ValueDiffers { .. }
            | Self::NothingWritten { .. }
            | Self::ImmediateDiffers { .. }
            | Self::UnexpectedCompletion { .. } => 7,
            Self::PrivateData(_)
            | Self::RegionTooSmall { .. }
            | Self::RegionTooLarge { .. }
            | Self::Refused { .. }
            | Self::Parameters(_) => 8,
        }
    }

    /// What happened in one word, for the result line: the name of a completion's status or of a CM event, else of the
    /// kind that [`Error::exit_code`] has a number for.
    #[must_use]
    pub fn status(&self) -> String {
        match (self, self.exit_code()) {
            (Self::Completion(completion), _) => completion.status.to_string(),
            (Self::CmEvent { event, .. }, _) => event.to_string(),
            (_, 4) => "DISCONNECTED".into(),
            (_, 5) => "REJECTED".into(),
            (_, 6) => "TIMEOUT".into(),
            (_, 7) => "DATA_DIFFERS".into(),
            (_, 8) => "REFUSED".into(),
            _ => "FAILED".into(),
        }
    }

    /// Whether the peer caused it, by what it sent or by leaving.
    #[must_use]
    pub fn is_the_peer_s(&self) -> bool {
        matches!(self.exit_code(), 4 | 6 | 8)
    }

    /// Whether the peer can still be expected to answer a DREQ.
    #[must_use]
    pub fn peer_answers(&self) -> bool {
        match self {
            Self::Completion(completion) => completion.status != WcStatus::RetryExcErr,
            Self::Disconnected { .. } | Self::Timeout { .. } => false,
            _ => true,
        }
    }

    /// Whether trying again once is likely to help: the peer kept a connection from before our restart.
    #[must_use]
    pub fn is_stale_connection(&self) -> bool {
        matches!(self, Self::Rejected { reason: RejectReason::StaleConnection, .. })
    }

    /// An error completion becomes an error, a successful one passes.
    ///
    /// # Errors
    ///
    /// [`Error::Completion`] for every status but SUCCESS.
    pub fn check_completion(completion: Completion) -> Result<Completion> {
        match completion.status {
            WcStatus::Success => Ok(completion),
            _ => Err(Self::Completion(Box::new(completion))),
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

/// What a CM event's status says: a negative errno, or a number of the transport.
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

fn rejected_text(peer: &str, reason: RejectReason, text: &Option<String>, server_program: &str) -> String {
    let status = reason.raw();
    match (reason, text) {
        (RejectReason::InvalidServiceId, _) => {
            format!(
                "no server listens on {peer} (REJECTED, status {status}: {reason}); start {server_program} there"
            )
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
    use crate::completion::{Side, WcOpcode, WrOpcode};

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
            server_program: "rdma_server".into(),
        };
        assert_eq!(
            error.to_string(),
            "no server listens on 198.51.100.2:7471 (REJECTED, status 8: invalid service ID); start rdma_server there"
        );
        assert!(!error.is_stale_connection());
    }

    #[test]
    fn rejection_by_a_program_shows_its_text() {
        let error = Error::Rejected {
            peer: "198.51.100.2:7471".into(),
            reason: RejectReason::from_raw(28),
            text: Some("too large".into()),
            server_program: "rdma_server".into(),
        };
        assert_eq!(
            error.to_string(),
            "198.51.100.2:7471 rejected the connection (REJECTED, status 28: consumer defined): too large"
        );
    }

    #[test]
    fn unknown_reject_reason_keeps_its_number() {
        let error = Error::Rejected {
            peer: "p".into(),
            reason: RejectReason::from_raw(33),
            text: None,
            server_program: "s".into(),
        };
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
            side: Side::Requester,
            opcode: WcOpcode::RdmaRead,
            status: WcStatus::RemAccessErr,
            wr_id: 2,
            qp_num: 17,
            peer_qp_num: None,
            posted: Some(WrOpcode::RdmaRead),
            length_bytes: 0,
            imm: None,
            vendor_err: 0x88,
        };
        let error = Error::check_completion(completion).unwrap_err();
        assert_eq!((error.status().as_str(), error.exit_code()), ("REM_ACCESS_ERR", 3));
        assert_eq!(
            error.to_string(),
            "RDMA_READ (wr_id 2) completed with REM_ACCESS_ERR (vendor_err 0x88): the responder refused rkey, bounds or access: check address, rkey and access flags"
        );
    }

    #[test]
    fn kinds_of_failure_have_their_status_and_exit_code() {
        let awaited = || "it".to_owned();
        let deadline = Deadline::after(Duration::ZERO);
        for (error, status, exit_code) in [
            (Error::NoDevice, "FAILED", 1),
            (Error::Disconnected { awaited: awaited() }, "DISCONNECTED", 4),
            (
                Error::CmEvent {
                    awaited: awaited(),
                    event: CmEventKind::Unreachable,
                    status: -errno::ETIMEDOUT,
                    elapsed: Duration::ZERO,
                    hint: None,
                },
                "UNREACHABLE",
                5,
            ),
            (Error::timeout(awaited(), &deadline), "TIMEOUT", 6),
            (Error::ImmediateDiffers { imm: 1, length_bytes: 2 }, "DATA_DIFFERS", 7),
            (PrivateDataError::Zero.into(), "REFUSED", 8),
        ] {
            assert_eq!((error.status().as_str(), error.exit_code()), (status, exit_code), "{error}");
        }
    }

    #[cfg(feature = "rdma-core")]
    #[test]
    fn numbers_equal_the_headers() {
        use rdma_sys::rdma_cm_event_type;
        assert_eq!(CmEventKind::Established.raw(), rdma_cm_event_type::RDMA_CM_EVENT_ESTABLISHED);
        assert_eq!(CmEventKind::TimewaitExit.raw(), rdma_cm_event_type::RDMA_CM_EVENT_TIMEWAIT_EXIT);
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
