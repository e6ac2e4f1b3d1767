//! A stand-in for Multipass 1.16.3, for tests: at the command line it answers as that does, and its instances are
//! machines of the QEMU lab. docs/stand-in.md says what it claims and what it does not.
//!
//! Two programs share this library. `multipass` is the client: it parses its arguments, asks the daemon, and
//! prints. `multipassd` is the daemon: it holds the instances, and ends with whoever started it. They meet in a
//! directory, a [`place::StandInDirectory`], named by `MULTIPASS_STAND_IN`.
//!
//! - [`place`]: that directory: the daemon's socket, the log of commands, the switches for misbehaviour
//! - [`protocol`]: what a client asks, and what it is told
//! - [`instance`]: one instance, as clients see it
//! - [`json`]: JSON laid out as Multipass does
//! - [`guest`]: what the machines are made of

#![forbid(unsafe_code)]

pub mod guest;
pub mod instance;
pub mod json;
pub mod place;
pub mod protocol;
