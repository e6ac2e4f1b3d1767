//! Where machines come from, one module a provider.

pub mod qemu;

pub use qemu::Qemu;
