//! Link types of captures, by their number, with the names of those that this library reads.

use std::fmt;

/// Link type of a capture, the `LINKTYPE_` number of the tcpdump project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(
    /// The number.
    pub i32,
);

impl LinkType {
    /// BSD loopback: an address family, then an IP packet.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, with or without the two bytes of HDLC.
    pub const PPP: Self = Self(9);
    /// PPP with the two bytes of HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE without the Ethernet header.
    pub const PPP_ETHER: Self = Self(51);
    /// An IP packet without a link header.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: as BSD's.
    pub const LOOP: Self = Self(108);
    /// Cisco's protocol on a serial line.
    pub const C_HDLC: Self = Self(104);
    /// PPP behind a byte that tells the direction.
    pub const PPP_WITH_DIR: Self = Self(204);
    /// Cisco's protocol on a serial line, behind a byte that tells the direction.
    pub const C_HDLC_WITH_DIR: Self = Self(205);
    /// Linux cooked capture.
    pub const LINUX_SLL: Self = Self(113);
    /// Extensible record format of Endace.
    pub const ERF: Self = Self(197);
    /// A stack of MPLS labels without a link header.
    pub const MPLS: Self = Self(219);
    /// An IPv4 packet without a link header.
    pub const IPV4: Self = Self(228);
    /// An IPv6 packet without a link header.
    pub const IPV6: Self = Self(229);
    /// InfiniBand, from the LRH on.
    pub const INFINIBAND: Self = Self(247);
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

impl fmt::Display for LinkType {
    /// Writes its number, with the name of what may be taken for a capture of RoCE.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link type {}", self.0)?;
        f.write_str(match self.0 {
            0 | 108 => " (loopback)",
            1 => " (Ethernet)",
            9 | 50 | 204 => " (PPP)",
            51 => " (PPPoE)",
            101 => " (raw IP)",
            104 | 205 => " (Cisco HDLC)",
            105 | 127 => " (IEEE 802.11)",
            113 | 276 => " (Linux cooked)",
            147..=162 => " (private use)",
            189 | 220 => " (USB)",
            197 => " (ERF)",
            219 => " (MPLS)",
            228 => " (IPv4)",
            229 => " (IPv6)",
            247 => " (InfiniBand)",
            253 => " (netlink)",
            _ => "",
        })
    }
}
