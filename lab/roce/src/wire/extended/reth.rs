//! RETH, the RDMA extended transport header: where a WRITE puts or a READ takes its bytes.
//!
//! In: 16 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::header;

header! {
    /// View of an RDMA extended transport header.
    ///
    /// ```text
    /// +---------------------------------------------------------------+
    /// |                 virtual address (64 bits)                     |
    /// +-------------------------------+-------------------------------+
    /// |       R_Key (32 bits)         |     DMA length (32 bits)      |
    /// +-------------------------------+-------------------------------+
    /// ```
    Reth, RethValues, "reth", 16 {
        /// Virtual address at the responder.
        va: u64 = 0..8, Hex, "infiniband.reth.va";
        /// Remote key of the responder's memory region.
        rkey: u32 = 8..12, Hex, "infiniband.reth.r_key";
        /// Length of the whole message in bytes, at most 2^31.
        dma_length: u32 = 12..16, Dec, "infiniband.reth.dmalen";
    }
}

impl fmt::Display for Reth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "va {:#018x}, rkey {:#010x}, DMA length {} bytes",
            self.va(),
            self.rkey(),
            self.dma_length()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    const GOOD: [u8; 16] = [0, 0, 0x55, 0xaa, 1, 2, 3, 4, 0, 0, 0x12, 0x34, 0, 0, 0, 18];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let reth = Reth::new(&GOOD, 54).unwrap();
        assert_eq!((reth.va(), reth.rkey(), reth.dma_length()), (0x55aa_0102_0304, 0x1234, 18));
        assert_eq!(reth.to_string(), "va 0x000055aa01020304, rkey 0x00001234, DMA length 18 bytes");
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, Reth::new);
    }

    #[test]
    fn length_beyond_two_to_the_31_is_shown_as_it_is() {
        let mut bytes = GOOD;
        bytes[12..].fill(0xff);
        assert_eq!(Reth::new(&bytes, 0).unwrap().dma_length(), u32::MAX);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Reth }
    }
}
