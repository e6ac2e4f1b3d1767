//! Opcodes: what a packet is, from one byte.
//!
//! In: the opcode byte of a BTH. Out: transport, operation, the headers that follow and the place in its message, from one table. Every byte has an answer;
//! one without a meaning is `Unknown` and shown. After Linux `include/rdma/ib_pack.h` and `drivers/infiniband/sw/rxe/rxe_opcode.c`.

use std::fmt;

use super::field::Field;
use super::header::FieldValue;

/// The opcode byte of a BTH.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opcode(
    /// The byte: transport in the top three bits, operation in the low five.
    pub u8,
);

/// The transport service, from the top three bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Reliable connection.
    Rc,
    /// Unreliable connection.
    Uc,
    /// Reliable datagram.
    Rd,
    /// Unreliable datagram.
    Ud,
    /// Congestion notification.
    Cnp,
    /// Extended reliable connection.
    Xrc,
    /// Left to manufacturers: 0xc0 to 0xff.
    Vendor,
}

impl Transport {
    /// The standard's abbreviation.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Rc => "RC",
            Self::Uc => "UC",
            Self::Rd => "RD",
            Self::Ud => "UD",
            Self::Cnp => "CNP",
            Self::Xrc => "XRC",
            Self::Vendor => "Vendor",
        }
    }
}

/// The operation, from the low five bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// SEND, in any place of a message.
    Send,
    /// RDMA WRITE, in any place of a message.
    Write,
    /// RDMA READ Request.
    ReadRequest,
    /// RDMA READ response, in any place of a message.
    ReadResponse,
    /// Acknowledge.
    Acknowledge,
    /// Atomic Acknowledge.
    AtomicAcknowledge,
    /// CmpSwap.
    CmpSwap,
    /// FetchAdd.
    FetchAdd,
    /// RESYNC of reliable datagrams.
    Resync,
    /// FLUSH.
    Flush,
    /// ATOMIC WRITE.
    AtomicWrite,
    /// Congestion notification packet.
    Cnp,
    /// No operation that the standard names for this transport; the low five bits.
    Unknown(u8),
}

/// Who sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The requester.
    Request,
    /// The responder.
    Response,
    /// Neither: a congestion notification, or unknown.
    Neither,
}

/// The place of a packet in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// First of several.
    First,
    /// Neither first nor last.
    Middle,
    /// Last of several.
    Last,
    /// The only one.
    Only,
}

impl Place {
    /// Whether a message begins here.
    pub const fn starts(self) -> bool {
        matches!(self, Self::First | Self::Only)
    }

    /// Whether a message ends here.
    pub const fn ends(self) -> bool {
        matches!(self, Self::Last | Self::Only)
    }
}

/// An extended header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Header {
    /// Reliable datagram extended transport header, 4 bytes.
    Rdeth,
    /// Datagram extended transport header, 8 bytes.
    Deth,
    /// Extended reliable connected transport header, 4 bytes.
    XrcEth,
    /// Flush extended transport header, 4 bytes.
    Feth,
    /// RDMA extended transport header, 16 bytes.
    Reth,
    /// Atomic extended transport header, 28 bytes.
    AtomicEth,
    /// Acknowledge extended transport header, 4 bytes.
    Aeth,
    /// Atomic acknowledge extended transport header, 8 bytes.
    AtomicAckEth,
    /// Immediate data, 4 bytes.
    ImmDt,
    /// Invalidate extended transport header, 4 bytes.
    Ieth,
}

/// A set of extended headers; on the wire they always stand in the order of [`Header`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Headers(u16);

impl Headers {
    const NONE: Self = Self(0);

    const fn with(self, header: Header) -> Self {
        Self(self.0 | 1 << header as u16)
    }

    /// Whether `header` is in the set.
    #[inline]
    pub const fn contains(self, header: Header) -> bool {
        self.0 & (1 << header as u16) != 0
    }
}

impl Headers {
    /// Length of all of them in bytes.
    pub const fn length_bytes(self) -> usize {
        const LENGTHS: [(Header, usize); 10] = [
            (Header::Rdeth, 4),
            (Header::Deth, 8),
            (Header::XrcEth, 4),
            (Header::Feth, 4),
            (Header::Reth, 16),
            (Header::AtomicEth, 28),
            (Header::Aeth, 4),
            (Header::AtomicAckEth, 8),
            (Header::ImmDt, 4),
            (Header::Ieth, 4),
        ];
        let (mut length, mut at) = (0, 0);
        while at < LENGTHS.len() {
            let (header, bytes) = LENGTHS[at];
            length += if self.contains(header) { bytes } else { 0 };
            at += 1;
        }
        length
    }
}

/// What an opcode means.
#[derive(Clone, Copy)]
struct Entry {
    operation: Operation,
    words: &'static str,
    role: Role,
    place: Place,
    headers: Headers,
    headers_length_bytes: u8,
}

const fn entry(
    operation: Operation,
    words: &'static str,
    role: Role,
    place: Place,
    headers: Headers,
) -> Entry {
    Entry { operation, words, role, place, headers, headers_length_bytes: headers.length_bytes() as u8 }
}

const RETH: Headers = Headers::NONE.with(Header::Reth);
const IMMDT: Headers = Headers::NONE.with(Header::ImmDt);
const AETH: Headers = Headers::NONE.with(Header::Aeth);
const IETH: Headers = Headers::NONE.with(Header::Ieth);
const ATOMIC: Headers = Headers::NONE.with(Header::AtomicEth);
const ATOMIC_ACK: Headers = AETH.with(Header::AtomicAckEth);
const FLUSH: Headers = Headers::NONE.with(Header::Feth).with(Header::Reth);

const fn unknown(operation: u8) -> Entry {
    entry(Operation::Unknown(operation), "", Role::Neither, Place::Only, Headers::NONE)
}

/// The operations by their low five bits, whatever the transport.
const OPERATIONS: [Entry; 32] = {
    use Operation::{
        Acknowledge, AtomicAcknowledge, AtomicWrite, CmpSwap, FetchAdd, Flush, ReadRequest, ReadResponse,
        Resync, Send, Write,
    };
    use Place::{First, Last, Middle, Only};
    use Role::{Request, Response};
    [
        entry(Send, "SEND First", Request, First, Headers::NONE),
        entry(Send, "SEND Middle", Request, Middle, Headers::NONE),
        entry(Send, "SEND Last", Request, Last, Headers::NONE),
        entry(Send, "SEND Last with Immediate", Request, Last, IMMDT),
        entry(Send, "SEND Only", Request, Only, Headers::NONE),
        entry(Send, "SEND Only with Immediate", Request, Only, IMMDT),
        entry(Write, "RDMA WRITE First", Request, First, RETH),
        entry(Write, "RDMA WRITE Middle", Request, Middle, Headers::NONE),
        entry(Write, "RDMA WRITE Last", Request, Last, Headers::NONE),
        entry(Write, "RDMA WRITE Last with Immediate", Request, Last, IMMDT),
        entry(Write, "RDMA WRITE Only", Request, Only, RETH),
        entry(Write, "RDMA WRITE Only with Immediate", Request, Only, RETH.with(Header::ImmDt)),
        entry(ReadRequest, "RDMA READ Request", Request, Only, RETH),
        entry(ReadResponse, "RDMA READ response First", Response, First, AETH),
        entry(ReadResponse, "RDMA READ response Middle", Response, Middle, Headers::NONE),
        entry(ReadResponse, "RDMA READ response Last", Response, Last, AETH),
        entry(ReadResponse, "RDMA READ response Only", Response, Only, AETH),
        entry(Acknowledge, "Acknowledge", Response, Only, AETH),
        entry(AtomicAcknowledge, "Atomic Acknowledge", Response, Only, ATOMIC_ACK),
        entry(CmpSwap, "CmpSwap", Request, Only, ATOMIC),
        entry(FetchAdd, "FetchAdd", Request, Only, ATOMIC),
        entry(Resync, "RESYNC", Request, Only, Headers::NONE),
        entry(Send, "SEND Last with Invalidate", Request, Last, IETH),
        entry(Send, "SEND Only with Invalidate", Request, Only, IETH),
        unknown(0x18),
        unknown(0x19),
        unknown(0x1a),
        unknown(0x1b),
        entry(Flush, "FLUSH", Request, Only, FLUSH),
        entry(AtomicWrite, "ATOMIC WRITE", Request, Only, RETH),
        unknown(0x1e),
        unknown(0x1f),
    ]
};

/// A bit per operation that each transport has.
const fn operations_of(transport: Transport) -> u32 {
    match transport {
        Transport::Rc | Transport::Xrc => 0x30df_ffff,
        Transport::Uc => 0x0000_0fff,
        Transport::Rd => 0x303f_ffff,
        Transport::Ud => 0x0000_0030,
        Transport::Cnp | Transport::Vendor => 0,
    }
}

/// What each opcode byte means: every packet asks, several times.
static OPCODES: [Entry; 256] = {
    let mut opcodes = [unknown(0); 256];
    let mut byte = 0;
    while byte < opcodes.len() {
        let (opcode, low) = (Opcode(byte as u8), byte & 0x1f);
        opcodes[byte] = if operations_of(opcode.transport()) >> low & 1 == 1 {
            OPERATIONS[low].over(opcode.transport())
        } else if byte == Opcode::CNP.0 as usize {
            entry(Operation::Cnp, "", Role::Neither, Place::Only, Headers::NONE)
        } else {
            unknown(low as u8)
        };
        byte += 1;
    }
    opcodes
};

impl Entry {
    /// The operation with the headers that a transport adds.
    const fn over(self, transport: Transport) -> Self {
        let headers = match (transport, self.role) {
            (Transport::Rd, Role::Request) => self.headers.with(Header::Rdeth).with(Header::Deth),
            (Transport::Rd, _) => self.headers.with(Header::Rdeth),
            (Transport::Ud, _) => self.headers.with(Header::Deth),
            (Transport::Xrc, Role::Request) => self.headers.with(Header::XrcEth),
            _ => self.headers,
        };
        entry(self.operation, self.words, self.role, self.place, headers)
    }
}

impl Opcode {
    /// Congestion notification packet.
    pub const CNP: Self = Self(0x81);
    /// UD SEND Only: what carries every management datagram.
    pub const UD_SEND_ONLY: Self = Self(0x64);

    /// The transport service.
    #[inline]
    pub const fn transport(self) -> Transport {
        match self.0 >> 5 {
            0 => Transport::Rc,
            1 => Transport::Uc,
            2 => Transport::Rd,
            3 => Transport::Ud,
            4 => Transport::Cnp,
            5 => Transport::Xrc,
            _ => Transport::Vendor,
        }
    }

    #[inline]
    fn entry(self) -> &'static Entry {
        &OPCODES[usize::from(self.0)]
    }

    /// The operation; `Unknown` when the standard names none for this transport.
    #[inline]
    pub fn operation(self) -> Operation {
        self.entry().operation
    }

    /// Whether the standard names this opcode.
    #[inline]
    pub fn is_known(self) -> bool {
        !matches!(self.operation(), Operation::Unknown(_))
    }

    /// Who sends it.
    #[inline]
    pub fn role(self) -> Role {
        self.entry().role
    }

    /// Whether a requester sends it.
    #[inline]
    pub fn is_request(self) -> bool {
        self.role() == Role::Request
    }

    /// Whether a responder sends it.
    #[inline]
    pub fn is_response(self) -> bool {
        self.role() == Role::Response
    }

    /// The place in its message; `Only` for an unknown opcode.
    #[inline]
    pub fn place(self) -> Place {
        self.entry().place
    }

    /// The extended headers behind the BTH; none for an unknown opcode, whose rest is payload.
    #[inline]
    pub fn headers(self) -> Headers {
        self.entry().headers
    }

    /// Length of the extended headers in bytes.
    #[inline]
    pub fn headers_length_bytes(self) -> usize {
        usize::from(self.entry().headers_length_bytes)
    }

    /// Whether an immediate follows.
    #[inline]
    pub fn has_immediate(self) -> bool {
        self.headers().contains(Header::ImmDt)
    }
}

impl FieldValue for Opcode {
    #[inline(always)]
    fn read(field: &Field, header: &[u8]) -> Self {
        Self(u8::read(field, header))
    }

    fn write(self, field: &Field, header: &mut [u8]) {
        self.0.write(field, header);
    }
}

impl fmt::Display for Opcode {
    /// The standard's words: `RC RDMA WRITE Only`, `CNP`, `RC Unknown(0x1f)`; the number is the whole byte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation() {
            Operation::Cnp => f.write_str("CNP"),
            Operation::Unknown(_) => write!(f, "{} Unknown({:#04x})", self.transport().words(), self.0),
            _ => write!(f, "{} {}", self.transport().words(), self.entry().words),
        }
    }
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opcode({:#04x} {self})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_standards_words() {
        for (byte, words) in [
            (0x00, "RC SEND First"),
            (0x0a, "RC RDMA WRITE Only"),
            (0x0b, "RC RDMA WRITE Only with Immediate"),
            (0x0e, "RC RDMA READ response Middle"),
            (0x11, "RC Acknowledge"),
            (0x17, "RC SEND Only with Invalidate"),
            (0x1d, "RC ATOMIC WRITE"),
            (0x2b, "UC RDMA WRITE Only with Immediate"),
            (0x55, "RD RESYNC"),
            (0x64, "UD SEND Only"),
            (0x81, "CNP"),
            (0xb3, "XRC CmpSwap"),
            (0x15, "RC Unknown(0x15)"),
            (0x1f, "RC Unknown(0x1f)"),
            (0x2c, "UC Unknown(0x2c)"),
            (0x60, "UD Unknown(0x60)"),
            (0x80, "CNP Unknown(0x80)"),
            (0xff, "Vendor Unknown(0xff)"),
        ] {
            assert_eq!(Opcode(byte).to_string(), words);
        }
    }

    #[test]
    fn the_number_of_known_opcodes_is_the_standards() {
        let known = |transport| {
            (0..=255)
                .map(Opcode)
                .filter(|opcode| opcode.transport() == transport && opcode.is_known())
                .count()
        };
        assert_eq!(known(Transport::Rc), 25);
        assert_eq!(known(Transport::Uc), 12);
        assert_eq!(known(Transport::Rd), 24);
        assert_eq!(known(Transport::Ud), 2);
        assert_eq!(known(Transport::Cnp), 1);
        assert_eq!(known(Transport::Xrc), 25);
    }

    #[test]
    fn headers_follow_the_transport() {
        use Header::{AtomicEth, Deth, Feth, ImmDt, Rdeth, Reth, XrcEth};
        assert!(Opcode(0x0b).headers().contains(Reth) && Opcode(0x0b).has_immediate());
        assert!(!Opcode(0x09).headers().contains(Reth), "WRITE Last with Immediate carries no RETH");
        assert_eq!(Opcode(0x0e).headers(), Headers::NONE);
        assert!(Opcode(0x65).headers().contains(Deth) && Opcode(0x65).headers().contains(ImmDt));
        assert!(Opcode(0x53).headers().contains(Rdeth) && Opcode(0x53).headers().contains(AtomicEth));
        assert!(!Opcode(0x4d).headers().contains(Deth));
        assert!(Opcode(0xaa).headers().contains(XrcEth) && !Opcode(0xb1).headers().contains(XrcEth));
        assert!(Opcode(0x1c).headers().contains(Feth) && Opcode(0x1c).headers().contains(Reth));
    }

    #[test]
    fn roles_and_places_are_known() {
        assert!(
            Opcode(0x0c).is_request() && Opcode(0x10).is_response() && Opcode(0x81).role() == Role::Neither
        );
        assert!(Opcode(0x06).place().starts() && !Opcode(0x06).place().ends());
        assert!(Opcode(0x0a).place().starts() && Opcode(0x0a).place().ends());
    }
}
