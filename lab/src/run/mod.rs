//! One run between two nodes, and what is seen of it.
//!
//! - [`setup`]: what every run needs before its machines
//! - `conditions`: what it wants of its nodes; `swapped`: machines that change places
//! - [`observe`]: machines up, capture on, programs, capture off
//! - [`evidence`]: what was seen, kept as a file; [`kernel_log`]: the nodes' kernel messages
//! - [`guest_tests`]: tests that run inside a node

pub mod evidence;
pub mod guest_tests;
pub mod kernel_log;
pub mod observe;
pub mod setup;

mod conditions;
mod swapped;

pub use observe::{Case, run};
