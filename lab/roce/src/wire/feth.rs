//! FETH, the flush extended transport header: how far and of what a FLUSH makes bytes visible or persistent.
//!
//! In: 4 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::{be_u8, view};

view! {
    /// View of a flush extended transport header.
    ///
    /// ```text
    /// +-----------------------------------------------+-----+---------+
    /// |               reserved (26 bits)              | SEL |   PLT   |
    /// +-----------------------------------------------+-----+---------+
    /// ```
    Feth, "feth", 4
}

mod field {
    pub(super) const TYPE: usize = 3;
}

impl Feth<'_> {
    /// PLT, the placement type, 4 bits: 1 global visibility, 2 persistence.
    pub fn placement(&self) -> u8 {
        be_u8(self.bytes, field::TYPE) & 0xf
    }

    /// SEL, the selectivity level, 2 bits: 0 a range, 1 the whole memory region.
    pub fn selectivity(&self) -> u8 {
        (be_u8(self.bytes, field::TYPE) >> 4) & 0x3
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
    use crate::wire::every_shorter_length_stops;

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
}
