//! Debian packages: found, downloaded and unpacked, without root and without a change to the host.
//!
//! Guests ([`crate::guest::image`]) are made of them. Nothing that a package brings is run: no maintainer script.
//!
//! - [`mirror`]: where the packages come from
//! - [`archive`]: one release of it
//! - [`apt`]: resolving and downloading them with the host's apt and a private state
//! - [`fetcher`]: the same with a program of ours, where apt is missing
//! - [`keys`]: whose signature is believed, by both
//! - [`unpack`]: from archives to a tree

pub mod apt;
pub mod archive;
pub mod fetcher;
pub mod keys;
pub mod mirror;
pub mod unpack;

use std::path::Path;

pub use archive::{ARCHITECTURE, Archive, Package, TRIPLET};

use crate::base::error::{Error, Result};

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
