//! ImmDt, the immediate data: 32 bits that reach the receiver's completion.
//!
//! In: 4 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::header;

header! {
    /// View of an immediate data header.
    ///
    /// ```text
    /// +---------------------------------------------------------------+
    /// |                    immediate data (32 bits)                   |
    /// +---------------------------------------------------------------+
    /// ```
    ImmDt, ImmDtValues, "immdt", 4 {
        /// Immediate as a number: the four bytes read in network order.
        value: u32 = 0..4, Raw, "infiniband.immdt";
    }
}

impl fmt::Display for ImmDt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "immediate {}", self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    const GOOD: [u8; 4] = [0, 0, 0, 22];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        assert_eq!(ImmDt::new(&GOOD, 0).unwrap().value(), 22);
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, ImmDt::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { ImmDt }
    }
}
