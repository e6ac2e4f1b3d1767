//! RDETH, the reliable datagram extended transport header.
//!
//! In: 4 bytes. Out: its fields. Layout after Linux `drivers/infiniband/sw/rxe/rxe_hdr.h`.

use std::fmt;

use crate::wire::{be_u32, view};

view! {
    /// View of a reliable datagram extended transport header.
    ///
    /// ```text
    /// +---------------+-----------------------------------------------+
    /// |   reserved    |                   EE context                  |
    /// +---------------+-----------------------------------------------+
    /// ```
    Rdeth, "rdeth", 4
}

mod field {
    use std::ops::Range;
    pub(super) const EE_CONTEXT: Range<usize> = 1..4;
}

impl Rdeth<'_> {
    /// End-to-end context, 24 bits.
    pub fn ee_context(&self) -> u32 {
        be_u32(self.bytes, field::EE_CONTEXT)
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
    use crate::wire::every_shorter_length_stops;

    const GOOD: [u8; 4] = [0xff, 0, 1, 2];

    #[test]
    fn fields_are_where_the_standard_puts_them() {
        assert_eq!(Rdeth::new(&GOOD, 0).unwrap().ee_context(), 258);
    }

    #[test]
    fn shorter_bytes_stop() {
        every_shorter_length_stops(&GOOD, Rdeth::new);
    }
}
