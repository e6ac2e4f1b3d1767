//! What a scenario is: what runs, on which network, with which faults, and what is expected of it.
//!
//! - [`mod@file`]: a scenario's TOML file; [`placeholder`]: what stands in its commands for what only a run knows
//! - [`network`]: MTU and IP version
//! - [`fault`]: what becomes of which packets
//! - [`counters`]: rxe's counters by name, and how they may differ
//! - [`differences`]: what machines are declared to do otherwise

pub mod counters;
pub mod differences;
pub mod fault;
pub mod file;
pub mod network;
pub mod placeholder;

pub use counters::Count;
pub use file::{Scenario, Trace};
