//! Labs that stay, by name, until they are taken down.
//!
//! - [`qemu`]: of the lab's own machines
//! - [`remote`]: on machines of others

pub mod qemu;
pub mod remote;
