//! Plan and result of the bench, which measures how fast messages go between `rdma_bench_client` and `rdma_bench_server`.
//!
//! The client measures. It tells the server its [`plan`] when it connects (the private data of its REQ, or the first bytes on
//! TCP); both then do their part of it, and the client reports what it [`measured`]. The parts are in `program::bench`, those
//! over TCP in [`bench_tcp`](crate::bench_tcp).

pub mod measured;
pub mod plan;
