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

pub use archive::{ARCHITECTURE, Archive, EXPIRED, Package, TRIPLET};

use crate::base::error::{Error, Result};

/// The variable that says what brings packages: `apt` or `fetch`.
const VARIABLE: &str = "RDMA_LAB_PACKAGES";

/// Opens `release` (a code name such as `bookworm`), with its state and downloads in `directory`, which exists.
///
/// By apt or by [`fetcher`], as [`are_fetched`] says.
///
/// # Errors
///
/// No mirror is known, it does not answer, or its signature is not the archive's.
pub fn open(release: &str, directory: &Path) -> Result<Box<dyn Archive>> {
    let mirror = mirror::find()?;
    let takes_expired = takes_expired(&std::env::var(EXPIRED).unwrap_or_default())?;
    Ok(match are_fetched(&asked(), apt::Apt::is_here)? {
        true => Box::new(fetcher::Fetcher::open(directory, &mirror, release, takes_expired)?),
        false => Box::new(apt::Apt::open(directory, &mirror, release, takes_expired)?),
    })
}

/// Returns true if lists are taken whose validity has ended; their signature is checked all the same.
///
/// # Errors
///
/// Neither yes nor no was said.
fn takes_expired(asked: &str) -> Result<bool> {
    match asked {
        "" | "0" => Ok(false),
        "1" => Ok(true),
        other => Err(Error::usage(format!("{EXPIRED} is neither 1 nor 0: {other}"))),
    }
}

/// Returns the value of `RDMA_LAB_PACKAGES`, empty where nobody set it.
pub fn asked() -> String {
    std::env::var(VARIABLE).unwrap_or_default()
}

/// Returns true if packages come by [`fetcher`]: because they are `asked` for so, or because this is no computer that `has_apt`.
///
/// # Errors
///
/// Neither `apt` nor `fetch` was asked for.
pub fn are_fetched(asked: &str, has_apt: impl FnOnce() -> bool) -> Result<bool> {
    match asked {
        "fetch" => Ok(true),
        "apt" => Ok(false),
        "" => Ok(!has_apt()),
        other => Err(Error::usage(format!("{VARIABLE} is neither apt nor fetch: {other}"))),
    }
}
