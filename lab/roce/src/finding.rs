//! A broken rule, the packet that shows it, and the evidence.
//!
//! A finding is a value and never an error: the capture was read well, the peers did wrong.

use std::fmt;
use std::net::IpAddr;

use crate::flow::StreamId;
use crate::message::MessageKind;
use crate::rule::{Rule, Severity};
use crate::wire::{DecodeStop, NakCode, Opcode, Psn};

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// Severity: the rule's, or less where a fault of the capture explains it as well.
    pub severity: Severity,
    /// Number of the packet in the capture, from 1.
    pub packet: u64,
    /// Address of the packet's sender.
    pub source: IpAddr,
    /// Address of the packet's receiver.
    pub destination: IpAddr,
    /// Connection and the side of it that requests, when the packet belongs to one.
    pub stream: Option<StreamId>,
    /// The packet's PSN, when its BTH is there.
    pub psn: Option<Psn>,
    /// Number of the message that the packet is part of or answers, in the order of their first packets, from 1; `None` when that is not known.
    pub message: Option<u64>,
    /// Expected and observed values.
    pub evidence: Evidence,
}

/// Expected and observed values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
        /// Opcodes that could have come, in words.
        expected: &'static str,
        /// The packet's opcode.
        got: Opcode,
    },
    /// Invariant CRCs.
    Icrc {
        /// ICRC of the bytes.
        expected: u32,
        /// The packet's.
        got: u32,
    },
    /// Place where decoding stopped.
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
        /// Time that passed.
        got_ns: u64,
    },
    /// Another number.
    Number {
        /// Name of the number, with its unit.
        what: &'static str,
        /// Expected value.
        expected: u64,
        /// Value on the wire.
        got: u64,
    },
    /// A number that has a bound.
    Most {
        /// Name of what is counted, with its unit.
        what: &'static str,
        /// The most that there may be.
        most: u64,
        /// Number in the capture.
        got: u64,
    },
    /// Bytes of payload.
    Payload {
        /// The most that there may be.
        most: u64,
        /// The packet's.
        got: u64,
    },
    /// A syndrome byte without a meaning.
    Syndrome(u8),
    /// Repetitions of something.
    Repetitions {
        /// The most that there may be.
        most: u64,
        /// Repetitions in the capture.
        got: u64,
    },
    /// A request that was sent, again perhaps, and never answered.
    Unanswered {
        /// Times that it was sent.
        times: u64,
        /// Queue pair number that it was sent to.
        qpn: u32,
    },
    /// A queue pair that gets a datagram, of which nothing in the capture tells.
    Untold {
        /// Its number.
        qpn: u32,
    },
    /// The Q_Key of a datagram, of which nothing in the capture tells.
    UntoldQKey {
        /// Number of the receiver.
        qpn: u32,
        /// The Q_Key.
        q_key: u32,
    },
    /// RNR NAKs for one request, the last of which was in vain.
    NotReady {
        /// Number of them.
        naks: u64,
    },
    /// Extent of something, told once.
    Extent {
        /// Counted thing, in the singular.
        what: &'static str,
        /// Number of them.
        count: u64,
        /// Number of places.
        places: u64,
    },
    /// Directions between nodes whose other direction is not in the capture.
    OneDirection {
        /// Number of them.
        count: u64,
    },
    /// A refused request.
    Refusal(Refusal),
    /// Both in words.
    Words {
        /// Expected, in words.
        expected: &'static str,
        /// Found, in words.
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
            Self::Most { what, most, got } => write!(f, "expected at most {most} {what}, got {got}"),
            Self::Payload { most: 0, got } => write!(f, "expected no payload, got {got} bytes"),
            Self::Payload { most, got } => write!(f, "expected at most {most} bytes of payload, got {got}"),
            Self::Syndrome(byte) => write!(f, "expected an ACK, RNR NAK or NAK, got syndrome {byte:#04x}"),
            Self::Repetitions { most, got } => write!(f, "expected at most {most} repetitions, got {got}"),
            Self::Unanswered { times, qpn } => {
                write!(f, "sent {times} times to queue pair {qpn:#x}, answered by nothing")
            }
            Self::Untold { qpn } => {
                write!(f, "queue pair {qpn:#x} sends nothing and was never told of, as its sender's was")
            }
            Self::UntoldQKey { qpn, q_key } => write!(
                f,
                "Q_Key {q_key:#x} is no usual one and was never told of; queue pair {qpn:#x} sends nothing"
            ),
            Self::NotReady { naks: 1 } => f.write_str("refused as not ready, then not sent again"),
            Self::NotReady { naks } => write!(f, "refused as not ready {naks} times, then not sent again"),
            Self::Extent { what, count, places } => {
                write!(f, "{count} {what}{}", if *count == 1 { "" } else { "s" })?;
                if places > &1 { write!(f, ", in {places} places") } else { Ok(()) }
            }
            Self::OneDirection { count } => {
                f.write_str("nothing of the other direction is in the capture")?;
                if *count > 1 { write!(f, ", and of {} more", count - 1) } else { Ok(()) }
            }
            Self::Refusal(refusal) => refusal.fmt(f),
            Self::Words { expected, got } => write!(f, "expected {expected}, got {got}"),
        }
    }
}

/// A request that was refused for good, as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reason, in the responder's words.
    pub code: NakCode,
    /// Operation that was asked for; `None` when the capture has not got it.
    pub kind: Option<MessageKind>,
    /// Bytes that the request moves.
    pub bytes: u64,
    /// Virtual address at the responder.
    pub va: Option<u64>,
    /// Remote key.
    pub rkey: Option<u32>,
    /// Difference of address and key from what is known of the responder's memory.
    pub difference: Option<Difference>,
}

/// Difference of a refused address or key from what its node gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The key is an advertised one in the other byte order.
    KeySwapped(u32),
    /// The key is an advertised one with bits flipped.
    KeyFlipped(u32),
    /// The address is the low 32 bits of an advertised one.
    AddressCut(u64),
    /// The address is an advertised one in the other byte order.
    AddressSwapped(u64),
    /// The address lies this many bytes behind an advertised one, under its key.
    Behind(u64),
    /// The key was advertised, and the address is far from every address that was.
    AddressUnknown,
    /// Both were advertised as they are: the length or the permission is what was refused.
    Advertised,
    /// The address was advertised, the key never.
    KeyUnknown,
    /// Neither was ever advertised.
    NeverAdvertised,
}

impl Refusal {
    /// Words that are the same in every run: without address and key.
    pub(crate) fn words(&self) -> String {
        let what = self.kind.map_or("a request that is not in the capture".to_owned(), |kind| {
            format!("{kind} of {} bytes", self.bytes)
        });
        let difference = self.difference.map(|difference| format!(": {}", difference.words()));
        format!("{}: {what}{}", self.code, difference.unwrap_or_default())
    }
}

impl Difference {
    /// The difference without its numbers.
    pub(crate) fn words(self) -> String {
        match self {
            Self::KeySwapped(_) => "the rkey is an advertised one in the other byte order".to_owned(),
            Self::KeyFlipped(_) => "the rkey is an advertised one with bits flipped".to_owned(),
            Self::AddressCut(_) => "the address is an advertised one cut to 32 bits".to_owned(),
            Self::AddressSwapped(_) => "the address is an advertised one in the other byte order".to_owned(),
            Self::Behind(bytes) => {
                format!(
                    "{bytes} bytes behind an advertised address: out of bounds, if its region ends before"
                )
            }
            Self::AddressUnknown => "the rkey was advertised, the address never".to_owned(),
            Self::Advertised => {
                "address and rkey were advertised: its length or its permission is refused".to_owned()
            }
            Self::KeyUnknown => "the address was advertised, the rkey never".to_owned(),
            Self::NeverAdvertised => "address and rkey were never advertised".to_owned(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code)?;
        match self.kind {
            Some(kind) => write!(f, "{kind} of {} bytes", self.bytes)?,
            None => f.write_str("a request that is not in the capture")?,
        }
        if let Some(va) = self.va {
            write!(f, " at va {va:#x}")?;
        }
        if let Some(rkey) = self.rkey {
            write!(f, ", rkey {rkey:#x}")?;
        }
        let Some(difference) = self.difference else { return Ok(()) };
        write!(f, ": {}", difference.words())?;
        match difference {
            Difference::KeySwapped(known) | Difference::KeyFlipped(known) => write!(f, ", {known:#x}"),
            Difference::AddressCut(known) | Difference::AddressSwapped(known) => write!(f, ", {known:#x}"),
            _ => Ok(()),
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
