//! Every fault on every packet of a run: what the protocol must make of it, and what it did.
//!
//! - [`packets`]: the packets of a run without faults, each as a fault can name it
//! - [`placement`]: the faults that are tried on them; [`reach`]: which of those
//! - [`outcome`]: the demand on a run with a fault, and its outcome
//! - [`baseline`]: runs without faults, which have to be alike
//! - [`exploration`]: all runs of one scenario, side by side, resumable; surprises shrunk to their fewest faults
//! - [`grid`]: packets against faults; [`table`]: outcomes as a text and as a page; [`comparison`]: two of them

pub mod baseline;
pub mod comparison;
pub mod exploration;
pub mod grid;
pub mod outcome;
pub mod packets;
pub mod placement;
pub mod reach;
pub mod table;

pub use exploration::Exploration;
pub use reach::Reach;
