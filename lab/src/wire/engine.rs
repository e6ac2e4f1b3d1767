//! Decides what becomes of each frame: in, a frame, its sender and its receiver; out, what the switch does with it.
//!
//! Decisions follow from the packets alone and never from the clock, so that the same packets meet the same
//! faults. Only a limited rate is measured in time.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use roce::Fate;
use sha2::{Digest as _, Sha256};

use crate::base::role::Role;
use crate::scenario::fault::Met;
use crate::scenario::fault::matcher::Receiver;
use crate::scenario::fault::{Action, Fault};
use crate::wire::alter::alter;
use crate::wire::ethernet::header_bytes;
use crate::wire::tracker::{FaultTracker, Identity, TrackedPacket};

/// Fate of a frame in the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// Delivers it.
    Forward,
    /// Loses it.
    Drop,
    /// Loses it with everything else: the link is cut.
    Cut,
    /// Delivers it twice.
    Duplicate,
    /// Delivers it in its turn, after this time.
    Queue(Duration),
    /// Delivers it after so many milliseconds, whatever comes behind it.
    Delay(u64),
    /// Delivers it after so many further packets of its direction.
    Reorder(u32),
    /// Delivers this in its place; the fate says what was done to it.
    Replace(Vec<u8>, Fate),
}

/// The faults of a run, and what they have met.
#[derive(Debug, Default)]
pub struct Engine {
    faults: Vec<Armed>,
    tracker: FaultTracker,
    /// Number of packets that a cut link still loses; `Some(None)` for good.
    cut: Option<Option<u64>>,
    /// Directions of limited rate, by receiver.
    limits: BTreeMap<Role, Limit>,
    passed: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    hits: u64,
    /// Of each receiver: how many first transmissions fitted, and which was the nth.
    streams: HashMap<Receiver, FirstTransmissions>,
}

#[derive(Debug, Default)]
struct FirstTransmissions {
    fitting: u32,
    nth: Option<Identity>,
}

#[derive(Debug)]
struct Limit {
    kbit_per_s: u64,
    free_at: Instant,
}

impl Engine {
    /// An engine that has met nothing yet.
    pub fn new(faults: Vec<Fault>) -> Engine {
        let faults =
            faults.into_iter().map(|fault| Armed { fault, hits: 0, streams: HashMap::new() }).collect();
        Engine { faults, ..Engine::default() }
    }

    /// Packets that the faults have met so far.
    pub fn met(&self) -> Met {
        Met { hits: self.faults.iter().map(|armed| armed.hits).collect(), passed: self.passed.clone() }
    }

    /// Decides on one frame; every fault sees it, and the first that matches acts.
    pub fn treat(&mut self, from: Role, to: Role, frame: &[u8], now: Instant) -> Treatment {
        if self.faults.is_empty() {
            return Treatment::Forward;
        }
        let Some(seen) = self.tracker.see(from, to, frame) else {
            return if self.cut.is_some() { Treatment::Cut } else { self.paced(to, frame, now) };
        };
        *self.passed.entry(format!("{} to {}", seen.kind, seen.to)).or_default() += 1;
        let mut acting = None;
        for armed in &mut self.faults {
            let altered = match armed.fault.action {
                Action::Corrupt { .. } | Action::Truncate { .. } | Action::MarkEcn => {
                    // A packet that has not what is to be changed does not match.
                    let Some(altered) = alter(armed.fault.action, frame) else { continue };
                    Some(altered)
                }
                _ => None,
            };
            if armed.matches(&seen, frame) && acting.is_none() && self.cut.is_none() {
                armed.hits += 1;
                acting = Some((armed.fault.action, altered));
            }
        }
        if let Some(left) = &mut self.cut {
            if let Some(left) = left {
                *left -= 1;
            }
            if *left == Some(0) {
                self.cut = None;
            }
            return Treatment::Cut;
        }
        match acting {
            None => self.paced(to, frame, now),
            Some((action, Some(altered))) => Treatment::Replace(
                altered,
                match action {
                    Action::Truncate { .. } => Fate::Truncated,
                    Action::MarkEcn => Fate::EcnMarked,
                    _ => Fate::Corrupted,
                },
            ),
            Some((Action::Drop, _)) => Treatment::Drop,
            Some((Action::Duplicate, _)) => Treatment::Duplicate,
            Some((Action::Delay { ms }, _)) => Treatment::Delay(ms),
            Some((Action::Reorder { by }, _)) => Treatment::Reorder(by),
            Some((Action::Cut { packets }, _)) => {
                // This packet is the first that is lost.
                self.cut = match packets {
                    Some(1) => None,
                    packets => Some(packets.map(|packets| packets - 1)),
                };
                Treatment::Cut
            }
            Some((Action::Rate { kbit_per_s }, _)) => {
                self.limits.insert(to, Limit { kbit_per_s, free_at: now });
                self.paced(to, frame, now)
            }
            Some((Action::Corrupt { .. } | Action::Truncate { .. } | Action::MarkEcn, None)) => {
                Treatment::Forward
            }
        }
    }

    /// Lets a frame through as fast as its receiver's direction carries.
    fn paced(&mut self, to: Role, frame: &[u8], now: Instant) -> Treatment {
        let Some(limit) = self.limits.get_mut(&to) else { return Treatment::Forward };
        let bits = frame.len() as u64 * 8;
        limit.free_at = limit.free_at.max(now) + Duration::from_micros(bits * 1000 / limit.kbit_per_s);
        Treatment::Queue(limit.free_at - now)
    }
}

impl Armed {
    /// Counts this transmission; true if the fault is about it.
    fn matches(&mut self, seen: &TrackedPacket, frame: &[u8]) -> bool {
        let matcher = &self.fault.matcher;
        let fits = matcher.kind.is_none_or(|kind| kind == seen.kind)
            && matcher.to.is_none_or(|to| {
                to.node == seen.to.node && (to.queue_pair.is_none() || to.queue_pair == seen.to.queue_pair)
            })
            && matcher.psn.is_none_or(|psn| Some(psn) == seen.psn())
            && matcher.larger_than.is_none_or(|bytes| frame.len() > header_bytes(frame) + bytes as usize);
        if !fits {
            return false;
        }
        if let Some(nth) = matcher.nth {
            let stream = self.streams.entry(seen.to).or_default();
            if seen.is_first {
                stream.fitting += 1;
                if stream.fitting == nth {
                    stream.nth = Some(seen.identity);
                }
            }
            if stream.nth != Some(seen.identity) {
                return false;
            }
        }
        let begins = matches!(self.fault.action, Action::Cut { .. } | Action::Rate { .. });
        if begins && self.hits > 0 {
            return false;
        }
        let transmission = seen.transmission - u32::from(matcher.is_again);
        transmission > 0
            && matcher.times.is_none_or(|times| transmission <= times)
            && (matcher.probability >= 1.0 || draw(matcher.seed, seen) < matcher.probability)
    }
}

/// A number from 0 up to 1 that depends on the seed and on which transmission of which packet this is.
fn draw(seed: u64, seen: &TrackedPacket) -> f64 {
    let text = format!("{seed} {} {:?} {}", seen.to, seen.identity, seen.transmission);
    let hash: [u8; 32] = Sha256::digest(text).into();
    let (number, _) = hash.split_at(8);
    let number = number.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    // The 53 bits that a float holds.
    (number >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use roce::synth::Pair;
    use serde::Deserialize;

    use super::*;

    fn engine(text: &str) -> Engine {
        #[derive(Deserialize)]
        struct File {
            fault: Vec<Fault>,
        }
        Engine::new(toml::from_str::<File>(text).unwrap().fault)
    }

    /// The treatment of WRITEs of one packet with these PSNs, from the client.
    fn writes(engine: &mut Engine, psns: &[u32]) -> Vec<Treatment> {
        let pair = Pair::new(1);
        let now = Instant::now();
        psns.iter()
            .map(|psn| {
                let frame = pair.request(0x0a, *psn).reth(0, 0, 4).payload(&[1; 4]).build();
                engine.treat(Role::Client, Role::Server, &frame, now)
            })
            .collect()
    }

    const DROP: Treatment = Treatment::Drop;
    const PASS: Treatment = Treatment::Forward;

    #[test]
    fn nth_counts_first_transmissions_and_times_those_of_one_packet() {
        let mut engine =
            engine("[[fault]]\naction = \"drop\"\nopcode = \"RC RDMA WRITE Only\"\nnth = 3\ntimes = 2\n");
        assert_eq!(writes(&mut engine, &[0, 1, 1, 2, 2, 2, 3]), [PASS, PASS, PASS, DROP, DROP, PASS, PASS]);
        assert_eq!(engine.met().hits, [2]);
    }

    #[test]
    fn packet_that_is_hit_again_passes_at_first() {
        let mut engine = engine("[[fault]]\naction = \"drop\"\nagain = true\ntimes = 2\n");
        assert_eq!(writes(&mut engine, &[0, 1, 1, 1, 1, 2]), [PASS, PASS, DROP, DROP, PASS, PASS]);
    }

    #[test]
    fn size_decides_for_every_transmission_as_an_mtu_does() {
        // A WRITE of 4 bytes is 64 bytes on an interface: IP 20, UDP 8, BTH 12, RETH 16, payload 4, ICRC 4.
        let of = |larger_than| {
            let mut engine = engine(&format!("[[fault]]\naction = \"drop\"\nlarger_than = {larger_than}\n"));
            writes(&mut engine, &[0, 0, 1])
        };
        assert_eq!(of(63), [DROP, DROP, DROP]);
        assert_eq!(of(64), [PASS, PASS, PASS]);
        let mut engine = engine("[[fault]]\naction = \"drop\"\nlarger_than = 64\n");
        let tagged = Pair::new(1).request(0x0a, 0).reth(0, 0, 4).payload(&[1; 4]).vlan(7).build();
        assert_eq!(engine.treat(Role::Client, Role::Server, &tagged, Instant::now()), PASS);
    }

    #[test]
    fn psn_is_a_distance_from_the_first() {
        let mut engine = engine("[[fault]]\naction = \"duplicate\"\npsn = 1\n");
        assert_eq!(writes(&mut engine, &[0, 1, 1, 2]), [PASS, Treatment::Duplicate, PASS, PASS]);
    }

    #[test]
    fn fault_that_meets_nothing_is_told_with_what_passed() {
        let mut engine = engine(
            "[[fault]]\naction = \"drop\"\nto = \"client\"\n[[fault]]\naction = \"drop\"\nto = \"server.qp2\"\n",
        );
        assert_eq!(writes(&mut engine, &[0, 1]), [PASS, PASS]);
        let met = engine.met();
        assert_eq!(met.hits, [0, 0]);
        assert_eq!(met.passed, [("RC RDMA WRITE Only to server.qp1".to_owned(), 2)].into());
    }

    #[test]
    fn cut_link_loses_so_many_packets_and_is_back() {
        let mut engine = engine("[[fault]]\naction = \"cut\"\nnth = 2\npackets = 2\n");
        assert_eq!(writes(&mut engine, &[0, 1]), [PASS, Treatment::Cut]);
        // What is no packet of RoCE is lost, too, and does not count.
        assert_eq!(engine.treat(Role::Server, Role::Client, &[0; 60], Instant::now()), Treatment::Cut);
        assert_eq!(writes(&mut engine, &[1, 1, 2]), [Treatment::Cut, PASS, PASS]);
        assert_eq!(engine.met().hits, [1]);
    }

    #[test]
    fn probability_depends_on_the_packet_and_the_seed_alone() {
        let drawn = |seed: u64| {
            let mut engine =
                engine(&format!("[[fault]]\naction = \"drop\"\nprobability = 0.25\nseed = {seed}\n"));
            writes(&mut engine, &(0..4000).collect::<Vec<_>>())
        };
        let first = drawn(1);
        assert_eq!(first, drawn(1));
        assert_ne!(first, drawn(2));
        let dropped = first.iter().filter(|treatment| **treatment == DROP).count();
        assert!((900..1100).contains(&dropped), "{dropped}");
    }

    #[test]
    fn retransmission_is_drawn_for_itself() {
        let mut engine = engine("[[fault]]\naction = \"drop\"\nprobability = 0.5\n");
        let treatments = writes(&mut engine, &[7; 64]);
        assert!(treatments.contains(&DROP) && treatments.contains(&PASS));
    }

    #[test]
    fn first_fault_that_matches_acts_and_the_others_count_on() {
        let mut engine =
            engine("[[fault]]\naction = \"drop\"\nnth = 1\n[[fault]]\naction = \"duplicate\"\nnth = 2\n");
        assert_eq!(writes(&mut engine, &[0, 1, 2]), [DROP, Treatment::Duplicate, PASS]);
    }

    #[test]
    fn rate_delays_what_follows() {
        let mut engine = engine("[[fault]]\naction = \"rate\"\nkbit_per_s = 1000\n");
        let delays: Vec<Duration> = writes(&mut engine, &[0, 1])
            .into_iter()
            .map(|treatment| match treatment {
                Treatment::Queue(by) => by,
                other => panic!("{other:?}"),
            })
            .collect();
        // Two frames of 78 bytes at 125 bytes a millisecond.
        assert_eq!(delays[1], delays[0] * 2);
        assert!(delays[0] > Duration::from_micros(500) && delays[0] < Duration::from_millis(1), "{delays:?}");
    }
}
