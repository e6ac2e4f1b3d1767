//! Shared parts of all wrappers: results of C calls as errors, socket addresses as C has them, and the wait on descriptors.
//!
//! The conventions differ by family: `rdma_*` returns -1 and sets errno, `ibv_post_*` and its like return the errno,
//! `ibv_create_*` and its like return NULL and set errno. Each has its own check here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;

use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// The calling thread's errno; to be read on the line after the call that set it.
pub(crate) fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Checks a call that returns -1 and sets errno.
pub(crate) fn check_minus_one(
    returned: i32,
    call: &'static str,
    action: impl FnOnce() -> String,
) -> Result<()> {
    // Before anything else can change it.
    let errno = last_errno();
    if returned == 0 { Ok(()) } else { Err(Error::verb(action(), call, errno)) }
}

/// Checks a call that returns its error number.
pub(crate) fn check_errno(returned: i32, call: &'static str, action: impl FnOnce() -> String) -> Result<()> {
    // Some providers return -1 or a negative number all the same.
    let errno = last_errno();
    match returned {
        0 => Ok(()),
        -1 => Err(Error::verb(action(), call, errno)),
        other => Err(Error::verb(action(), call, other.saturating_abs())),
    }
}

/// Checks a call that returns NULL and sets errno.
pub(crate) fn check_null<T>(
    returned: *mut T,
    call: &'static str,
    action: impl FnOnce() -> String,
) -> Result<NonNull<T>> {
    let errno = last_errno();
    NonNull::new(returned).ok_or_else(|| Error::verb(action(), call, errno))
}

/// Logs a destructor's failed call: there is nobody to return it to.
pub(crate) fn log_drop(result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!("{error}");
    }
}

/// Makes a descriptor non-blocking.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, what: &str) -> Result<()> {
    let failed = |errno: rustix::io::Errno| {
        Error::verb(format!("make the {what} non-blocking"), "fcntl", errno.raw_os_error())
    };
    let flags = rustix::fs::fcntl_getfl(fd).map_err(failed)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).map_err(failed)
}

/// Waits until one of `fds` is readable or in error, or the deadline passes: then `Ok(false)`.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], deadline: &Deadline) -> Result<bool> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    loop {
        let left = deadline
            .remaining()
            .map(|left| Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 }));
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            // A signal that did not end the process: wait for the rest.
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::Poll(errno.into())),
        }
    }
}

/// A socket address in C's layout.
pub(crate) enum RawSocketAddr {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl RawSocketAddr {
    /// The pointer librdmacm wants; it is only read through, and valid while `self` is.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        match self {
            Self::V4(v4) => (&raw mut *v4).cast(),
            Self::V6(v6) => (&raw mut *v6).cast(),
        }
    }
}

impl From<SocketAddr> for RawSocketAddr {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }
}

/// Reads the address out of a `sockaddr_storage`; `None` for a family that is not IP.
pub(crate) fn socket_addr_from_bytes(storage: &[u8; 128]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes([storage[0], storage[1]]);
    let port = u16::from_be_bytes([storage[2], storage[3]]);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = storage[4..8].try_into().ok()?;
            Some(SocketAddr::new(IpAddr::from(octets), port))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = storage[8..24].try_into().ok()?;
            Some(SocketAddr::new(IpAddr::from(octets), port))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn bytes_of(address: &str) -> [u8; 128] {
        let mut storage = [0; 128];
        match RawSocketAddr::from(address.parse::<SocketAddr>().unwrap()) {
            RawSocketAddr::V4(v4) => {
                storage[..2].copy_from_slice(&v4.sin_family.to_ne_bytes());
                storage[2..4].copy_from_slice(&v4.sin_port.to_ne_bytes());
                storage[4..8].copy_from_slice(&v4.sin_addr.s_addr.to_ne_bytes());
            }
            RawSocketAddr::V6(v6) => {
                storage[..2].copy_from_slice(&v6.sin6_family.to_ne_bytes());
                storage[2..4].copy_from_slice(&v6.sin6_port.to_ne_bytes());
                storage[8..24].copy_from_slice(&v6.sin6_addr.s6_addr);
            }
        }
        storage
    }

    #[test]
    fn addresses_survive_the_way_through_c() {
        for address in ["198.51.100.2:7471", "[2001:db8::2]:7472"] {
            let read = socket_addr_from_bytes(&bytes_of(address)).unwrap();
            assert_eq!(read.to_string(), address);
        }
        assert_eq!(socket_addr_from_bytes(&[0; 128]), None);
    }

    #[test]
    fn results_follow_their_convention() {
        assert!(check_errno(0, "ibv_post_send", || unreachable!()).is_ok());
        let error = check_errno(libc::EINVAL, "ibv_post_send", || "post".into()).unwrap_err();
        assert!(matches!(error, Error::Verb { errno: libc::EINVAL, .. }), "{error}");
        let error = check_null::<u8>(std::ptr::null_mut(), "ibv_alloc_pd", || "allocate".into());
        assert!(error.unwrap_err().to_string().starts_with("failed to allocate (`ibv_alloc_pd`): "));
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let (reader, writer) = std::io::pipe().unwrap();
        let soon = Deadline::after(Duration::from_millis(20));
        assert!(!wait_readable(&[reader.as_fd()], &soon).unwrap());
        drop(writer);
        assert!(wait_readable(&[reader.as_fd()], &Deadline::never()).unwrap());
    }
}
