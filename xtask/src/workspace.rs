//! Where this checkout is, and this program.

use std::path::{Path, PathBuf};

use lab::{Error, Result};

/// The directory of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// This executable, which is also the guard's.
///
/// # Errors
///
/// The system does not tell where it is.
pub(crate) fn guard() -> Result<PathBuf> {
    std::env::current_exe().map_err(|source| Error::setup("failed to find this program").source(source))
}

/// The accepted snapshots, and beside them those that a run left for review.
pub(crate) fn snapshots() -> PathBuf {
    root().join("tests/snapshots")
}

/// The catalogue of scenarios.
pub(crate) fn scenarios() -> PathBuf {
    root().join("lab/scenarios")
}
