//! The verbs library on a real device: both ends of a connection in one process, over the device's own loopback.
//!
//! What an operation does, and above all how each one fails. `cargo xtask test-guest` builds this and runs every test
//! in a guest, where it also holds it to a clean kernel log; on a computer with an RDMA device it is
//! `cargo test --package rdma-lab-verbs --features rdma-core --test device -- --ignored`.

mod abilities;
#[cfg(feature = "tokio")]
mod awaited;
mod connecting;
mod extended;
mod lists;
mod lists_refused;
mod operations;
mod pair;
mod parts;
mod refusals;
mod resources;
mod services;
mod shared;
mod waits;
mod windows;
mod windows_refused;
mod without_cm;
