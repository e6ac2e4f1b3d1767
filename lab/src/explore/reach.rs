//! Choice of the placements that an exploration tries: all, those of some packets or actions, or some that a seed draws.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::base::error::{Error, Result};
use crate::explore::packets::Target;
use crate::explore::placement::{self, Placement};
use crate::scenario::fault::action::{Action, PacketField};
use crate::scenario::fault::matcher::PacketKind;

/// Most faults of a random run.
const RANDOM_FAULTS: u64 = 4;

/// Choice of the placements that are tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Only faults on packets of these kinds; on any if there are none.
    #[serde(default)]
    pub on: Vec<String>,
    /// Only these actions; any if there are none.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Only changes of these fields, where an action changes one; any if there are none.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Number of them that meet in one run.
    #[serde(default)]
    pub meet: Meet,
}

/// Number of faults that meet in one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meet {
    /// One: every fault on every packet.
    #[default]
    Each,
    /// Two, in so many runs, drawn by the seed.
    Pairs {
        /// Number of runs.
        count: u64,
        /// The seed that they follow from.
        seed: u64,
    },
    /// Two to four, in so many runs, drawn by the seed.
    Random {
        /// Number of runs.
        count: u64,
        /// The seed that they follow from.
        seed: u64,
    },
}

impl Reach {
    /// Lists the placements on these packets.
    ///
    /// # Errors
    ///
    /// There are none: with the packets of the run.
    pub fn placements(&self, targets: &[Target]) -> Result<Vec<Placement>> {
        let mut each = placement::all(targets);
        let has = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|known| known.eq_ignore_ascii_case(name))
        };
        each.retain(|placement| {
            placement.faults.iter().all(|fault| {
                let kind = fault.matcher.kind.map(|kind| kind.to_string()).unwrap_or_default();
                let is_of_field = match fault.action {
                    Action::Corrupt { field, .. } => has(&self.fields, field.name()),
                    _ => true,
                };
                has(&self.on, &kind) && has(&self.actions, fault.action.name()) && is_of_field
            })
        });
        if each.is_empty() {
            let mut kinds: Vec<String> = targets.iter().map(|target| target.kind.to_string()).collect();
            kinds.sort();
            kinds.dedup();
            return Err(Error::usage("the run has no packet for any of these faults")
                .next(format!("its packets are: {}", kinds.join(", "))));
        }
        Ok(match self.meet {
            Meet::Each => each,
            Meet::Pairs { count, seed } => drawn(&each, count, seed, 2),
            Meet::Random { count, seed } => drawn(&each, count, seed, RANDOM_FAULTS),
        })
    }
}

/// One of several parts of an exploration, each for another computer: `2/3`. Which runs are of it, their faults alone decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    number: u64,
    /// Number of parts.
    of: u64,
}

impl Partition {
    /// Returns true if the run with this key is of it.
    pub fn has(self, key: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let hash = digest.iter().take(8).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
        hash % self.of == self.number - 1
    }
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Partition, String> {
        let wrong = || "write it as in 2/3: the second of three".to_owned();
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        let (number, of) = (number.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        if (1..=of).contains(&number) { Ok(Partition { number, of }) } else { Err(wrong()) }
    }
}

/// Reads the name of a packet's kind: `CM RTU`, `RC Acknowledge`.
///
/// # Errors
///
/// Nothing has that name; the error tells the nearest.
pub fn kind(name: &str) -> Result<String, String> {
    name.parse::<PacketKind>().map(|kind| kind.to_string())
}

/// Reads the name of an action that is tried.
///
/// # Errors
///
/// Nothing has that name; the error tells the nearest.
pub fn action(name: &str) -> Result<String, String> {
    crate::base::names::find("action", name, Action::NAMES).map(str::to_owned)
}

/// Reads the name of a field that is changed.
///
/// # Errors
///
/// Nothing has that name; the error tells the nearest.
pub fn field(name: &str) -> Result<String, String> {
    crate::base::names::find("field", name, PacketField::ALL.map(PacketField::name)).map(str::to_owned)
}

/// Draws runs of two to `most` faults on packets of their own.
fn drawn(each: &[Placement], count: u64, seed: u64, most: u64) -> Vec<Placement> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut drawn: Vec<Placement> = Vec::new();
    let mut keys = std::collections::HashSet::new();
    // Few packets have few pairs.
    for _ in 0..count.saturating_mul(20) {
        if drawn.len() as u64 >= count {
            break;
        }
        let mut placement: Option<Placement> = None;
        for _ in 0..random.u64(2..=most) {
            let Some(next) = random.choice(each) else { break };
            placement = match &placement {
                None => Some(next.clone()),
                Some(placement) => placement.with(next).or_else(|| Some(placement.clone())),
            };
        }
        if let Some(placement) = placement.filter(|placement| placement.faults.len() > 1)
            && keys.insert(placement.key())
        {
            drawn.push(placement);
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Vec<Target> {
        let of = |number: u64, kind: &str, to: &str| Target {
            number,
            kind: kind.parse().unwrap(),
            to: to.parse().unwrap(),
            psn: None,
            nth: Some(1),
            bytes: 80,
            fields: Vec::new(),
            stands_for: 1,
        };
        vec![of(1, "CM RTU", "server"), of(2, "RC Acknowledge", "client.qp1")]
    }

    #[test]
    fn reach_is_all_unless_packets_or_actions_are_named() {
        let count = |reach: Reach| reach.placements(&targets()).unwrap().len();
        assert_eq!(count(Reach::default()), 12);
        assert_eq!(count(Reach { on: vec!["cm rtu".to_owned()], ..Reach::default() }), 6);
        assert_eq!(count(Reach { actions: vec!["drop".to_owned()], ..Reach::default() }), 2);
        let mut changed = targets();
        changed[1].fields = vec![PacketField::Payload, PacketField::Rkey];
        let reach = Reach {
            actions: vec!["corrupt".to_owned()],
            fields: vec!["rkey".to_owned()],
            ..Reach::default()
        };
        assert_eq!(reach.placements(&changed).unwrap().len(), 1);
    }

    #[test]
    fn partitions_share_all_runs_and_none_twice() {
        let parts = ["1/3", "2/3", "3/3"].map(|text| text.parse::<Partition>().unwrap());
        let keys: Vec<String> = (0..300).map(|number| format!("drop RC SEND Only, psn {number}")).collect();
        for key in &keys {
            assert_eq!(parts.iter().filter(|part| part.has(key)).count(), 1, "{key}");
        }
        assert!(parts.iter().all(|part| keys.iter().filter(|key| part.has(key)).count() > 60));
        for wrong in ["0/3", "4/3", "1", "a/b", "1/0"] {
            wrong.parse::<Partition>().unwrap_err();
        }
    }

    #[test]
    fn packet_that_the_run_has_not_is_told_with_those_that_it_has() {
        let reach = Reach { on: vec!["CM DREQ".to_owned()], ..Reach::default() };
        let error = reach.placements(&targets()).unwrap_err().to_string();
        assert!(error.contains("next: its packets are: CM RTU, RC Acknowledge"), "{error}");
    }

    #[test]
    fn seed_draws_the_same_runs_and_none_twice() {
        let of = |seed| {
            let meet = Meet::Random { count: 9, seed };
            Reach { meet, ..Reach::default() }.placements(&targets()).unwrap()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let keys: std::collections::BTreeSet<String> = of(3).iter().map(Placement::key).collect();
        assert_eq!((keys.len(), of(3).len()), (9, 9));
        assert!(of(3).iter().all(|placement| placement.faults.len() == 2), "there are two packets");
    }
}
