//! One frame of a capture, taken apart.
//!
//! In: a frame's bytes and its link type. Out: a packet of RoCE, or the name of what it is instead. Packets that are cut decode as far as they go. Nothing is
//! copied, nothing panics.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};

use super::datagram::ICRC_LENGTH;
use super::icrc;
use super::walk::{Carrier, FoundFrame, plain, walk};
use crate::wire::{
    Bth, Datagram, DecodeStop, Encapsulation, Extended, Grh, Icrc, LinkType, NotRoce, Opcode, PlacedHeader,
};

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
/// A header is `Some` when the opcode says that it follows and its bytes are there; the [`Extended`] ones are read as fields of the packet, `packet.reth`.
/// [`Packet::stop`] says where decoding ended early. Offsets are in the captured frame, in the IP packet that was put together from fragments, or in the
/// payload of a [`Datagram`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
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
    /// Offset of the IP header, or of the GRH; `None` of a [`Datagram`].
    pub network_offset: Option<usize>,
    /// Global route header, which version 1 has instead of IP and UDP.
    pub grh: Option<Grh<'a>>,
    /// UDP source port; it carries no meaning but entropy. 0 in version 1.
    pub udp_source_port: u16,
    /// UDP length field in bytes, its header included. 0 in version 1.
    pub udp_length_bytes: u16,
    /// Offset of the BTH.
    pub bth_offset: usize,
    /// Base transport header.
    pub bth: Option<Bth<'a>>,
    /// Extended headers.
    pub extended: Extended<'a>,
    /// Payload, without pad and ICRC; what is there of it when the packet is cut.
    pub payload: &'a [u8],
    /// Offset of the payload.
    pub payload_offset: usize,
    /// Length of the payload in bytes as the IP length gives it, also when the packet is cut.
    pub payload_length_bytes: usize,
    /// Pad bytes, 0 to 3.
    pub pad: &'a [u8],
    /// ICRC as the packet carries it, when it is there.
    pub icrc_value: Option<u32>,
    /// Verdict on the ICRC.
    pub icrc: Icrc,
    /// True if the capture holds less than the packet, by the snap length or otherwise.
    pub is_cut: bool,
    /// Place where decoding stopped, if it did.
    pub stop: Option<DecodeStop>,
}

impl<'a> Frame<'a> {
    /// Takes one frame apart by itself: VXLAN at its usual ports, fragments as they are. A [`Decoder`](crate::wire::Decoder) knows other ports, and puts
    /// fragments together.
    ///
    /// `data` is what the capture holds of it. Whether it was cut is judged by the IP length, so Ethernet padding and a trailing frame check sequence do
    /// not count as data.
    pub fn decode(link_type: LinkType, data: &'a [u8]) -> Self {
        let mut frame = Self::UNREAD;
        frame.decode_into(&[], link_type, data);
        frame
    }

    /// A frame that nothing was decoded into yet.
    pub(crate) const UNREAD: Self = Self::NotRoce(NotRoce::Fragment);

    /// Decodes one frame by itself into `self`, with further ports of VXLAN.
    #[inline]
    pub(crate) fn decode_into(&mut self, vxlan_ports: &[u16], link_type: LinkType, data: &'a [u8]) {
        match &plain(link_type, data) {
            Some(carrier) => self.read(carrier),
            None => *self = Self::of(&walk(vxlan_ports, link_type, data)),
        }
    }

    /// Decodes what a walk found.
    #[inline]
    pub(super) fn of(found: &FoundFrame<'a>) -> Self {
        let mut frame = Self::UNREAD;
        match found {
            FoundFrame::Roce(carrier) => frame.read(carrier),
            FoundFrame::Fragment(_) => {}
            FoundFrame::Other(other) => frame = Self::NotRoce(*other),
        }
        frame
    }

    /// The packet, if the frame is RoCE.
    pub fn packet(&self) -> Option<&Packet<'a>> {
        match self {
            Self::Roce(packet) => Some(packet),
            Self::NotRoce(_) => None,
        }
    }
}

impl<'a> Frame<'a> {
    /// Decodes a packet into `self`, whatever that was: a packet is large, and there are many.
    #[inline(never)]
    pub(super) fn read(&mut self, carrier: &Carrier<'a>) {
        let Carrier { ip, segment, udp } = carrier;
        let grh = if udp.is_some() { None } else { Grh::new(ip.header, 0).ok() };
        let (source, destination) = match &grh {
            Some(grh) => grh.addresses(),
            None => ip.addresses(),
        };
        let udp_length = if udp.is_some() { UDP_LENGTH } else { 0 };
        let sealed = carrier.sealed();
        *self = Self::Roce(Packet {
            source,
            destination,
            ecn: ip.ecn(),
            encapsulation: segment.around,
            frames: 1,
            network_offset: Some(carrier.begins_at()),
            grh,
            udp_source_port: udp.as_ref().map_or(0, |udp| udp.source_port()),
            udp_length_bytes: udp.as_ref().map_or(0, |udp| udp.length()),
            bth_offset: segment.offset + udp_length,
            bth: None,
            extended: Extended::default(),
            payload: &[],
            payload_offset: segment.offset,
            payload_length_bytes: 0,
            pad: &[],
            icrc_value: sealed.map(|(_, got)| got),
            icrc: sealed.map_or(Icrc::Unverifiable, |(body, got)| carrier.icrc(body, got)),
            is_cut: carrier.is_cut(),
            stop: None,
        });
        if let Self::Roce(packet) = self
            && let Err(stop) = packet.transport(carrier)
        {
            packet.stop = Some(stop);
        }
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

    /// Computes the ICRC over what is before it, and judges by it what the packet carries.
    #[inline]
    fn icrc(&self, body: &[u8], got: u32) -> Icrc {
        let Self { ip, segment, udp } = self;
        match segment.around {
            _ if udp.is_some() && ip.extensions_length == 0 => icrc::icrc(ip.header, body)
                .map_or(Icrc::Unverifiable, |expected| icrc::of_sender(expected, body, got)),
            // The ICRC of InfiniBand covers the LRH too, in a way that nothing at hand shows.
            Encapsulation::Infiniband => Icrc::Unverifiable,
            _ if udp.is_none() => icrc::icrc_of_grh(ip.header, body)
                .map_or(Icrc::Unverifiable, |expected| Icrc::of(expected, got)),
            _ => icrc::behind_extensions(ip.header, ip.without_extensions(), body, got),
        }
    }
}

impl<'a> Deref for Packet<'a> {
    type Target = Extended<'a>;

    fn deref(&self) -> &Self::Target {
        &self.extended
    }
}

impl DerefMut for Packet<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.extended
    }
}

impl<'a> Packet<'a> {
    /// Decodes from the UDP header to the ICRC; in version 1 from the BTH on.
    fn transport(&mut self, carrier: &Carrier<'a>) -> Result<(), DecodeStop> {
        let Carrier { ip, segment, udp } = carrier;
        let (bytes, offset) = (segment.bytes, segment.offset);
        if udp.is_some() && usize::from(self.udp_length_bytes) != ip.payload_length {
            return Err(DecodeStop::Value {
                layer: "udp",
                field: "length",
                value: usize::from(self.udp_length_bytes),
                offset,
                limit: "not the length of the IP payload",
            });
        }
        let udp_length = self.bth_offset - offset;
        let body = bytes.get(udp_length..).unwrap_or_default();
        self.body(body, ip.payload_length.saturating_sub(udp_length))
    }

    /// Decodes from the BTH to the ICRC, which the lengths around them say to be `length` bytes.
    #[inline]
    fn body(&mut self, mut bytes: &'a [u8], length: usize) -> Result<(), DecodeStop> {
        let mut offset = self.bth_offset;
        let bth = Bth::new(bytes, offset)?;
        self.bth = Some(bth);
        bytes = bytes.get(Bth::LENGTH..).unwrap_or_default();
        offset += Bth::LENGTH;
        let pad_count = usize::from(bth.pad_count());
        let trailer = pad_count + ICRC_LENGTH;
        // Known from the lengths alone, so that a packet that is cut counts with all of its payload.
        let extended_length = bth.opcode().headers_length_bytes();
        let rest_length = length.saturating_sub(Bth::LENGTH + extended_length);
        self.payload_length_bytes = rest_length.saturating_sub(trailer);
        if extended_length > 0 {
            self.extended.read(bth.opcode().headers(), &mut bytes, &mut offset)?;
        }
        self.payload_offset = offset;
        if rest_length < ICRC_LENGTH {
            return Err(DecodeStop::Length { layer: "icrc", need: ICRC_LENGTH, offset, got: rest_length });
        }
        if rest_length < trailer {
            return Err(DecodeStop::Value {
                layer: "bth",
                field: "pad count",
                value: pad_count,
                offset: self.bth_offset,
                limit: "more than the bytes before the ICRC",
            });
        }
        let payload_length = self.payload_length_bytes;
        let (payload, behind) = bytes.split_at_checked(payload_length).unwrap_or((bytes, &[]));
        self.payload = payload;
        self.pad = behind.get(..pad_count).unwrap_or(behind);
        if self.is_cut {
            return Err(DecodeStop::Length { layer: "payload", need: rest_length, offset, got: bytes.len() });
        }
        Ok(())
    }

    /// Decodes the payload of a UDP datagram, for those who have read IP and UDP already: from a socket, a network card's queue, another decoder.
    ///
    /// The destination port is not looked at. Offsets count from the payload's first byte.
    ///
    /// # Example
    /// ```
    /// use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    /// use roce::wire::{Datagram, Icrc, Packet};
    ///
    /// let frame = &roce::synth::Pair::new(1).write_then_read()[3];
    /// // Another decoder's work.
    /// let sliced = SlicedPacket::from_ethernet(frame)?;
    /// let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (sliced.net, sliced.transport) else {
    ///     panic!("UDP over IPv4");
    /// };
    /// let ip = ip.header();
    /// let source = (ip.source_addr(), udp.source_port()).into();
    /// let destination = (ip.destination_addr(), udp.destination_port()).into();
    ///
    /// let datagram = Datagram::new(source, destination, udp.payload()).ipv4(ip.identification(), ip.dont_fragment());
    /// let packet = Packet::from_udp(&datagram);
    /// assert_eq!(packet.opcode().unwrap().to_string(), "RC RDMA WRITE Only");
    /// assert_eq!((packet.icrc, packet.payload.len(), packet.payload_offset), (Icrc::Good, 18, 12 + 16));
    ///
    /// // Without the fields of IPv4 nobody can say whether the ICRC is right.
    /// let packet = Packet::from_udp(&Datagram::new(source, destination, udp.payload()));
    /// assert_eq!(packet.icrc, Icrc::Unverifiable);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_udp(datagram: &Datagram<'a>) -> Self {
        let tail = datagram.payload.last_chunk::<ICRC_LENGTH>();
        let is_cut = datagram.payload.len() < datagram.length_bytes;
        let got = tail.filter(|_| !is_cut).map(|tail| u32::from_le_bytes(*tail));
        let icrc = match (datagram.icrc(), got) {
            (Some(expected), Some(got)) => Icrc::of(expected, got),
            _ => Icrc::Unverifiable,
        };
        let mut packet = Self {
            source: datagram.source.ip(),
            destination: datagram.destination.ip(),
            ecn: datagram.ecn,
            encapsulation: Encapsulation::None,
            frames: 1,
            network_offset: None,
            grh: None,
            udp_source_port: datagram.source.port(),
            udp_length_bytes: datagram.udp_length_bytes(),
            bth_offset: 0,
            bth: None,
            extended: Extended::default(),
            payload: &[],
            payload_offset: 0,
            payload_length_bytes: 0,
            pad: &[],
            icrc_value: got,
            icrc,
            is_cut,
            stop: None,
        };
        packet.stop = packet.body(datagram.payload, datagram.length_bytes).err();
        packet
    }

    /// Places each header that is there: GRH, BTH, extended headers.
    pub fn headers(&self) -> impl Iterator<Item = PlacedHeader<'a>> + use<'a> {
        let grh = self.grh.and_then(|grh| Some(grh.placed(self.network_offset?)));
        let bth = self.bth.map(|bth| bth.placed(self.bth_offset));
        let extended = self.extended.placed(self.bth_offset + Bth::LENGTH);
        grh.into_iter().chain(bth).chain(extended)
    }

    /// Offset of the ICRC; `None` when decoding stopped before it.
    pub fn icrc_offset(&self) -> Option<usize> {
        let is_there = self.icrc_value.is_some() && self.stop.is_none();
        is_there.then_some(self.payload_offset + self.payload_length_bytes + self.pad.len())
    }

    /// The opcode, when the BTH is there.
    pub fn opcode(&self) -> Option<Opcode> {
        self.bth.map(|bth| bth.opcode())
    }

    /// The virtual address and remote key that the packet names, from RETH or AtomicETH.
    pub fn remote_memory(&self) -> Option<(u64, u32)> {
        self.reth
            .map(|reth| (reth.va(), reth.rkey()))
            .or_else(|| self.atomic_eth.map(|atomic| (atomic.va(), atomic.rkey())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{Pair, Tunnel};

    #[test]
    fn headers_are_placed_in_the_frame_and_in_version_1() {
        let pair = Pair::new(1);
        let write = pair.request(0x0b, 3).reth(0x1000, 7, 5).header(&[0, 0, 0, 9]).payload(b"abcde");
        let (plain, version_1) = (write.build(), write.build_version_1());
        let tunnelled = Tunnel::Vxlan(4789).wrap(&plain);
        for (frame, bth, layers) in [
            (&plain, 42, &["bth", "reth", "immdt"][..]),
            (&tunnelled, 42 + 50, &["bth", "reth", "immdt"]),
            (&version_1, 14 + 40, &["grh", "bth", "reth", "immdt"]),
        ] {
            let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, frame) else { panic!("RoCE") };
            assert_eq!((packet.bth_offset, packet.icrc_offset()), (bth, Some(frame.len() - 4)));
            let headers: Vec<_> = packet.headers().collect();
            assert_eq!(headers.iter().map(|header| header.layer).collect::<Vec<_>>(), layers);
            for header in &headers {
                assert_eq!(&frame[header.offset..][..header.bytes.len()], header.bytes, "{}", header.layer);
            }
            let behind = headers.last().map(|header| header.offset + header.bytes.len());
            assert_eq!(behind, Some(packet.payload_offset));
        }
    }

    #[test]
    fn header_that_is_cut_is_not_placed() {
        let frame = Pair::new(1).request(0x0a, 3).reth(0x1000, 7, 5).payload(b"abcde").build();
        let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, &frame[..60]) else { panic!("RoCE") };
        assert_eq!(packet.headers().map(|header| header.layer).collect::<Vec<_>>(), ["bth"]);
        assert_eq!(packet.icrc_offset(), None);
    }
}
