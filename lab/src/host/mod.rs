//! What this computer must have before the lab can run: found, named, and installed on request.
//!
//! - [`tree`]: where programs and files are looked up.
//! - [`requirement`]: the things themselves, in two sets: [`requirement::RUN`] for scenarios on the QEMU
//!   provider, [`requirement::CI`] for what `cargo xtask ci` needs beyond them.
//! - [`memory`], [`disk`], [`files`]: how much is left, or allowed.
//! - [`libclang`]: a libclang that rdma-sys's bindgen can use.
//! - [`wheel`]: the one that Python's package index has, for distributions without.
//! - [`apt`]: asks apt what is missing and how large it is, says so, and installs it.
//! - [`doctor`]: the report on all of it.
//!
//! Nothing here is needed to build the crate or to run its tests.

pub mod apt;
pub mod disk;
pub mod doctor;
pub mod files;
pub mod libclang;
pub mod memory;
pub mod requirement;
pub mod tree;
pub mod wheel;

pub use tree::Host;
