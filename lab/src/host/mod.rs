//! Requirements of the lab on this computer: found and named. Nothing is installed: what else is needed
//! comes from packages into the cache ([`toolbox`], made of [`packages`]).
//!
//! - [`tree`]: where programs and files are looked up.
//! - [`requirement`]: the things themselves: [`requirement::run`] for scenarios on the QEMU provider,
//!   [`requirement::ci`] for `cargo xtask ci`.
//! - [`memory`], [`files`]: how much is left, or allowed; [`glibc`]: versions of the C library.
//! - [`libclang`]: a libclang that rdma-sys's bindgen can use.
//! - [`wheel`]: the one that Python's package index has, for distributions without.
//! - [`doctor`]: the report on all of it.
//!
//! Nothing here is needed to build the crate or to run its tests.

pub mod bindgen;
pub mod builder;
pub mod doctor;
pub mod files;
pub mod glibc;
pub mod libclang;
pub mod memory;
pub mod multipass;
pub mod packages;
pub mod requirement;
pub mod toolbox;
pub mod tree;
pub mod wheel;

pub use tree::Host;
