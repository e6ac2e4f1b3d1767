//! Errors of the lab: cause, place, and what to do next.
//!
//! One type for the whole crate. The [`Kind`] is the reason that a verdict names; the text is for people.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use hinted::Hinted;

use crate::base::invocation;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Part of the lab that failed; a verdict's reason follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The user asked for something that does not exist or cannot be.
    Usage,
    /// A requirement, a build or a deployment failed before anything ran.
    Setup,
    /// A machine did not come up, or ended while it was needed.
    Boot,
    /// The capture could not be taken or read.
    Capture,
    /// A wait reached its limit.
    Timeout,
}

/// An error of the lab.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    told: Hinted,
}

impl Error {
    /// An error of `kind` that says what happened and where, in lower case and without a full stop.
    pub fn new(kind: Kind, what: impl Into<String>) -> Error {
        Error::of(kind, Hinted::new(what))
    }

    /// An error of `kind` that something else has told already.
    pub fn of(kind: Kind, told: Hinted) -> Error {
        Error { kind, told }
    }

    /// A mistake in what the user asked for; the command line exits with 2.
    pub fn usage(what: impl Into<String>) -> Error {
        Error::new(Kind::Usage, what)
    }

    /// Something that was needed before a run is not there.
    pub fn setup(what: impl Into<String>) -> Error {
        Error::new(Kind::Setup, what)
    }

    /// A machine that did not come up.
    pub fn boot(what: impl Into<String>) -> Error {
        Error::new(Kind::Boot, what)
    }

    /// A capture that could not be taken or read.
    pub fn capture(what: impl Into<String>) -> Error {
        Error::new(Kind::Capture, what)
    }

    /// A wait for `what` that reached its limit.
    pub fn timeout(what: impl fmt::Display, limit: Duration) -> Error {
        Error::new(Kind::Timeout, format!("{what}: not within {:.1} s", limit.as_secs_f64()))
    }

    /// Adds the last lines of an output or a log.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Error {
        Error { told: self.told.detail(detail), ..self }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Error {
        Error { told: self.told.next(next), ..self }
    }

    /// Adds the cause.
    #[must_use]
    pub fn source(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error { told: self.told.source(source), ..self }
    }

    /// Changes which part of the lab is blamed.
    #[must_use]
    pub fn kind_is(mut self, kind: Kind) -> Error {
        self.kind = kind;
        self
    }

    /// The part of the lab that failed.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.told)
    }
}

/// Names the file or directory that an I/O error is about.
pub trait IoContext<T> {
    /// Turns an I/O error into an [`Error`]: `what` is the failed action, as in "failed to read".
    ///
    /// # Errors
    ///
    /// The error itself, with a hint where its cause has a usual cure.
    fn at(self, what: &str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|source| {
            let end_labs;
            let hint = match source.kind() {
                _ if is_out_of_files(&source) => Some("raise the limit of open files: ulimit -n 1024"),
                io::ErrorKind::OutOfMemory => {
                    end_labs = format!("end something, or end other labs: {}", invocation::lab("down --all"));
                    Some(end_labs.as_str())
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                    "free space on that file system: old runs in target/lab may go, and the cache may be elsewhere (RDMA_LAB_CACHE)",
                ),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("make it writable, or name another cache directory with RDMA_LAB_CACHE")
                }
                io::ErrorKind::NotADirectory => Some("a part of this path is a file: name another directory"),
                _ => None,
            };
            let error = Error::setup(format!("{what} {}", path.display())).source(source);
            match hint {
                Some(hint) => error.next(hint),
                None => error,
            }
        })
    }
}

/// True if this process, or the computer, has no more files to open (EMFILE, ENFILE).
fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|full| errno == Some(full.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_names_the_cure() {
        let full: io::Result<()> = Err(io::ErrorKind::StorageFull.into());
        let text = full.at("failed to write", Path::new("/cache/x")).unwrap_err().to_string();
        assert!(text.contains("/cache/x") && text.contains("RDMA_LAB_CACHE"), "{text}");
    }

    #[test]
    fn want_of_files_and_memory_is_the_hosts_and_has_a_cure() {
        for (errno, cure) in [
            (rustix::io::Errno::MFILE, "ulimit -n"),
            (rustix::io::Errno::NFILE, "ulimit -n"),
            (rustix::io::Errno::NOMEM, "lab down --all"),
        ] {
            let failed: io::Result<()> = Err(errno.into());
            let text = failed.at("failed to open", Path::new("/cache/x")).unwrap_err().to_string();
            assert!(text.contains(cure), "{text}");
        }
    }
}
