//! LRH, the local route header of InfiniBand: what follows it, and how long the packet is.
//!
//! In: 8 bytes. Out: its fields. Layout after `struct ib_unpacked_lrh` of Linux `include/rdma/ib_pack.h`.

use std::fmt;

use crate::wire::header;

header! {
    /// View of a local route header.
    ///
    /// ```text
    /// +-------+-------+-------+---+---+-------------------------------+
    /// |  VL   |version|  SL   |rsv|LNH|       destination LID         |
    /// +-------+-------+-------+---+---+-------------------------------+
    /// |  rsv  | length (4-byte words) |          source LID           |
    /// +-------+-----------------------+-------------------------------+
    /// ```
    Lrh, LrhValues, "lrh", 8 {
        /// Virtual lane, 4 bits.
        virtual_lane: u8 = 0..1 [4..8], Dec;
        /// Link version, 4 bits.
        link_version: u8 = 0..1 [0..4], Dec;
        /// Service level, 4 bits.
        service_level: u8 = 1..2 [4..8], Dec;
        /// Link next header, 2 bits.
        lnh: u8 = 1..2 [0..2], Dec;
        /// LID of the receiver.
        destination_lid: u16 = 2..4, Dec;
        /// Words of four bytes from this header to the ICRC's end, 11 bits.
        length_words: u16 = 4..6 [0..11], Dec;
        /// LID of the sender.
        source_lid: u16 = 6..8, Dec;
    }
}

impl Lrh<'_> {
    /// Link next header in front of a BTH.
    pub const LNH_BTH: u8 = 2;
    /// Link next header in front of a GRH.
    pub const LNH_GRH: u8 = 3;

    /// Bytes from this header to the ICRC's end.
    pub fn length_bytes(&self) -> usize {
        usize::from(self.length_words()) * 4
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
    use crate::wire::{every_shorter_length_stops, table_holds};

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

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Lrh }
    }
}
