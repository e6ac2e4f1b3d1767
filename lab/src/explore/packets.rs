//! The packets of a run without faults, each as a fault can name it.

use std::collections::HashMap;
use std::path::Path;

use roce::wire::Operation;

use crate::base::error::Result;
use crate::run::evidence::RunEvidence;
use crate::scenario::fault::Matcher;
use crate::scenario::fault::action::{Action, PacketField};
use crate::scenario::fault::matcher::{PacketKind, Receiver};
use crate::wire::alter::alter;
use crate::wire::capture::{CAPTURE, open, unreadable};
use crate::wire::tracker::{FaultTracker, TrackedPacket};

/// A packet of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Number in the capture, from 1.
    pub number: u64,
    /// The opcode, or the message of connection management.
    pub kind: PacketKind,
    /// The receiver.
    pub to: Receiver,
    /// Distance of its PSN from its requester's first, where that names it.
    pub psn: Option<u32>,
    /// Place among the packets of its kind to its receiver, from 1; where no PSN names it.
    pub nth: Option<u32>,
    /// Bytes of its frame.
    pub bytes: usize,
    /// Fields that can be changed.
    pub fields: Vec<PacketField>,
    /// Number of packets of the run that it stands for: itself, and those of its class behind it.
    pub stands_for: u64,
}

impl Target {
    /// Returns true if it is an acknowledgement: which packets have one of their own is the responder's choice, and differs between runs.
    pub fn is_acknowledgement(&self) -> bool {
        is_acknowledgement(self.kind)
    }

    /// The matcher of this packet's first transmission, and of no other.
    pub fn matcher(&self) -> Matcher {
        Matcher {
            kind: Some(self.kind),
            to: Some(self.to),
            psn: self.psn,
            nth: self.nth,
            ..Matcher::default()
        }
    }
}

/// Lists the packets of the run that `artifacts` holds, one for each class: of packets of one kind with consecutive PSNs,
/// as the Middles of a message are, the first, one between and the last.
///
/// # Errors
///
/// The capture cannot be read.
pub fn packets(evidence: &RunEvidence, artifacts: &Path) -> Result<Vec<Target>> {
    let path = artifacts.join(CAPTURE);
    let mut reader = open(&path)?;
    let mut tracker = FaultTracker::default();
    let mut counts: HashMap<(PacketKind, Receiver), u32> = HashMap::new();
    let mut all = Vec::new();
    while let Some(record) = reader.next().map_err(|source| unreadable(&path, source))? {
        if !record.fate().is_sent() {
            continue;
        }
        let frame = record.frame();
        let Some(packet) = frame.packet() else { continue };
        let Some(from) = evidence.owner(packet.source) else { continue };
        let to = evidence.owner(packet.destination).unwrap_or(from.peer());
        let Some(seen) = tracker.see(from, to, record.data).filter(|seen| seen.is_first) else { continue };
        let count = counts.entry((seen.kind, seen.to)).or_default();
        *count += 1;
        all.push(target(record.number, &seen, *count, record.data));
    }
    Ok(classes(all))
}

fn target(number: u64, seen: &TrackedPacket, count: u32, frame: &[u8]) -> Target {
    // Which packets are acknowledged by one of their own is the responder's choice, and differs between runs.
    let psn = seen.psn().filter(|_| !is_acknowledgement(seen.kind));
    let can_change = |field: &PacketField| {
        alter(Action::Corrupt { field: *field, value: None, is_resealed: false }, frame).is_some()
    };
    Target {
        number,
        kind: seen.kind,
        to: seen.to,
        psn,
        nth: psn.is_none().then_some(count),
        bytes: frame.len(),
        fields: PacketField::ALL.into_iter().filter(can_change).collect(),
        stands_for: 1,
    }
}

fn is_acknowledgement(kind: PacketKind) -> bool {
    matches!(kind, PacketKind::Opcode(opcode) if opcode.operation() == Operation::Acknowledge)
}

/// Keeps of each stretch of like packets the first, the one in the middle and the last; the one in the middle stands for the
/// rest.
fn classes(all: Vec<Target>) -> Vec<Target> {
    let mut stretches: Vec<Vec<Target>> = Vec::new();
    for target in all {
        // Answers come between requests of one message: the stretch goes on.
        let open = stretches.iter_mut().rev().find(|stretch| {
            stretch.last().is_some_and(|last| (last.kind, last.to) == (target.kind, target.to))
        });
        match open {
            Some(stretch) if stretch.last().is_some_and(|last| follows(last, &target)) => {
                stretch.push(target)
            }
            _ => stretches.push(vec![target]),
        }
    }
    let mut kept = Vec::new();
    for stretch in stretches {
        let count = stretch.len();
        let middle = count / 2;
        let is_kept = |index: usize| count <= 3 || [0, middle, count - 1].contains(&index);
        for (index, mut target) in stretch.into_iter().enumerate().filter(|(index, _)| is_kept(*index)) {
            if count > 3 && index == middle {
                target.stands_for = count as u64 - 2;
            }
            kept.push(target);
        }
    }
    kept.sort_by_key(|target| target.number);
    kept
}

/// True if `next` comes in the same stretch as `last`.
fn follows(last: &Target, next: &Target) -> bool {
    match (last.psn, next.psn) {
        (Some(last), Some(next)) => next == last + 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(psns: &[u32], kind: &str) -> Vec<Target> {
        let of = |psn: &u32| Target {
            number: u64::from(*psn) + 1,
            kind: kind.parse().unwrap(),
            to: "server.qp1".parse().unwrap(),
            psn: Some(*psn),
            nth: None,
            bytes: 1082,
            fields: Vec::new(),
            stands_for: 1,
        };
        psns.iter().map(of).collect()
    }

    fn kept(of: Vec<Target>) -> Vec<(u32, u64)> {
        classes(of).iter().map(|target| (target.psn.unwrap(), target.stands_for)).collect()
    }

    #[test]
    fn like_packets_are_tried_at_first_between_and_last() {
        let middles = targets(&[1, 2, 3, 4, 5, 6], "RC RDMA WRITE Middle");
        assert_eq!(kept(middles), [(1, 1), (4, 4), (6, 1)]);
        assert_eq!(kept(targets(&[1, 2, 3], "RC RDMA WRITE Middle")), [(1, 1), (2, 1), (3, 1)]);
    }

    #[test]
    fn packets_apart_are_each_of_a_class() {
        assert_eq!(kept(targets(&[0, 2, 4, 6], "RC SEND Only")), [(0, 1), (2, 1), (4, 1), (6, 1)]);
    }
}
