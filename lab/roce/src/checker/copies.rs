//! Frames that come twice: the recorder's copies, or the network's.
//!
//! In: every packet of a capture without fates. Out: whether it is a copy of one shortly before. A copy is equal in every byte that the ICRC covers, comes within
//! half a millisecond and 64 packets, and no refusal stands between, after which a requester sends the same again. Copies do not go through the rules. A recorder
//! that doubles does it to nearly every packet of a direction: how many there are of all of a direction's packets tells whose they are.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::broken::{Broken, Spot};
use crate::flow::StreamId;
use crate::paths::Paths;
use crate::rules::capture_doubled;
use crate::wire::{Bth, Packet, Syndrome};

/// Packets among which a copy is looked for.
const WINDOW: u64 = 64;

/// Places for them, several times as many: sets, a power of two, and places in each. Of 64 packets hardly ever more share a set than it has places.
const SETS: usize = 256;
const PLACES: usize = 4;

/// Time between a frame and its copy; a requester takes longer to send again what nothing refused.
const LIMIT_NS: u64 = 500_000;

/// The recorder made the copies of a direction when so many hundredths of its packets are copies, each of another packet: half of them when it doubled all.
const RECORDERS_PERCENT: u64 = 40;
/// The same where it wrote packets three times, so that a third of them are the first copies and a third the second ones.
const RECORDERS_THRICE_PERCENT: u64 = 30;

/// Directions whose copies are counted.
const DIRECTIONS_MAX: usize = 65_536;

/// A frame that may be copied.
#[derive(Clone, Copy, Debug, Default)]
struct CopiedFrame {
    key: u64,
    timestamp_ns: u64,
    /// Packets before it, from 1.
    place: u64,
    /// True if it is a copy itself.
    is_copy: bool,
}

/// Copies of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct DirectionCopies {
    /// All copies, and those that are the first copy of their packet.
    count: u64,
    firsts: u64,
    /// Packets that are never taken for copies.
    passed: u64,
    /// The first copy of a packet of a connection, and its requester.
    first: Option<(Spot, StreamId)>,
}

/// Copies of a capture so far.
#[derive(Debug)]
pub(crate) struct Copies {
    /// In each set from the newest on.
    frames: [[CopiedFrame; PLACES]; SETS],
    packets: u64,
    /// Place of the last refusal.
    refused_at: u64,
    /// By source and destination.
    directions: HashMap<(IpAddr, IpAddr), DirectionCopies>,
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            frames: [[CopiedFrame::default(); PLACES]; SETS],
            packets: 0,
            refused_at: 0,
            directions: HashMap::new(),
        }
    }
}

/// Likeness of a packet to one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// Like none before it.
    No,
    /// Like another, but a refusal stands between, after which a requester sends the same again.
    BehindRefusal,
    /// The first one like another.
    FirstCopy,
    /// One more like two before it.
    FurtherCopy,
}

fn key(packet: &Packet<'_>, bth: Bth<'_>) -> u64 {
    let rest = match packet.icrc_value {
        Some(icrc) => icrc,
        // Cut by the snap length.
        None => {
            u32::from(packet.udp_source_port) << 16
                ^ (packet.payload_length_bytes as u32).rotate_left(8)
                ^ packet.aeth.map_or(0, |aeth| aeth.msn() << 8 | u32::from(aeth.syndrome_byte()))
        }
    };
    let place = u64::from(bth.psn().value()) << 8 | u64::from(bth.opcode().0);
    (u64::from(rest) << 32 | place) ^ (u64::from(bth.destination_qpn()) << 40) | 1 << 63
}

impl Copies {
    /// Takes a packet in, and tells whether it is a copy.
    #[inline]
    pub(crate) fn see(
        &mut self,
        packet: &Packet<'_>,
        bth: Bth<'_>,
        timestamp_ns: u64,
        paths: &Paths,
    ) -> Likeness {
        self.packets += 1;
        let key = key(packet, bth);
        let set = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % SETS;
        let before = self.frames[set].iter().find(|frame| frame.key == key).copied().unwrap_or_default();
        let is_like = before.key == key && self.is_near(before, timestamp_ns);
        let is_copy = is_like
            && (before.place >= self.refused_at
                || !before.is_copy && self.is_recorders(packet.source, packet.destination, paths));
        let frames = &mut self.frames[set];
        frames.rotate_right(1);
        frames[0] = CopiedFrame { key, timestamp_ns, place: self.packets, is_copy };
        if is_copy {
            return if before.is_copy { Likeness::FurtherCopy } else { Likeness::FirstCopy };
        }
        if let Some(aeth) = packet.aeth
            && aeth.syndrome_byte() > 0x1f
            && matches!(aeth.syndrome(), Syndrome::Nak(_) | Syndrome::RnrNak { .. })
        {
            self.refused_at = self.packets;
        }
        if is_like { Likeness::BehindRefusal } else { Likeness::No }
    }

    #[cold]
    fn is_near(&self, frame: CopiedFrame, timestamp_ns: u64) -> bool {
        frame.place + WINDOW >= self.packets && frame.timestamp_ns.abs_diff(timestamp_ns) < LIMIT_NS
    }

    /// Counts a copy.
    pub(crate) fn count(&mut self, packet: &Packet<'_>, copy: Likeness) {
        if let Some(direction) = self.direction(packet) {
            direction.count += 1;
            direction.firsts += u64::from(copy == Likeness::FirstCopy);
        }
    }

    /// Counts a congestion notification: all of them to one queue pair are equal, so none shows that it is a copy.
    pub(crate) fn pass(&mut self, packet: &Packet<'_>) {
        if let Some(direction) = self.direction(packet) {
            direction.passed += 1;
        }
    }

    fn direction(&mut self, packet: &Packet<'_>) -> Option<&mut DirectionCopies> {
        let key = (packet.source, packet.destination);
        if self.directions.len() >= DIRECTIONS_MAX && !self.directions.contains_key(&key) {
            return None;
        }
        Some(self.directions.entry(key).or_default())
    }

    /// Takes note of where the first copy of a connection's packet is.
    pub(crate) fn name(&mut self, packet: &Packet<'_>, at: Spot, stream: StreamId) {
        if let Some(direction) = self.directions.get_mut(&(packet.source, packet.destination)) {
            direction.first.get_or_insert((at, stream));
        }
    }

    /// True if there are so many in a direction that the recorder made them.
    pub(crate) fn is_recorders(&self, source: IpAddr, destination: IpAddr, paths: &Paths) -> bool {
        self.directions.get(&(source, destination)).is_some_and(|direction| {
            let packets = paths.packets(source, destination).saturating_sub(direction.passed);
            let furthers = direction.count - direction.firsts;
            let is_doubled = direction.firsts * 100 >= packets * RECORDERS_PERCENT;
            let is_tripled = direction.firsts.min(furthers) * 100 >= packets * RECORDERS_THRICE_PERCENT;
            packets > 0 && direction.firsts > 2 && (is_doubled || is_tripled)
        })
    }

    /// The finding that tells of the recorder's copies.
    pub(crate) fn finding(&self, paths: &Paths) -> Option<(Broken, Spot, StreamId)> {
        let doubled = self.directions.iter().filter(|(key, _)| self.is_recorders(key.0, key.1, paths));
        let all: Vec<_> = doubled.map(|(_, direction)| direction).collect();
        let (at, stream) =
            all.iter().filter_map(|direction| direction.first).min_by_key(|(at, _)| at.number)?;
        let count = all.iter().map(|direction| direction.count).sum();
        Some((capture_doubled::found(count), at, stream))
    }
}
