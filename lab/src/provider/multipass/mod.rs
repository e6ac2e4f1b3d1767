//! Two Multipass instances of our own: `rdma-server` and `rdma-client`, and never another one.
//!
//! - [`client`]: the `multipass` command, each call with a limit, each failure by its name
//! - [`instance`]: from any state in which an instance may be to one that runs
//! - [`provider`]: both of them, as a source of machines

pub mod client;
pub mod instance;
pub mod provider;

pub use provider::Multipass;
