//! The sample programs: small RDMA programs, a pair for each operation.
//!
//! They call the verbs library ([`verbs`], `lab/verbs`) and nothing below it. Without the feature `verbs` (off by
//! default) only what needs no device is compiled: the wire contract, the command lines, the results as JSON, the error
//! texts. With it come the programs.
//!
//! # Modules
//!
//! | module | what it holds | feature |
//! |---|---|---|
//! | [`bench`] | plan and result of the bench, which measures | |
//! | [`bench_tcp`] | the bench over TCP, both sides | |
//! | [`error`] | what an exchange can fail with, and the exit codes | |
//! | [`private_data`] | what REQ and REP carry: the C samples' 12 bytes, and the extension | |
//! | [`exchange`] | what the samples write, and how what arrived is judged | |
//! | [`report`] | the lines on standard output | |
//! | [`cli`] | the command lines of the programs | |
//! | [`log`] | the human log on standard error | |
//! | [`lookup`] | a host name to an address, under a deadline | |
//! | `program` | what the programs share: accepting clients, connecting, reporting | `verbs` |

#![forbid(unsafe_code)]

pub mod bench;
pub mod bench_tcp;
pub mod cli;
pub mod error;
pub mod exchange;
pub mod log;
pub mod lookup;
#[cfg(feature = "mutants")]
mod mutant;
pub mod private_data;
#[cfg(feature = "verbs")]
pub mod program;
pub mod report;

pub use error::{Error, Result};
