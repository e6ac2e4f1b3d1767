//! Opcodes: what a packet is, from one byte.
//!
//! In: the opcode byte of a BTH. Out: transport, operation, the headers that follow and the place in its message, from one table. Every byte has an answer;
//! one without a meaning is `Unknown` and shown. After Linux `include/rdma/ib_pack.h` and `drivers/infiniband/sw/rxe/rxe_opcode.c`.

use std::fmt;

use super::extended::{Header, Headers};
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
#[non_exhaustive]
pub enum TransportService {
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

impl TransportService {
    /// Top three bits of its opcodes; of a manufacturer's the lowest.
    const fn bits(self) -> u8 {
        match self {
            Self::Rc => 0x00,
            Self::Uc => 0x20,
            Self::Rd => 0x40,
            Self::Ud => 0x60,
            Self::Cnp => 0x80,
            Self::Xrc => 0xa0,
            Self::Vendor => 0xc0,
        }
    }

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
#[non_exhaustive]
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
    /// Operation without a name in the standard for this transport; the low five bits.
    Unknown(u8),
}

/// Sender of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketRole {
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
    /// True if a message begins here.
    pub const fn starts(self) -> bool {
        matches!(self, Self::First | Self::Only)
    }

    /// True if a message ends here.
    pub const fn ends(self) -> bool {
        matches!(self, Self::Last | Self::Only)
    }
}

/// Meaning of an opcode.
#[derive(Clone, Copy)]
struct Meaning {
    operation: Operation,
    words: &'static str,
    role: PacketRole,
    place: Place,
    headers: Headers,
    headers_length_bytes: u8,
}

impl Meaning {
    /// Transport without a name in the standard.
    const fn unknown(low: u8) -> Self {
        let (role, place) = (PacketRole::Neither, Place::Only);
        let operation = Operation::Unknown(low);
        Self { operation, words: "", role, place, headers: Headers::NONE, headers_length_bytes: 0 }
    }
}

/// Row of the table of operations: an operation in one place of a message, and the transports that have it.
struct OperationRow {
    /// Low five bits of the opcode.
    low: u8,
    operation: Operation,
    words: &'static str,
    role: PacketRole,
    place: Place,
    headers: Headers,
    transports: &'static [TransportService],
}

const fn row(
    low: u8,
    operation: Operation,
    words: &'static str,
    role: PacketRole,
    place: Place,
    headers: Headers,
    transports: &'static [TransportService],
) -> OperationRow {
    OperationRow { low, operation, words, role, place, headers, transports }
}

const NONE: Headers = Headers::NONE;
const RETH: Headers = NONE.with(Header::Reth);
const IMMDT: Headers = NONE.with(Header::ImmDt);
const AETH: Headers = NONE.with(Header::Aeth);
const IETH: Headers = NONE.with(Header::Ieth);
const ATOMIC: Headers = NONE.with(Header::AtomicEth);
const ATOMIC_ACK: Headers = AETH.with(Header::AtomicAckEth);
const FLUSH: Headers = NONE.with(Header::Feth).with(Header::Reth);

/// Transports of an operation.
const CONNECTED: &[TransportService] = &[TransportService::Rc, TransportService::Xrc];
const RELIABLE: &[TransportService] = &[TransportService::Rc, TransportService::Rd, TransportService::Xrc];
const STREAM: &[TransportService] =
    &[TransportService::Rc, TransportService::Uc, TransportService::Rd, TransportService::Xrc];
const EVERY: &[TransportService] = &[
    TransportService::Rc,
    TransportService::Uc,
    TransportService::Rd,
    TransportService::Ud,
    TransportService::Xrc,
];
const RD_ONLY: &[TransportService] = &[TransportService::Rd];

/// Table of the operations, by the low five bits of the opcode.
#[rustfmt::skip]
const OPERATIONS: [OperationRow; 26] = {
    use Operation::{
        Acknowledge, AtomicAcknowledge, AtomicWrite, CmpSwap, FetchAdd, Flush, ReadRequest, ReadResponse,
        Resync, Send, Write,
    };
    use Place::{First, Last, Middle, Only};
    use PacketRole::{Request, Response};
    [
        row(0x00, Send, "SEND First", Request, First, NONE, STREAM),
        row(0x01, Send, "SEND Middle", Request, Middle, NONE, STREAM),
        row(0x02, Send, "SEND Last", Request, Last, NONE, STREAM),
        row(0x03, Send, "SEND Last with Immediate", Request, Last, IMMDT, STREAM),
        row(0x04, Send, "SEND Only", Request, Only, NONE, EVERY),
        row(0x05, Send, "SEND Only with Immediate", Request, Only, IMMDT, EVERY),
        row(0x06, Write, "RDMA WRITE First", Request, First, RETH, STREAM),
        row(0x07, Write, "RDMA WRITE Middle", Request, Middle, NONE, STREAM),
        row(0x08, Write, "RDMA WRITE Last", Request, Last, NONE, STREAM),
        row(0x09, Write, "RDMA WRITE Last with Immediate", Request, Last, IMMDT, STREAM),
        row(0x0a, Write, "RDMA WRITE Only", Request, Only, RETH, STREAM),
        row(0x0b, Write, "RDMA WRITE Only with Immediate", Request, Only, RETH.with(Header::ImmDt), STREAM),
        row(0x0c, ReadRequest, "RDMA READ Request", Request, Only, RETH, RELIABLE),
        row(0x0d, ReadResponse, "RDMA READ response First", Response, First, AETH, RELIABLE),
        row(0x0e, ReadResponse, "RDMA READ response Middle", Response, Middle, NONE, RELIABLE),
        row(0x0f, ReadResponse, "RDMA READ response Last", Response, Last, AETH, RELIABLE),
        row(0x10, ReadResponse, "RDMA READ response Only", Response, Only, AETH, RELIABLE),
        row(0x11, Acknowledge, "Acknowledge", Response, Only, AETH, RELIABLE),
        row(0x12, AtomicAcknowledge, "Atomic Acknowledge", Response, Only, ATOMIC_ACK, RELIABLE),
        row(0x13, CmpSwap, "CmpSwap", Request, Only, ATOMIC, RELIABLE),
        row(0x14, FetchAdd, "FetchAdd", Request, Only, ATOMIC, RELIABLE),
        row(0x15, Resync, "RESYNC", Request, Only, NONE, RD_ONLY),
        row(0x16, Send, "SEND Last with Invalidate", Request, Last, IETH, CONNECTED),
        row(0x17, Send, "SEND Only with Invalidate", Request, Only, IETH, CONNECTED),
        row(0x1c, Flush, "FLUSH", Request, Only, FLUSH, RELIABLE),
        row(0x1d, AtomicWrite, "ATOMIC WRITE", Request, Only, RETH, RELIABLE),
    ]
};

/// Meaning of each opcode byte: every packet asks, several times.
static OPCODES: [Meaning; 256] = {
    let mut opcodes = [Meaning::unknown(0); 256];
    let mut byte = 0;
    while byte < opcodes.len() {
        opcodes[byte] = Meaning::unknown(byte as u8 & 0x1f);
        byte += 1;
    }
    let mut at = 0;
    while at < OPERATIONS.len() {
        let row = &OPERATIONS[at];
        let mut of = 0;
        while of < row.transports.len() {
            let transport = row.transports[of];
            opcodes[(transport.bits() | row.low) as usize] = row.over(transport);
            of += 1;
        }
        at += 1;
    }
    opcodes[Opcode::CNP.0 as usize].operation = Operation::Cnp;
    opcodes
};

impl OperationRow {
    /// The operation with the headers that a transport adds.
    const fn over(&self, transport: TransportService) -> Meaning {
        let headers = match (transport, self.role) {
            (TransportService::Rd, PacketRole::Request) => {
                self.headers.with(Header::Rdeth).with(Header::Deth)
            }
            (TransportService::Rd, _) => self.headers.with(Header::Rdeth),
            (TransportService::Ud, _) => self.headers.with(Header::Deth),
            (TransportService::Xrc, PacketRole::Request) => self.headers.with(Header::XrcEth),
            _ => self.headers,
        };
        let Self { operation, words, role, place, .. } = *self;
        let headers_length_bytes = headers.length_bytes() as u8;
        Meaning { operation, words, role, place, headers, headers_length_bytes }
    }
}

impl Opcode {
    /// Congestion notification packet.
    pub const CNP: Self = Self(0x81);
    /// UD SEND Only: what carries every management datagram.
    pub const UD_SEND_ONLY: Self = Self(0x64);

    /// The transport service.
    #[inline]
    pub const fn transport(self) -> TransportService {
        match self.0 & 0xe0 {
            0x00 => TransportService::Rc,
            0x20 => TransportService::Uc,
            0x40 => TransportService::Rd,
            0x60 => TransportService::Ud,
            0x80 => TransportService::Cnp,
            0xa0 => TransportService::Xrc,
            _ => TransportService::Vendor,
        }
    }

    #[inline]
    fn meaning(self) -> &'static Meaning {
        &OPCODES[usize::from(self.0)]
    }

    /// The operation; `Unknown` when the standard names none for this transport.
    #[inline]
    pub fn operation(self) -> Operation {
        self.meaning().operation
    }

    /// True if the standard names this opcode.
    #[inline]
    pub fn is_known(self) -> bool {
        !matches!(self.operation(), Operation::Unknown(_))
    }

    /// Sender.
    #[inline]
    pub fn role(self) -> PacketRole {
        self.meaning().role
    }

    /// True if a requester sends it.
    #[inline]
    pub fn is_request(self) -> bool {
        self.role() == PacketRole::Request
    }

    /// True if a responder sends it.
    #[inline]
    pub fn is_response(self) -> bool {
        self.role() == PacketRole::Response
    }

    /// The place in its message; `Only` for an unknown opcode.
    #[inline]
    pub fn place(self) -> Place {
        self.meaning().place
    }

    /// The extended headers behind the BTH; none for an unknown opcode, whose rest is payload.
    #[inline]
    pub fn headers(self) -> Headers {
        self.meaning().headers
    }

    /// Length of the extended headers in bytes.
    #[inline]
    pub fn headers_length_bytes(self) -> usize {
        usize::from(self.meaning().headers_length_bytes)
    }

    /// True if an immediate follows.
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
            _ => write!(f, "{} {}", self.transport().words(), self.meaning().words),
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
    fn number_of_known_opcodes_is_the_standards() {
        let known = |transport| {
            (0..=255)
                .map(Opcode)
                .filter(|opcode| opcode.transport() == transport && opcode.is_known())
                .count()
        };
        assert_eq!(known(TransportService::Rc), 25);
        assert_eq!(known(TransportService::Uc), 12);
        assert_eq!(known(TransportService::Rd), 24);
        assert_eq!(known(TransportService::Ud), 2);
        assert_eq!(known(TransportService::Cnp), 1);
        assert_eq!(known(TransportService::Xrc), 25);
    }

    #[test]
    fn transport_is_written_as_it_is_read() {
        for byte in (0..=u8::MAX).step_by(0x20).filter(|byte| *byte <= 0xc0) {
            assert_eq!(Opcode(byte).transport().bits(), byte);
        }
    }

    #[test]
    fn each_operation_has_one_row() {
        for pair in OPERATIONS.windows(2) {
            assert!(pair[0].low < pair[1].low, "{:#04x} stands before {:#04x}", pair[0].low, pair[1].low);
        }
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
            Opcode(0x0c).is_request()
                && Opcode(0x10).is_response()
                && Opcode(0x81).role() == PacketRole::Neither
        );
        assert!(Opcode(0x06).place().starts() && !Opcode(0x06).place().ends());
        assert!(Opcode(0x0a).place().starts() && Opcode(0x0a).place().ends());
    }
}
