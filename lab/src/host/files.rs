//! Limit of the files that a process may have open here.

use rustix::process::{Resource, getrlimit};

use crate::base::error::{Error, Result};

/// Demands that a process may have so many files open.
///
/// # Errors
///
/// The limit is lower: with how much is needed.
pub fn demand(needed: u64) -> Result<()> {
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => Err(Error::setup(format!(
            "too few open files are allowed: the lab needs {needed}, the limit is {limit}"
        ))
        .next("raise the limit: ulimit -n 1024")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_are_refused_with_what_is_needed() {
        demand(1).unwrap();
        let limit = getrlimit(Resource::Nofile).current;
        if let Some(limit) = limit.filter(|limit| *limit < u64::MAX) {
            let error = demand(limit + 1).unwrap_err().to_string();
            assert!(error.starts_with("too few open files") && error.contains("ulimit -n"), "{error}");
        }
    }
}
