//! Frames that come twice: the recorder's copies, or the network's.
//!
//! In: every packet of a capture without fates. Out: whether it is a copy of one shortly before. A copy is equal in every byte that the ICRC covers, comes within
//! half a millisecond and 64 packets, and no refusal stands between, after which a requester sends the same again. Copies do not go through the rules; how many
//! there are of all packets tells whose they are.

use crate::broken::{Broken, Spot};
use crate::flow::StreamId;
use crate::rules::capture_doubled;
use crate::wire::{Bth, Packet, Syndrome};

/// Packets among which a copy is looked for.
const WINDOW: u64 = 64;

/// Places for them, several times as many; a power of two.
const SLOTS: usize = 256;

/// Time between a frame and its copy; a requester takes longer to send again what nothing refused.
const LIMIT_NS: u64 = 500_000;

/// One copy for this many packets, and the recorder made them.
const RECORDERS: u64 = 4;

/// A frame that may be copied.
#[derive(Clone, Copy, Debug, Default)]
struct CopiedFrame {
    key: u64,
    timestamp_ns: u64,
    /// Packets before it, from 1.
    place: u64,
}

/// Copies of a capture so far.
#[derive(Debug)]
pub(crate) struct Copies {
    frames: [CopiedFrame; SLOTS],
    packets: u64,
    count: u64,
    /// Place of the last refusal.
    refused_at: u64,
    first: Option<(Spot, StreamId)>,
}

impl Default for Copies {
    fn default() -> Self {
        Self { frames: [CopiedFrame::default(); SLOTS], packets: 0, count: 0, refused_at: 0, first: None }
    }
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
    /// Takes a packet in; true if it is a copy.
    #[inline]
    pub(crate) fn see(&mut self, packet: &Packet<'_>, bth: Bth<'_>, timestamp_ns: u64) -> bool {
        self.packets += 1;
        let key = key(packet, bth);
        let slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % SLOTS;
        let before = self.frames[slot];
        if before.key == key && self.is_copy(before, timestamp_ns) {
            self.count += 1;
            return true;
        }
        self.frames[slot] = CopiedFrame { key, timestamp_ns, place: self.packets };
        if let Some(aeth) = packet.aeth
            && aeth.syndrome_byte() > 0x1f
            && matches!(aeth.syndrome(), Syndrome::Nak(_) | Syndrome::RnrNak { .. })
        {
            self.refused_at = self.packets;
        }
        false
    }

    #[cold]
    fn is_copy(&self, frame: CopiedFrame, timestamp_ns: u64) -> bool {
        frame.place + WINDOW >= self.packets
            && frame.timestamp_ns.abs_diff(timestamp_ns) < LIMIT_NS
            && (frame.place >= self.refused_at || self.is_recorders())
    }

    /// Takes note of where the first copy is.
    pub(crate) fn name(&mut self, at: Spot, stream: StreamId) {
        self.first.get_or_insert((at, stream));
    }

    /// True if there are so many that the recorder made them.
    pub(crate) fn is_recorders(&self) -> bool {
        self.count * RECORDERS >= self.packets && self.count > 2
    }

    /// The finding that tells of the recorder's copies.
    pub(crate) fn finding(&self) -> Option<(Broken, Spot, StreamId)> {
        let (at, stream) = self.first.filter(|_| self.is_recorders())?;
        Some((capture_doubled::found(self.count), at, stream))
    }
}
