//! RoCEv2 on the wire.
#![forbid(unsafe_code)]
pub mod capture;
pub mod cm;
pub mod fate;
pub mod wire;
