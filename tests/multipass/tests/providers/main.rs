//! The providers of machines that others own, on the stand-in and on its nodes: what they do, what they mend, what
//! they refuse by name.
//!
//! Needs what `cargo xtask doctor` lists; `cargo xtask ci` runs it as
//! `cargo test -p multipass-stand-in --test providers -- --ignored --test-threads 1`.

mod bench;
mod killed;
mod mended;
mod refused;
mod ssh;
