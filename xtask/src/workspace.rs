//! Path of this checkout, and the context of its commands.

use std::path::{Path, PathBuf};

use lab::Result;
use rdma_lab_cli::{Front, front};

/// The directory of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The context of this workspace's commands.
///
/// # Errors
///
/// The system does not tell where this program is.
pub(crate) fn front() -> Result<Front> {
    Ok(Front::workspace(root(), front::this_program()?))
}

/// The accepted snapshots, and beside them those that a run left for review.
pub(crate) fn snapshots() -> PathBuf {
    root().join("tests/snapshots")
}

/// The catalogue of scenarios.
pub(crate) fn scenarios() -> PathBuf {
    root().join("lab/scenarios")
}
