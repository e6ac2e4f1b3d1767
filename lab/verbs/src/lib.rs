//! Safe RDMA verbs over `rdma-sys`, as much of them as the sample programs and their scenarios need.
//!
//! Without the feature `rdma-core` (off by default) only what needs no device is compiled: completions, errors,
//! deadlines. With it come the wrappers around libibverbs and librdmacm.
//!
//! # Modules
//!
//! | module | what it holds | feature |
//! |---|---|---|
//! | [`error`] | everything that can go wrong, with what to do next | |
//! | [`deadline`] | the named limit that every wait has | |
//! | [`private_data`] | what REQ and REP carry: the C samples' 12 bytes, and the extension | |
//! | [`completion`] | work completions as values: opcode, status, JSON | |
//! | `device` | devices, protection domain, completion channel and queue | `rdma-core` |
//! | `mem` | memory regions | `rdma-core` |
//! | `builders` | what queue pairs and work requests are built from | `rdma-core` |
//! | `qp` | queue pairs and their states | `rdma-core` |
//! | `ops` | posting work requests, and the wait for their completions | `rdma-core` |
//! | `cm` | event channel, identifier, listener, connection request | `rdma-core` |
//! | `plain` | the same without CM: parameters over TCP, states by hand | `rdma-core` |
//! | `link` | what tells that the peer leaves, with CM or without | `rdma-core` |
//! | `connection` | connect, accept, disconnect | `rdma-core` |
//!
//! # Safety model
//!
//! All `unsafe` of the workspace is in this library, one foreign operation a block, each with its argument. What makes
//! the interface sound:
//!
//! 1. **Drop order is by construction.** A raw pointer has one private owner, and a child holds an `Arc` of its parent:
//!    queue pair and memory region keep the protection domain; it, the completion queue and the completion channel keep
//!    what keeps the device open, which is the CM identifier with its event channel, or without CM the open device
//!    itself. No call can therefore reach an object that is gone.
//! 2. **A posted buffer outlives its completion.** Posting stores an `Arc` of the memory region beside the work request;
//!    it is released when the completion was taken, or after the queue pair was destroyed. Leaking an endpoint leaks its
//!    memory with it.
//! 3. **Registered memory is never a `&[u8]`.** A peer may write to it at any time. It is accessed only as relaxed atomic
//!    bytes, copied in and copied out, so a race with the device yields odd bytes and never undefined behaviour. Bytes
//!    *mean* something only after a synchronising event: a completion, or DISCONNECTED.
//! 4. **Events are copied and acknowledged at once.** No pointer into a CM event survives its acknowledgement, and no
//!    destructor blocks on an unacknowledged event.
//! 5. **Numbers from C stay numbers.** Opcodes, statuses and event types are read as integers and converted; an unknown
//!    one is a value, not an invalid enum.
//!
//! Not a matter of memory safety, but kept everywhere: both channels are non-blocking and polled together, so every wait
//! ends by its deadline and sees a disconnect.

pub mod completion;
pub mod deadline;
pub mod error;
pub mod private_data;

#[cfg(feature = "rdma-core")]
pub mod builders;
#[cfg(feature = "rdma-core")]
pub mod cm;
#[cfg(feature = "rdma-core")]
pub mod connection;
#[cfg(feature = "rdma-core")]
pub mod device;
#[cfg(feature = "rdma-core")]
mod link;
#[cfg(feature = "rdma-core")]
pub mod mem;
#[cfg(feature = "mutants")]
mod mutant;
#[cfg(feature = "rdma-core")]
pub mod ops;
#[cfg(feature = "rdma-core")]
pub mod plain;
#[cfg(feature = "rdma-core")]
mod qp;
#[cfg(feature = "rdma-core")]
mod sys;

pub use error::{Error, Result};
