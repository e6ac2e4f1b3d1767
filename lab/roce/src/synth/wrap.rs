//! What may be around a synthetic packet: tunnels, extension headers, fragments.
//!
//! In: an Ethernet frame with an IP packet. Out: Ethernet frames that hold the same packet. For tests and benchmarks; lengths that do not fit are cut.

use super::internet_checksum;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;
const ETHERNET_LENGTH: usize = 14;

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
        let packet = frame.get(ETHERNET_LENGTH..).unwrap_or_default();
        let is_version_4 = packet.first().is_some_and(|byte| byte >> 4 == 4);
        let inner = if is_version_4 { IPV4 } else { IPV6 };
        let ip_protocol = if is_version_4 { 4 } else { 41 };
        let [high, low] = inner.to_be_bytes();
        let with = |head: &[u8], rest: &[u8]| [head, rest].concat();
        let gre = |head: &[u8], rest: &[u8]| ipv4(47, &with(head, rest));
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
            Self::IpInIp => ipv4(ip_protocol, packet),
            Self::IpInIpv6 => ipv6(ip_protocol, packet),
            Self::SegmentRouting => ipv6(43, &with(&segments(ip_protocol), packet)),
            Self::SegmentRoutingEthernet => ipv6(43, &with(&segments(143), frame)),
            Self::EtherIp => ipv4(97, &with(&[0x30, 0], frame)),
            Self::Mpls => ethernet(MPLS, &with(&labels, packet)),
            Self::MplsEthernet => ethernet(MPLS, &with(&labels, frame)),
            Self::MplsControlWord => ethernet(MPLS, &[&labels[..], &[0, 0, 0, 9], frame].concat()),
            Self::MplsInUdp => udp(6635, &with(&labels, packet)),
            Self::Pppoe => {
                let length = (packet.len() as u16 + 2).to_be_bytes();
                let protocol = if is_version_4 { 0x21 } else { 0x57 };
                ethernet(0x8864, &with(&[0x11, 0, 0, 7, length[0], length[1], 0, protocol], packet))
            }
            Self::Backbone => ethernet(0x88e7, &with(&[0, 0, 0, 9], frame)),
        }
    }
}

/// The first eleven bytes of an ERSPAN header of type III.
const ERSPAN_III: [u8; 11] = [0x20, 5, 0, 7, 0, 0, 0, 9, 0, 0, 0];

/// A segment routing header whose last segment is reached.
fn segments(next: u8) -> [u8; 24] {
    let mut header = [0; 24];
    (header[0], header[1], header[2]) = (next, 2, 4);
    header.split_at_mut(8).1.copy_from_slice(&TUNNEL_IPV6.1);
    header
}

/// Ends of the tunnels.
const TUNNEL_IPV4: ([u8; 4], [u8; 4]) = ([192, 0, 2, 1], [192, 0, 2, 2]);
const TUNNEL_IPV6: ([u8; 16], [u8; 16]) = (
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
);

fn ethernet(ether_type: u16, rest: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1][..], &ether_type.to_be_bytes(), rest].concat()
}

fn ipv4(protocol: u8, rest: &[u8]) -> Vec<u8> {
    let total = (20 + rest.len() as u16).to_be_bytes();
    let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    header.extend(TUNNEL_IPV4.0);
    header.extend(TUNNEL_IPV4.1);
    sum(&mut header);
    header.extend(rest);
    ethernet(IPV4, &header)
}

fn sum(header: &mut [u8]) {
    let checksum = internet_checksum(header).to_be_bytes();
    header.iter_mut().skip(10).zip(checksum).for_each(|(to, from)| *to = from);
}

fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    let header = [0x60, 0, 0, 0, length[0], length[1], next, 64];
    ethernet(IPV6, &[&header[..], &TUNNEL_IPV6.0, &TUNNEL_IPV6.1, rest].concat())
}

fn udp(port: u16, rest: &[u8]) -> Vec<u8> {
    let (port, length) = (port.to_be_bytes(), (8 + rest.len() as u16).to_be_bytes());
    ipv4(17, &[&[0xc0, 0, port[0], port[1], length[0], length[1], 0, 0][..], rest].concat())
}

/// Puts extension headers between the IPv6 header and the UDP header of an Ethernet frame: hop-by-hop options, a segment routing header whose last segment is
/// the packet's destination and `segments_left` from being reached, destination options. Other frames stay as they are.
pub fn with_extensions(frame: &[u8], segments_left: u8) -> Vec<u8> {
    let (Some(link), Some(header)) = (frame.get(..ETHERNET_LENGTH), frame.get(ETHERNET_LENGTH..54)) else {
        return frame.to_vec();
    };
    if header.first().is_none_or(|byte| byte >> 4 != 6) {
        return frame.to_vec();
    }
    let (mut header, rest) = (header.to_vec(), frame.get(54..).unwrap_or_default());
    let mut route = segments(60);
    route[3] = segments_left;
    let destination: Vec<u8> = header.iter().skip(24).copied().collect();
    route.iter_mut().skip(8).zip(destination).for_each(|(to, from)| *to = from);
    let extensions = [&[43, 0, 1, 4, 0, 0, 0, 0][..], &route, &[17, 0, 1, 4, 0, 0, 0, 0]].concat();
    let length = (extensions.len() as u16 + rest.len() as u16).to_be_bytes();
    (header[4], header[5], header[6]) = (length[0], length[1], 0);
    if segments_left > 0 {
        header.iter_mut().skip(24).zip(TUNNEL_IPV6.1).for_each(|(to, from)| *to = from);
    }
    [link, &header, &extensions, rest].concat()
}

/// Cuts the IP packet of an Ethernet frame into fragments of at most `payload_bytes` each, of which eight are the least; a shorter packet stays whole.
pub fn fragments(frame: &[u8], payload_bytes: usize) -> Vec<Vec<u8>> {
    let step = (payload_bytes / 8).max(1) * 8;
    let (link, packet) = frame.split_at_checked(ETHERNET_LENGTH).unwrap_or((frame, &[]));
    let is_version_4 = packet.first().is_some_and(|byte| byte >> 4 == 4);
    let (header, payload) =
        packet.split_at_checked(if is_version_4 { 20 } else { 40 }).unwrap_or((packet, &[]));
    let count = payload.len().div_ceil(step);
    if count <= 1 {
        return vec![frame.to_vec()];
    }
    let one = |(at, piece): (usize, &[u8])| {
        let has_more = at + 1 < count;
        let offset = (at * step / 8) as u16;
        let mut header = header.to_vec();
        if is_version_4 {
            let total = (20 + piece.len() as u16).to_be_bytes();
            let flags = (offset | u16::from(has_more) << 13).to_be_bytes();
            header.iter_mut().skip(2).zip(total).for_each(|(to, from)| *to = from);
            header.iter_mut().skip(6).zip(flags).for_each(|(to, from)| *to = from);
            header.iter_mut().skip(10).take(2).for_each(|byte| *byte = 0);
            sum(&mut header);
        } else {
            let next = header.get(6).copied().unwrap_or_default();
            let length = (8 + piece.len() as u16).to_be_bytes();
            header.iter_mut().skip(4).zip([length[0], length[1], 44]).for_each(|(to, from)| *to = from);
            let field = (offset << 3 | u16::from(has_more)).to_be_bytes();
            header.extend([next, 0, field[0], field[1], 0, 0, 0, 77]);
        }
        [link, &header, piece].concat()
    };
    payload.chunks(step).enumerate().map(one).collect()
}
