//! Two hosts that exist, reached by the OpenSSH client: with real RDMA devices, or with SoftRoCE.
//!
//! - [`hosts`]: the file that names them
//! - [`client`]: OpenSSH as a carrier
//! - [`provider`]: both of them, as a source of machines

pub mod client;
pub mod hosts;
pub mod provider;

pub use provider::Ssh;
