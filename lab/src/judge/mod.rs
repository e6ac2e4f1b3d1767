//! From evidence to a verdict.
//!
//! - [`judgement`]: all checks in their order; [`verdict`]: what they come to
//! - [`completeness`]: whether the capture holds everything that was sent
//! - `congestion`: whether limited ports counted what they should, and who notified of it
//! - [`agreement`]: whether the programs' reports agree with each other and with the packets
//! - [`diagnosis`]: why a run failed
//! - [`meant`]: what would have made a red run green
//! - [`snapshot`]: the accepted trace

pub mod agreement;
pub mod completeness;
mod congestion;
pub mod diagnosis;
pub mod judgement;
pub mod meant;
pub mod snapshot;
pub mod verdict;

pub use judgement::{judge, judge_with_report};
