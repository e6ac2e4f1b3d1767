//! An error for people: what happened and where, why, the last words of whoever said so, and what to do next.
//!
//! A crate of its own, without a dependency: the lab and the command `roce` print errors alike, and neither is
//! built on the other; the library `roce` reports what it reads and advises nobody.
//!
//! ```
//! let error = hinted::Hinted::new("failed to start qemu").detail("no such file").next("install it");
//! assert_eq!(error.to_string(), "failed to start qemu\n  | no such file\n  next: install it");
//! ```

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

/// An error with what to do next.
#[derive(Debug)]
pub struct Hinted {
    what: String,
    detail: Option<String>,
    next: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Hinted {
    /// Says what happened and where, in lower case and without a full stop.
    pub fn new(what: impl Into<String>) -> Hinted {
        Hinted { what: what.into(), detail: None, next: None, source: None }
    }

    /// Adds the last lines of an output or a log; blank ones are left out.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Hinted {
        let detail = detail.into();
        if !detail.trim().is_empty() {
            self.detail = Some(detail);
        }
        self
    }

    /// Adds what to do next, in the place of what was said before.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Hinted {
        self.next = Some(next.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Hinted {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let mut source = Error::source(self);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        if let Some(detail) = &self.detail {
            for line in detail.trim_end().lines() {
                write!(f, "\n  | {line}")?;
            }
        }
        if let Some(next) = &self.next {
            write!(f, "\n  next: {}", next.replace('\n', "\n        "))?;
        }
        Ok(())
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_what_cause_detail_and_next() {
        let error = Hinted::new("failed to start qemu")
            .source(std::io::Error::other("no such file"))
            .detail("line 1\nline 2\n")
            .next("install it\nor name another");
        assert_eq!(
            error.to_string(),
            "failed to start qemu: no such file\n  | line 1\n  | line 2\n  next: install it\n        or name another"
        );
        assert_eq!(Hinted::new("x").detail(" \n").to_string(), "x");
    }
}
