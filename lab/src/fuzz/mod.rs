//! A peer that does what none should: packets, legal and illegal, against a kernel's responder or its requester.
//!
//! - [`target`]: a program with such a peer at the other end; [`frames`]: what goes between them
//! - [`server`]: a server, and [`peer`] in the client's place, which connects by CM and sends what [`grammar`] draws from a seed
//! - [`client`]: a client, and [`responder`] in the server's place, which accepts by CM; [`answer`]: its answers, and `spoiled` ones
//! - [`judge`]: what is wrong with how the kernel took it
//! - [`fuzzing`]: runs of all that, one connection each

pub mod answer;
pub mod client;
pub mod frames;
pub mod fuzzing;
pub mod grammar;
pub mod judge;
pub mod peer;
pub mod responder;
pub mod server;
pub mod target;

mod spoiled;

pub use fuzzing::{FuzzRun, Fuzzing};
