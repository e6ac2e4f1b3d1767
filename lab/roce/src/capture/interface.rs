//! An interface of a capture: its name, link type and clock.

use std::sync::Arc;

use crate::wire::LinkType;

/// One interface that a capture was taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name, when the capture has one.
    pub name: Option<Arc<str>>,
    /// Link type of its frames.
    pub link_type: LinkType,
    /// Most bytes that the capture keeps of a frame; 0 is without limit.
    pub snap_length_bytes: u32,
    /// The `if_tsresol` byte: ticks a second are 10 to it, or 2 to its low seven bits when the top bit is set.
    pub(super) resolution: u8,
    /// Seconds to add to every timestamp.
    pub(super) offset_s: i64,
}

impl Interface {
    /// Turns ticks into nanoseconds since the epoch; saturates where 64 bits do not suffice.
    pub(super) fn timestamp_ns(&self, ticks: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7f);
        let ticks = u128::from(ticks);
        let ns = if self.resolution & 0x80 != 0 {
            (ticks * 1_000_000_000).checked_shr(exponent).unwrap_or(0)
        } else if exponent <= 9 {
            ticks * 10u128.pow(9 - exponent)
        } else {
            10u128.checked_pow(exponent - 9).map_or(0, |divisor| ticks / divisor)
        };
        let offset_ns = i128::from(self.offset_s) * 1_000_000_000;
        let ns = i128::try_from(ns).unwrap_or(i128::MAX).saturating_add(offset_ns);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(resolution: u8, offset_s: i64, ticks: u64) -> u64 {
        Interface { name: None, link_type: LinkType::ETHERNET, snap_length_bytes: 0, resolution, offset_s }
            .timestamp_ns(ticks)
    }

    #[test]
    fn every_resolution_gives_nanoseconds_and_none_overflows() {
        assert_eq!(at(6, 0, 1_500_000), 1_500_000_000);
        assert_eq!(at(9, 0, 7), 7);
        assert_eq!(at(12, 0, 7_999), 7);
        assert_eq!(at(0x81, 0, 3), 1_500_000_000);
        assert_eq!(at(6, 2, 1), 2_000_001_000);
        assert_eq!(at(6, -2, 1), 0);
        assert_eq!(at(0, 0, u64::MAX), u64::MAX);
        assert_eq!(at(0x7f, 0, u64::MAX), 0);
        assert_eq!(at(0xff, i64::MIN, u64::MAX), 0);
    }
}
