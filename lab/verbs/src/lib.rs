//! Safe RDMA verbs over `rdma-sys`: devices, memory regions, queue pairs, and connections with RDMA CM or without it.
//!
//! Reliable and unreliable connections and datagrams. Without the feature `rdma-core`
//! (off by default) only what needs no device is compiled: completions, errors, deadlines. With it come the wrappers
//! around libibverbs and librdmacm. This documentation shows both, whether or not rdma-core is there.
//!
//! # Modules
//!
//! | module | what it holds |
//! |---|---|
//! | [`device`] | devices and their ports |
//! | [`pd`] | protection domains |
//! | [`abilities`] | what a device may lack: windows, invalidation, FLUSH, ATOMIC WRITE, on-demand paging |
//! | [`mr`] | memory regions, which own their bytes |
//! | [`mw`] | memory windows: rights that are given and taken away |
//! | [`cq`] | completion queues and their channels |
//! | [`shared_cq`] | completion queues that queue pairs share |
//! | [`qp`] | queue pairs and their states |
//! | [`extended`] | queue pairs that post by `ibv_wr_*` |
//! | [`srq`] | shared receive queues |
//! | [`address`] | address handles, for datagrams |
//! | [`states`] | queue pairs of each service brought into their states by hand |
//! | [`work_request`] | what is posted: ranges of memory, operations |
//! | [`work_queue`] | a queue pair with what it has in flight |
//! | [`batch`] | lists of work requests, scatter/gather lists, inline data, completions in batches |
//! | [`post_list`] | how a queue pair posts and polls them, without allocation for a message |
//! | [`endpoint`] | one end of a connection: posts, waits, sees the peer leave |
//! | `asynchronous` | with the feature `tokio`: endpoints that are awaited |
//! | [`transport`] | how endpoints connect: [`transport::Cm`], [`transport::Tcp`] |
//! | [`raw`] | C's types: the way out, by each part's `as_raw` |
//! | [`completion`] | work completions as values: opcode, status, JSON |
//! | [`cm_event`] | names of CM's events and reject reasons |
//! | [`remote_region`] | memory of the peer |
//! | [`error`] | failed calls and waits, with what to do next |
//! | [`deadline`] | the named limit that every wait has |
//!
//! # Example
//!
//! A client that writes into the memory of a server, whose private data is the address and the key of that memory:
//!
//! ```no_run
//! # #[cfg(feature = "rdma-core")]
//! # fn main() -> verbs::Result<()> {
//! use std::time::Duration;
//!
//! use verbs::deadline::Deadline;
//! use verbs::endpoint::EndpointBuilder;
//! use verbs::remote_region::RemoteRegion;
//! use verbs::transport::{Cm, ConnectParams, ConnectTarget, Transport as _};
//! use verbs::work_request::{RegionRange, SendRequest};
//!
//! let deadline = Deadline::after(Duration::from_secs(10));
//! let target = ConnectTarget { server: "198.51.100.2:7471".parse().unwrap(), source: None };
//! let (params, builder) = (ConnectParams::default(), EndpointBuilder::new());
//! let (mut endpoint, told) = Cm.connect(&target, &params, &builder, &mut |_| Ok(()), &deadline)?;
//!
//! let address = u64::from_be_bytes(told[..8].try_into().unwrap());
//! let rkey = u32::from_be_bytes(told[8..12].try_into().unwrap());
//! let remote = RemoteRegion { address, rkey, length_bytes: None };
//! let source = endpoint.register_source(b"hello")?;
//! let completion = endpoint.execute(SendRequest::write(RegionRange::whole(&source)?, &remote), &deadline)?;
//! println!("{completion}");
//! endpoint.disconnect(&deadline)
//! # }
//! # #[cfg(not(feature = "rdma-core"))]
//! # fn main() {}
//! ```
//!
//! # Safety model
//!
//! One foreign operation an `unsafe` block, each with its argument. What makes the interface sound:
//!
//! 1. **Drop order is by construction.** A raw pointer has one private owner, and a child holds an `Arc` of its parent:
//!    queue pair and memory region keep the protection domain; it, the completion queue and the completion channel keep
//!    the device; a device that CM found keeps the CM identifier, and that its event channel. No call can therefore reach
//!    an object that is gone.
//! 2. **A posted buffer outlives its completion.** Posting stores an `Arc` of the memory region beside the work request;
//!    it is released when the completion was taken, when the call says that it refused the request, or after the queue
//!    pair was destroyed. A queue pair owns its completion queue, so no other takes its completions; one that is
//!    shared gives each queue pair its own, by the number in the completion, and drops those of one that has gone. Leaking an endpoint
//!    leaks its memory with it, and memory that cannot be deregistered is leaked, not freed. Requests that are posted in
//!    lists are not counted: they name memory that was attached to the queue pair, which keeps it until it is destroyed,
//!    or inline bytes, which the call copies.
//! 3. **Registered memory is never a `&[u8]`.** A peer may write to it at any time. It is accessed only as relaxed atomic
//!    bytes, copied in and copied out, so a race with the device yields odd bytes and never undefined behaviour. Bytes
//!    *mean* something only after a synchronising event: a completion, or DISCONNECTED.
//! 4. **Events are copied and acknowledged at once.** No pointer into a CM event survives its acknowledgement, and no
//!    destructor blocks on an unacknowledged event.
//! 5. **Numbers from C stay numbers.** Opcodes, statuses and event types are read as integers and converted; an unknown
//!    one is a value, not an invalid enum.
//!
//! 6. **A CM identifier is used by one thread at a time**, under a lock of its own: librdmacm changes it while others
//!    read.
//!
//! A pointer from `as_raw` leaves all of this: what is done with it is `unsafe` and the caller's to argue.
//!
//! Not a matter of memory safety, but kept everywhere: both channels are non-blocking and polled together, so every wait
//! ends by its deadline and sees a disconnect.

mod c_enum;
pub mod cm_event;
pub mod completion;
pub mod deadline;
pub mod error;
pub mod remote_region;

// With rdma-core, or for rustdoc with names in its place (`rdma_sys.rs`).
#[cfg(any(feature = "rdma-core", doc))]
pub mod abilities;
#[cfg(any(feature = "rdma-core", doc))]
pub mod address;
#[cfg(feature = "tokio")]
pub mod asynchronous;
#[cfg(any(feature = "rdma-core", doc))]
pub mod batch;
#[cfg(any(feature = "rdma-core", doc))]
pub mod cq;
#[cfg(any(feature = "rdma-core", doc))]
pub mod device;
#[cfg(any(feature = "rdma-core", doc))]
pub mod endpoint;
#[cfg(any(feature = "rdma-core", doc))]
pub mod extended;
#[cfg(any(feature = "rdma-core", doc))]
mod link;
#[cfg(any(feature = "rdma-core", doc))]
pub mod mr;
#[cfg(any(feature = "rdma-core", doc))]
pub mod mw;
#[cfg(any(feature = "rdma-core", doc))]
pub mod pd;
#[cfg(any(feature = "rdma-core", doc))]
pub mod post_list;
#[cfg(any(feature = "rdma-core", doc))]
pub mod qp;
#[cfg(any(feature = "rdma-core", doc))]
mod qp_attributes;
#[cfg(any(feature = "rdma-core", doc))]
pub mod raw;
#[cfg(any(feature = "rdma-core", doc))]
pub mod shared_cq;
#[cfg(any(feature = "rdma-core", doc))]
pub mod srq;
#[cfg(any(feature = "rdma-core", doc))]
pub mod states;
#[cfg(any(feature = "rdma-core", doc))]
mod sys;
#[cfg(any(feature = "rdma-core", doc))]
pub mod transport;
#[cfg(any(feature = "rdma-core", doc))]
pub mod work_queue;
#[cfg(any(feature = "rdma-core", doc))]
pub mod work_request;

#[cfg(feature = "rdma-core")]
use ::rdma_sys;
#[cfg(all(doc, not(feature = "rdma-core")))]
mod rdma_sys;

pub use error::{Error, Result};
