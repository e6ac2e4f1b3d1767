//! The gate of the switch: closed, it keeps every RoCE packet until somebody decides on it.
//!
//! In: packets as they enter the switch, and decisions; out: the packets, in the order in which they came, each with its
//! decision. Who decides has to be heard of again and again: a gate whose keeper is silent for longer than it said opens, so
//! that nothing waits for somebody who has gone. It reads no clock.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::role::Role;
use crate::scenario::fault::Action;
use crate::scenario::fault::action::PacketField;

/// Most bytes that wait.
const BYTES_MAX: usize = 32 << 20;

/// Most packets that wait.
const PACKETS_MAX: usize = 16_384;

/// Decision on one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateDecision {
    /// Delivers it; armed faults act on it as on any other.
    Forward,
    /// Loses it.
    Drop,
    /// Delivers it twice.
    Double,
    /// Delivers it with a bit flipped, so that its ICRC does not fit.
    Corrupt,
    /// Delivers it later, whatever comes behind it.
    Delay {
        /// By how much, in milliseconds.
        ms: u64,
    },
}

impl GateDecision {
    /// The actions of faults that do the same, the best first; none for [`GateDecision::Forward`].
    pub(super) fn actions(self) -> Vec<Action> {
        let corrupt = |field| Action::Corrupt { field, value: None, is_resealed: false };
        match self {
            GateDecision::Forward => Vec::new(),
            GateDecision::Drop => vec![Action::Drop],
            GateDecision::Double => vec![Action::Duplicate],
            // Not each packet has a payload.
            GateDecision::Corrupt => {
                [PacketField::Payload, PacketField::Msn, PacketField::Psn].map(corrupt).into()
            }
            GateDecision::Delay { ms } => vec![Action::Delay { ms }],
        }
    }
}

impl fmt::Display for GateDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateDecision::Forward => f.write_str("forwarded"),
            GateDecision::Drop => f.write_str("dropped"),
            GateDecision::Double => f.write_str("doubled"),
            GateDecision::Corrupt => f.write_str("corrupted"),
            GateDecision::Delay { ms } => write!(f, "delayed {ms} ms"),
        }
    }
}

/// The packet that waits at the gate for longest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatePacket {
    /// Its number among those that came to the closed gate, from 1.
    pub number: u64,
    /// Node that sent it.
    pub from: Role,
    /// Its bytes.
    pub frame: Vec<u8>,
    /// Time of its arrival, in nanoseconds since the epoch.
    pub came_ns: u64,
    /// Packets behind it.
    pub behind: usize,
}

/// A packet at the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passenger {
    number: u64,
    pub(super) from: Role,
    pub(super) frame: Vec<u8>,
    pub(super) came: SystemTime,
}

/// Process that decides.
#[derive(Debug)]
struct Keeper {
    name: String,
    patience: Duration,
    until: Instant,
}

/// The gate; open at first.
#[derive(Debug, Default)]
pub(super) struct Gate {
    keeper: Option<Keeper>,
    passengers: VecDeque<Passenger>,
    bytes: usize,
    count: u64,
}

impl Gate {
    /// Closes it for a keeper who will be heard of within `patience`; false where another keeps it.
    pub(super) fn close(&mut self, name: &str, patience: Duration, now: Instant) -> bool {
        if self.keeper.as_ref().is_some_and(|keeper| keeper.name != name) {
            return false;
        }
        self.keeper = Some(Keeper { name: name.to_owned(), patience, until: now + patience });
        true
    }

    /// Takes note that the keeper was heard of; false where it keeps the gate no more.
    pub(super) fn hear(&mut self, name: &str, now: Instant) -> bool {
        match &mut self.keeper {
            Some(keeper) if keeper.name == name => {
                keeper.until = now + keeper.patience;
                true
            }
            _ => false,
        }
    }

    /// True if packets wait at it.
    pub(super) fn is_closed(&self) -> bool {
        self.keeper.is_some()
    }

    /// Time at which it opens unless the keeper is heard of; `None` where it is open.
    pub(super) fn until(&self) -> Option<Instant> {
        self.keeper.as_ref().map(|keeper| keeper.until)
    }

    /// Takes a packet in; false where it has no room.
    pub(super) fn admit(&mut self, from: Role, frame: &[u8], came: SystemTime) -> bool {
        if self.passengers.len() >= PACKETS_MAX || self.bytes + frame.len() > BYTES_MAX {
            return false;
        }
        self.count += 1;
        self.bytes += frame.len();
        self.passengers.push_back(Passenger { number: self.count, from, frame: frame.to_owned(), came });
        true
    }

    /// The packet that waits for longest, as it is told.
    pub(super) fn first(&self) -> Option<GatePacket> {
        let Passenger { number, from, frame, came } = self.passengers.front()?.clone();
        let came_ns = nanoseconds(came);
        Some(GatePacket { number, from, frame, came_ns, behind: self.passengers.len() - 1 })
    }

    /// Takes the packet of that number out, which is the first.
    pub(super) fn take(&mut self, number: u64) -> Option<Passenger> {
        self.passengers.front().filter(|first| first.number == number)?;
        let passenger = self.passengers.pop_front()?;
        self.bytes -= passenger.frame.len();
        Some(passenger)
    }

    /// Opens it; returns the packets that waited.
    pub(super) fn open(&mut self) -> VecDeque<Passenger> {
        let opened = std::mem::replace(self, Gate { count: self.count, ..Gate::default() });
        opened.passengers
    }
}

/// Nanoseconds since the epoch.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn packets_wait_in_order_and_only_the_first_is_taken() {
        let mut gate = Gate::default();
        assert!(!gate.is_closed() && gate.first().is_none());
        assert!(gate.close("a", PATIENCE, Instant::now()));
        for byte in [7, 8] {
            assert!(gate.admit(Role::Client, &[byte; 60], SystemTime::now()));
        }
        let first = gate.first().unwrap();
        assert_eq!((first.number, first.frame[0], first.behind), (1, 7, 1));
        assert!(gate.take(2).is_none());
        assert_eq!(gate.take(1).unwrap().frame, [7; 60]);
        assert!(gate.take(1).is_none());
        assert_eq!(gate.open().len(), 1);
        assert!(!gate.is_closed() && gate.bytes == 0);
        // Numbers go on, so that a late decision meets no other packet.
        gate.close("a", PATIENCE, Instant::now());
        gate.admit(Role::Server, &[9; 60], SystemTime::now());
        assert_eq!(gate.first().unwrap().number, 3);
    }

    #[test]
    fn one_keeps_the_gate_as_long_as_it_is_heard_of() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        assert!(gate.close("a", PATIENCE, now) && !gate.close("b", PATIENCE, now));
        assert!(gate.hear("a", now + PATIENCE) && !gate.hear("b", now));
        assert_eq!(gate.until(), Some(now + 2 * PATIENCE));
        gate.open();
        assert!(!gate.hear("a", now) && gate.until().is_none());
        assert!(gate.close("b", PATIENCE, now));
    }

    #[test]
    fn gate_without_room_takes_no_more() {
        let mut gate = Gate::default();
        let frame = vec![0; 1 << 20];
        let taken = (0..64).take_while(|_| gate.admit(Role::Client, &frame, SystemTime::now())).count();
        assert_eq!(taken << 20, BYTES_MAX);
        gate.take(1).unwrap();
        assert!(gate.admit(Role::Client, &frame, SystemTime::now()));
    }
}
