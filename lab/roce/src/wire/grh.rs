//! GRH, the global route header: addresses of InfiniBand and of RoCE version 1, where RoCEv2 has IP and UDP.
//!
//! In: 40 bytes. Out: its fields. The layout is that of an IPv6 header (`struct ib_grh` of Linux `include/rdma/ib_verbs.h`); the payload length
//! counts the bytes behind it up to the ICRC's last one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::wire::header;

header! {
    /// View of a global route header.
    ///
    /// ```text
    /// +-------+---------------+---------------------------------------+
    /// |version| traffic class |           flow label (20 bits)        |
    /// +-------+---------------+-------+---------------+---------------+
    /// |        payload length         |  next header  |   hop limit   |
    /// +-------------------------------+---------------+---------------+
    /// |                     source GID (128 bits)                     |
    /// +---------------------------------------------------------------+
    /// |                  destination GID (128 bits)                   |
    /// +---------------------------------------------------------------+
    /// ```
    Grh, GrhValues, "grh", 40 {
        /// IP version, 4 bits: 6.
        version: u8 = 0..4 [28..32], Dec, "infiniband.grh.ipver";
        /// Traffic class.
        traffic_class: u8 = 0..4 [20..28], Dec, "infiniband.grh.tclass";
        /// Flow label, 20 bits.
        flow_label: u32 = 0..4 [0..20], Dec, "infiniband.grh.flowlabel";
        /// Bytes from behind this header to the ICRC's end.
        payload_length: u16 = 4..6, Dec, "infiniband.grh.paylen";
        /// Number of the header that follows: [`NEXT_HEADER_BTH`](Grh::NEXT_HEADER_BTH).
        next_header: u8 = 6..7, Dec, "infiniband.grh.nxthdr";
        /// Hop limit.
        hop_limit: u8 = 7..8, Dec, "infiniband.grh.hoplmt";
        /// GID of the sender.
        source_gid: Ipv6Addr = 8..24, Gid, "infiniband.grh.sgid";
        /// GID of the receiver.
        destination_gid: Ipv6Addr = 24..40, Gid, "infiniband.grh.dgid";
    }
}

impl Grh<'_> {
    /// Number of a BTH as the next header.
    pub const NEXT_HEADER_BTH: u8 = 0x1b;

    /// The GIDs as addresses, source first; one that maps an IPv4 address is that address, as in RoCEv2.
    pub fn addresses(&self) -> (IpAddr, IpAddr) {
        (self.source_gid().to_canonical(), self.destination_gid().to_canonical())
    }
}

impl fmt::Display for Grh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}, {} bytes", self.source_gid(), self.destination_gid(), self.payload_length())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    const GOOD: [u8; 40] = [
        0x60, 0x21, 0x23, 0x45, 0, 0x14, 0x1b, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100,
        2, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
    ];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let grh = Grh::new(&GOOD, 0).unwrap();
        assert_eq!((grh.version(), grh.traffic_class(), grh.flow_label()), (6, 2, 0x1_2345));
        assert_eq!((grh.payload_length(), grh.next_header(), grh.hop_limit()), (20, 0x1b, 64));
        let (source, destination) = grh.addresses();
        assert_eq!((source.to_string(), destination.to_string()), ("198.51.100.2".into(), "fe80::7".into()));
        assert_eq!(grh.source_gid().to_string(), "::ffff:198.51.100.2");
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, Grh::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Grh }
    }
}
