//! A peer that does what none should: packets of a requester's, legal and illegal, against a kernel's responder.
//!
//! - [`peer`]: the peer, in a machine's place at the switch; it connects by CM
//! - [`grammar`]: what it sends, drawn from a seed
//! - [`judge`]: what is wrong with how the kernel took it
//! - [`fuzzing`]: runs of all that, one connection each

pub mod fuzzing;
pub mod grammar;
pub mod judge;
pub mod peer;

pub use fuzzing::{FuzzRun, Fuzzing};
