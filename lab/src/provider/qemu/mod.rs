//! Machines of our own, two to eight: rootless QEMU guests, joined by a switch in user space.
//!
//! - [`accel`]: KVM where it really boots a guest, software emulation elsewhere
//! - [`argv`]: the command line of one machine; [`sandbox`]: whether it can be confined
//! - [`qmp`]: QEMU's own control socket
//! - [`agent`]: commands over a serial line, to the agent in the guest
//! - [`guard`]: the process that machines and switch live and die with; [`control`]: the way to ask it; [`process`]: all
//!   of them as the computer sees them
//! - [`network`]: other MTUs, IPv6; `identity`: further clients become themselves
//! - [`deployment`]: the disk that programs come in on
//! - [`frozen`]: both machines, booted once and saved
//! - [`guest`]: one machine, behind the traits of [`crate::node`]; `doing`: what it does instead of answering
//! - `parts`: what a machine is made of, and its start; `fork`: from the frozen state, until each is awake
//! - [`provider`]: freezes and forks; [`pair`]: both machines, forked; `asleep`: why a fork failed, and whose fault that is;
//!   `log`: where machines log
//! - [`ssh`]: the way in for people
//! - [`stray`]: what killed labs leave

pub mod accel;
pub mod agent;
pub mod argv;
mod asleep;
pub mod control;
pub mod deployment;
mod doing;
mod fork;
pub mod frozen;
pub mod guard;
pub mod guest;
mod identity;
pub(in crate::provider) mod log;
pub mod network;
pub mod pair;
mod parts;
pub mod process;
pub mod provider;
pub mod qmp;
pub mod sandbox;
pub mod ssh;
pub mod stray;

pub use provider::Qemu;
