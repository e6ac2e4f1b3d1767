//! Packets that a capture says it lost: counted between its packets, and in its statistics.

use std::collections::BTreeMap;

/// Most interfaces whose statistics are remembered.
const INTERFACES_MAX: usize = 65_536;

/// Counts of lost packets. Both ways of counting tell of the same packets, so of a section the greater holds.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// In the sections before.
    earlier: u64,
    /// Between packets of this section.
    between: u64,
    /// By the last statistics of each interface of this section.
    statistics: BTreeMap<u32, u64>,
}

impl Losses {
    /// Takes note of packets that are missing before one.
    pub(super) fn between(&mut self, packets: u64) {
        self.between = self.between.saturating_add(packets);
    }

    /// Takes note of an interface's counters, which count from the beginning of the capture.
    pub(super) fn statistics(&mut self, interface: u32, drops: [Option<u64>; 2]) {
        // All ones is a counter that the system does not have.
        let known = drops.into_iter().flatten().filter(|drops| *drops != u64::MAX);
        let packets = known.fold(0, u64::saturating_add);
        if self.statistics.len() < INTERFACES_MAX || self.statistics.contains_key(&interface) {
            self.statistics.insert(interface, packets);
        }
    }

    /// Begins another section.
    pub(super) fn end_section(&mut self) {
        *self = Self { earlier: self.packets(), ..Self::default() };
    }

    /// All of them.
    pub(super) fn packets(&self) -> u64 {
        let statistics = self.statistics.values().fold(0, |sum: u64, packets| sum.saturating_add(*packets));
        self.earlier.saturating_add(self.between.max(statistics))
    }
}
