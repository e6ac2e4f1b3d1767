//! LRH, the local route header of InfiniBand: what follows it, and how long the packet is.
//!
//! In: 8 bytes. Out: its fields. Layout after `struct ib_unpacked_lrh` of Linux `include/rdma/ib_pack.h`.

use std::fmt;

use crate::wire::{be_u8, be_u16, view};

view! {
    /// View of a local route header.
    ///
    /// ```text
    /// +-------+-------+-------+---+---+-------------------------------+
    /// |  VL   |version|  SL   |rsv|LNH|       destination LID         |
    /// +-------+-------+-------+---+---+-------------------------------+
    /// |  rsv  | length (4-byte words) |          source LID           |
    /// +-------+-----------------------+-------------------------------+
    /// ```
    Lrh, "lrh", 8
}

mod field {
    use std::ops::Range;
    pub(super) const LNH: usize = 1;
    pub(super) const DESTINATION: Range<usize> = 2..4;
    pub(super) const LENGTH: Range<usize> = 4..6;
    pub(super) const SOURCE: Range<usize> = 6..8;
}

impl Lrh<'_> {
    /// Link next header of a BTH.
    pub const LNH_BTH: u8 = 2;
    /// Link next header of a GRH.
    pub const LNH_GRH: u8 = 3;

    /// Link next header, 2 bits.
    pub fn lnh(&self) -> u8 {
        be_u8(self.bytes, field::LNH) & 3
    }

    /// LID of the receiver.
    pub fn destination_lid(&self) -> u16 {
        be_u16(self.bytes, field::DESTINATION)
    }

    /// Bytes from this header to the ICRC's end.
    pub fn length_bytes(&self) -> usize {
        usize::from(be_u16(self.bytes, field::LENGTH) & 0x7ff) * 4
    }

    /// LID of the sender.
    pub fn source_lid(&self) -> u16 {
        be_u16(self.bytes, field::SOURCE)
    }
}

impl fmt::Display for Lrh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LID {} > LID {}, {} bytes", self.source_lid(), self.destination_lid(), self.length_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::every_shorter_length_stops;

    const GOOD: [u8; 8] = [0x70, 0x03, 0x12, 0x34, 0xf8, 0x11, 0x56, 0x78];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let lrh = Lrh::new(&GOOD, 0).unwrap();
        assert_eq!((lrh.lnh(), lrh.length_bytes()), (Lrh::LNH_GRH, 68));
        assert_eq!((lrh.destination_lid(), lrh.source_lid()), (0x1234, 0x5678));
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, Lrh::new);
    }
}
