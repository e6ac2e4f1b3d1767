//! Packets that the recorder lost or wrote in another order, or the network delivered so, told once for a capture.
//!
//! In: proof that a packet was there, or was there earlier, than the capture has it. Out: one finding of each kind with its extent.

use crate::broken::{Broken, Spot};
use crate::flow::StreamId;
use crate::rules::{
    capture_doubled, capture_lost_packets, capture_reordered, nak_without_gap, network_reordered,
};

/// A recorder shuffles when so many packets came behind later ones, and at least one in so many.
const SHUFFLED_LEAST: u64 = 4;
const SHUFFLED_ONE_IN: u64 = 20;

/// Extent of one kind of fault, and the packet where it showed first.
#[derive(Debug, Default)]
struct Extent {
    count: u64,
    places: u64,
    first: Option<(Spot, StreamId)>,
}

impl Extent {
    fn add(&mut self, at: Spot, stream: StreamId, count: u64) {
        self.count += count;
        self.places += 1;
        if self.first.is_none_or(|(first, _)| at.number < first.number) {
            self.first = Some((at, stream));
        }
    }
}

/// Faults of the capture so far.
#[derive(Debug, Default)]
pub(crate) struct CaptureFaults {
    lost: Extent,
    /// True if answers are among what is lost.
    lacks_answers: bool,
    reordered: Extent,
    /// Packets that came behind later ones though nothing was sent again, whatever the rules made of them.
    late: Extent,
    /// Refusals that stand there twice.
    copied: Extent,
    /// Of the network and not of the recorder, and told in the same way.
    overtaken: Extent,
    /// Sequence NAKs: a loss that shows in every order of the packets.
    refused: Extent,
}

impl CaptureFaults {
    /// Takes note of `count` packets that were there and are not in the capture.
    pub(super) fn lost(&mut self, at: Spot, stream: StreamId, count: u64) {
        self.lost.add(at, stream, count);
    }

    /// Takes note of an answer that was there and is not in the capture.
    pub(super) fn lost_answer(&mut self, at: Spot, stream: StreamId) {
        self.lost.add(at, stream, 1);
        self.lacks_answers = true;
    }

    /// Takes note of a packet that stands at another place than it had.
    pub(super) fn reordered(&mut self, at: Spot, stream: StreamId) {
        self.reordered.add(at, stream, 1);
    }

    /// Takes note of a packet that came behind a later one though nothing was sent again.
    #[cold]
    pub(crate) fn late(&mut self, at: Spot, stream: StreamId) {
        self.late.add(at, stream, 1);
    }

    /// True if the capture has a packet at another place than it had.
    pub(crate) fn has_disorder(&self) -> bool {
        self.late.count + self.reordered.count > 0
    }

    /// True if the capture has shown to lack packets, or to have them in another order.
    pub(crate) fn has_fault(&self) -> bool {
        self.lost.count > 0 || self.has_disorder()
    }

    /// True if so much of it stands at another place than it had that nothing can be concluded from the order of its packets.
    pub(crate) fn is_shuffled(&self, packets: u64) -> bool {
        // Those that the network reordered are told as that.
        let count = (self.late.count + self.reordered.count).saturating_sub(self.overtaken.count);
        count >= SHUFFLED_LEAST && count * SHUFFLED_ONE_IN >= packets
    }

    /// Takes note of a refusal that came before.
    #[cold]
    pub(super) fn copied(&mut self, at: Spot, stream: StreamId) {
        self.copied.add(at, stream, 1);
    }

    /// Takes note of a NAK "PSN sequence error" that is no copy of another.
    pub(super) fn refused(&mut self, at: Spot, stream: StreamId) {
        self.refused.add(at, stream, 1);
    }

    /// The refusals that stand there twice.
    pub(crate) fn copies(&self) -> Option<(Broken, Spot, StreamId)> {
        self.copied.first.map(|(at, stream)| (capture_doubled::found(self.copied.count), at, stream))
    }

    /// Takes note of a request that others overtook on its way.
    pub(super) fn overtaken(&mut self, at: Spot, stream: StreamId) {
        self.overtaken.add(at, stream, 1);
    }

    /// One finding for each kind that there is; of a capture of so many packets that is shuffled, the one of that.
    pub(crate) fn findings(&self, packets: u64) -> impl Iterator<Item = (Broken, Spot, StreamId)> {
        let is_shuffled = self.is_shuffled(packets);
        let reordered =
            if is_shuffled && self.late.count > self.reordered.count { &self.late } else { &self.reordered };
        let lost = if self.lacks_answers {
            capture_lost_packets::found
        } else {
            capture_lost_packets::found_requests
        };
        type Found = fn(u64, u64) -> Broken;
        let kinds: [Option<(Found, &Extent)>; 4] = [
            (!is_shuffled).then_some((lost, &self.lost)),
            Some((capture_reordered::found, reordered)),
            (!is_shuffled).then_some((network_reordered::found, &self.overtaken)),
            is_shuffled.then_some((nak_without_gap::found_in_disorder, &self.refused)),
        ];
        kinds.into_iter().flatten().filter_map(|(found, extent)| {
            let (at, stream) = extent.first?;
            Some((found(extent.count, extent.places), at, stream))
        })
    }
}
