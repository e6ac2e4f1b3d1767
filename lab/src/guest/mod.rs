//! Guests: the images that they are made of, and the programs that are brought in.
//!
//! - [`image`]: kernel, initramfs and root disk of the lab's own guests, and the sysroot to build against
//! - [`contents`]: what is in a guest
//! - [`programs`]: the sample programs, built for it; [`pushed`]: what a user brings, held against its contents; `objection`: why a file cannot run there
//! - [`called`]: a scenario whose commands name what a user brings

pub mod called;
pub mod contents;
pub mod image;
mod objection;
pub mod programs;
pub mod pushed;
