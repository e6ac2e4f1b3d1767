//! The host side of the lab: brings up two machines with SoftRoCE, runs scenarios between them while it
//! captures the wire, and judges what was seen.
//!
//! A run, from top to bottom:
//!
//! - [`scenario`]: what runs ([`placeholder`]s filled in, when it is [`ready`]) and what is expected, a TOML file; [`network`] and [`fault`]: on which wire
//! - [`host`]: what this computer must have; [`image`]: the guest; [`programs`]: what is deployed into it,
//!   [`guest_tests`]: the tests that run there; [`pushed`]: what a user brings, held against the guest's [`contents`]
//! - [`node`]: what every source of machines gives; [`provider`]: those sources
//! - [`setup`]: both of them ready
//! - [`switch`]: the wire between the machines, which records it
//! - [`run`]: machines up, capture on, programs, capture off; [`evidence`]: what was seen
//! - [`judge`]: from evidence to a [`verdict`], with [`completeness`], [`counters`], [`kernel_log`], [`snapshot`],
//!   [`differences`] and [`agreement`]; [`judge::diagnosis`]: why it failed, in [`plain`] text
//! - [`trial`]: all of that for one scenario; [`artifacts`]: where everything is kept; [`results`]: of all of them, as far as the [`plan`] got
//!
//! [`self_test`] proves that all of that goes red.
//!
//! Below all of it: [`error`], [`invocation`], [`command`], [`progress`], [`names`], [`cache`] with what is [`kept`] in it and its
//! [`seal`], [`packages`], [`parcel`], [`toolbox`]: QEMU and the like, of packages; [`policy`]: whose tools are used, and
//! whether anything is downloaded.

#![forbid(unsafe_code)]

pub mod agreement;
pub mod artifacts;
pub mod cache;
pub mod command;
pub mod completeness;
pub mod contents;
pub mod counters;
pub mod differences;
pub mod error;
pub mod evidence;
pub mod fault;
pub mod guest_tests;
pub mod host;
pub mod image;
pub mod invocation;
pub mod judge;
pub mod kept;
pub mod kernel_log;
pub mod names;
pub mod network;
pub mod node;
pub mod packages;
pub mod parcel;
pub mod placeholder;
pub mod plain;
pub mod plan;
pub mod policy;
pub mod programs;
pub mod progress;
pub mod provider;
pub mod pushed;
pub mod ready;
pub mod results;
pub mod run;
pub mod scenario;
pub mod seal;
pub mod self_test;
pub mod setup;
pub mod snapshot;
pub mod switch;
pub mod toolbox;
pub mod trial;
pub mod verdict;

pub use error::{Error, Result};
