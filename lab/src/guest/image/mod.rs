//! The guest image: a Debian kernel, an initramfs and a read-only root disk, built once from packages.
//!
//! It is made of [`crate::host::packages`], without root. The same release's development packages make
//! the [`Sysroot`] that guest programs are compiled against.
//!
//! - [`release`]: the releases that a guest can be, a file each in `lab/guest/`
//! - [`recipe`]: what goes in, and the key that follows from it
//! - [`kernel`]: the kernel among packages
//! - [`modules`]: which kernel modules are needed, in which order
//! - [`own`]: parts of the user's own in their place; [`head`]: what such a file says of itself; [`rdma_core`]: an rdma-core
//! - [`newc`]: the archive that is the initramfs
//! - [`build`]: from packages to files, and the check of what is cached

pub mod build;
pub mod head;
pub mod kernel;
pub mod modules;
pub mod newc;
pub mod own;
pub mod rdma_core;
pub mod recipe;
pub mod release;

pub use build::{Image, Sysroot};
pub use release::{Release, ReleasePair};
