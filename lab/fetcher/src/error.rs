//! Errors of a mirror: what happened and where, then what to do next.

use std::fmt;
use std::io;
use std::path::Path;

/// A result whose error is [`Error`].
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the fetcher; the caller shows both texts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Error {
    /// The failure, cause included.
    pub what: String,
    /// Advice to the user.
    pub next: String,
}

/// Advice against most of a mirror's faults.
pub(crate) const OTHER_MIRROR: &str = "name another mirror with RDMA_LAB_DEBIAN_MIRROR";

/// Advice where nothing answers.
pub(crate) const NETWORK: &str = "check the network and the proxy (http_proxy, https_proxy, no_proxy), or name another \
     mirror with RDMA_LAB_DEBIAN_MIRROR";

/// Advice where nobody vouches for a mirror.
pub(crate) const CERTIFICATES: &str = "name a file of root certificates that vouch for it with SSL_CERT_FILE, or an http \
     mirror with RDMA_LAB_DEBIAN_MIRROR: what it sends is checked with the archive's keys either way";

impl Error {
    pub(crate) fn new(what: impl Into<String>, next: impl Into<String>) -> Error {
        Error { what: what.into(), next: next.into() }
    }

    /// A mirror that does not hold what it should.
    pub(crate) fn mirror(what: impl Into<String>) -> Error {
        Error::new(what, OTHER_MIRROR)
    }

    /// A file or directory of this computer's.
    pub(crate) fn file(what: &str, path: &Path, source: &io::Error) -> Error {
        let next = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free space on that file system, or name another cache directory with RDMA_LAB_CACHE"
            }
            _ => "make it writable, or name another cache directory with RDMA_LAB_CACHE",
        };
        Error::new(format!("{what} {}: {source}", path.display()), next)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  next: {}", self.what, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_names_the_cure() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::file("failed to write", Path::new("/cache/x"), &full);
        assert!(error.what.contains("/cache/x") && error.next.starts_with("free space"), "{error}");
    }
}
