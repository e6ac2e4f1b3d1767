//! The lab's own tools: QEMU and what else runs on this computer, unpacked from packages into the cache.
//!
//! A *set* of tools is a directory of the cache, made of one pinned Debian release like a guest's image: nothing is
//! installed, no root is needed, and the same QEMU runs everywhere. The programs run through the set's own loader, with
//! its own libraries, so that the host's C library does not matter.
//!
//! - [`set`]: which tools there are, of which packages
//! - [`clang`]: libclang, which is loaded and not run; [`shim`]: what leads to it
//! - [`unpacked`]: a set in the cache, made and checked
//! - [`tool`]: one program, as the words that start it
//! - [`toolbox`]: where tools come from, the sets or the host itself

pub mod clang;
pub mod set;
pub mod shim;
pub mod tool;
#[expect(clippy::module_inception, reason = "the type is what the module is about")]
pub mod toolbox;
pub mod unpacked;

pub use tool::Tool;
pub use toolbox::Toolbox;
