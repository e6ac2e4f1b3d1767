//! Faults on the packets of a run, and the demand on a run with them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::explore::packets::Target;
use crate::scenario::fault::action::{Action, PacketField};
use crate::scenario::fault::matcher::PacketKind;
use crate::scenario::fault::{Fault, Matcher};

/// A short delay in milliseconds: later than what follows, sooner than a requester's patience ends.
const DELAY_MS: u64 = 20;

/// Bytes that truncation takes: the ICRC, and one of what it covers.
const CUT: usize = 5;

/// A run's faults, each on a packet of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// The faults, in the order of their packets.
    pub faults: Vec<Fault>,
    /// Numbers of those packets in the run without faults.
    pub packets: Vec<u64>,
    /// Number of placements of the run that it stands for, by its packet's class.
    pub stands_for: u64,
}

/// The least that the protocol promises of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// A reliable connection makes good for it: both programs end as without the fault.
    Recovers,
    /// A receiver cannot see the change, or has to refuse the packet: the programs may fail, and do so in time.
    Ends,
}

impl Demand {
    /// Returns the demand on a run with this fault.
    pub fn of(fault: &Fault) -> Demand {
        match fault.action {
            // The ICRC still fits: the receiver takes the change for what was sent.
            Action::Corrupt { field, is_resealed: true, .. } => match field {
                // Dropped in silence as another's (C9-42, C10-130), or as out of sequence, and sent again.
                PacketField::DestinationQpn | PacketField::PKey if !is_connecting(&fault.matcher) => {
                    Demand::Recovers
                }
                _ => Demand::Ends,
            },
            Action::Cut { packets: None } => Demand::Ends,
            _ => Demand::Recovers,
        }
    }
}

fn is_connecting(matcher: &Matcher) -> bool {
    matches!(matcher.kind, Some(PacketKind::Cm(_)))
}

impl Placement {
    /// Returns the placement of one fault.
    pub fn one(target: &Target, action: Action) -> Placement {
        let fault = Fault { matcher: target.matcher(), action };
        Placement { faults: vec![fault], packets: vec![target.number], stands_for: target.stands_for }
    }

    /// Returns both together; `None` where they act on one packet.
    pub fn with(&self, other: &Placement) -> Option<Placement> {
        if self.packets.iter().any(|packet| other.packets.contains(packet)) {
            return None;
        }
        let mut both: Vec<(u64, &Fault)> = [self, other]
            .into_iter()
            .flat_map(|placement| placement.packets.iter().copied().zip(&placement.faults))
            .collect();
        both.sort_by_key(|(packet, _)| *packet);
        Some(Placement {
            packets: both.iter().map(|(packet, _)| *packet).collect(),
            faults: both.into_iter().map(|(_, fault)| fault.clone()).collect(),
            stands_for: 1,
        })
    }

    /// Returns it without its fault at `index`.
    pub fn without(&self, index: usize) -> Placement {
        let mut fewer = self.clone();
        fewer.faults.remove(index);
        fewer.packets.remove(index);
        fewer
    }

    /// Returns a text that no other placement of a run has.
    pub fn key(&self) -> String {
        self.to_string()
    }

    /// Returns the demand on a run with all of its faults: the weakest.
    pub fn demand(&self) -> Demand {
        self.faults.iter().map(Demand::of).max().unwrap_or(Demand::Recovers)
    }
}

/// As a table names it: `drop RC RDMA WRITE Middle, to server.qp1, psn 2`.
impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str(" and ")?;
            }
            fault.fmt(f)?;
            if fault.is_resealed() {
                f.write_str(", good ICRC")?;
            }
        }
        Ok(())
    }
}

/// Kind of a fault, whatever its packet: a column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultKind {
    /// Place among all kinds.
    order: usize,
    /// A short word for it.
    pub word: &'static str,
    /// True if the ICRC is made to fit again.
    pub is_resealed: bool,
}

impl FaultKind {
    /// Returns the kind of an action.
    pub fn of(action: Action) -> FaultKind {
        let of_field = |field: PacketField| match field {
            PacketField::Payload => "data",
            PacketField::Icrc => "icrc",
            PacketField::Opcode => "op",
            PacketField::PKey => "pkey",
            PacketField::DestinationQpn => "qpn",
            PacketField::Psn => "psn",
            PacketField::Va => "va",
            PacketField::Rkey => "rkey",
            PacketField::DmaLength => "len",
            PacketField::Syndrome => "synd",
            PacketField::Msn => "msn",
            PacketField::Immediate => "imm",
            PacketField::Original => "orig",
        };
        let (order, word) = match action {
            Action::Drop => (0, "drop"),
            Action::Duplicate => (1, "dup"),
            Action::Delay { .. } => (2, "delay"),
            Action::Reorder { .. } => (3, "order"),
            Action::Truncate { .. } => (4, "cut"),
            Action::MarkEcn => (5, "ecn"),
            Action::Cut { .. } => (6, "link"),
            Action::Rate { .. } => (7, "rate"),
            Action::Corrupt { field, is_resealed, .. } => {
                let order = PacketField::ALL.iter().position(|known| *known == field).unwrap_or_default();
                (8 + order + if is_resealed { PacketField::ALL.len() } else { 0 }, of_field(field))
            }
        };
        let is_resealed = matches!(action, Action::Corrupt { is_resealed: true, .. });
        FaultKind { order, word, is_resealed }
    }
}

/// Lists every fault on every one of these packets.
pub fn all(targets: &[Target]) -> Vec<Placement> {
    let of = |target: &Target| {
        let placed: Vec<Placement> =
            actions(target).into_iter().map(|action| Placement::one(target, action)).collect();
        placed
    };
    targets.iter().flat_map(of).collect()
}

/// The actions that a packet can meet.
fn actions(target: &Target) -> Vec<Action> {
    let mut actions = vec![
        Action::Drop,
        Action::Duplicate,
        Action::Delay { ms: DELAY_MS },
        Action::Reorder { by: 1 },
        Action::Truncate { bytes: target.bytes - CUT },
        Action::MarkEcn,
    ];
    for field in &target.fields {
        let is_icrc = *field == PacketField::Icrc;
        if is_icrc || *field == PacketField::Payload {
            actions.push(Action::Corrupt { field: *field, value: None, is_resealed: false });
        }
        if !is_icrc {
            actions.push(Action::Corrupt { field: *field, value: None, is_resealed: true });
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: u64) -> Target {
        Target {
            number,
            kind: "RC RDMA WRITE Only".parse().unwrap(),
            to: "server.qp1".parse().unwrap(),
            psn: Some(0),
            nth: None,
            bytes: 80,
            fields: vec![
                PacketField::Payload,
                PacketField::Icrc,
                PacketField::Rkey,
                PacketField::DestinationQpn,
            ],
            stands_for: 1,
        }
    }

    #[test]
    fn every_field_is_changed_with_a_good_icrc_and_payload_and_icrc_without() {
        let names: Vec<String> = all(&[target(4)]).iter().map(ToString::to_string).collect();
        let resealed = names.iter().filter(|name| name.ends_with("good ICRC")).count();
        assert_eq!((names.len(), resealed), (11, 3), "{names:?}");
        assert_eq!(names[0], "drop RC RDMA WRITE Only, to server.qp1, psn 0");
    }

    #[test]
    fn every_placement_has_a_key_of_its_own_and_a_column_of_its_packet() {
        let all = all(&[target(4), Target { psn: Some(1), ..target(5) }]);
        let keys: std::collections::BTreeSet<String> = all.iter().map(Placement::key).collect();
        assert_eq!(keys.len(), all.len());
        let of = |number: u64| {
            let of_it = all.iter().filter(move |placement| placement.packets == [number]);
            of_it.map(|placement| FaultKind::of(placement.faults[0].action)).collect::<Vec<_>>()
        };
        let mut columns = of(4);
        assert_eq!(columns, of(5));
        columns.sort();
        columns.dedup();
        let words: Vec<(&str, bool)> = columns.iter().map(|kind| (kind.word, kind.is_resealed)).collect();
        let plain = ["drop", "dup", "delay", "order", "cut", "ecn", "data", "icrc"].map(|word| (word, false));
        assert_eq!(words, [&plain[..], &["data", "qpn", "rkey"].map(|word| (word, true))].concat());
    }

    #[test]
    fn demand_is_recovery_unless_the_receiver_is_deceived() {
        let of = |field, is_resealed| {
            Placement::one(&target(4), Action::Corrupt { field, value: None, is_resealed }).demand()
        };
        assert_eq!(of(PacketField::Payload, false), Demand::Recovers);
        assert_eq!(of(PacketField::Payload, true), Demand::Ends);
        assert_eq!(of(PacketField::DestinationQpn, true), Demand::Recovers);
        assert_eq!(Placement::one(&target(4), Action::Drop).demand(), Demand::Recovers);
    }

    #[test]
    fn pair_is_of_two_packets_and_as_weak_as_its_weaker_fault() {
        let drop = Placement::one(&target(4), Action::Drop);
        assert_eq!(drop.with(&Placement::one(&target(4), Action::Duplicate)), None);
        let deceive = Action::Corrupt { field: PacketField::Rkey, value: None, is_resealed: true };
        let both = Placement::one(&target(5), deceive).with(&drop).unwrap();
        assert_eq!((both.packets.clone(), both.demand()), (vec![4, 5], Demand::Ends));
        assert_eq!(both.without(1), Placement { stands_for: 1, ..drop });
    }
}
