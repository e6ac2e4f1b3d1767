//! The guest image: a Debian 12 kernel, an initramfs and a read-only root disk, built once from packages.
//!
//! Packages come through apt with a private state, so no root is needed and the host's lists stay as they
//! are. They are unpacked without their maintainer scripts. The same release's development packages make
//! the [`Sysroot`] that guest programs are compiled against.
//!
//! - [`recipe`]: what goes in, from the files in `lab/guest/`, and the key that follows from it
//! - [`mirror`]: where the packages come from
//! - [`apt`]: resolving and downloading them
//! - [`modules`]: which kernel modules are needed, in which order
//! - [`build`]: from packages to files, and the check of what is cached

pub mod apt;
pub mod build;
pub mod mirror;
pub mod modules;
pub mod recipe;

pub use build::{Image, Sysroot};
