//! The bench programs: each side's part of a plan, on each queue pair.

pub mod client;
mod connection;
mod requester;
mod responder;
pub mod server;
