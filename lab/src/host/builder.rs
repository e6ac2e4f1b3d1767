//! Ability of this computer to build programs for machines: the lab's sysroot is for one architecture.

use crate::host::packages::TRIPLET;

/// True if this computer can build for machines at all: the lab's sysroot is for one architecture.
pub fn is_builder() -> bool {
    builds(std::env::consts::OS, std::env::consts::ARCH)
}

/// True if a computer like that can build for machines at all.
pub fn builds(os: &str, architecture: &str) -> bool {
    os == "linux" && architecture == ours()
}

/// The one architecture, in Rust's word for it.
pub fn ours() -> &'static str {
    TRIPLET.split('-').next().unwrap_or_default()
}
