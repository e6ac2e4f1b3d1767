//! The host side of the lab: brings up two machines with SoftRoCE, runs scenarios between them while it
//! captures the wire, and judges what was seen.

#![forbid(unsafe_code)]

pub mod cache;
pub mod command;
pub mod error;
pub mod host;
pub mod image;
pub mod node;
pub mod programs;
pub mod provider;
pub mod switch;
pub mod progress;

pub use error::{Error, Result};
