//! Surroundings of a synthetic packet: tunnels, extension headers, fragments.
//!
//! In: an Ethernet frame with an IP packet. Out: Ethernet frames that hold the same packet. For tests and benchmarks; lengths that do not fit are cut.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header,
};

use super::network;

const MPLS: EtherType = EtherType(0x8847);
const PPPOE_SESSION: EtherType = EtherType(0x8864);
const BACKBONE: EtherType = EtherType(0x88e7);

/// Protocol of an Ethernet frame behind a segment routing header.
const ETHERNET: IpNumber = IpNumber(143);

/// Identification of the fragments of IPv6.
const IDENTIFICATION: u32 = 77;

/// One kind of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tunnel {
    /// ERSPAN type I.
    ErspanI,
    /// ERSPAN type II.
    ErspanII,
    /// ERSPAN type III with an Ethernet frame.
    ErspanIII,
    /// ERSPAN type III with the eight bytes of a platform's subheader.
    ErspanIIIPlatform,
    /// GRE with an IP packet.
    Gre,
    /// GRE with checksum, key, sequence number and an IP packet.
    GreFull,
    /// GRE with a key and an Ethernet frame.
    Nvgre,
    /// VXLAN to that UDP port.
    Vxlan(u16),
    /// VXLAN-GPE with an IP packet.
    VxlanGpe,
    /// Geneve with eight bytes of options and an Ethernet frame.
    Geneve,
    /// An IP packet in IPv4.
    IpInIp,
    /// An IP packet in IPv6.
    IpInIpv6,
    /// An IP packet in IPv6 with a segment routing header.
    SegmentRouting,
    /// An Ethernet frame in IPv6 with a segment routing header.
    SegmentRoutingEthernet,
    /// An Ethernet frame in IPv4.
    EtherIp,
    /// Two MPLS labels, then an IP packet.
    Mpls,
    /// Two MPLS labels, then an Ethernet frame.
    MplsEthernet,
    /// Two MPLS labels, a control word, then an Ethernet frame.
    MplsControlWord,
    /// MPLS in UDP.
    MplsInUdp,
    /// A PPPoE session.
    Pppoe,
    /// A provider's backbone: an Ethernet frame in another.
    Backbone,
}

impl Tunnel {
    /// Each kind, VXLAN to both of its usual ports.
    pub const ALL: [Self; 22] = [
        Self::ErspanI,
        Self::ErspanII,
        Self::ErspanIII,
        Self::ErspanIIIPlatform,
        Self::Gre,
        Self::GreFull,
        Self::Nvgre,
        Self::Vxlan(4789),
        Self::Vxlan(8472),
        Self::VxlanGpe,
        Self::Geneve,
        Self::IpInIp,
        Self::IpInIpv6,
        Self::SegmentRouting,
        Self::SegmentRoutingEthernet,
        Self::EtherIp,
        Self::Mpls,
        Self::MplsEthernet,
        Self::MplsControlWord,
        Self::MplsInUdp,
        Self::Pppoe,
        Self::Backbone,
    ];

    /// Puts the tunnel around an Ethernet frame.
    pub fn wrap(self, frame: &[u8]) -> Vec<u8> {
        let packet = frame.get(Ethernet2Header::LEN..).unwrap_or_default();
        let is_version_4 = packet.first().is_some_and(|byte| byte >> 4 == 4);
        let (ether_type, protocol) = if is_version_4 {
            (network::ether_type::IPV4, IpNumber::IPV4)
        } else {
            (network::ether_type::IPV6, IpNumber::IPV6)
        };
        let [high, low] = ether_type.0.to_be_bytes();
        let with = |head: &[u8], rest: &[u8]| [head, rest].concat();
        let gre = |head: &[u8], rest: &[u8]| ipv4(IpNumber::GRE, &with(head, rest));
        let labels = [0, 0x06, 0x40, 64, 0, 0x06, 0x51, 64];
        match self {
            Self::ErspanI => gre(&[0, 0, 0x88, 0xbe], frame),
            Self::ErspanII => gre(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 7, 0, 0, 0, 0], frame),
            Self::ErspanIII => {
                gre(&[&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1][..], &ERSPAN_III, &[0]].concat(), frame)
            }
            Self::ErspanIIIPlatform => gre(
                &[&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1][..], &ERSPAN_III, &[1, 0, 0, 0, 0, 0, 0, 0, 0]].concat(),
                frame,
            ),
            Self::Gre => gre(&[0, 0, high, low], packet),
            Self::GreFull => gre(&[0xb0, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1], packet),
            Self::Nvgre => gre(&[0x20, 0, 0x65, 0x58, 0, 0x12, 0x34, 0], frame),
            Self::Vxlan(port) => udp(port, &with(&[8, 0, 0, 0, 0, 0, 42, 0], frame)),
            Self::VxlanGpe => {
                udp(4790, &with(&[0x0c, 0, 0, if is_version_4 { 1 } else { 2 }, 0, 0, 42, 0], packet))
            }
            Self::Geneve => {
                udp(6081, &with(&[2, 0, 0x65, 0x58, 0, 0, 42, 0, 0x01, 0x02, 0x80, 1, 0, 0, 0, 7], frame))
            }
            Self::IpInIp => ipv4(protocol, packet),
            Self::IpInIpv6 => ipv6(protocol, packet),
            Self::SegmentRouting => ipv6(IpNumber::IPV6_ROUTE_HEADER, &with(&segments(protocol), packet)),
            Self::SegmentRoutingEthernet => {
                ipv6(IpNumber::IPV6_ROUTE_HEADER, &with(&segments(ETHERNET), frame))
            }
            Self::EtherIp => ipv4(IpNumber::ETHER_IP, &with(&[0x30, 0], frame)),
            Self::Mpls => ethernet(MPLS, &with(&labels, packet)),
            Self::MplsEthernet => ethernet(MPLS, &with(&labels, frame)),
            Self::MplsControlWord => ethernet(MPLS, &[&labels[..], &[0, 0, 0, 9], frame].concat()),
            Self::MplsInUdp => udp(6635, &with(&labels, packet)),
            Self::Pppoe => {
                let length = (packet.len() as u16 + 2).to_be_bytes();
                let protocol = if is_version_4 { 0x21 } else { 0x57 };
                ethernet(PPPOE_SESSION, &with(&[0x11, 0, 0, 7, length[0], length[1], 0, protocol], packet))
            }
            Self::Backbone => ethernet(BACKBONE, &with(&[0, 0, 0, 9], frame)),
        }
    }
}

/// The first eleven bytes of an ERSPAN header of type III.
const ERSPAN_III: [u8; 11] = [0x20, 5, 0, 7, 0, 0, 0, 9, 0, 0, 0];

/// A segment routing header whose last segment is reached.
fn segments(next: IpNumber) -> [u8; 24] {
    let mut header = [0; 24];
    (header[0], header[1], header[2]) = (next.0, 2, 4);
    header.split_at_mut(8).1.copy_from_slice(&TUNNEL_IPV6.1.octets());
    header
}

/// Ends of the tunnels.
const TUNNEL_IPV4: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
const TUNNEL_IPV6: (Ipv6Addr, Ipv6Addr) =
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

fn ethernet(ether_type: EtherType, rest: &[u8]) -> Vec<u8> {
    [&network::ethernet([2, 0, 0, 0, 1, 2], [2, 0, 0, 0, 1, 1], ether_type)[..], rest].concat()
}

fn ipv4(protocol: IpNumber, rest: &[u8]) -> Vec<u8> {
    let header = network::ipv4(TUNNEL_IPV4.0, TUNNEL_IPV4.1, protocol, rest.len());
    ethernet(network::ether_type::IPV4, &[&header, rest].concat())
}

fn ipv6(next: IpNumber, rest: &[u8]) -> Vec<u8> {
    let header = network::ipv6(TUNNEL_IPV6.0, TUNNEL_IPV6.1, next, rest.len());
    ethernet(network::ether_type::IPV6, &[&header, rest].concat())
}

fn udp(port: u16, rest: &[u8]) -> Vec<u8> {
    ipv4(IpNumber::UDP, &[&network::udp(0xc000, port, rest.len())[..], rest].concat())
}

/// Puts extension headers between the IPv6 header and the UDP header of an Ethernet frame: hop-by-hop options, a segment routing header whose last segment is
/// the packet's destination and `segments_left` from being reached, destination options. Other frames stay as they are.
pub fn with_extensions(frame: &[u8], segments_left: u8) -> Vec<u8> {
    let (link, packet) = frame.split_at_checked(Ethernet2Header::LEN).unwrap_or((frame, &[]));
    let Ok((mut header, rest)) = Ipv6Header::from_slice(packet) else { return frame.to_vec() };
    let mut route = segments(IpNumber::IPV6_DESTINATION_OPTIONS);
    route[3] = segments_left;
    route.iter_mut().skip(8).zip(header.destination).for_each(|(to, from)| *to = from);
    // Options of four bytes of padding.
    let options = |next: IpNumber| [next.0, 0, 1, 4, 0, 0, 0, 0];
    let before = options(IpNumber::IPV6_ROUTE_HEADER);
    let extensions = [&before[..], &route, &options(header.next_header)].concat();
    header.payload_length = (extensions.len() + rest.len()) as u16;
    header.next_header = IpNumber::IPV6_HEADER_HOP_BY_HOP;
    if segments_left > 0 {
        header.destination = TUNNEL_IPV6.1.octets();
    }
    [link, &header.to_bytes(), &extensions, rest].concat()
}

/// Cuts the IP packet of an Ethernet frame into fragments of at most `payload_bytes` each, of which eight are the least; a shorter packet stays whole.
pub fn fragments(frame: &[u8], payload_bytes: usize) -> Vec<Vec<u8>> {
    let step = (payload_bytes / 8).max(1) * 8;
    let (link, packet) = frame.split_at_checked(Ethernet2Header::LEN).unwrap_or((frame, &[]));
    let version_4 = Ipv4Header::from_slice(packet).ok();
    let version_6 = Ipv6Header::from_slice(packet).ok();
    let payload = match (&version_4, &version_6) {
        (Some((_, payload)), _) | (_, Some((_, payload))) => *payload,
        _ => &[],
    };
    let count = payload.len().div_ceil(step);
    if count <= 1 {
        return vec![frame.to_vec()];
    }
    let one = |(at, piece): (usize, &[u8])| {
        let more_fragments = at + 1 < count;
        let fragment_offset = IpFragOffset::try_new((at * step / 8) as u16).unwrap_or_default();
        let header = match (&version_4, &version_6) {
            (Some((header, _)), _) => {
                let total_len = (header.header_len() + piece.len()) as u16;
                let header = Ipv4Header { total_len, ..header.clone() };
                network::summed(Ipv4Header {
                    dont_fragment: false,
                    more_fragments,
                    fragment_offset,
                    ..header
                })
            }
            (_, Some((header, _))) => {
                let fragment = Ipv6FragmentHeader::new(
                    header.next_header,
                    fragment_offset,
                    more_fragments,
                    IDENTIFICATION,
                );
                let payload_length = (fragment.header_len() + piece.len()) as u16;
                let next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
                let header = Ipv6Header { payload_length, next_header, ..header.clone() };
                [&header.to_bytes()[..], &fragment.to_bytes()].concat()
            }
            _ => Vec::new(),
        };
        [link, &header, piece].concat()
    };
    payload.chunks(step).enumerate().map(one).collect()
}
