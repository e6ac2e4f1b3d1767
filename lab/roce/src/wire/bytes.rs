//! Big-endian integers read out of byte ranges.
//!
//! A range beyond the bytes reads as if the missing bytes were absent; it never panics. Views check their length once, when they are made, so that
//! inside a view no byte is ever missing.

use std::ops::Range;

/// Reads the big-endian unsigned integer in `range`, at most 8 bytes long.
#[inline]
pub(crate) fn be(bytes: &[u8], range: Range<usize>) -> u64 {
    bytes.get(range).unwrap_or_default().iter().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// Reads one byte.
#[inline]
pub(crate) fn be_u8(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

/// Reads a big-endian 16-bit integer.
#[inline]
pub(crate) fn be_u16(bytes: &[u8], range: Range<usize>) -> u16 {
    be(bytes, range) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_big_endian_and_a_range_outside_is_harmless() {
        assert_eq!(be(&[1, 2, 3], 0..3), 0x01_0203);
        assert_eq!(be_u16(&[0xab, 0xcd], 0..2), 0xabcd);
        assert_eq!(be_u8(&[7], 0), 7);
        assert_eq!(be(&[1], 3..7), 0);
    }
}
