//! The host side of the lab: brings up two machines with SoftRoCE, runs scenarios between them while it
//! captures the wire, and judges what was seen.
//!
//! Folders are stages; each imports only those before it:
//!
//! - [`base`]: errors, commands, names, the cache
//! - [`scenario`]: what runs and what is expected, a TOML file; on which network, with which faults
//! - [`wire`]: the switch between the machines, which records and alters what passes
//! - [`host`]: what this computer must have, and the tools that it is given
//! - [`guest`]: what is in a guest, and what is brought into it
//! - [`node`]: what every source of machines gives; [`provider`]: those sources
//! - [`run`]: machines up, capture on, programs, capture off: the evidence
//! - [`judge`]: from evidence to a verdict
//! - [`trial`]: all of that for one scenario, and where everything is kept
//! - [`explore`]: every fault on every packet of a scenario
//! - [`fuzz`]: a peer that does what none should
//! - [`self_test`] proves that all of that goes red.

#![forbid(unsafe_code)]

pub mod base;
pub mod explore;
pub mod fuzz;
pub mod guest;
pub mod host;
pub mod judge;
pub mod node;
pub mod provider;
pub mod run;
pub mod scenario;
pub mod self_test;
pub mod trial;
pub mod wire;

pub use base::error::{Error, Result};
