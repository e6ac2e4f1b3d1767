//! AtomicETH and AtomicAckETH: the operands of an atomic and the value it found.
//!
//! In: 28 and 8 bytes. Out: their fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::{be_u32, be_u64, view};

view! {
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
    AtomicEth, "atomiceth", 28
}

view! {
    /// View of an atomic acknowledge extended transport header: 64 bits, the value before the operation.
    ///
    /// ```text
    /// +---------------------------------------------------------------+
    /// |             original remote data (64 bits)                    |
    /// +---------------------------------------------------------------+
    /// ```
    AtomicAckEth, "atomicacketh", 8
}

mod field {
    use std::ops::Range;
    pub(super) const VA: Range<usize> = 0..8;
    pub(super) const RKEY: Range<usize> = 8..12;
    pub(super) const SWAP_OR_ADD: Range<usize> = 12..20;
    pub(super) const COMPARE: Range<usize> = 20..28;
    pub(super) const ORIGINAL: Range<usize> = 0..8;
}

impl AtomicEth<'_> {
    /// Virtual address at the responder, to be 8-byte aligned.
    pub fn va(&self) -> u64 {
        be_u64(self.bytes, field::VA)
    }

    /// Remote key of the responder's memory region.
    pub fn rkey(&self) -> u32 {
        be_u32(self.bytes, field::RKEY)
    }

    /// Value to store (CmpSwap) or to add (FetchAdd).
    pub fn swap_or_add(&self) -> u64 {
        be_u64(self.bytes, field::SWAP_OR_ADD)
    }

    /// Value to compare with; without meaning for FetchAdd.
    pub fn compare(&self) -> u64 {
        be_u64(self.bytes, field::COMPARE)
    }
}

impl AtomicAckEth<'_> {
    /// Value that was in memory before the operation.
    pub fn original(&self) -> u64 {
        be_u64(self.bytes, field::ORIGINAL)
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
    use crate::wire::every_shorter_length_stops;

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
}
