//! The bench: how fast messages go between `rdma_bench_client` and `rdma_bench_server`, over RDMA or over TCP.
//!
//! The client measures. It tells the server its [`plan`] when it connects (the private data of its REQ, or the first bytes on
//! TCP); both then do their part of it, and the client reports what it [`measured`].

pub mod measured;
pub mod plan;
pub mod tcp;

#[cfg(feature = "verbs")]
pub mod client;
#[cfg(feature = "verbs")]
mod connection;
#[cfg(feature = "verbs")]
mod requester;
#[cfg(feature = "verbs")]
mod responder;
#[cfg(feature = "verbs")]
pub mod server;
