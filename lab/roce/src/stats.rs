//! Numbers of a capture: packets by opcode, messages by kind, latencies.
//!
//! In: packets and ended messages, one at a time. Out: counts and percentiles, in memory that does not grow with the capture.

use hdrhistogram::Histogram;

use crate::message::{Message, MessageKind};
use crate::retransmission::RetransmissionClass;
use crate::wire::Opcode;

/// Significant decimal digits of a latency.
const DIGITS: u8 = 2;

/// Longest latency that is told from longer ones, 146 years: timestamps of a damaged capture are anything.
const LONGEST_NS: u64 = 1 << 62;

/// Latencies, to a hundredth of their value; the least and the most are exact.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
    least_ns: u64,
    most_ns: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        // Grows with the values.
        let histogram = Histogram::new(DIGITS).expect("a number of digits that it takes");
        Self { histogram, least_ns: u64::MAX, most_ns: 0 }
    }
}

impl Latencies {
    fn add(&mut self, ns: u64) {
        let grown = self.histogram.record(ns.min(LONGEST_NS));
        debug_assert!(grown.is_ok(), "{grown:?}");
        self.least_ns = self.least_ns.min(ns);
        self.most_ns = self.most_ns.max(ns);
    }

    /// Number of messages.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency in nanoseconds that `percent` of them do not exceed, to a hundredth of its value; `None` without any. 0 and 100 are exact.
    pub fn percentile_ns(&self, percent: f64) -> Option<u64> {
        match percent {
            _ if self.histogram.is_empty() => None,
            ..=0.0 => Some(self.least_ns),
            100.0.. => Some(self.most_ns),
            _ => Some(self.histogram.value_at_percentile(percent).clamp(self.least_ns, self.most_ns)),
        }
    }
}

/// Counts of the messages of one kind.
#[derive(Clone, Debug, Default)]
pub struct MessageStats {
    /// Messages that ended: acknowledged, responded, refused.
    pub ended: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Time from the request's first packet to what ended it.
    pub latencies: Latencies,
}

/// Counts of the packets of one opcode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpcodeStats {
    /// Packets that reached their receiver's side.
    pub packets: u64,
    /// Payload in bytes.
    pub payload_bytes: u64,
}

/// Numbers of a capture.
#[derive(Clone, Debug)]
pub struct Stats {
    opcodes: Vec<OpcodeStats>,
    kinds: Vec<(MessageKind, MessageStats)>,
    intervals: [Latencies; RetransmissionClass::ALL.len()],
    /// Time of the first RoCEv2 packet in nanoseconds since the epoch.
    pub first_ns: Option<u64>,
    /// Time of the last RoCEv2 packet in nanoseconds since the epoch.
    pub last_ns: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            opcodes: vec![OpcodeStats::default(); 256],
            kinds: Vec::new(),
            intervals: Default::default(),
            first_ns: None,
            last_ns: 0,
        }
    }
}

impl Stats {
    #[inline]
    pub(crate) fn packet(&mut self, opcode: Opcode, payload_bytes: u64, timestamp_ns: u64) {
        if let Some(stats) = self.opcodes.get_mut(usize::from(opcode.0)) {
            stats.packets += 1;
            stats.payload_bytes += payload_bytes;
        }
        self.first_ns.get_or_insert(timestamp_ns);
        self.last_ns = self.last_ns.max(timestamp_ns);
    }

    /// Counts a message that has ended.
    pub fn ended(&mut self, message: &Message) {
        let at = match self.kinds.iter().position(|(kind, _)| *kind == message.kind) {
            Some(at) => at,
            None => {
                self.kinds.push((message.kind, MessageStats::default()));
                self.kinds.len() - 1
            }
        };
        if let Some((_, stats)) = self.kinds.get_mut(at) {
            stats.ended += 1;
            stats.bytes += message.bytes;
            if let Some(ended_ns) = message.ended_ns {
                stats.latencies.add(ended_ns.saturating_sub(message.sent_ns));
            }
        }
    }

    /// Takes note of how long a requester was quiet before it sent again.
    pub(crate) fn sent_again(&mut self, class: RetransmissionClass, quiet_ns: u64) {
        if let Some(intervals) = self.intervals.get_mut(class as usize) {
            intervals.add(quiet_ns);
        }
    }

    /// Exchanges its messages for those of another.
    pub fn with_messages_of(self, other: Self) -> Self {
        Self { kinds: other.kinds, ..self }
    }

    /// The opcodes that occurred, in the order of their numbers.
    pub fn opcodes(&self) -> impl Iterator<Item = (Opcode, OpcodeStats)> {
        (0..=u8::MAX).map(Opcode).zip(self.opcodes.iter().copied()).filter(|(_, stats)| stats.packets > 0)
    }

    /// The kinds of messages that ended, in the order of their first.
    pub fn kinds(&self) -> impl Iterator<Item = (MessageKind, &MessageStats)> {
        self.kinds.iter().map(|(kind, stats)| (*kind, stats))
    }

    /// The classes of retransmissions that occurred, each with the times from the request before it on its queue pair, in the order of
    /// [`RetransmissionClass::ALL`]. Of requests that were sent again in a row the first counts.
    pub fn intervals(&self) -> impl Iterator<Item = (RetransmissionClass, &Latencies)> {
        RetransmissionClass::ALL
            .into_iter()
            .zip(&self.intervals)
            .filter(|(_, intervals)| intervals.count() > 0)
    }

    /// Payload of all packets in bytes.
    pub fn payload_bytes(&self) -> u64 {
        self.opcodes.iter().map(|stats| stats.payload_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_hundredth() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile_ns(50.0), None);
        for us in 1..=1_000 {
            latencies.add(us * 1_000);
        }
        for percent in [1.0, 50.0, 90.0, 99.0] {
            let got = latencies.percentile_ns(percent).unwrap() as f64;
            let exact = percent * 10_000.0;
            assert!((got - exact).abs() / exact < 0.01, "{percent}: {got} for {exact}");
        }
        assert_eq!(
            [0.0, 100.0].map(|percent| latencies.percentile_ns(percent)),
            [Some(1_000), Some(1_000_000)]
        );
        for ns in [0, u64::MAX] {
            latencies.add(ns);
        }
        assert_eq!([0.0, 100.0].map(|percent| latencies.percentile_ns(percent)), [Some(0), Some(u64::MAX)]);
        assert_eq!(latencies.count(), 1_002);
    }
}
