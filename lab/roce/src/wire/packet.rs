//! One frame of a capture, taken apart.
//!
//! In: a frame's bytes and its link type. Out: a packet of RoCE, or the name of what it is instead. Packets that are cut decode as far as they go. Nothing is
//! copied, nothing panics.

use std::net::IpAddr;

use super::icrc;
use super::walk::{Carrier, Found, plain, walk};
use crate::cm::Mad;
use crate::wire::{
    Aeth, AtomicAckEth, AtomicEth, Bth, DecodeStop, Deth, Encapsulation, Feth, Grh, Header, Icrc, Ieth,
    ImmDt, LinkType, NotRoce, Opcode, Rdeth, Reth, XrcEth,
};

/// UDP destination port of RoCEv2.
pub const UDP_PORT: u16 = 4791;

/// Length of the ICRC in bytes.
const ICRC_LENGTH: usize = 4;

/// Length of a UDP header in bytes.
const UDP_LENGTH: usize = 8;

/// A frame: RoCE, or something with a name.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "almost every frame is a packet, and a box would be an allocation for each"
)]
pub enum Frame<'a> {
    /// A packet to UDP port 4791, or one of RoCE version 1.
    Roce(Packet<'a>),
    /// Anything else; no error.
    NotRoce(NotRoce),
}

/// A RoCE packet: what of it could be decoded.
///
/// A header is `Some` when the opcode says that it follows and its bytes are there. [`Packet::stop`] says where decoding ended early.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// IP source address; in version 1 the source GID.
    pub source: IpAddr,
    /// IP destination address, of a segment routing header the last; in version 1 the destination GID.
    pub destination: IpAddr,
    /// Explicit congestion notification of the IP header, 2 bits: 3 is congestion experienced.
    pub ecn: u8,
    /// Innermost tunnel around it.
    pub encapsulation: Encapsulation,
    /// Frames that it came in: more than 1 when it was put together from IP fragments.
    pub frames: u32,
    /// Global route header, which version 1 has instead of IP and UDP.
    pub grh: Option<Grh<'a>>,
    /// UDP source port; it carries no meaning but entropy. 0 in version 1.
    pub udp_source_port: u16,
    /// UDP length field in bytes, its header included. 0 in version 1.
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
    /// Offset of the payload in the frame, or in the IP packet that was put together from fragments.
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

impl<'a> Frame<'a> {
    /// Takes one frame apart by itself: VXLAN at its usual ports, fragments as they are. A [`Decoder`](crate::wire::Decoder) knows other ports, and puts
    /// fragments together.
    ///
    /// `data` is what the capture holds of it. Whether it was cut is judged by the IP length, so Ethernet padding and a trailing frame check sequence do
    /// not count as data.
    pub fn decode(link_type: LinkType, data: &'a [u8]) -> Self {
        match plain(link_type, data) {
            Some(carrier) => Self::of_carrier(&carrier, None),
            None => Self::of(&walk(&[], link_type, data), None),
        }
    }

    /// Decodes what a walk found; `icrc` is the verdict, if somebody has it already.
    #[inline]
    pub(super) fn of(found: &Found<'a>, icrc: Option<Icrc>) -> Self {
        match found {
            Found::Roce(carrier) => Self::of_carrier(carrier, icrc),
            Found::Fragment(_) => Self::NotRoce(NotRoce::Fragment),
            Found::Other(other) => Self::NotRoce(*other),
        }
    }

    /// The packet, if the frame is RoCE.
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
    /// Filled where it is returned: it is large, and there are many.
    #[inline(never)]
    pub(super) fn of_carrier(carrier: &Carrier<'a>, icrc: Option<Icrc>) -> Self {
        let Carrier { ip, segment, udp } = carrier;
        let grh = if udp.is_some() { None } else { Grh::new(ip.header, 0).ok() };
        let (source, destination) = match &grh {
            Some(grh) => grh.addresses(),
            None => ip.addresses(),
        };
        let mut frame = Self::Roce(Packet {
            source,
            destination,
            ecn: ip.ecn(),
            encapsulation: segment.around,
            frames: 1,
            grh,
            udp_source_port: udp.as_ref().map_or(0, |udp| udp.source_port()),
            udp_length_bytes: udp.as_ref().map_or(0, |udp| udp.length()),
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
            payload_offset: segment.offset,
            payload_length_bytes: 0,
            pad: &[],
            icrc_value: None,
            icrc: Icrc::Unverifiable,
            is_cut: carrier.is_cut(),
            stop: None,
        });
        if let Self::Roce(packet) = &mut frame
            && let Err(stop) = packet.transport(carrier, icrc)
        {
            packet.stop = Some(stop);
        }
        frame
    }
}

impl<'a> Carrier<'a> {
    fn is_cut(&self) -> bool {
        self.segment.bytes.len() < self.ip.payload_length
    }

    /// Everything before the ICRC, and the ICRC as the packet carries it; `None` of a packet that is cut.
    fn sealed(&self) -> Option<(&'a [u8], u32)> {
        let (body, tail) = self.segment.bytes.split_last_chunk::<ICRC_LENGTH>().filter(|_| !self.is_cut())?;
        Some((body, u32::from_le_bytes(*tail)))
    }

    /// Computes the ICRC, and judges what the packet carries by it.
    #[inline]
    pub(super) fn icrc(&self) -> Icrc {
        let Self { ip, segment, udp } = self;
        let Some((body, got)) = self.sealed() else { return Icrc::Unverifiable };
        match segment.around {
            _ if udp.is_some() && ip.extensions_length == 0 => {
                icrc::icrc(ip.header, body).map_or(Icrc::Unverifiable, |expected| Icrc::of(expected, got))
            }
            // The ICRC of InfiniBand covers the LRH too, in a way that nothing at hand shows.
            Encapsulation::Infiniband => Icrc::Unverifiable,
            _ if udp.is_none() => icrc::icrc_of_grh(ip.header, body)
                .map_or(Icrc::Unverifiable, |expected| Icrc::of(expected, got)),
            _ => icrc::behind_extensions(ip.header, ip.without_extensions(), body, got),
        }
    }
}

impl<'a> Packet<'a> {
    /// Decodes from the UDP header to the ICRC; in version 1 from the BTH on.
    fn transport(&mut self, carrier: &Carrier<'a>, icrc: Option<Icrc>) -> Result<(), DecodeStop> {
        let Carrier { ip, segment, udp } = carrier;
        let (bytes, offset) = (segment.bytes, segment.offset);
        self.icrc_value = carrier.sealed().map(|(_, got)| got);
        self.icrc = icrc.unwrap_or_else(|| carrier.icrc());
        let udp_length = if udp.is_some() { UDP_LENGTH } else { 0 };
        if udp.is_some() && usize::from(self.udp_length_bytes) != ip.payload_length {
            return Err(DecodeStop::Value {
                layer: "udp",
                field: "length",
                value: usize::from(self.udp_length_bytes),
                offset,
                limit: "not the length of the IP payload",
            });
        }
        let mut at = Cursor { bytes, offset };
        at.advance(udp_length);
        let bth = Bth::new(at.bytes, at.offset)?;
        let bth_offset = at.offset;
        self.bth = Some(bth);
        at.advance(Bth::LENGTH);
        let pad_count = usize::from(bth.pad_count());
        let trailer = pad_count + ICRC_LENGTH;
        // Known from the lengths alone, so that a packet that is cut counts with all of its payload.
        let extended_length = bth.opcode().headers_length_bytes();
        let headers_length = udp_length + Bth::LENGTH + extended_length;
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
