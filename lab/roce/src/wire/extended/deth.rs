//! DETH, the datagram extended transport header: who sends a datagram, and the key that admits it.
//!
//! In: 8 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::header;

header! {
    /// View of a datagram extended transport header.
    ///
    /// ```text
    /// +---------------------------------------------------------------+
    /// |                       Q_Key (32 bits)                         |
    /// +---------------+-----------------------------------------------+
    /// |   reserved    |                 source QPN                    |
    /// +---------------+-----------------------------------------------+
    /// ```
    Deth, DethValues, "deth", 8 {
        /// Queue key, 32 bits.
        q_key: u32 = 0..4, Hex16, "infiniband.deth.q_key";
        /// Queue pair number of the sender, 24 bits.
        source_qpn: u32 = 5..8, Hex8, "infiniband.deth.srcqp";
    }
}

impl fmt::Display for Deth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Q_Key {:#010x}, from QPN {:#08x}", self.q_key(), self.source_qpn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{every_shorter_length_stops, table_holds};

    const GOOD: [u8; 8] = [0x80, 0x01, 0, 0, 0, 0, 0, 1];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        let deth = Deth::new(&GOOD, 0).unwrap();
        assert_eq!((deth.q_key(), deth.source_qpn()), (0x8001_0000, 1));
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, Deth::new);
    }

    #[test]
    fn table_of_fields_holds() {
        table_holds! { Deth }
    }
}
