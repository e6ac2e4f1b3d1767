//! FETH, the flush extended transport header: how far and of what a FLUSH makes bytes visible or persistent.
//!
//! In: 4 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::header;

header! {
    /// View of a flush extended transport header.
    ///
    /// ```text
    /// +-----------------------------------------------+-----+---------+
    /// |               reserved (26 bits)              | SEL |   PLT   |
    /// +-----------------------------------------------+-----+---------+
    /// ```
    Feth, FethValues, "feth", 4 {
        /// SEL, the selectivity level, 2 bits: 0 a range, 1 the whole memory region.
        selectivity: u8 = 3..4 [4..6], Dec;
        /// PLT, the placement type, 4 bits: 1 global visibility, 2 persistence.
        placement: u8 = 3..4 [0..4], Dec;
    }
}

impl fmt::Display for Feth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "placement {}, selectivity {}", self.placement(), self.selectivity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    const GOOD: [u8; 4] = [0, 0, 0, 0x12];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let feth = Feth::new(&GOOD, 0).unwrap();
        assert_eq!((feth.placement(), feth.selectivity()), (2, 1));
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, Feth::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Feth }
    }
}
