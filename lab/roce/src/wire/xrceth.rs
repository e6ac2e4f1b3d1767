//! XRCETH, the extended reliable connected transport header.
//!
//! In: 4 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::{be_u32, view};

view! {
    /// View of an extended reliable connected transport header.
    ///
    /// ```text
    /// +---------------+-----------------------------------------------+
    /// |   reserved    |                 XRC SRQ number                |
    /// +---------------+-----------------------------------------------+
    /// ```
    XrcEth, "xrceth", 4
}

mod field {
    use std::ops::Range;
    pub(super) const SRQ_NUMBER: Range<usize> = 1..4;
}

impl XrcEth<'_> {
    /// Number of the shared receive queue, 24 bits.
    pub fn srq_number(&self) -> u32 {
        be_u32(self.bytes, field::SRQ_NUMBER)
    }
}

impl fmt::Display for XrcEth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SRQ {:#08x}", self.srq_number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::every_shorter_length_stops;

    const GOOD: [u8; 4] = [0xff, 0, 1, 2];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        assert_eq!(XrcEth::new(&GOOD, 0).unwrap().srq_number(), 258);
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, XrcEth::new);
    }
}
