//! Two machines of our own: rootless QEMU guests, joined by a switch in user space.
//!
//! - [`accel`]: KVM where it really boots a guest, software emulation elsewhere
//! - [`argv`]: the command line of one machine
//! - [`agent`]: commands over a serial line, to the agent in the guest
//! - [`qmp`]: QEMU's own control socket
//! - [`deployment`]: the disk that programs come in on
//! - [`guard`]: the process that machines and switch live and die with
//! - [`pair`]: all of it together, behind the traits of [`crate::node`]

pub mod accel;
pub mod agent;
pub mod argv;
pub mod deployment;
pub mod guard;
pub mod pair;
pub mod qmp;

pub use pair::Qemu;
