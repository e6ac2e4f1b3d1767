//! From archives to a tree of files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::Command;
use crate::error::{IoContext as _, Result};

/// The longest wait for one archive.
const UNPACK_LIMIT: Duration = Duration::from_secs(120);

/// Unpacks archives into one tree, without running anything that they bring.
///
/// # Errors
///
/// `dpkg-deb` is missing or fails, or the tree cannot be written.
pub fn unpack(archives: &[PathBuf], into: &Path) -> Result<()> {
    fs::create_dir_all(into).at("failed to create", into)?;
    for archive in archives {
        Command::new(["dpkg-deb", "-x"]).arg(archive).arg(into).run(UNPACK_LIMIT)?;
    }
    Ok(())
}
