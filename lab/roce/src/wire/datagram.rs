//! A UDP datagram whose IP and UDP headers somebody else has read.
//!
//! In: addresses, ports, the two fields of IPv4 that the ICRC counts, and the payload. Out: the ICRC that they give.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, UdpHeader};

use super::icrc::of_parts;

/// UDP destination port of RoCEv2.
pub const UDP_PORT: u16 = 4791;

/// Length of the ICRC in bytes.
pub(super) const ICRC_LENGTH: usize = 4;

/// UDP datagram, for [`Packet::from_udp`](crate::wire::Packet::from_udp).
///
/// The ICRC of a packet covers more than its UDP payload: of IPv4 the length, identification, flags and addresses, of IPv6 the length and addresses, of UDP
/// ports and length. Addresses and ports are given to [`new`](Self::new), the rest of IPv4 to [`ipv4`](Self::ipv4); without it the ICRC of a datagram of IPv4
/// is unverifiable. IPv4 options and IPv6 extension headers have to be absent for the ICRC to be right. TOS, traffic class, flow label, TTL, hop limit and
/// checksums do not count.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) payload: &'a [u8],
    /// Bytes of the UDP payload as UDP's length field gives them.
    pub(super) length_bytes: usize,
    pub(super) ecn: u8,
    ipv4: Option<(u16, bool)>,
}

impl<'a> Datagram<'a> {
    /// Takes a datagram of these addresses and ports; `payload` is everything behind the UDP header, from the BTH to the ICRC.
    pub fn new(source: SocketAddr, destination: SocketAddr, payload: &'a [u8]) -> Self {
        Self { source, destination, payload, length_bytes: payload.len(), ecn: 0, ipv4: None }
    }

    /// Adds the identification (host order) and the flag "don't fragment" of the IPv4 header.
    #[must_use]
    pub fn ipv4(self, identification: u16, dont_fragment: bool) -> Self {
        Self { ipv4: Some((identification, dont_fragment)), ..self }
    }

    /// Adds the explicit congestion notification of the IP header, the low 2 bits of `ecn`; 0 without.
    #[must_use]
    pub fn ecn(self, ecn: u8) -> Self {
        Self { ecn: ecn & 3, ..self }
    }

    /// Adds the length of the whole payload in bytes, when `payload` is only the beginning of it.
    #[must_use]
    pub fn length_bytes(self, length_bytes: u16) -> Self {
        Self { length_bytes: usize::from(length_bytes).max(self.payload.len()), ..self }
    }

    /// Length field of the UDP header.
    pub(super) fn udp_length_bytes(&self) -> u16 {
        u16::try_from(UdpHeader::LEN + self.length_bytes).unwrap_or(u16::MAX)
    }

    /// Computes the ICRC; `None` when a field is missing that it counts, or the payload is cut or too short.
    pub(super) fn icrc(&self) -> Option<u32> {
        let (body, _) = self.payload.split_last_chunk::<ICRC_LENGTH>()?;
        let (bth, rest) = body.split_first_chunk::<12>()?;
        if self.length_bytes != self.payload.len() {
            return None;
        }
        let length = self.udp_length_bytes();
        let udp = UdpHeader {
            source_port: self.source.port(),
            destination_port: self.destination.port(),
            length,
            checksum: 0,
        };
        let mut transport = [0; UdpHeader::LEN + 12];
        let (head, behind) = transport.split_at_mut(UdpHeader::LEN);
        head.copy_from_slice(&udp.to_bytes());
        behind.copy_from_slice(bth);
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (source, destination) = (source.octets(), destination.octets());
                let header = Ipv4Header::new(length, 0, IpNumber::UDP, source, destination).ok()?;
                let (identification, dont_fragment) = self.ipv4?;
                let header = Ipv4Header { identification, dont_fragment, ..header };
                of_parts(&header.to_bytes(), &transport, rest)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6Header {
                    payload_length: length,
                    next_header: IpNumber::UDP,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                of_parts(&header.to_bytes(), &transport, rest)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::FrameBuilder;
    use crate::wire::{DecodeStop, Frame, Icrc, LinkType, Opcode, Packet};

    const UDP_OFFSET_4: usize = 34;
    const UDP_OFFSET_6: usize = 54;

    fn write(source: &str, destination: &str) -> Vec<u8> {
        FrameBuilder::new(source.parse().unwrap(), destination.parse().unwrap(), Opcode(0x0a))
            .udp_source_port(50_000)
            .destination_qpn(7)
            .reth(0x1000, 7, 5)
            .payload(b"abcde")
            .build()
    }

    fn datagram(frame: &[u8], offset: usize) -> Datagram<'_> {
        let Frame::Roce(packet) = Frame::decode(LinkType::ETHERNET, frame) else { panic!("RoCE") };
        let (source, destination) = ((packet.source, 50_000).into(), (packet.destination, UDP_PORT).into());
        Datagram::new(source, destination, &frame[offset + UdpHeader::LEN..])
    }

    #[test]
    fn datagram_is_decoded_as_the_frame_that_it_came_in() {
        for (source, destination, offset) in
            [("198.51.100.2", "198.51.100.1", UDP_OFFSET_4), ("2001:db8::2", "2001:db8::1", UDP_OFFSET_6)]
        {
            let mut frame = write(source, destination);
            for is_whole in [true, false] {
                let Frame::Roce(of_frame) = Frame::decode(LinkType::ETHERNET, &frame) else { panic!("RoCE") };
                let packet = Packet::from_udp(&datagram(&frame, offset).ipv4(0, true));
                assert_eq!((packet.icrc, packet.icrc_value), (of_frame.icrc, of_frame.icrc_value));
                assert_eq!(packet.icrc == Icrc::Good, is_whole);
                assert_eq!(
                    (packet.bth, packet.reth, packet.pad),
                    (of_frame.bth, of_frame.reth, of_frame.pad)
                );
                assert_eq!((packet.payload, packet.stop), (&b"abcde"[..], None));
                assert_eq!((packet.source, packet.destination), (of_frame.source, of_frame.destination));
                assert_eq!(packet.udp_length_bytes, of_frame.udp_length_bytes);
                let behind_udp = offset + UdpHeader::LEN;
                assert_eq!(packet.payload_offset + behind_udp, of_frame.payload_offset);
                assert_eq!(packet.icrc_offset().map(|at| at + behind_udp), of_frame.icrc_offset());
                *frame.last_mut().unwrap() ^= 1;
            }
        }
    }

    #[test]
    fn icrc_counts_the_fields_of_ipv4() {
        let frame = write("198.51.100.2", "198.51.100.1");
        let icrc = |datagram: Datagram<'_>| Packet::from_udp(&datagram).icrc;
        let datagram = datagram(&frame, UDP_OFFSET_4);
        assert_eq!(icrc(datagram), Icrc::Unverifiable);
        assert_eq!(icrc(datagram.ipv4(0, true).ecn(3)), Icrc::Good);
        assert!(matches!(icrc(datagram.ipv4(1, true)), Icrc::Bad { .. }));
        assert!(matches!(icrc(datagram.ipv4(0, false)), Icrc::Bad { .. }));
        let other = Datagram { destination: ([198, 51, 100, 1], 4792).into(), ..datagram.ipv4(0, true) };
        assert!(matches!(icrc(other), Icrc::Bad { .. }));
    }

    #[test]
    fn every_shorter_payload_stops_and_is_cut_when_the_length_says_so() {
        let frame = write("2001:db8::2", "2001:db8::1");
        let whole = datagram(&frame, UDP_OFFSET_6);
        for length in 0..whole.payload.len() {
            let shorter = Datagram::new(whole.source, whole.destination, &whole.payload[..length]);
            let cut = Packet::from_udp(&shorter.length_bytes(whole.payload.len() as u16));
            assert!(cut.is_cut && cut.stop.is_some(), "{length}");
            assert_eq!((cut.icrc, cut.icrc_value, cut.icrc_offset()), (Icrc::Unverifiable, None, None));
            assert!(length < 12 || cut.payload_length_bytes == 5, "{length}");
            let short = Packet::from_udp(&shorter);
            assert!(!short.is_cut && short.icrc != Icrc::Good, "{length}");
        }
    }

    #[test]
    fn bad_pad_count_stops_at_the_bth() {
        let frame =
            FrameBuilder::new([198, 51, 100, 2].into(), [198, 51, 100, 1].into(), Opcode(0x04)).build();
        let mut payload = frame[UDP_OFFSET_4 + UdpHeader::LEN..].to_vec();
        payload[1] |= 0x30;
        let any = ([198, 51, 100, 2], UDP_PORT).into();
        let packet = Packet::from_udp(&Datagram::new(any, any, &payload));
        assert!(matches!(packet.stop, Some(DecodeStop::Value { layer: "bth", value: 3, offset: 0, .. })));
    }
}
