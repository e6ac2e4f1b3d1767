//! Tunnels in which a packet of RoCE is found, by name.

use std::fmt;

/// The innermost tunnel around a packet; VLAN tags are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Encapsulation {
    /// The packet is in the frame itself.
    #[default]
    None,
    /// An IP packet in an IP packet, also by way of segment routing.
    IpInIp,
    /// GRE, key and sequence number or not.
    Gre,
    /// An Ethernet frame in GRE with a key.
    Nvgre,
    /// ERSPAN type I: no header of its own.
    ErspanI,
    /// ERSPAN type II.
    ErspanII,
    /// ERSPAN type III.
    ErspanIII,
    /// VXLAN, extensions included.
    Vxlan,
    /// Geneve.
    Geneve,
    /// MPLS labels.
    Mpls,
    /// PPP, also in PPPoE.
    Ppp,
    /// An Ethernet frame in an Ethernet frame or in an IP packet.
    Ethernet,
    /// InfiniBand's own link.
    Infiniband,
}

impl Encapsulation {
    /// Each of them, in the order of the enumeration.
    pub const ALL: [Self; 13] = [
        Self::None,
        Self::IpInIp,
        Self::Gre,
        Self::Nvgre,
        Self::ErspanI,
        Self::ErspanII,
        Self::ErspanIII,
        Self::Vxlan,
        Self::Geneve,
        Self::Mpls,
        Self::Ppp,
        Self::Ethernet,
        Self::Infiniband,
    ];
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no tunnel",
            Self::IpInIp => "IP in IP",
            Self::Gre => "GRE",
            Self::Nvgre => "NVGRE",
            Self::ErspanI => "ERSPAN I",
            Self::ErspanII => "ERSPAN II",
            Self::ErspanIII => "ERSPAN III",
            Self::Vxlan => "VXLAN",
            Self::Geneve => "Geneve",
            Self::Mpls => "MPLS",
            Self::Ppp => "PPP",
            Self::Ethernet => "Ethernet in another frame",
            Self::Infiniband => "InfiniBand",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_at_its_own_number() {
        for (at, encapsulation) in Encapsulation::ALL.into_iter().enumerate() {
            assert_eq!(encapsulation as usize, at, "{encapsulation}");
        }
    }
}
