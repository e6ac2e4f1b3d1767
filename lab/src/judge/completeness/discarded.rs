//! Packets that were delivered to a node and that its device did not count, each with the reason that the capture shows.
//!
//! rxe counts a packet as received behind its checks of the ICRC and of the queue pair: what is for a queue pair that has failed,
//! is gone or never was, or carries another Q_Key, is dropped without a word. The capture has it all the same, so it is complete.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;

use roce::wire::{Icrc, NakCode, Packet, Psn, Syndrome};
use roce::{Connection, Report};

use crate::base::error::Result;
use crate::base::role::Role;
use crate::run::evidence::RunEvidence;
use crate::wire::capture::each_packet;

/// A queue pair: its node's address and its number.
type AddressedQueuePair = (IpAddr, u32);

/// The general service interface, which every node has.
const GSI: u32 = 1;

/// The number to which multicast goes.
const MULTICAST: u32 = 0xff_ffff;

/// The bits of a P_Key that have to be equal; the highest tells full from limited membership. All of them are the default key.
const P_KEY: u16 = 0x7fff;

/// Why a device did not take what reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// No queue pair has that number: nothing else in the capture speaks of it.
    NoQueuePair(u32),
    /// The queue pair has failed, or is gone.
    QueuePairGone,
    /// A datagram whose queue pair is there, and has another Q_Key.
    QKey {
        /// The queue pair.
        qpn: u32,
        /// The datagram's.
        q_key: u32,
    },
    /// A packet with a P_Key that is none of those which its receiver's own packets have.
    PKey {
        /// The queue pair.
        qpn: u32,
        /// The packet's.
        p_key: u16,
    },
    /// The capture does not tell.
    Unknown,
}

impl Why {
    /// What packets these are, for a proof.
    pub(super) fn words(self) -> &'static str {
        match self {
            Why::NoQueuePair(_) => "to queue pairs that do not exist",
            Why::QueuePairGone => "to queue pairs that had failed",
            Why::QKey { .. } => "with another Q_Key",
            Why::PKey { .. } => "with another P_Key",
            Why::Unknown => "that a device did not take, for a reason that the capture does not show",
        }
    }
}

/// Packets that a device did not take, for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discarded {
    /// Whose device.
    pub role: Role,
    /// Why.
    pub why: Why,
    /// How many.
    pub count: u64,
    /// Number of the first in the capture, from 1; 0 where nothing tells which.
    pub packet: u64,
}

/// Packets that a device may not have taken, by reason: how many, and the first.
type Candidates = BTreeMap<Why, (u64, u64)>;

/// Finds reasons for the packets that devices did not take; `surplus` says how many of each node.
///
/// # Errors
///
/// The capture cannot be read again.
pub(super) fn explain(
    evidence: &RunEvidence,
    report: &Report,
    capture: &Path,
    surplus: &BTreeMap<Role, u64>,
) -> Result<Vec<Discarded>> {
    if surplus.values().all(|surplus| *surplus == 0) {
        return Ok(Vec::new());
    }
    let mut ends = Ends::new(&report.connections);
    let unknown: HashSet<u64> = report
        .packet_names()
        .iter()
        .filter(|names| names.queue_pairs[1].contains(".0x"))
        .map(|names| names.number)
        .collect();
    let mut p_keys: HashMap<IpAddr, BTreeSet<u16>> = HashMap::new();
    each_packet(capture, |number, is_sent, _, packet| {
        if is_sent {
            ends.note(number, packet);
            if let Some(bth) = packet.bth {
                p_keys.entry(packet.source).or_default().insert(bth.p_key() & P_KEY);
            }
        }
    })?;
    let mut candidates: BTreeMap<Role, Candidates> = BTreeMap::new();
    each_packet(capture, |number, _, is_delivered, packet| {
        let (Some(bth), true) = (packet.bth, is_delivered && packet.icrc == Icrc::Good) else { return };
        let qpn = bth.destination_qpn();
        let Some(role) = evidence.owner(packet.destination).filter(|_| qpn != GSI && qpn != MULTICAST) else {
            return;
        };
        let p_key = bth.p_key();
        let is_foreign = |known: &BTreeSet<u16>| !known.contains(&(p_key & P_KEY));
        let why = if p_keys.get(&packet.destination).map_or(p_key & P_KEY != P_KEY, is_foreign) {
            Why::PKey { qpn, p_key }
        } else if unknown.contains(&number) {
            Why::NoQueuePair(qpn)
        } else if ends.is_past(number, packet) {
            Why::QueuePairGone
        } else if let Some(deth) = packet.deth {
            Why::QKey { qpn, q_key: deth.q_key() }
        } else {
            return;
        };
        candidates.entry(role).or_default().entry(why).or_insert((0, number)).0 += 1;
    })?;
    let mut found = Vec::new();
    for (role, surplus) in surplus {
        let mut left = *surplus;
        for (why, (count, packet)) in candidates.remove(role).unwrap_or_default() {
            let count = count.min(left);
            if count > 0 {
                left -= count;
                found.push(Discarded { role: *role, why, count, packet });
            }
        }
        if left > 0 {
            found.push(Discarded { role: *role, why: Why::Unknown, count: left, packet: 0 });
        }
    }
    Ok(found)
}

/// The queue pairs of a node that the capture knows by packets of theirs.
pub(super) fn queue_pairs(report: &Report, evidence: &RunEvidence) -> BTreeMap<Role, BTreeSet<u32>> {
    let mut known: BTreeMap<Role, BTreeSet<u32>> = BTreeMap::new();
    for connection in &report.connections {
        for end in [&connection.active, &connection.passive] {
            if let (Some(role), Some(qpn)) = (evidence.owner(end.address), end.qpn)
                && end.packets > 0
            {
                known.entry(role).or_default().insert(qpn);
            }
        }
    }
    known
}

/// The last sign of life of each queue pair.
struct Ends {
    peers: HashMap<AddressedQueuePair, AddressedQueuePair>,
    /// The number of the last packet that it sent.
    last: HashMap<AddressedQueuePair, u64>,
    /// The PSN of the request that it refused.
    refused: HashMap<AddressedQueuePair, Psn>,
}

impl Ends {
    fn new(connections: &[Connection]) -> Ends {
        let mut peers = HashMap::new();
        for Connection { active, passive, .. } in connections {
            if let (Some(a), Some(b)) = (active.qpn, passive.qpn) {
                peers.insert((active.address, a), (passive.address, b));
                peers.insert((passive.address, b), (active.address, a));
            }
        }
        Ends { peers, last: HashMap::new(), refused: HashMap::new() }
    }

    /// Takes note of a packet that was sent.
    fn note(&mut self, number: u64, packet: &Packet<'_>) {
        let Some(bth) = packet.bth else { return };
        let Some(&sender) = self.peers.get(&(packet.destination, bth.destination_qpn())) else { return };
        self.last.insert(sender, number);
        let is_fatal = packet.aeth.is_some_and(
            |aeth| matches!(aeth.syndrome(), Syndrome::Nak(code) if code != NakCode::PsnSequenceError),
        );
        if is_fatal {
            self.refused.entry(sender).or_insert(bth.psn());
        }
    }

    /// Whether a packet came behind its queue pair's last sign of life, or behind the request that it refused.
    fn is_past(&self, number: u64, packet: &Packet<'_>) -> bool {
        let Some(bth) = packet.bth else { return false };
        let receiver = (packet.destination, bth.destination_qpn());
        let is_behind =
            self.peers.contains_key(&receiver) && self.last.get(&receiver).is_none_or(|last| number > *last);
        let is_refused = bth.opcode().is_request()
            && self.refused.get(&receiver).is_some_and(|refused| bth.psn().distance(*refused) > 0);
        is_behind || is_refused
    }
}
