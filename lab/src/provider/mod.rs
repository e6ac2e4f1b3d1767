//! Where machines come from, one module a provider.

pub mod choice;
pub mod multipass;
pub mod qemu;
pub mod remote;
pub mod resident;
pub mod ssh;

pub use choice::{Choice, MachineSource};
pub use multipass::Multipass;
pub use qemu::Qemu;
pub use ssh::Ssh;
