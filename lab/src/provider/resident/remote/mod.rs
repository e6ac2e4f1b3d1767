//! Labs on machines of others: the machines stay anyway, so a lab is a record of what was prepared there.
//!
//! - [`record`]: which there are, and whether the machines are as they were
//! - [`resident`]: what can be asked of one

pub mod record;
pub mod resident;

pub use record::{RemoteLab, all, find, up};
