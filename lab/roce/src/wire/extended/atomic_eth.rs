//! AtomicETH and AtomicAckETH: the operands of an atomic and the value it found.
//!
//! In: 28 and 8 bytes. Out: their fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::header;

header! {
    /// View of an atomic extended transport header.
    ///
    /// ```text
    /// +---------------------------------------------------------------+
    /// |                 virtual address (64 bits)                     |
    /// +---------------------------------------------------------------+
    /// |                       R_Key (32 bits)                         |
    /// +---------------------------------------------------------------+
    /// |                 swap or add data (64 bits)                    |
    /// +---------------------------------------------------------------+
    /// |                   compare data (64 bits)                      |
    /// +---------------------------------------------------------------+
    /// ```
    AtomicEth, AtomicEthValues, "atomiceth", 28 {
        /// Virtual address at the responder, to be 8-byte aligned.
        va: u64 = 0..8, Hex, "infiniband.reth.va";
        /// Remote key of the responder's memory region.
        rkey: u32 = 8..12, Hex, "infiniband.reth.r_key";
        /// Value to store (CmpSwap) or to add (FetchAdd).
        swap_or_add: u64 = 12..20, Dec, "infiniband.atomiceth.swapdt";
        /// Value to compare with; without meaning for FetchAdd.
        compare: u64 = 20..28, Dec, "infiniband.atomiceth.cmpdt";
    }
}

header! {
    /// View of an atomic acknowledge extended transport header: 64 bits, the value before the operation.
    ///
    /// ```text
    /// +---------------------------------------------------------------+
    /// |             original remote data (64 bits)                    |
    /// +---------------------------------------------------------------+
    /// ```
    AtomicAckEth, AtomicAckEthValues, "atomicacketh", 8 {
        /// Value that was in memory before the operation.
        original: u64 = 0..8, Dec, "infiniband.atomicacketh.origremdt";
    }
}

impl fmt::Display for AtomicEth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "va {:#018x}, rkey {:#010x}, swap or add {}, compare {}",
            self.va(),
            self.rkey(),
            self.swap_or_add(),
            self.compare()
        )
    }
}

impl fmt::Display for AtomicAckEth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "original {}", self.original())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    const GOOD: [u8; 28] =
        [0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let atomic = AtomicEth::new(&GOOD, 0).unwrap();
        assert_eq!((atomic.va(), atomic.rkey(), atomic.swap_or_add(), atomic.compare()), (0x1000, 7, 8, 9));
        assert_eq!(AtomicAckEth::new(&GOOD[12..], 0).unwrap().original(), 8);
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, AtomicEth::new);
        every_shorter_length_stops(&GOOD[..8], AtomicAckEth::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { AtomicEth AtomicAckEth }
    }
}
