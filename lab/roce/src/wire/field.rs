//! One field of a header: its name, its place, and how it is read, written and shown.
//!
//! In: the bytes of a header. Out: the field's value, or the bytes with another one. A field beyond the bytes reads as zero and is not written; nothing
//! panics.

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Range;

use super::bytes::be;

/// Place of a field in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    name: &'static str,
    first_byte: u16,
    end_byte: u16,
    /// Lowest bit of the field in its bytes, read as one big-endian number.
    low_bit: u8,
    width_bits: u16,
    notation: Notation,
    tshark: Option<&'static str>,
}

/// Notation in which a field is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    /// A decimal number.
    Dec,
    /// A hexadecimal number with as many digits as the field's bytes have.
    Hex,
    /// A hexadecimal number with 16 digits.
    Hex16,
    /// A hexadecimal number with eight digits.
    Hex8,
    /// Bytes.
    Raw,
    /// An IPv6 address.
    Gid,
    /// An IPv6 address, or the IPv4 address that it maps.
    Address,
}

impl Field {
    /// Makes a field of whole bytes.
    pub(crate) const fn new(name: &'static str, first_byte: u16, end_byte: u16, notation: Notation) -> Self {
        let width_bits = (end_byte - first_byte) * 8;
        Self { name, first_byte, end_byte, low_bit: 0, width_bits, notation, tshark: None }
    }

    /// Narrows the field to the bits from `low` to before `high`; bit 0 is the lowest of its last byte.
    pub(crate) const fn bits(self, low: u8, high: u8) -> Self {
        Self { low_bit: low, width_bits: (high - low) as u16, ..self }
    }

    /// Adds the name that tshark has for the field.
    pub(crate) const fn tshark(self, name: &'static str) -> Self {
        Self { tshark: Some(name), ..self }
    }

    /// Name, as that of its getter.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Name in tshark, where it has one for exactly this field.
    pub const fn tshark_name(&self) -> Option<&'static str> {
        self.tshark
    }

    /// Bytes of the header that hold the field; other fields may share them.
    pub const fn bytes(&self) -> Range<usize> {
        self.first_byte as usize..self.end_byte as usize
    }

    /// Width in bits.
    pub const fn width_bits(&self) -> usize {
        self.width_bits as usize
    }

    /// Bits of the header's bytes from `self.bytes().start` on that belong to the field, as a big-endian number; ones for a field of more than 64 bits.
    const fn mask(&self) -> u64 {
        if self.width_bits >= 64 { u64::MAX } else { ((1 << self.width_bits) - 1) << self.low_bit }
    }

    /// Reads the field from its header's bytes; the last 64 bits of a longer one.
    #[inline(always)]
    pub fn get(&self, header: &[u8]) -> u64 {
        (be(header, self.bytes()) & self.mask()) >> self.low_bit
    }

    /// Writes the field into its header's bytes, the low bits of `value` as far as it is wide. Bits beside it stay; so do all but the last 64 bits of a longer
    /// field.
    pub fn set(&self, header: &mut [u8], value: u64) {
        let Some(bytes) = header.get_mut(self.bytes()) else { return };
        let old = be(bytes, 0..bytes.len());
        let new = old & !self.mask() | (value << self.low_bit) & self.mask();
        for (to, from) in bytes.iter_mut().rev().zip(new.to_le_bytes()) {
            *to = from;
        }
    }

    /// Returns the bytes that hold the field; none when the header is shorter.
    pub(crate) fn slice<'a>(&self, header: &'a [u8]) -> &'a [u8] {
        header.get(self.bytes()).unwrap_or_default()
    }

    /// Shows the field of a header in its notation, as tshark would.
    pub fn show<'a>(&'a self, header: &'a [u8]) -> impl fmt::Display + 'a {
        Shown { field: self, header }
    }
}

struct Shown<'a> {
    field: &'a Field,
    header: &'a [u8],
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, header } = *self;
        let value = field.get(header);
        let address = || {
            let bytes = field.slice(header).first_chunk::<16>().copied();
            Ipv6Addr::from(bytes.unwrap_or_default())
        };
        match field.notation {
            Notation::Dec => value.fmt(f),
            Notation::Hex => write!(f, "{value:#0width$x}", width = 2 + 2 * field.bytes().len()),
            Notation::Hex8 => write!(f, "{value:#010x}"),
            Notation::Hex16 => write!(f, "{value:#018x}"),
            Notation::Raw => field.slice(header).iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Notation::Gid => address().fmt(f),
            Notation::Address => address().to_canonical().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: Field = Field::new("middle", 1, 3, Notation::Hex).bits(4, 12);

    #[test]
    fn bits_beside_a_field_stay() {
        let mut header = [0xff, 0xa1, 0x2b, 0xff];
        assert_eq!((MIDDLE.get(&header), MIDDLE.width_bits()), (0x12, 8));
        MIDDLE.set(&mut header, 0xfff_ff34);
        assert_eq!(header, [0xff, 0xa3, 0x4b, 0xff]);
        assert_eq!(MIDDLE.show(&header).to_string(), "0x0034");
    }

    #[test]
    fn field_beyond_the_bytes_is_harmless() {
        let mut header = [0xff, 0xff];
        MIDDLE.set(&mut header, 0);
        assert_eq!((header, MIDDLE.get(&header), MIDDLE.slice(&header)), ([0xff, 0xff], 0, &[][..]));
    }

    #[test]
    fn sixty_four_bits_are_written_whole() {
        let field = Field::new("id", 1, 9, Notation::Dec);
        let mut header = [0xee; 10];
        field.set(&mut header, u64::MAX - 1);
        assert_eq!((field.get(&header), header[0], header[9]), (u64::MAX - 1, 0xee, 0xee));
    }
}
