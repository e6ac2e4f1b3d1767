//! Labs on the lab's own machines.
//!
//! - [`record`]: which there are, and how each is
//! - [`resident`]: what can be asked of one

pub mod record;
pub mod resident;

pub use record::{QemuLab, QemuLabs};
