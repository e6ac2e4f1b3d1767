//! GRH, the global route header: addresses of InfiniBand and of RoCE version 1, where RoCEv2 has IP and UDP.
//!
//! In: 40 bytes. Out: its fields. The layout is that of an IPv6 header (`struct ib_grh` of Linux `include/rdma/ib_verbs.h`); the payload length
//! counts the bytes behind it up to the ICRC's last one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::wire::{be_u8, be_u16, be_u32, view};

view! {
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
    Grh, "grh", 40
}

mod field {
    use std::ops::Range;
    pub(super) const VERSION: usize = 0;
    pub(super) const FIRST_WORD: Range<usize> = 0..4;
    pub(super) const PAYLOAD_LENGTH: Range<usize> = 4..6;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SOURCE: Range<usize> = 8..24;
    pub(super) const DESTINATION: Range<usize> = 24..40;
}

impl Grh<'_> {
    /// Next header of a BTH.
    pub const NEXT_HEADER_BTH: u8 = 0x1b;

    /// IP version, 4 bits: 6.
    pub fn version(&self) -> u8 {
        be_u8(self.bytes, field::VERSION) >> 4
    }

    /// Traffic class.
    pub fn traffic_class(&self) -> u8 {
        (be_u32(self.bytes, field::FIRST_WORD) >> 20) as u8
    }

    /// Flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        be_u32(self.bytes, field::FIRST_WORD) & 0xf_ffff
    }

    /// Bytes from behind this header to the ICRC's end.
    pub fn payload_length(&self) -> u16 {
        be_u16(self.bytes, field::PAYLOAD_LENGTH)
    }

    /// Number of the header that follows: [`NEXT_HEADER_BTH`](Self::NEXT_HEADER_BTH).
    pub fn next_header(&self) -> u8 {
        be_u8(self.bytes, field::NEXT_HEADER)
    }

    /// Hop limit.
    pub fn hop_limit(&self) -> u8 {
        be_u8(self.bytes, field::HOP_LIMIT)
    }

    fn gid(&self, range: std::ops::Range<usize>) -> Ipv6Addr {
        let bytes = self.bytes.get(range).and_then(|bytes| bytes.first_chunk::<16>());
        bytes.copied().unwrap_or_default().into()
    }

    /// GID of the sender.
    pub fn source_gid(&self) -> Ipv6Addr {
        self.gid(field::SOURCE)
    }

    /// GID of the receiver.
    pub fn destination_gid(&self) -> Ipv6Addr {
        self.gid(field::DESTINATION)
    }

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
    use crate::wire::every_shorter_length_stops;

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
}
