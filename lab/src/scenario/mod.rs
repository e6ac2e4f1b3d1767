//! Scenarios: what runs, on which network, with which faults, and what is expected of it.
//!
//! - [`mod@file`]: a scenario's TOML file; [`expect`]: what must be true after it; [`placeholder`]: what stands in its commands for what only a run knows
//! - `written`: a scenario as the text of such a file; `inline`: one of its tables on a command line; [`port`]: limits of the switch's ports
//! - [`ready`]: when its server is ready for its client; [`exit`]: how its programs end; [`cause`]: causes of a failure that it may be meant to show
//! - [`network`]: MTU and IP version; [`interface`]: the interface that carries RDMA
//! - [`fault`]: what becomes of which packets
//! - [`tags`]: words that scenarios are chosen by
//! - [`counters`]: rxe's counters by name, and how they may differ
//! - [`differences`]: what machines are declared to do otherwise

pub mod cause;
pub mod counters;
pub mod differences;
pub mod exit;
pub mod expect;
pub mod fault;
pub mod file;
pub mod interface;
pub mod network;
pub mod placeholder;
pub mod port;
pub mod ready;
pub mod tags;

mod inline;
mod written;

pub use counters::Count;
pub use file::{Scenario, Trace};
