//! Two Multipass instances of our own: `rdma-server` and `rdma-client`, and never another one.
//!
//! - [`client`]: the `multipass` command, each call with a limit; [`failure`]: each failure by its name
//! - [`shape`]: what is launched
//! - [`instance`]: from any state in which an instance may be to one that runs; [`launch`]: the first boot
//! - [`down`]: back to one that does not
//! - [`provider`]: both of them, as a source of machines
//!
//! A guest that hangs must not take the daemon along. Observed with 1.16.3: a full `info`, `list` and a plain `stop` wait
//! for the guest without a limit, and the daemon serves nobody meanwhile; a full `info` of a busy one fails after 5 s.
//! So state is asked with `--no-runtime-information`, everything else of the guest itself through `exec`, which gives up
//! by itself, and only a guest that has just answered is asked to stop.

pub mod client;
pub mod down;
pub mod failure;
pub mod instance;
pub mod launch;
pub mod provider;
pub mod shape;

pub use provider::Multipass;
