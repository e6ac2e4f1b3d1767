//! RDETH, the reliable datagram extended transport header.
//!
//! In: 4 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::header;

header! {
    /// View of a reliable datagram extended transport header.
    ///
    /// ```text
    /// +---------------+-----------------------------------------------+
    /// |   reserved    |                   EE context                  |
    /// +---------------+-----------------------------------------------+
    /// ```
    Rdeth, RdethValues, "rdeth", 4 {
        /// End-to-end context, 24 bits.
        ee_context: u32 = 1..4, Dec, "infiniband.rdeth.eecnxt";
    }
}

impl fmt::Display for Rdeth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EE context {}", self.ee_context())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    const GOOD: [u8; 4] = [0xff, 0, 1, 2];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        assert_eq!(Rdeth::new(&GOOD, 0).unwrap().ee_context(), 258);
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, Rdeth::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Rdeth }
    }
}
