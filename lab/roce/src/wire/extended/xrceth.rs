//! XRCETH, the extended reliable connected transport header.
//!
//! In: 4 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::header;

header! {
    /// View of an extended reliable connected transport header.
    ///
    /// ```text
    /// +---------------+-----------------------------------------------+
    /// |   reserved    |                 XRC SRQ number                |
    /// +---------------+-----------------------------------------------+
    /// ```
    XrcEth, XrcEthValues, "xrceth", 4 {
        /// Number of the shared receive queue, 24 bits.
        srq_number: u32 = 1..4, Hex;
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
    use crate::wire::{every_shorter_length_stops, table_holds};

    const GOOD: [u8; 4] = [0xff, 0, 1, 2];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        assert_eq!(XrcEth::new(&GOOD, 0).unwrap().srq_number(), 258);
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, XrcEth::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { XrcEth }
    }
}
