//! Names of frames that are no packet of RoCE, and whether one may hold such a packet all the same.

use std::fmt;

use crate::wire::{DecodeStop, LinkType};

/// Kind of a frame that is not RoCE, or could not be read as RoCE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotRoce {
    /// Another ethertype, also behind a GRE or Geneve header.
    EtherType(u16),
    /// A fragment of an IP packet whose others have not all come.
    Fragment,
    /// The last fragment of a packet that is not RoCE.
    Reassembled {
        /// Fragments, this one included.
        frames: u32,
    },
    /// Another IP protocol.
    IpProtocol(u8),
    /// UDP to another port.
    Udp,
    /// UDP to the port of a tunnel, of samples or of encryption that this library does not read.
    UdpTunnel {
        /// Destination port.
        port: u16,
    },
    /// UDP to another port, and what it carries reads as VXLAN around RoCE.
    PerhapsVxlan {
        /// Destination port.
        port: u16,
    },
    /// UDP to another port, and what it carries reads as Geneve around RoCE.
    PerhapsGeneve {
        /// Destination port.
        port: u16,
    },
    /// UDP to another port, and what it carries reads as an IP packet of RoCE.
    PerhapsIp {
        /// Destination port.
        port: u16,
    },
    /// A GRE header of a version or with a field that nobody sends any more.
    Gre {
        /// First two bytes of the header.
        flags: u16,
    },
    /// Another protocol in PPP.
    Ppp(u16),
    /// MPLS around its own control messages.
    MplsControl,
    /// InfiniBand without a GRH: it has local ids only.
    InfinibandLocal,
    /// A raw packet in InfiniBand.
    InfinibandRaw,
    /// A GRH around something else than a BTH.
    GrhNextHeader(u8),
    /// Another type of ERF record.
    Erf(u8),
    /// More headers around each other than this library takes off.
    TooDeep,
    /// A link type that this library does not read.
    LinkType(LinkType),
    /// The bytes end, or stop making sense, before anything says what the frame is.
    Stop(DecodeStop),
}

/// Ethertypes with a name, and whether a packet of RoCE may be behind one.
const ETHER_TYPES: [(u16, &str, bool); 15] = [
    (0x0806, "ARP", false),
    (0x22f3, "TRILL", true),
    (0x8035, "RARP", false),
    (0x8808, "Ethernet flow control", false),
    (0x8809, "LACP", false),
    (0x8863, "PPPoE discovery", false),
    (0x888e, "EAPOL", false),
    (0x88a2, "ATA over Ethernet", false),
    (0x88cc, "LLDP", false),
    (0x88e5, "MACsec", true),
    (0x88f7, "PTP", false),
    (0x8902, "CFM", false),
    (0x8906, "FCoE", false),
    (0x894f, "NSH", true),
    (0x9000, "loopback test", false),
];

/// IP protocols with a name, and whether a packet of RoCE may be behind one.
const IP_PROTOCOLS: [(u8, &str, bool); 15] = [
    (0, "IPv6 hop-by-hop options", true),
    (1, "ICMP", false),
    (2, "IGMP", false),
    (6, "TCP", false),
    (17, "UDP", false),
    (33, "DCCP", false),
    (50, "ESP", true),
    (58, "ICMPv6", false),
    (59, "IPv6 without a next header", false),
    (88, "EIGRP", false),
    (89, "OSPF", false),
    (103, "PIM", false),
    (112, "VRRP", false),
    (115, "L2TP", true),
    (132, "SCTP", false),
];

/// UDP ports with a name behind which a packet of RoCE may be.
const UDP_TUNNELS: [(u16, &str); 9] = [
    (1000, "PSP"),
    (1701, "L2TP"),
    (2152, "GTP-U"),
    (4341, "LISP"),
    (4500, "ESP in UDP"),
    (6080, "GUE"),
    (6343, "sFlow"),
    (37008, "TZSP"),
    (51820, "WireGuard"),
];

/// Types of ERF records without a packet: counters, metadata, padding.
const ERF_WITHOUT_PACKET: [u8; 4] = [13, 14, 27, 48];

impl NotRoce {
    /// UDP to a port that is not RoCE's, by its name if it has one.
    pub(super) fn udp(port: u16) -> Self {
        if UDP_TUNNELS.iter().any(|(known, _)| *known == port) { Self::UdpTunnel { port } } else { Self::Udp }
    }

    /// True if a packet of RoCE may be in the frame.
    ///
    /// False for ARP, TCP or UDP to another port. True for a fragment that lacks the others, in what is encrypted, and in all that this library has no name for.
    pub fn may_hold_roce(&self) -> bool {
        match self {
            Self::EtherType(number) => ETHER_TYPES
                .iter()
                .find(|(known, ..)| known == number)
                .map_or(*number >= 0x600, |(.., may)| *may),
            Self::IpProtocol(number) => {
                IP_PROTOCOLS.iter().find(|(known, ..)| known == number).is_none_or(|(.., may)| *may)
            }
            // Above are those that only negotiate.
            Self::Ppp(number) => *number < 0x8000,
            Self::Erf(number) => !ERF_WITHOUT_PACKET.contains(number),
            Self::Udp | Self::Reassembled { .. } | Self::MplsControl | Self::GrhNextHeader(_) => false,
            _ => true,
        }
    }
}

impl fmt::Display for NotRoce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EtherType(number) if *number < 0x600 => f.write_str("IEEE 802.3"),
            Self::EtherType(number) => match ETHER_TYPES.iter().find(|(known, ..)| known == number) {
                Some((_, name, _)) => f.write_str(name),
                None => write!(f, "ethertype {number:#06x}"),
            },
            Self::Fragment => f.write_str("IP fragment"),
            Self::Reassembled { .. } => f.write_str("IP packet in fragments"),
            Self::IpProtocol(number) => match IP_PROTOCOLS.iter().find(|(known, ..)| known == number) {
                Some((_, name, _)) => f.write_str(name),
                None => write!(f, "IP protocol {number}"),
            },
            Self::Udp => f.write_str("UDP"),
            Self::UdpTunnel { port } => match UDP_TUNNELS.iter().find(|(known, _)| known == port) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "UDP to port {port}"),
            },
            Self::PerhapsVxlan { port } => write!(f, "VXLAN to port {port}"),
            Self::PerhapsGeneve { port } => write!(f, "Geneve to port {port}"),
            Self::PerhapsIp { port } => write!(f, "IP in UDP to port {port}"),
            Self::Gre { flags } => write!(f, "GRE with flags {flags:#06x}"),
            Self::Ppp(number) => write!(f, "PPP protocol {number:#06x}"),
            Self::MplsControl => f.write_str("MPLS control message"),
            Self::InfinibandLocal => f.write_str("InfiniBand without GRH"),
            Self::InfinibandRaw => f.write_str("InfiniBand raw packet"),
            Self::GrhNextHeader(number) => write!(f, "GRH with next header {number}"),
            Self::Erf(number) => write!(f, "ERF record of type {number}"),
            Self::TooDeep => f.write_str("tunnel too deep"),
            Self::LinkType(link_type) => write!(f, "unsupported {link_type}"),
            Self::Stop(stop) => write!(f, "undecodable ({stop})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hold_roce_is_told_from_what_cannot() {
        for (what, name, may) in [
            (NotRoce::EtherType(0x0806), "ARP", false),
            (NotRoce::EtherType(0x0026), "IEEE 802.3", false),
            (NotRoce::EtherType(0x88e5), "MACsec", true),
            (NotRoce::EtherType(0x1234), "ethertype 0x1234", true),
            (NotRoce::IpProtocol(6), "TCP", false),
            (NotRoce::IpProtocol(50), "ESP", true),
            (NotRoce::IpProtocol(200), "IP protocol 200", true),
            (NotRoce::Ppp(0xc021), "PPP protocol 0xc021", false),
            (NotRoce::Ppp(0x00fd), "PPP protocol 0x00fd", true),
            (NotRoce::Fragment, "IP fragment", true),
            (NotRoce::Reassembled { frames: 2 }, "IP packet in fragments", false),
            (NotRoce::Udp, "UDP", false),
            (NotRoce::udp(5000), "UDP", false),
            (NotRoce::udp(6343), "sFlow", true),
            (NotRoce::udp(4500), "ESP in UDP", true),
            (NotRoce::PerhapsVxlan { port: 5000 }, "VXLAN to port 5000", true),
            (NotRoce::PerhapsGeneve { port: 5000 }, "Geneve to port 5000", true),
            (NotRoce::PerhapsIp { port: 5000 }, "IP in UDP to port 5000", true),
            (NotRoce::Erf(27), "ERF record of type 27", false),
            (NotRoce::Erf(3), "ERF record of type 3", true),
        ] {
            assert_eq!((what.to_string().as_str(), what.may_hold_roce()), (name, may));
        }
    }
}
