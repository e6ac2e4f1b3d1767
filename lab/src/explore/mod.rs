//! Every fault on every packet of a run: what the protocol must make of it, and what it did.
//!
//! - [`packets`]: the packets of a run without faults, each as a fault can name it
//! - [`placement`]: the faults that are tried on them
//! - [`outcome`]: the demand on a run with a fault, and its outcome
//! - [`exploration`]: all runs of one scenario, side by side, resumable; surprises shrunk to their fewest faults
//! - [`table`]: outcomes as a table and as a page

pub mod exploration;
pub mod outcome;
pub mod packets;
pub mod placement;
pub mod table;

pub use exploration::{Exploration, Reach};
