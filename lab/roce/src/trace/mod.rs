//! The trace: a capture as text that a person reviews.
//!
//! In: a [`Report`](crate::Report). Out: text. The same meaning gives the same bytes on every machine and in every run: what is random is renamed, never
//! erased, and keeps its relations.
//!
//! | in the trace | is |
//! |--|--|
//! | `client` | a node, by its IP address |
//! | `client.qp1` | the first queue pair of that node; `GSI` is queue pair 1, which carries connection management |
//! | `client+3` | a PSN: the third after the first of the requests of that direction's `client` queue pair; responses count in the requester's numbers |
//! | `server.mr1+8` | rkey `server.mr1` and the address 8 bytes above the region's base: what its node advertised in a REP, else the lowest address seen |
//! | `<port>` | a random port |
//! | `~` before a row | the switch did not deliver the packet |
//! | left out | MAC addresses, UDP source ports, IP identification, times, flow labels, GUIDs, transaction and communication ids that match |
//!
//! Connection management stands apart, a block a connection: its order against data packets is not defined by the protocol. Data packets are in the order of
//! the wire.

mod cm;
mod labels;
mod render;

pub(crate) use render::render;
