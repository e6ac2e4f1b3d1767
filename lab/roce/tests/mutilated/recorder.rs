//! A recorder's effects on a capture.

use std::net::IpAddr;

use roce::wire::{Frame, LinkType, Syndrome};

use crate::conversations::Entry;
use crate::splitmix;

/// Numbers from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635)
    }

    fn next(&mut self) -> u64 {
        splitmix::next(&mut self.0)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

pub(crate) type Way = fn(&[Entry], &mut Random) -> Vec<Entry>;

fn gaps(entries: &[Entry], random: &mut Random, percent: usize) -> Vec<Entry> {
    entries.iter().filter(|_| !random.happens(percent)).cloned().collect()
}

fn gaps_1(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    gaps(entries, random, 1)
}

fn gaps_5(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    gaps(entries, random, 5)
}

fn gaps_30(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    gaps(entries, random, 30)
}

fn bursts(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    let mut left = entries.to_vec();
    for _ in 0..=random.below(3) {
        let (at, length) = (random.below(left.len()), 1 + random.below(40));
        left.drain(at..(at + length).min(left.len()));
    }
    left
}

fn cuts(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    let from = random.below(entries.len());
    let to = from + 1 + random.below(entries.len() - from);
    entries[from..to].to_vec()
}

/// Longest time between a packet at one place of capture and at the next.
const SWITCHED_NS: u64 = 300_000;

fn all_doubled(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    // The second place of capture sees each packet a little later, with others between; no switch keeps one for longer than this.
    let lag = random.below(4);
    let mut doubled = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let behind_ns = entries.get(at + lag).unwrap_or(entry).timestamp_ns;
        let copied_ns = behind_ns.min(entry.timestamp_ns + SWITCHED_NS);
        doubled.push(entry.clone());
        doubled.push(Entry { timestamp_ns: copied_ns.max(entry.timestamp_ns), ..entry.clone() });
    }
    doubled.sort_by_key(|entry| entry.timestamp_ns);
    doubled
}

fn some_doubled(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    let mut doubled = Vec::new();
    for entry in entries {
        doubled.push(entry.clone());
        if random.happens(10) {
            doubled.push(entry.clone());
        }
    }
    doubled
}

/// A recorder stamps what it writes.
fn in_order_of_time(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut last = 0;
    for entry in &mut entries {
        last = entry.timestamp_ns.max(last);
        entry.timestamp_ns = last;
    }
    entries
}

fn reordered(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    let mut left = entries.to_vec();
    let percent = [2, 10, 40][random.below(3)];
    let mut at = 0;
    while at + 1 < left.len() {
        if random.happens(percent) {
            let to = (at + 1 + random.below(3)).min(left.len() - 1);
            let entry = left.remove(at);
            left.insert(to, entry);
        }
        at += 1;
    }
    if random.happens(50) { in_order_of_time(left) } else { left }
}

/// Packets of each block of `window` in any order.
pub(crate) fn shuffled(entries: &[Entry], window: usize, random: &mut Random) -> Vec<Entry> {
    let mut left = entries.to_vec();
    for block in left.chunks_mut(window) {
        for at in (1..block.len()).rev() {
            block.swap(at, random.below(at + 1));
        }
    }
    if random.happens(50) { in_order_of_time(left) } else { left }
}

fn shuffled_by_windows(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    let window = [2, 4, 8, 16, 32, 64][random.below(6)];
    shuffled(entries, window, random)
}

fn is_refusal(entry: &Entry) -> bool {
    match Frame::decode(LinkType::ETHERNET, &entry.data) {
        Frame::Roce(packet) => packet
            .aeth
            .is_some_and(|aeth| matches!(aeth.syndrome(), Syndrome::Nak(_) | Syndrome::RnrNak { .. })),
        Frame::NotRoce(_) => false,
    }
}

/// Each refusal once more, up to a dozen packets later: before or after what it asks for.
pub(crate) fn refusals_doubled(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    let mut doubled: Vec<_> = entries.iter().cloned().enumerate().collect();
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| is_refusal(entry)) {
        doubled.push((at + random.below(13), entry.clone()));
    }
    doubled.sort_by_key(|(at, _)| *at);
    in_order_of_time(doubled.into_iter().map(|(_, entry)| entry).collect())
}

fn gaps_and_disorder(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    let doubled = some_doubled(entries, random);
    let left = reordered(&doubled, random);
    gaps(&left, random, 10)
}

fn one_direction(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    let source = |entry: &Entry| -> Option<IpAddr> {
        match Frame::decode(LinkType::ETHERNET, &entry.data) {
            Frame::Roce(packet) => Some(packet.source),
            Frame::NotRoce(_) => None,
        }
    };
    let Some(only) = source(&entries[random.below(entries.len())]) else { return entries.to_vec() };
    let percent = [0, 0, 3][random.below(3)];
    let seen = entries.iter().filter(|entry| source(entry) == Some(only));
    seen.filter(|_| !random.happens(percent)).cloned().collect()
}

fn snap_length(entries: &[Entry], random: &mut Random) -> Vec<Entry> {
    let length = 40 + random.below(100);
    let percent = [0, 0, 5][random.below(3)];
    let mut left = gaps(entries, random, percent);
    for entry in &mut left {
        entry.data.truncate(length);
    }
    left
}

pub(crate) const WAYS: [(&str, Way); 13] = [
    ("gaps of 1 %", gaps_1),
    ("gaps of 5 %", gaps_5),
    ("gaps of 30 %", gaps_30),
    ("bursts", bursts),
    ("cut at either end", cuts),
    ("everything twice", all_doubled),
    ("some twice", some_doubled),
    ("another order", reordered),
    ("gaps, copies and another order", gaps_and_disorder),
    ("shuffled", shuffled_by_windows),
    ("refusals twice", refusals_doubled),
    ("one direction", one_direction),
    ("snap length", snap_length),
];
