//! RoCEv2 on the wire: headers, connection management, flows, rules, and a trace that a person can review.
//!
//! Bytes or `impl Read` in, values out: no files, no processes, no clock, no `unsafe`, and no panic on any input. (The command `roce`,
//! which opens files, is the crate `roce-cli`.)
//!
//! ```
//! use roce::capture::Reader;
//!
//! let capture = std::fs::read("fixtures/write_with_imm.pcapng")?;
//! let names = roce::Names::new().with("198.51.100.1".parse()?, "server").with("198.51.100.2".parse()?, "client");
//! let mut reader = Reader::new(&capture[..])?;
//! let mut analysis = roce::Analysis::new(names);
//! while let Some(record) = reader.next()? {
//!     analysis.push(&record);
//! }
//! let report = analysis.finish();
//! assert_eq!((report.packets, report.findings.len()), (7, 0));
//! assert_eq!((report.messages[0].bytes, report.messages[0].immediate), (22, Some(22)));
//! assert!(report.trace().contains("client.qp1 > server.qp1 RC RDMA WRITE Only with Immediate"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | is |
//! |--|--|
//! | [`capture`] | pcap and pcapng, read and written as streams |
//! | [`wire`] | one frame taken apart: every header, the ICRC |
//! | [`cm`] | connection management: REQ, REP and the rest, private data |
//! | [`flow`] | connections: which packets belong together, and the names of their queue pairs |
//! | [`fields`] | every decoded field under tshark's name |
//! | `synth` | synthetic frames for tests and benchmarks, with the feature `synth` |
//! | [`Analysis`], [`Report`] | connections, messages, findings and the trace of a capture |
//!
//! Three kinds of trouble have three types: a capture that cannot be read is an error ([`capture::ReadError`]); a packet that stops making sense is a
//! [`wire::DecodeStop`], a value of the packet; a peer that breaks a rule is a [`Finding`], a value of the report.
#![forbid(unsafe_code)]

/// The readme's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod analysis;
mod broken;
pub mod capture;
mod checker;
pub mod cm;
mod fate;
pub mod fields;
mod finding;
pub mod flow;
mod message;
mod message_log;
mod names;
mod paths;
mod profile;
mod report;
mod retransmission;
mod row;
mod rule;
mod rules;
#[cfg(any(test, feature = "synth"))]
mod samples;
mod seen_frames;
mod stats;
#[cfg(any(test, feature = "synth"))]
pub mod synth;
mod trace;
pub mod wire;
mod words;

pub use analysis::Analysis;
pub use fate::Fate;
pub use finding::{Difference, Evidence, Finding, Refusal};
pub use flow::{Connection, ConnectionEnd, ConnectionId, Side, StreamId};
pub use message::{Message, MessageKind, MessageOutcome};
pub use names::Names;
pub use profile::Profile;
pub use report::{PacketNames, Report};
pub use retransmission::{RetransmissionClass, Retransmissions};
pub use rule::{Rule, Severity};
pub use stats::{Latencies, MessageStats, OpcodeStats, Stats};
pub use trace::{
    FindingLine, Known, Ladder, LadderOptions, MemoryLine, MessageLine, MessageNames, PacketLine, Part,
};
pub use words::is_unseen;
