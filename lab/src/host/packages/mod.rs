//! Debian packages: found, downloaded and unpacked, without root and without a change to the host.
//!
//! Guests ([`crate::guest::image`]) are made of them. Nothing that a package brings is run: no maintainer script.
//!
//! - [`mirror`]: where the packages come from
//! - [`apt`]: resolving and downloading them with the host's apt and a private state
//! - [`fetcher`]: the same with a program of ours, where apt is missing
//! - [`keys`]: whose signature is believed, by both
//! - [`unpack`]: from archives to a tree

pub mod apt;
pub mod fetcher;
pub mod keys;
pub mod mirror;
pub mod unpack;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::error::{Error, Result};

/// The architecture of packages, in Debian's word for it.
pub const ARCHITECTURE: &str = "amd64";

/// The multiarch triplet of that architecture: the name of its library directories.
pub const TRIPLET: &str = "x86_64-linux-gnu";

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
    /// The first package that a metapackage depends on.
    ///
    /// # Errors
    ///
    /// There is no such package, or it depends on nothing.
    fn first_dependency(&self, package: &str) -> Result<String>;

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

/// Opens `release` (a code name such as `bookworm`), with its state and downloads in `directory`, which exists.
///
/// With apt where it is, else with [`fetcher`]; `RDMA_LAB_PACKAGES`, `apt` or `fetch`, decides otherwise.
///
/// # Errors
///
/// No mirror is known, it does not answer, or its signature is not the archive's.
pub fn open(release: &str, directory: &Path) -> Result<Box<dyn Archive>> {
    let mirror = mirror::find()?;
    let fetches = match std::env::var("RDMA_LAB_PACKAGES").as_deref() {
        Ok("fetch") => true,
        Ok("apt") => false,
        Ok("") | Err(_) => !apt::Apt::is_here(),
        Ok(other) => {
            return Err(Error::usage(format!("RDMA_LAB_PACKAGES is neither apt nor fetch: {other}")));
        }
    };
    Ok(match fetches {
        true => Box::new(fetcher::Fetcher::open(directory, &mirror, release)?),
        false => Box::new(apt::Apt::open(directory, &mirror, release)?),
    })
}
