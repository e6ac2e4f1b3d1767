//! From the evidence of a run to the causes that it failed for, the one that explains the others first.
//!
//! - [`cause`]: every cause there is, with what to do about it
//! - [`facts`]: what is asked of the evidence; [`wire`]: of the capture
//! - [`remote_access`], [`receive`], [`connection`], [`path`], [`host`], [`program`]: causes, a file a family
//! - [`rxe`]: deviations of SoftRoCE, which are told and held against nobody
//! - [`conclude`]: which of them count

pub mod cause;
pub mod conclude;
pub mod facts;
pub mod wire;

mod connection;
mod host;
mod path;
mod program;
mod receive;
mod remote_access;
pub mod rxe;

pub use cause::Cause;
pub use conclude::{Diagnosis, diagnose};

#[cfg(test)]
mod tests;
