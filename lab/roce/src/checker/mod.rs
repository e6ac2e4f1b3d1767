//! The state of one stream of requests and its responses, and the rules that it is held to.
//!
//! In: the packets of a connection, as they were sent and as the receiver got them. Out: messages and findings. A responder ignores requests after a gap until
//! the missing one comes; so does this, which makes a lost packet one finding and a go-back-N none. When an answer shows that the missing request did
//! arrive, the gap is the capture's, and checking goes on behind it. After any fault the counts that it makes unsure are learnt anew from the wire.

mod adverts;
mod again;
pub(crate) mod alone;
mod answer_gap;
mod asked;
mod assemble;
mod capture_faults;
mod conversation;
mod copies;
mod datagram_receivers;
mod end;
mod fatal;
pub(crate) mod headers;
mod ledger;
mod lost;
mod missing;
mod msn;
mod payload;
mod pending;
mod read_response;
mod refused;
mod request;
mod response;
mod retry;
mod shape;
mod sink;
mod stream;
mod told;
mod unseen;

pub(crate) use crate::checker::adverts::Adverts;
pub(crate) use crate::checker::alone::Alone;
pub(crate) use crate::checker::capture_faults::CaptureFaults;
pub(crate) use crate::checker::conversation::Conversations;
pub(crate) use crate::checker::copies::{Copies, Likeness};
pub(crate) use crate::checker::datagram_receivers::DatagramReceivers;
pub(crate) use crate::checker::ledger::Ledger;
pub(crate) use crate::checker::sink::{Arrival, DiscardedPacket, remember};
pub(crate) use crate::checker::stream::Stream;
