//! IETH, the invalidate extended transport header: the key that a SEND with Invalidate takes back.
//!
//! In: 4 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::header;

header! {
    /// View of an invalidate extended transport header.
    ///
    /// ```text
    /// +---------------------------------------------------------------+
    /// |                        R_Key (32 bits)                        |
    /// +---------------------------------------------------------------+
    /// ```
    Ieth, IethValues, "ieth", 4 {
        /// Remote key to invalidate.
        rkey: u32 = 0..4, Raw, "infiniband.ieth";
    }
}

impl fmt::Display for Ieth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalidate rkey {:#010x}", self.rkey())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    const GOOD: [u8; 4] = [0, 0, 0x12, 0x34];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        assert_eq!(Ieth::new(&GOOD, 0).unwrap().rkey(), 0x1234);
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, Ieth::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Ieth }
    }
}
