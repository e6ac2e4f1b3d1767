//! Safe RDMA verbs over `rdma-sys`, as much of them as the sample programs and their scenarios need.
//!
//! Without the feature `verbs` (off by default) only what needs no device is compiled: the wire contract, the command
//! lines, the completions and results as JSON, the error texts. With it come the wrappers around libibverbs and
//! librdmacm, and the programs.
//!
//! # Modules
//!
//! | module | what it holds | feature |
//! |---|---|---|
//! | [`error`] | everything that can go wrong, with what to do next | |
//! | [`deadline`] | the named limit that every wait has | |
//! | [`private_data`] | what REQ and REP carry: the C samples' 12 bytes, and the extension | |
//! | [`exchange`] | what the samples write, and how what arrived is judged | |
//! | [`completion`] | work completions as values: opcode, status, JSON | |
//! | [`report`] | the lines on standard output | |
//! | [`cli`] | the command lines of the programs | |
//! | [`log`] | the human log on standard error | |
//! | [`lookup`] | a host name to an address, under a deadline | |
//! | `device` | devices, protection domain, completion channel and queue | `verbs` |
//! | `mem` | memory regions | `verbs` |
//! | `builders` | what queue pairs and work requests are built from | `verbs` |
//! | `qp` | queue pairs and their states | `verbs` |
//! | `ops` | posting work requests, and the wait for their completions | `verbs` |
//! | `cm` | event channel, identifier, listener, connection request | `verbs` |
//! | `plain` | the same without CM: parameters over TCP, states by hand | `verbs` |
//! | `link` | what tells that the peer leaves, with CM or without | `verbs` |
//! | `connection` | connect, accept, disconnect | `verbs` |
//! | `program` | what the programs share: accepting clients, connecting, reporting | `verbs` |
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

pub mod cli;
pub mod completion;
pub mod deadline;
pub mod error;
pub mod exchange;
pub mod log;
pub mod lookup;
pub mod private_data;
pub mod report;

#[cfg(feature = "verbs")]
pub mod builders;
#[cfg(feature = "verbs")]
pub mod cm;
#[cfg(feature = "verbs")]
pub mod connection;
#[cfg(feature = "verbs")]
pub mod device;
#[cfg(feature = "verbs")]
mod link;
#[cfg(feature = "verbs")]
pub mod mem;
#[cfg(feature = "mutants")]
mod mutant;
#[cfg(feature = "verbs")]
pub mod ops;
#[cfg(feature = "verbs")]
pub mod plain;
#[cfg(feature = "verbs")]
pub mod program;
#[cfg(feature = "verbs")]
mod qp;
#[cfg(feature = "verbs")]
mod sys;

pub use error::{Error, Result};
