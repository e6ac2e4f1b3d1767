//! A broken rule, the packet that shows it, and the evidence.
//!
//! A finding is a value and never an error: the capture was read well, the peers did wrong.

use std::fmt;
use std::net::IpAddr;

use crate::flow::Side;
use crate::rule::Rule;
use crate::wire::{DecodeStop, Opcode, Psn};

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// Number of the packet in the capture, from 1.
    pub packet: u64,
    /// Address of the packet's sender.
    pub source: IpAddr,
    /// Address of the packet's receiver.
    pub destination: IpAddr,
    /// Connection, as an index into the report's, and the requester's side of it, when the packet belongs to one.
    pub requester: Option<(usize, Side)>,
    /// The packet's PSN, when its BTH is there.
    pub psn: Option<Psn>,
    /// What was expected and what came.
    pub evidence: Evidence,
}

/// What was expected and what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Packet sequence numbers.
    Psn {
        /// The next one, or the last that was sent.
        expected: Psn,
        /// The packet's.
        got: Psn,
    },
    /// Lengths in bytes.
    Bytes {
        /// Announced by the RETH.
        expected: u64,
        /// Sum of the payloads.
        got: u64,
    },
    /// The place in a message.
    Opcode {
        /// What could have come, in words.
        expected: &'static str,
        /// The packet's opcode.
        got: Opcode,
    },
    /// Invariant CRCs.
    Icrc {
        /// What the bytes give.
        expected: u32,
        /// The packet's.
        got: u32,
    },
    /// Where decoding stopped.
    Stop(DecodeStop),
    /// Pad bytes.
    Pad {
        /// Pad that brings the payload to a multiple of four bytes.
        expected: u8,
        /// The packet's pad count.
        got: u8,
    },
    /// Pad bytes that are not zero.
    PadNotZero,
    /// Message sequence numbers.
    Msn {
        /// The least or the most that it could be.
        expected: u32,
        /// The packet's.
        got: u32,
    },
    /// Lengths of times in nanoseconds.
    Time {
        /// The least.
        expected_ns: u64,
        /// What passed.
        got_ns: u64,
    },
    /// Another number.
    Number {
        /// Its name, with its unit.
        what: &'static str,
        /// What it had to be.
        expected: u64,
        /// What it is.
        got: u64,
    },
    /// Both in words.
    Words {
        /// What had to be.
        expected: &'static str,
        /// What is.
        got: &'static str,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psn { expected, got } => write!(f, "expected PSN {expected}, got {got}"),
            Self::Bytes { expected, got } => write!(f, "expected {expected} bytes, got {got}"),
            Self::Opcode { expected, got } => write!(f, "expected {expected}, got {got}"),
            Self::Icrc { expected, got } => {
                write!(f, "expected ICRC {expected:#010x}, got {got:#010x}")
            }
            Self::Stop(stop) => stop.fmt(f),
            Self::Pad { expected, got } => write!(f, "expected pad count {expected}, got {got}"),
            Self::PadNotZero => f.write_str("expected pad bytes of zero, got others"),
            Self::Msn { expected, got } => write!(f, "expected MSN {expected}, got {got}"),
            Self::Time { expected_ns, got_ns } => {
                write!(f, "expected at least {} us, got {} us", expected_ns / 1000, got_ns / 1000)
            }
            Self::Number { what, expected, got } => write!(f, "expected {what} {expected:#x}, got {got:#x}"),
            Self::Words { expected, got } => write!(f, "expected {expected}, got {got}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at packet {}, {} > {}: {}",
            self.rule, self.packet, self.source, self.destination, self.evidence
        )
    }
}
