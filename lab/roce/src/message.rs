//! A message: one work request, assembled from its packets.

use std::fmt;
use std::net::IpAddr;

use crate::flow::{Connection, ConnectionId, Side};
use crate::wire::{Header, NakCode, Opcode, Operation, Psn};
use crate::words::immediate_words;

/// Operation of a work request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// RDMA WRITE.
    Write,
    /// RDMA WRITE with Immediate.
    WriteWithImmediate,
    /// RDMA READ.
    Read,
    /// SEND.
    Send,
    /// SEND with Immediate.
    SendWithImmediate,
    /// SEND with Invalidate.
    SendWithInvalidate,
    /// Compare and swap.
    CmpSwap,
    /// Fetch and add.
    FetchAdd,
    /// FLUSH.
    Flush,
    /// ATOMIC WRITE.
    AtomicWrite,
    /// RESYNC.
    Resync,
}

impl MessageKind {
    /// The kind of message that a request opcode belongs to; the last packet's decides. `None` for what is no request.
    pub fn of(opcode: Opcode) -> Option<Self> {
        Some(match opcode.operation() {
            Operation::Write if opcode.has_immediate() => Self::WriteWithImmediate,
            Operation::Write => Self::Write,
            Operation::ReadRequest => Self::Read,
            Operation::Send if opcode.has_immediate() => Self::SendWithImmediate,
            Operation::Send if opcode.headers().contains(Header::Ieth) => Self::SendWithInvalidate,
            Operation::Send => Self::Send,
            Operation::CmpSwap => Self::CmpSwap,
            Operation::FetchAdd => Self::FetchAdd,
            Operation::Flush => Self::Flush,
            Operation::AtomicWrite => Self::AtomicWrite,
            Operation::Resync => Self::Resync,
            Operation::ReadResponse
            | Operation::Acknowledge
            | Operation::AtomicAcknowledge
            | Operation::Cnp
            | Operation::Unknown(_) => return None,
        })
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Write => "RDMA WRITE",
            Self::WriteWithImmediate => "RDMA WRITE with Immediate",
            Self::Read => "RDMA READ",
            Self::Send => "SEND",
            Self::SendWithImmediate => "SEND with Immediate",
            Self::SendWithInvalidate => "SEND with Invalidate",
            Self::CmpSwap => "CmpSwap",
            Self::FetchAdd => "FetchAdd",
            Self::Flush => "FLUSH",
            Self::AtomicWrite => "ATOMIC WRITE",
            Self::Resync => "RESYNC",
        })
    }
}

/// Outcome of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageOutcome {
    /// The last packet was not seen.
    Incomplete,
    /// All of it was sent; nothing answered, or nothing has to.
    Sent,
    /// An ACK covers it.
    Acknowledged,
    /// A response of its own came whole: READ, atomic.
    Responded,
    /// Refused for good.
    Refused(NakCode),
    /// The responder had no receive buffer for it until the requester gave up.
    NotReady,
    /// Sent again and again, and nothing answered.
    Unanswered,
}

impl MessageOutcome {
    /// True if the responder did what it was asked, and said so.
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Acknowledged | Self::Responded)
    }
}

impl fmt::Display for MessageOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("incomplete"),
            Self::Sent => f.write_str("sent"),
            Self::Acknowledged => f.write_str("acknowledged"),
            Self::Responded => f.write_str("responded"),
            Self::NotReady => f.write_str("refused: receiver not ready"),
            Self::Unanswered => f.write_str("never answered"),
            Self::Refused(code) => write!(f, "refused: {code}"),
        }
    }
}

/// One work request as the wire shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Operation.
    pub kind: MessageKind,
    /// Address of the requester.
    pub requester: IpAddr,
    /// Queue pair number of the requester; `None` when nothing on the wire tells it.
    pub requester_qpn: Option<u32>,
    /// Address of the responder.
    pub responder: IpAddr,
    /// Queue pair number of the responder.
    pub responder_qpn: u32,
    /// The connection; `None` for a datagram.
    pub connection: Option<ConnectionId>,
    /// Bytes that it moves: payloads of a WRITE or SEND, the requested length of a READ, 8 for an atomic.
    pub bytes: u64,
    /// Immediate, as the number that the four bytes are in network order.
    pub immediate: Option<u32>,
    /// Virtual address at the responder.
    pub va: Option<u64>,
    /// Remote key of the responder's memory region.
    pub rkey: Option<u32>,
    /// PSN of its first packet.
    pub psn_first: Psn,
    /// PSN of its last packet, or of a READ's last response.
    pub psn_last: Psn,
    /// Number in the capture of its first packet, from 1.
    pub packet_first: u64,
    /// Number in the capture of its last packet, from 1.
    pub packet_last: u64,
    /// True if its last packet came; else the bytes are those that did, and an immediate may have been to come.
    pub is_whole: bool,
    /// Time of its first packet in nanoseconds since the epoch.
    pub sent_ns: u64,
    /// Time of the packet that ended it in nanoseconds since the epoch.
    pub ended_ns: Option<u64>,
    /// Outcome.
    pub outcome: MessageOutcome,
}

impl Message {
    /// The immediate as the trace has it: `imm 22`.
    pub fn immediate_words(&self) -> Option<String> {
        self.immediate.map(immediate_words)
    }

    /// The side of its connection that asks.
    pub(crate) fn requester_side(&self, Connection { active, passive, .. }: &Connection) -> Side {
        let is_passive = passive.address == self.requester
            && (active.address != self.requester || self.requester_qpn == passive.qpn);
        if is_passive { Side::Passive } else { Side::Active }
    }
}
