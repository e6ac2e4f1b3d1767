//! Machines that others own: what is the same on all of them, whatever carries commands and files there.
//!
//! - [`host`]: what a carrier (multipass, ssh) gives
//! - [`script`]: scripts in a form whose real exit code always comes back
//! - [`machine`]: one machine, behind the traits of [`crate::node`]; [`job`]: what runs there under systemd
//! - [`survey`]: what a machine is and has; [`prepare`]: what it lacks, brought; [`reset`]: before a scenario
//! - [`make`]: programs that run there; [`detached`]: commands in the background
//! - [`capture`]: tcpdump there, its file here; [`mirror`]: a mirror port's file in its place
//! - [`netem`]: faults on what a machine sends
//! - [`setting`]: how they are reached; [`machines`]: both, prepared; [`pair`]: both, for one scenario
//! - [`attended`]: what a person runs there
//!
//! Such machines are shared: they are left as they were found, apart from what is said, and one scenario at a
//! time runs on them.

pub mod attended;
pub mod build_guest;
pub mod capture;
pub mod detached;
pub mod host;
pub mod job;
pub mod machine;
pub mod machines;
pub mod make;
pub mod mirror;
pub mod netem;
pub mod pair;
pub mod place;
pub mod prepare;
pub mod reset;
pub mod script;
pub mod setting;
pub mod survey;
