//! From the evidence of a run to the causes that it failed for, the one that explains the others first.
//!
//! - [`diagnosis`]: one of them
//! - [`facts`]: what is asked of the evidence; [`wire`]: of the capture
//! - `remote_access`, `receive`, `connection`, `path`, `host`, `program`: causes, a file a family
//! - [`rxe`]: deviations of SoftRoCE, which are told and held against nobody
//! - [`conclude`]: which of them count

pub mod conclude;
#[expect(clippy::module_inception, reason = "the type is what the module is about")]
pub mod diagnosis;
pub mod facts;
pub mod wire;

mod connection;
mod host;
mod path;
mod program;
mod receive;
mod remote_access;
pub mod rxe;

pub use conclude::diagnose;
pub use diagnosis::Diagnosis;

#[cfg(test)]
mod pairs;
#[cfg(test)]
mod tests;
