//! One frame of a capture, taken apart.
//!
//! In: a frame's bytes, its link type and its length before the snap length cut it. Out: a RoCEv2 packet, or the name of what it is instead. Packets that
//! are cut decode as far as they go. Nothing is copied, nothing panics. Only the UDP *destination* port decides: real senders use any source port.

use std::fmt;
use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, SingleVlanHeaderSlice,
    UdpHeaderSlice,
};

use super::icrc::icrc as compute_icrc;
use crate::cm::Mad;
use crate::wire::{
    Aeth, AtomicAckEth, AtomicEth, Bth, DecodeStop, Deth, Feth, Header, Icrc, Ieth, ImmDt, Opcode, Rdeth,
    Reth, XrcEth, be_u16,
};

/// UDP destination port of RoCEv2.
pub const UDP_PORT: u16 = 4791;

/// Length of the ICRC in bytes.
const ICRC_LENGTH: usize = 4;

/// Link type of a capture, the `LINKTYPE_` number of the tcpdump project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(
    /// The number.
    pub i32,
);

impl LinkType {
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// An IP packet without a link header.
    pub const RAW: Self = Self(101);
    /// Linux cooked capture.
    pub const LINUX_SLL: Self = Self(113);
    /// An IPv4 packet without a link header.
    pub const IPV4: Self = Self(228);
    /// An IPv6 packet without a link header.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

impl fmt::Display for LinkType {
    /// Writes its number, with the name of what may be taken for a capture of RoCEv2.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link type {}", self.0)?;
        f.write_str(match self.0 {
            1 => " (Ethernet)",
            101 => " (raw IP)",
            105 | 127 => " (IEEE 802.11)",
            113 | 276 => " (Linux cooked)",
            147..=162 => " (private use)",
            189 | 220 => " (USB)",
            197 => " (ERF)",
            228 => " (IPv4)",
            229 => " (IPv6)",
            247 => " (InfiniBand)",
            253 => " (netlink)",
            _ => "",
        })
    }
}

/// A frame: RoCEv2, or something with a name.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// A packet to UDP port 4791.
    Roce(Packet<'a>),
    /// Anything else; no error.
    NotRoce(NotRoce),
}

/// What a frame is that is not RoCEv2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRoce {
    /// RoCE version 1, ethertype 0x8915: InfiniBand headers without IP.
    RoceV1,
    /// Another ethertype.
    EtherType(u16),
    /// An IPv4 fragment: only the reassembled packet would have a BTH.
    Ipv4Fragment,
    /// An IPv6 packet with a fragment header.
    Ipv6Fragment,
    /// Another IP protocol.
    IpProtocol(u8),
    /// UDP to another port.
    Udp,
    /// A link type that this library does not read.
    LinkType(LinkType),
    /// The bytes end, or stop making sense, before anything says what the frame is.
    Stop(DecodeStop),
}

impl fmt::Display for NotRoce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoceV1 => f.write_str("RoCE v1"),
            Self::EtherType(0x0806) => f.write_str("ARP"),
            Self::EtherType(0x88cc) => f.write_str("LLDP"),
            Self::EtherType(number) if *number < 0x600 => f.write_str("IEEE 802.3"),
            Self::EtherType(number) => write!(f, "ethertype {number:#06x}"),
            Self::Ipv4Fragment => f.write_str("IPv4 fragment"),
            Self::Ipv6Fragment => f.write_str("IPv6 fragment"),
            Self::IpProtocol(0) => f.write_str("IPv6 hop-by-hop options"),
            Self::IpProtocol(1) => f.write_str("ICMP"),
            Self::IpProtocol(2) => f.write_str("IGMP"),
            Self::IpProtocol(6) => f.write_str("TCP"),
            Self::IpProtocol(58) => f.write_str("ICMPv6"),
            Self::IpProtocol(number) => write!(f, "IP protocol {number}"),
            Self::Udp => f.write_str("UDP"),
            Self::LinkType(link_type) => write!(f, "unsupported {link_type}"),
            Self::Stop(stop) => write!(f, "undecodable ({stop})"),
        }
    }
}

/// A RoCEv2 packet: what of it could be decoded.
///
/// A header is `Some` when the opcode says that it follows and its bytes are there. [`Packet::stop`] says where decoding ended early.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// IP source address.
    pub source: IpAddr,
    /// IP destination address.
    pub destination: IpAddr,
    /// Explicit congestion notification of the IP header, 2 bits: 3 is congestion experienced.
    pub ecn: u8,
    /// UDP source port; it carries no meaning but entropy.
    pub udp_source_port: u16,
    /// UDP length field in bytes, its header included.
    pub udp_length_bytes: u16,
    /// Base transport header.
    pub bth: Option<Bth<'a>>,
    /// Reliable datagram extended transport header.
    pub rdeth: Option<Rdeth<'a>>,
    /// Datagram extended transport header.
    pub deth: Option<Deth<'a>>,
    /// Extended reliable connected transport header.
    pub xrceth: Option<XrcEth<'a>>,
    /// Flush extended transport header.
    pub feth: Option<Feth<'a>>,
    /// RDMA extended transport header.
    pub reth: Option<Reth<'a>>,
    /// Atomic extended transport header.
    pub atomic_eth: Option<AtomicEth<'a>>,
    /// Acknowledge extended transport header.
    pub aeth: Option<Aeth<'a>>,
    /// Atomic acknowledge extended transport header.
    pub atomic_ack_eth: Option<AtomicAckEth<'a>>,
    /// Immediate data.
    pub immdt: Option<ImmDt<'a>>,
    /// Invalidate extended transport header.
    pub ieth: Option<Ieth<'a>>,
    /// Payload, without pad and ICRC; what is there of it when the packet is cut.
    pub payload: &'a [u8],
    /// Offset of the payload in the frame.
    pub payload_offset: usize,
    /// Length of the payload in bytes as the IP length gives it, also when the packet is cut.
    pub payload_length_bytes: usize,
    /// Pad bytes, 0 to 3.
    pub pad: &'a [u8],
    /// ICRC as the packet carries it, when it is there.
    pub icrc_value: Option<u32>,
    /// Verdict on the ICRC.
    pub icrc: Icrc,
    /// Whether the capture holds less than the packet, by the snap length or otherwise.
    pub is_cut: bool,
    /// Where decoding stopped, if it did.
    pub stop: Option<DecodeStop>,
}

/// What the link header says follows.
enum Network {
    Ipv4,
    Ipv6,
    Other(NotRoce),
}

impl Network {
    fn from_ether_type(ether_type: u16) -> Self {
        match EtherType(ether_type) {
            EtherType::IPV4 => Self::Ipv4,
            EtherType::IPV6 => Self::Ipv6,
            EtherType(0x8915) => Self::Other(NotRoce::RoceV1),
            EtherType(other) => Self::Other(NotRoce::EtherType(other)),
        }
    }

    fn from_version(byte: Option<&u8>) -> Self {
        match byte.map(|byte| byte >> 4) {
            Some(4) => Self::Ipv4,
            Some(6) => Self::Ipv6,
            Some(version) => Self::Other(NotRoce::Stop(DecodeStop::Value {
                layer: "ip",
                field: "version",
                value: usize::from(version),
                offset: 0,
                limit: "expected 4 or 6",
            })),
            None => {
                Self::Other(NotRoce::Stop(DecodeStop::Length { layer: "ip", need: 20, offset: 0, got: 0 }))
            }
        }
    }
}

fn too_short(layer: &'static str, need: usize, offset: usize, got: usize) -> NotRoce {
    NotRoce::Stop(DecodeStop::Length { layer, need, offset, got })
}

/// Reads the link header: what follows, and where.
fn link(link_type: LinkType, data: &[u8]) -> (Network, usize) {
    match link_type {
        LinkType::ETHERNET => ethernet(data),
        LinkType::LINUX_SLL if data.len() >= 16 => vlan(data, be_u16(data, 14..16), 16),
        LinkType::LINUX_SLL => (Network::Other(too_short("sll", 16, 0, data.len())), 0),
        LinkType::LINUX_SLL2 if data.len() >= 20 => vlan(data, be_u16(data, 0..2), 20),
        LinkType::LINUX_SLL2 => (Network::Other(too_short("sll2", 20, 0, data.len())), 0),
        LinkType::RAW | LinkType(12) => (Network::from_version(data.first()), 0),
        LinkType::IPV4 => (Network::Ipv4, 0),
        LinkType::IPV6 => (Network::Ipv6, 0),
        other => (Network::Other(NotRoce::LinkType(other)), 0),
    }
}

fn ethernet(data: &[u8]) -> (Network, usize) {
    match Ethernet2HeaderSlice::from_slice(data) {
        Ok(header) => vlan(data, header.ether_type().0, 14),
        Err(_) => (Network::Other(too_short("ethernet", 14, 0, data.len())), 0),
    }
}

/// Walks over any number of VLAN tags.
fn vlan(data: &[u8], mut ether_type: u16, mut offset: usize) -> (Network, usize) {
    while matches!(ether_type, 0x8100 | 0x88a8 | 0x9100) {
        let rest = data.get(offset..).unwrap_or_default();
        match SingleVlanHeaderSlice::from_slice(rest) {
            Ok(tag) => ether_type = tag.ether_type().0,
            Err(_) => {
                return (Network::Other(too_short("vlan", 4, offset, rest.len())), offset);
            }
        }
        offset += 4;
    }
    (Network::from_ether_type(ether_type), offset)
}

/// What the IP header says.
struct Ip<'a> {
    header: &'a [u8],
    /// Length of what follows the header, as the header has it.
    payload_length: usize,
    protocol: IpNumber,
}

impl Ip<'_> {
    /// The addresses, source first.
    #[inline]
    fn addresses(&self) -> (IpAddr, IpAddr) {
        if let Some(bytes) = self.header.get(12..20)
            && self.is_version_4()
            && let Some((source, destination)) = bytes.split_first_chunk::<4>()
            && let Some(destination) = destination.first_chunk::<4>()
        {
            return ((*source).into(), (*destination).into());
        }
        let at = |at: usize| self.header.get(at..).and_then(|bytes| bytes.first_chunk::<16>()).copied();
        (at(8).unwrap_or_default().into(), at(24).unwrap_or_default().into())
    }

    fn ecn(&self) -> u8 {
        let first = be_u16(self.header, 0..2);
        (if self.is_version_4() { first } else { first >> 4 }) as u8 & 3
    }

    #[inline]
    fn is_version_4(&self) -> bool {
        self.header.first().is_some_and(|byte| byte >> 4 == 4)
    }
}

fn ipv4(bytes: &[u8], offset: usize) -> Result<Ip<'_>, NotRoce> {
    let header_length = bytes.first().map_or(20, |first| usize::from(first & 0xf) * 4).max(20);
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| match bytes.first() {
        Some(first) if first >> 4 != 4 || first & 0xf < 5 => NotRoce::Stop(DecodeStop::Value {
            layer: "ipv4",
            field: "version and header length",
            value: usize::from(*first),
            offset,
            limit: "expected version 4 and at least 5 words",
        }),
        _ => too_short("ipv4", header_length, offset, bytes.len()),
    })?;
    if header.is_fragmenting_payload() {
        return Err(NotRoce::Ipv4Fragment);
    }
    let total = usize::from(header.total_len());
    let payload_length = total.checked_sub(header.slice().len()).ok_or(NotRoce::Stop(DecodeStop::Value {
        layer: "ipv4",
        field: "total length",
        value: total,
        offset,
        limit: "shorter than its header",
    }))?;
    Ok(Ip { header: header.slice(), payload_length, protocol: header.protocol() })
}

fn ipv6(bytes: &[u8], offset: usize) -> Result<Ip<'_>, NotRoce> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|_| match bytes.first() {
        Some(first) if first >> 4 != 6 => NotRoce::Stop(DecodeStop::Value {
            layer: "ipv6",
            field: "version",
            value: usize::from(first >> 4),
            offset,
            limit: "expected 6",
        }),
        _ => too_short("ipv6", 40, offset, bytes.len()),
    })?;
    if header.next_header() == IpNumber::IPV6_FRAGMENTATION_HEADER {
        return Err(NotRoce::Ipv6Fragment);
    }
    Ok(Ip {
        header: header.slice(),
        payload_length: usize::from(header.payload_length()),
        protocol: header.next_header(),
    })
}

impl<'a> Frame<'a> {
    /// Takes one frame apart.
    ///
    /// `data` is what the capture holds of it. Whether it was cut is judged by the IP length, so Ethernet padding and a trailing frame check sequence do
    /// not count as data.
    pub fn decode(link_type: LinkType, data: &'a [u8]) -> Self {
        let (network, offset) = link(link_type, data);
        let bytes = data.get(offset..).unwrap_or_default();
        let ip = match network {
            Network::Ipv4 => ipv4(bytes, offset),
            Network::Ipv6 => ipv6(bytes, offset),
            Network::Other(other) => Err(other),
        };
        match ip {
            Ok(ip) => Self::of_ip(&ip, bytes, offset),
            Err(other) => Self::NotRoce(other),
        }
    }

    /// The packet, if the frame is RoCEv2.
    pub fn packet(&self) -> Option<&Packet<'a>> {
        match self {
            Self::Roce(packet) => Some(packet),
            Self::NotRoce(_) => None,
        }
    }
}

/// Walks over a packet's bytes, keeping the offset in the frame.
struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Cursor<'_> {
    fn advance(&mut self, length: usize) {
        self.bytes = self.bytes.get(length..).unwrap_or_default();
        self.offset += length;
    }
}

macro_rules! take {
    ($view:ident, $cursor:ident) => {{
        let view = $view::new($cursor.bytes, $cursor.offset)?;
        $cursor.advance($view::LENGTH);
        Some(view)
    }};
}

impl<'a> Frame<'a> {
    fn of_ip(ip: &Ip<'a>, bytes: &'a [u8], ip_offset: usize) -> Self {
        if ip.protocol != IpNumber::UDP {
            return Self::NotRoce(NotRoce::IpProtocol(ip.protocol.0));
        }
        let header_length = ip.header.len();
        let captured = bytes.get(header_length..).unwrap_or_default();
        // The packet ends at the IP length; what the capture has behind it is Ethernet's.
        let segment = captured.get(..ip.payload_length).unwrap_or(captured);
        let offset = ip_offset + header_length;
        let Ok(udp) = UdpHeaderSlice::from_slice(segment) else {
            return Self::NotRoce(too_short("udp", 8, offset, segment.len()));
        };
        if udp.destination_port() != UDP_PORT {
            return Self::NotRoce(NotRoce::Udp);
        }
        Self::of_udp(ip, segment, &udp, offset)
    }

    /// Filled where it is returned: it is large, and there are many.
    #[inline(never)]
    fn of_udp(ip: &Ip<'a>, segment: &'a [u8], udp: &UdpHeaderSlice<'a>, offset: usize) -> Self {
        let (source, destination) = ip.addresses();
        let mut frame = Self::Roce(Packet {
            source,
            destination,
            ecn: ip.ecn(),
            udp_source_port: udp.source_port(),
            udp_length_bytes: udp.length(),
            bth: None,
            rdeth: None,
            deth: None,
            xrceth: None,
            feth: None,
            reth: None,
            atomic_eth: None,
            aeth: None,
            atomic_ack_eth: None,
            immdt: None,
            ieth: None,
            payload: &[],
            payload_offset: offset,
            payload_length_bytes: 0,
            pad: &[],
            icrc_value: None,
            icrc: Icrc::Unverifiable,
            is_cut: segment.len() < ip.payload_length,
            stop: None,
        });
        if let Self::Roce(packet) = &mut frame
            && let Err(stop) = packet.transport(ip, segment, offset)
        {
            packet.stop = Some(stop);
        }
        frame
    }
}

impl<'a> Packet<'a> {
    /// Decodes from the UDP header to the ICRC; `segment` begins at the UDP header, which is there.
    fn transport(&mut self, ip: &Ip<'a>, segment: &'a [u8], offset: usize) -> Result<(), DecodeStop> {
        if !self.is_cut
            && let Some((body, tail)) = segment.split_last_chunk::<ICRC_LENGTH>()
            && let Some(expected) = compute_icrc(ip.header, body)
        {
            let got = u32::from_le_bytes(*tail);
            self.icrc_value = Some(got);
            self.icrc = if got == expected { Icrc::Good } else { Icrc::Bad { expected, got } };
        }
        if usize::from(self.udp_length_bytes) != ip.payload_length {
            return Err(DecodeStop::Value {
                layer: "udp",
                field: "length",
                value: usize::from(self.udp_length_bytes),
                offset,
                limit: "not the length of the IP payload",
            });
        }
        let mut at = Cursor { bytes: segment, offset };
        at.advance(8);
        let bth = Bth::new(at.bytes, at.offset)?;
        let bth_offset = at.offset;
        self.bth = Some(bth);
        at.advance(Bth::LENGTH);
        let pad_count = usize::from(bth.pad_count());
        let trailer = pad_count + ICRC_LENGTH;
        // Known from the lengths alone, so that a packet that is cut counts with all of its payload.
        let extended_length = bth.opcode().headers_length_bytes();
        let headers_length = 8 + Bth::LENGTH + extended_length;
        let rest_length = ip.payload_length.saturating_sub(headers_length);
        self.payload_length_bytes = rest_length.saturating_sub(trailer);
        self.extended_headers(bth.opcode(), &mut at)?;
        self.payload_offset = at.offset;
        if rest_length < ICRC_LENGTH {
            return Err(DecodeStop::Length {
                layer: "icrc",
                need: ICRC_LENGTH,
                offset: at.offset,
                got: rest_length,
            });
        }
        if rest_length < trailer {
            return Err(DecodeStop::Value {
                layer: "bth",
                field: "pad count",
                value: pad_count,
                offset: bth_offset,
                limit: "more than the bytes before the ICRC",
            });
        }
        let payload_length = self.payload_length_bytes;
        let (payload, behind) = at.bytes.split_at_checked(payload_length).unwrap_or((at.bytes, &[]));
        self.payload = payload;
        self.pad = behind.get(..pad_count).unwrap_or(behind);
        if self.is_cut {
            return Err(DecodeStop::Length {
                layer: "payload",
                need: rest_length,
                offset: at.offset,
                got: at.bytes.len(),
            });
        }
        Ok(())
    }

    fn extended_headers(&mut self, opcode: Opcode, at: &mut Cursor<'a>) -> Result<(), DecodeStop> {
        let headers = opcode.headers();
        if opcode.headers_length_bytes() == 0 {
            return Ok(());
        }
        if headers.contains(Header::Rdeth) {
            self.rdeth = take!(Rdeth, at);
        }
        if headers.contains(Header::Deth) {
            self.deth = take!(Deth, at);
        }
        if headers.contains(Header::XrcEth) {
            self.xrceth = take!(XrcEth, at);
        }
        if headers.contains(Header::Feth) {
            self.feth = take!(Feth, at);
        }
        if headers.contains(Header::Reth) {
            self.reth = take!(Reth, at);
        }
        if headers.contains(Header::AtomicEth) {
            self.atomic_eth = take!(AtomicEth, at);
        }
        if headers.contains(Header::Aeth) {
            self.aeth = take!(Aeth, at);
        }
        if headers.contains(Header::AtomicAckEth) {
            self.atomic_ack_eth = take!(AtomicAckEth, at);
        }
        if headers.contains(Header::ImmDt) {
            self.immdt = take!(ImmDt, at);
        }
        if headers.contains(Header::Ieth) {
            self.ieth = take!(Ieth, at);
        }
        Ok(())
    }

    /// The opcode, when the BTH is there.
    pub fn opcode(&self) -> Option<Opcode> {
        self.bth.map(|bth| bth.opcode())
    }

    /// The management datagram, when the packet is a datagram to queue pair 1.
    pub fn mad(&self) -> Option<Result<Mad<'a>, DecodeStop>> {
        let bth = self.bth?;
        (bth.opcode() == Opcode::UD_SEND_ONLY && bth.destination_qpn() == 1 && self.deth.is_some())
            .then(|| Mad::new(self.payload, self.payload_offset))
    }

    /// The virtual address and remote key that the packet names, from RETH or AtomicETH.
    pub fn remote_memory(&self) -> Option<(u64, u32)> {
        self.reth
            .map(|reth| (reth.va(), reth.rkey()))
            .or_else(|| self.atomic_eth.map(|atomic| (atomic.va(), atomic.rkey())))
    }
}
