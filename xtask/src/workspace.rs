//! Where this checkout is.

use std::path::{Path, PathBuf};

/// The directory of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The accepted snapshots, and beside them those that a run left for review.
pub(crate) fn snapshots() -> PathBuf {
    root().join("tests/snapshots")
}

/// The catalogue of scenarios.
pub(crate) fn scenarios() -> PathBuf {
    root().join("lab/scenarios")
}
