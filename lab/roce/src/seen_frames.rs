//! The frames of a capture by what they are: RoCE in which tunnel, something else, or something that could not be read.

use std::collections::BTreeMap;

use crate::wire::{Encapsulation, NotRoce, Packet};

/// Name of all kinds beyond the bound.
const OTHER: &str = "other";

/// Counts of frames, up to a number of kinds.
#[derive(Debug)]
pub(crate) struct SeenFrames {
    pub(crate) not_roce: BTreeMap<String, u64>,
    pub(crate) unread: BTreeMap<String, u64>,
    pub(crate) encapsulations: BTreeMap<Encapsulation, u64>,
    pub(crate) packets_version_1: u64,
    pub(crate) packets_without_bth: u64,
    /// Packets that a mirror cut, which no length of the record says.
    pub(crate) cut_by_mirror: u64,
    /// Packets of directions in which no ICRC is right.
    pub(crate) rewritten: u64,
    /// Packets that the capture says it lost.
    pub(crate) lost: u64,
    kinds_limit: usize,
}

impl SeenFrames {
    /// Makes room for `kinds_limit` kinds of frames that are not RoCE.
    pub(crate) fn new(kinds_limit: usize) -> Self {
        Self {
            not_roce: BTreeMap::new(),
            unread: BTreeMap::new(),
            encapsulations: BTreeMap::new(),
            packets_version_1: 0,
            packets_without_bth: 0,
            cut_by_mirror: 0,
            rewritten: 0,
            lost: 0,
            kinds_limit,
        }
    }

    /// Counts a packet of RoCE.
    #[inline]
    pub(crate) fn packet(&mut self, packet: &Packet<'_>) {
        if packet.bth.is_none() || packet.grh.is_some() || packet.encapsulation != Encapsulation::None {
            self.rare(packet);
        }
        if packet.frames > 1 {
            self.put_together(packet.frames);
        }
    }

    fn rare(&mut self, packet: &Packet<'_>) {
        self.packets_without_bth += u64::from(packet.bth.is_none());
        self.packets_version_1 += u64::from(packet.grh.is_some());
        if packet.encapsulation != Encapsulation::None {
            *self.encapsulations.entry(packet.encapsulation).or_default() += 1;
        }
    }

    /// Counts the fragments before the last one as read.
    #[cold]
    fn put_together(&mut self, frames: u32) {
        let earlier = u64::from(frames.saturating_sub(1));
        let fragment = NotRoce::Fragment.to_string();
        for counts in [&mut self.not_roce, &mut self.unread] {
            if let Some(count) = counts.get_mut(&fragment) {
                *count = count.saturating_sub(earlier);
                if *count == 0 {
                    counts.remove(&fragment);
                }
            }
        }
        self.count(format!("{fragment}, put together"), earlier);
    }

    /// Counts a frame that is not RoCE.
    pub(crate) fn other(&mut self, what: &NotRoce) {
        if let NotRoce::Reassembled { frames } = what {
            self.put_together(*frames);
        }
        let name = what.to_string();
        if what.may_hold_roce() {
            let key = if self.has_room(&self.unread, &name) { name.clone() } else { OTHER.to_owned() };
            *self.unread.entry(key).or_default() += 1;
        }
        self.count(name, 1);
    }

    fn count(&mut self, name: String, number: u64) {
        let key = if self.has_room(&self.not_roce, &name) { name } else { OTHER.to_owned() };
        *self.not_roce.entry(key).or_default() += number;
    }

    fn has_room(&self, counts: &BTreeMap<String, u64>, name: &str) -> bool {
        counts.len() < self.kinds_limit || counts.contains_key(name)
    }

    /// Takes note of packets that the capture says it lost.
    #[inline]
    pub(crate) fn lost(&mut self, packets: u64) {
        self.lost = self.lost.saturating_add(packets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_unread_until_the_packet_is_put_together() {
        let mut seen = SeenFrames::new(usize::MAX);
        for _ in 0..3 {
            seen.other(&NotRoce::Fragment);
        }
        assert_eq!(seen.unread.get("IP fragment"), Some(&3));
        seen.other(&NotRoce::Reassembled { frames: 3 });
        assert_eq!(seen.unread.get("IP fragment"), Some(&1));
        assert_eq!(seen.not_roce.values().sum::<u64>(), 4, "every frame counts once");
    }

    #[test]
    fn kinds_are_bounded() {
        let mut seen = SeenFrames::new(2);
        for number in 200..210 {
            seen.other(&NotRoce::IpProtocol(number));
        }
        assert_eq!((seen.unread.len(), seen.unread.get(OTHER)), (3, Some(&8)));
        assert_eq!(seen.not_roce.get(OTHER), Some(&8));
    }
}
