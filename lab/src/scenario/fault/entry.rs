//! A `[[fault]]` as a scenario file has it: flat keys, of which some go with some actions only.
//!
//! Flat, and no enum tagged by `action`: serde allows no `flatten` of the keys of all actions beside `deny_unknown_fields`, and
//! calls a key of another action unknown, where the error here names the action that it belongs to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::names;
use crate::scenario::fault::Fault;
use crate::scenario::fault::action::{Action, PacketField};
use crate::scenario::fault::matcher::{Matcher, PacketKind};

/// Longest delay, in milliseconds: beyond the last retry of any requester a packet is as good as lost.
const DELAY_MAX_MS: u64 = 60_000;

/// A `[[fault]]` of a scenario file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["action"]))]
pub struct FaultEntry {
    /// Effect on the packets: drop, duplicate, delay, reorder, corrupt, truncate, mark-ecn, cut, rate.
    #[schemars(extend("enum" = Action::NAMES))]
    pub action: String,
    /// Only packets with this opcode, in the standard's words: `RC RDMA WRITE Only`; `CM REQ` for connection
    /// management.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = PacketKind::names()))]
    pub opcode: Option<String>,
    /// Only packets to this node or queue pair: `server`, or `server.qp1` as a trace names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(server|client[2-7]?)(\.qp[1-9][0-9]*)?$"))]
    pub to: Option<String>,
    /// Only packets with this PSN, as the distance from its requester's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psn: Option<u32>,
    /// Only packets that an MTU of so many bytes does not carry: their IP packet is longer. All of their transmissions are hit,
    /// unless `times` bounds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<u32>,
    /// Only the nth of those packets, from 1, of each connection and direction; retransmissions do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth: Option<u32>,
    /// Limit to packets that come again: its first transmission passes, and `times` counts those behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<bool>,
    /// Number of transmissions of the same packet that are hit: 1, or all where a probability or the size decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Probability with which each transmission is hit, above 0 and at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Number that decides together with the packet, where a probability does: 0 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// delay: by how many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// reorder: how many packets of the same direction overtake it; 1 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<u32>,
    /// corrupt: what is changed: payload, icrc, opcode, p_key, destination_qpn, psn, va, rkey, dma_length,
    /// syndrome, msn, immediate, original.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = PacketField::ALL.map(PacketField::name)))]
    pub field: Option<String>,
    /// corrupt: what the field becomes; its lowest bit is flipped unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// corrupt: whether the ICRC is made to fit again; it is not unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reseal: Option<bool>,
    /// truncate: how many bytes of the frame are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// cut: how many packets are lost until the link is back; for good unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// rate: kilobits a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kbit_per_s: Option<u64>,
}

impl TryFrom<FaultEntry> for Fault {
    type Error = String;

    fn try_from(entry: FaultEntry) -> Result<Fault, String> {
        let action = entry.action()?;
        entry.check_belongings(action)?;
        Ok(Fault { matcher: entry.matcher(action)?, action })
    }
}

impl FaultEntry {
    fn action(&self) -> Result<Action, String> {
        let needs = |key: &str| format!("action `{}` needs the key `{key}`", self.action);
        if self.action.is_empty() {
            return Err(format!("a fault needs the key `action`: {}", Action::NAMES.join(", ")));
        }
        Ok(match names::find("action", &self.action, Action::NAMES)? {
            "drop" => Action::Drop,
            "duplicate" => Action::Duplicate,
            "delay" => match positive("ms", self.ms)?.ok_or_else(|| needs("ms"))? {
                ms if ms > DELAY_MAX_MS => {
                    return Err(format!("a delay of {ms} ms: at most {DELAY_MAX_MS}, or drop the packet"));
                }
                ms => Action::Delay { ms },
            },
            "reorder" => Action::Reorder { by: positive("by", self.by)?.unwrap_or(1) },
            "corrupt" => {
                let field = field(self.field.as_deref().ok_or_else(|| needs("field"))?)?;
                let is_resealed = self.reseal.unwrap_or(false);
                if is_resealed && field == PacketField::Icrc {
                    return Err("a changed ICRC that is made to fit again is not changed".to_owned());
                }
                Action::Corrupt { field, value: self.value, is_resealed }
            }
            "truncate" => {
                Action::Truncate { bytes: positive("bytes", self.bytes)?.ok_or_else(|| needs("bytes"))? }
            }
            "mark-ecn" => Action::MarkEcn,
            "cut" => Action::Cut { packets: positive("packets", self.packets)? },
            // The last of [`Action::NAMES`]: rate.
            _ => {
                let kbit_per_s =
                    positive("kbit_per_s", self.kbit_per_s)?.ok_or_else(|| needs("kbit_per_s"))?;
                Action::Rate { kbit_per_s }
            }
        })
    }

    /// Refuses a key that says nothing to the action.
    fn check_belongings(&self, action: Action) -> Result<(), String> {
        let belongings = [
            ("ms", self.ms.is_some(), "delay"),
            ("by", self.by.is_some(), "reorder"),
            ("field", self.field.is_some(), "corrupt"),
            ("value", self.value.is_some(), "corrupt"),
            ("reseal", self.reseal.is_some(), "corrupt"),
            ("bytes", self.bytes.is_some(), "truncate"),
            ("packets", self.packets.is_some(), "cut"),
            ("kbit_per_s", self.kbit_per_s.is_some(), "rate"),
        ];
        match belongings.iter().find(|(_, is_there, of)| *is_there && *of != action.name()) {
            None => Ok(()),
            Some((key, _, of)) => {
                Err(format!("key `{key}` says nothing to action `{}`: it belongs to `{of}`", action.name()))
            }
        }
    }

    fn matcher(&self, action: Action) -> Result<Matcher, String> {
        let probability = self.probability.unwrap_or(1.0);
        if !(probability > 0.0 && probability <= 1.0) {
            return Err(format!("a probability of {probability}: it has to be above 0 and at most 1"));
        }
        if self.seed.is_some() && self.probability.is_none() {
            return Err("key `seed` says nothing without `probability`".to_owned());
        }
        // What begins with a packet begins once.
        let begins = matches!(action, Action::Cut { .. } | Action::Rate { .. });
        if begins && (self.times.is_some() || self.probability.is_some() || self.again.is_some()) {
            return Err(format!(
                "`again`, `times` and `probability` say nothing to action `{}`: it begins once",
                self.action
            ));
        }
        Ok(Matcher {
            kind: self.opcode.as_deref().map(str::parse).transpose()?,
            to: self.to.as_deref().map(str::parse).transpose()?,
            psn: self.psn,
            larger_than: positive("larger_than", self.larger_than)?,
            nth: positive("nth", self.nth)?,
            is_again: self.again.unwrap_or(false),
            times: match positive("times", self.times)? {
                None if self.probability.is_some() || self.larger_than.is_some() => None,
                times => times.or(Some(1)),
            },
            probability,
            seed: self.seed.unwrap_or(0),
        })
    }
}

impl From<Fault> for FaultEntry {
    fn from(fault: Fault) -> FaultEntry {
        let Fault { matcher, action } = fault;
        let is_drawn = matcher.probability < 1.0;
        let mut entry = FaultEntry {
            action: action.name().to_owned(),
            opcode: matcher.kind.map(|kind| kind.to_string()),
            to: matcher.to.map(|to| to.to_string()),
            psn: matcher.psn,
            larger_than: matcher.larger_than,
            nth: matcher.nth,
            again: matcher.is_again.then_some(true),
            times: matcher.times.filter(|times| *times != 1 || is_drawn || matcher.larger_than.is_some()),
            // A probability of 1 is said where it lifts the limit of one transmission.
            probability: (is_drawn || matcher.times.is_none() && matcher.larger_than.is_none())
                .then_some(matcher.probability),
            seed: Some(matcher.seed).filter(|seed| *seed != 0),
            ..FaultEntry::default()
        };
        match action {
            Action::Delay { ms } => entry.ms = Some(ms),
            Action::Reorder { by } => entry.by = Some(by),
            Action::Corrupt { field, value, is_resealed } => {
                entry.field = Some(field.name().to_owned());
                entry.value = value;
                entry.reseal = Some(is_resealed);
            }
            Action::Truncate { bytes } => entry.bytes = Some(bytes),
            Action::Cut { packets } => entry.packets = packets,
            Action::Rate { kbit_per_s } => entry.kbit_per_s = Some(kbit_per_s),
            Action::Drop | Action::Duplicate | Action::MarkEcn => {}
        }
        entry
    }
}

fn field(name: &str) -> Result<PacketField, String> {
    let found = names::find("field", name, PacketField::ALL.map(PacketField::name))?;
    PacketField::ALL.into_iter().find(|field| field.name() == found).ok_or_else(|| found.to_owned())
}

/// Refuses a count of zero.
fn positive<T: PartialEq + From<u8>>(key: &str, value: Option<T>) -> Result<Option<T>, String> {
    match value {
        Some(value) if value == T::from(0) => Err(format!("key `{key}` is 0: it has to be at least 1")),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Result<Fault, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn fault_is_read_as_it_is_written() {
        for text in [
            "action = \"drop\"\nopcode = \"RC RDMA READ response Middle\"\nnth = 2\n",
            "action = \"drop\"\nto = \"server.qp2\"\nprobability = 0.25\nseed = 7\n",
            "action = \"drop\"\ntimes = 3\n",
            "action = \"drop\"\nlarger_than = 1100\n",
            "action = \"drop\"\nlarger_than = 1100\ntimes = 1\n",
            "action = \"drop\"\nlarger_than = 1100\nprobability = 0.5\n",
            "action = \"drop\"\nprobability = 1.0\n",
            "action = \"drop\"\ntimes = 1\nprobability = 0.5\n",
            "action = \"delay\"\npsn = 3\nms = 20\n",
            "action = \"corrupt\"\nfield = \"psn\"\nvalue = 5\nreseal = true\n",
            "action = \"drop\"\nopcode = \"RC Acknowledge\"\nagain = true\n",
            "action = \"cut\"\nopcode = \"CM DREQ\"\npackets = 4\n",
        ] {
            let fault = fault(text).unwrap();
            assert_eq!(toml::to_string(&fault).unwrap(), text);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, part) in [
            ("", "a fault needs the key `action`"),
            ("action = \"dorp\"", "no action is called `dorp`; the nearest is `drop`"),
            ("action = \"drop\"\nopcode = \"RC RDMA WRITE Midle\"", "the nearest is `RC RDMA WRITE Middle`"),
            ("action = \"drop\"\nms = 3", "key `ms` says nothing to action `drop`: it belongs to `delay`"),
            ("action = \"delay\"", "action `delay` needs the key `ms`"),
            ("action = \"delay\"\nms = 99999", "at most 60000"),
            ("action = \"drop\"\nnth = 0", "key `nth` is 0"),
            ("action = \"drop\"\nlarger_than = 0", "key `larger_than` is 0"),
            ("action = \"drop\"\nprobability = 1.5", "a probability of 1.5"),
            ("action = \"drop\"\nprobability = nan", "a probability of NaN"),
            ("action = \"drop\"\nseed = 1", "without `probability`"),
            ("action = \"cut\"\ntimes = 2", "it begins once"),
            ("action = \"corrupt\"\nfield = \"icrc\"\nreseal = true", "is not changed"),
            ("action = \"corrupt\"\nfield = \"paylod\"", "the nearest is `payload`"),
            ("action = \"drop\"\nto = \"serber\"", "say `server`, `client`"),
        ] {
            let error = fault(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
