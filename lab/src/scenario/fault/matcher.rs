//! Which packets a fault is about.

use std::fmt;
use std::str::FromStr;

use roce::flow::QueuePairName;
use roce::wire::Opcode;

use crate::base::names;
use crate::base::role::Role;

/// Which packets a fault is about: those of which everything that is named here is true.
#[derive(Debug, Clone, PartialEq)]
pub struct Matcher {
    /// Kind of the packet.
    pub kind: Option<PacketKind>,
    /// Who receives it.
    pub to: Option<Receiver>,
    /// Distance of its PSN from the first PSN of the requester.
    pub psn: Option<u32>,
    /// Only packets that an MTU of so many bytes does not carry: their IP packet is longer.
    pub larger_than: Option<u32>,
    /// Which of those packets, from 1, of each connection and direction; retransmissions do not count.
    pub nth: Option<u32>,
    /// How many transmissions of the same packet; `None` for all.
    pub times: Option<u32>,
    /// How likely a transmission is hit, above 0 and at most 1.
    pub probability: f64,
    /// Number that decides together with the packet, where a probability does.
    pub seed: u64,
}

impl Default for Matcher {
    /// Every packet's first transmission.
    fn default() -> Matcher {
        Matcher {
            kind: None,
            to: None,
            psn: None,
            larger_than: None,
            nth: None,
            times: Some(1),
            probability: 1.0,
            seed: 0,
        }
    }
}

/// Kind of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// A packet with this opcode, connection management aside.
    Opcode(Opcode),
    /// A message of connection management, by its attribute id.
    Cm(u16),
}

impl PacketKind {
    /// The names of all.
    pub fn names() -> Vec<String> {
        PacketKind::all().map(|kind| kind.to_string()).collect()
    }

    /// All that have a name.
    pub fn all() -> impl Iterator<Item = PacketKind> {
        let opcodes = (0..=u8::MAX).map(Opcode).filter(|opcode| opcode.is_known()).map(PacketKind::Opcode);
        let messages = (0..=0x20).filter(|id| roce::cm::attribute_name(*id).is_some()).map(PacketKind::Cm);
        opcodes.chain(messages)
    }
}

/// The standard's words: `RC RDMA WRITE Only`, `CM REQ`.
impl fmt::Display for PacketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PacketKind::Opcode(opcode) => opcode.fmt(f),
            PacketKind::Cm(id) => match roce::cm::attribute_name(*id) {
                Some(name) => write!(f, "CM {name}"),
                None => write!(f, "CM attribute {id:#06x}"),
            },
        }
    }
}

impl FromStr for PacketKind {
    type Err = String;

    fn from_str(text: &str) -> Result<PacketKind, String> {
        let kinds: Vec<(String, PacketKind)> =
            PacketKind::all().map(|kind| (kind.to_string(), kind)).collect();
        let found = names::find("opcode", text, kinds.iter().map(|(name, _)| name.as_str()))?;
        kinds.iter().find(|(name, _)| name == found).map(|(_, kind)| *kind).ok_or_else(|| found.to_owned())
    }
}

/// Who receives a packet: a node, or one of its queue pairs by the name that a trace gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receiver {
    /// The node.
    pub node: Role,
    /// Its queue pair: `qp1` of the first that the wire names, `ud1` of the first for datagrams.
    pub queue_pair: Option<QueuePairName>,
}

/// `server`, `server.qp1`.
impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.node)?;
        self.queue_pair.map_or(Ok(()), |name| write!(f, ".{name}"))
    }
}

impl FromStr for Receiver {
    type Err = String;

    fn from_str(text: &str) -> Result<Receiver, String> {
        let wrong = |why: String| {
            format!(
                "`{text}` receives nothing: say `server`, `client`, or a queue pair as `server.qp1`; {why}"
            )
        };
        let (node, queue_pair) = match text.split_once('.') {
            None => (text, None),
            Some((node, name)) => (node, Some(name.parse().map_err(wrong)?)),
        };
        Ok(Receiver { node: node.parse().map_err(wrong)?, queue_pair })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{kind}")?,
            None => f.write_str("any packet")?,
        }
        if let Some(to) = self.to {
            write!(f, ", to {to}")?;
        }
        if let Some(psn) = self.psn {
            write!(f, ", psn {psn}")?;
        }
        if let Some(bytes) = self.larger_than {
            write!(f, ", larger than {bytes} bytes")?;
        }
        if let Some(nth) = self.nth {
            write!(f, ", nth {nth}")?;
        }
        let is_usual = |times: &u32| *times == 1 && self.larger_than.is_none();
        if let Some(times) = self.times.filter(|times| !is_usual(times)) {
            write!(f, ", times {times}")?;
        }
        if self.probability < 1.0 {
            write!(f, ", probability {}, seed {}", self.probability, self.seed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in PacketKind::all() {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("CM REQ".parse(), Ok(PacketKind::Cm(0x10)));
    }

    #[test]
    fn unknown_opcode_names_the_nearest() {
        let error = "RC RDMA READ respons Middle".parse::<PacketKind>().unwrap_err();
        assert!(error.ends_with("the nearest is `RC RDMA READ response Middle`"), "{error}");
        let error = "RC ATOMIC Acknowlege".parse::<PacketKind>().unwrap_err();
        assert!(error.ends_with("the nearest is `RC Atomic Acknowledge`"), "{error}");
    }

    #[test]
    fn case_of_an_opcode_does_not_count() {
        for kind in PacketKind::all() {
            assert_eq!(kind.to_string().to_uppercase().parse(), Ok(kind));
        }
    }

    #[test]
    fn receiver_is_a_node_or_a_queue_pair() {
        for text in ["server", "client", "client.qp12", "server.ud2"] {
            assert_eq!(text.parse::<Receiver>().unwrap().to_string(), text);
        }
        for text in ["sever", "server.qp0", "server.mr1", ""] {
            text.parse::<Receiver>().unwrap_err();
        }
        assert_eq!("Server.QP1".parse::<Receiver>().unwrap().to_string(), "server.qp1");
    }
}
