//! Parts of the fast path of a queue pair: lists of work requests, scatter/gather lists, inline data, completions in batches.
//!
//! A [`WorkQueue`](crate::work_queue::WorkQueue) posts and polls them ([`crate::post_list`]). Nothing is allocated or counted for
//! a message: memory is attached to a queue pair once and kept until that is destroyed, lists and completions are
//! storage of the caller's that is used again.

mod attached;
mod completion;
mod list;
mod request;

pub use attached::{AttachedAddress, AttachedRange, AttachedRegion};
pub use completion::BatchCompletion;
pub use list::{RecvList, RequestList};
pub use request::{BatchRequest, DatagramPath, DatagramTarget};

pub(crate) use attached::BatchState;
pub(crate) use completion::{RECV_MARK, SEND_MARK, invalidated_rkey, is_of_a_batch};
