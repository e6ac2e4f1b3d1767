//! Labs that stay, by name, until they are taken down.
//!
//! - [`lab`]: what can be asked of one, whoever's its machines are; [`report`]: what is told of one
//! - [`labs`]: all of them: found, brought up, taken down
//! - [`qemu`]: those on the lab's own machines; [`remote`]: those on machines of others

pub mod lab;
pub mod labs;
pub mod qemu;
pub mod remote;
pub mod report;

pub use lab::{DEFAULT_NAME, Resident, TROUBLE, name_option, ready};
pub use labs::Labs;
