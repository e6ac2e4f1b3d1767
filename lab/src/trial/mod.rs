//! Scenarios from their run to a verdict that is kept.
//!
//! - [`attempt`]: one scenario, run, judged and kept
//! - [`page`]: what a browser shows of them; [`markdown`]: what a pull request does, with what [`changes`] mean
//! - [`plan`]: what an invocation means to run
//! - [`artifacts`]: where everything is kept; [`results`]: of all scenarios of an invocation

pub mod artifacts;
pub mod attempt;
pub mod changes;
pub mod markdown;
pub mod matrix;
pub mod page;
pub mod plan;
pub mod results;

pub use attempt::{Raw, judge_again, trial};
