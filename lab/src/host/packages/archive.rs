//! A release of a Debian mirror, whatever reads it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::error::Result;

/// The architecture of packages, in Debian's word for it.
pub const ARCHITECTURE: &str = "amd64";

/// The multiarch triplet of that architecture: the name of its library directories.
pub const TRIPLET: &str = "x86_64-linux-gnu";

/// The variable that takes lists whose validity has ended: those of a snapshot of the archive.
pub const EXPIRED: &str = "RDMA_LAB_EXPIRED_LISTS";

/// One package that a request resolves to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Package {
    /// The archive's file name: name, version and architecture.
    pub file: String,
    /// Size of the archive in bytes.
    pub size_bytes: u64,
}

/// One release of a Debian mirror, its lists fetched and their signature checked.
pub trait Archive {
    /// The packages that a package depends on, in its order: of alternatives the one that is taken, no virtual ones.
    ///
    /// # Errors
    ///
    /// There is no such package.
    fn dependencies(&self, package: &str) -> Result<Vec<String>>;

    /// The archives that installing `packages` on an empty system would download, dependencies included.
    ///
    /// # Errors
    ///
    /// A package does not exist or cannot be resolved.
    fn resolve(&self, packages: &[&str]) -> Result<Vec<Package>>;

    /// The archives of exactly `packages`, without what they depend on: what [`Archive::download_only`] brings.
    ///
    /// # Errors
    ///
    /// A package does not exist.
    fn look_up(&self, packages: &[&str]) -> Result<Vec<Package>>;

    /// Downloads `packages` and all they depend on, each checked against the signed lists.
    ///
    /// # Errors
    ///
    /// As [`Archive::resolve`], or the download fails.
    fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>>;

    /// Downloads exactly `packages`, without what they depend on, into `directory`.
    ///
    /// # Errors
    ///
    /// A package does not exist, or the download fails.
    fn download_only(&self, packages: &[&str], directory: &Path) -> Result<Vec<PathBuf>>;
}
