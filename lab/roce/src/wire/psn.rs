//! Packet sequence numbers: 24 bits, serial arithmetic.
//!
//! In and out: numbers. Comparisons are made in a signed window of 2^23, so a wrap from 0xffffff to 0 is a step of one.

use std::fmt;

use super::field::Field;
use super::header::FieldValue;

/// A packet sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Psn(u32);

impl Psn {
    const MASK: u32 = 0xff_ffff;

    /// Makes a number of the low 24 bits of `value`.
    #[inline]
    pub const fn new(value: u32) -> Self {
        Self(value & Self::MASK)
    }

    /// The number, 0 to 0xffffff.
    #[inline]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The number `count` packets later.
    #[inline]
    #[must_use]
    pub const fn plus(self, count: u32) -> Self {
        Self::new(self.0.wrapping_add(count))
    }

    /// The number one packet before.
    #[inline]
    #[must_use]
    pub(crate) const fn previous(self) -> Self {
        Self::new(self.0.wrapping_sub(1))
    }

    /// The signed distance from `origin` to this number, -2^23 to 2^23 - 1.
    #[inline]
    pub const fn distance(self, origin: Self) -> i32 {
        (self.0.wrapping_sub(origin.0) << 8) as i32 >> 8
    }
}

impl FieldValue for Psn {
    #[inline(always)]
    fn read(field: &Field, header: &[u8]) -> Self {
        Self::new(u32::read(field, header))
    }

    fn write(self, field: &Field, header: &mut [u8]) {
        self.value().write(field, header);
    }
}

impl fmt::Display for Psn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrap_is_a_step_of_one() {
        let last = Psn::new(0xff_ffff);
        assert_eq!(last.plus(1), Psn::new(0));
        assert_eq!(Psn::new(0).distance(last), 1);
        assert_eq!(last.distance(Psn::new(0)), -1);
    }

    #[test]
    fn window_is_signed_and_half_the_space_wide() {
        assert_eq!(Psn::new(0x80_0000).distance(Psn::new(0)), -0x80_0000);
        assert_eq!(Psn::new(0x7f_ffff).distance(Psn::new(0)), 0x7f_ffff);
    }
}
