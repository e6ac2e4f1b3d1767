//! The rules that a capture is held to; a rule's name states the fault.

use std::fmt;

/// A rule of the protocol, named after its violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// The invariant CRC is not what the packet's bytes give; a receiver discards the packet.
    IcrcMismatch,
    /// The packet ends early, or a length or pad in it contradicts the rest.
    MalformedPacket,
    /// A request's PSN is beyond the next one: a request was lost before it.
    RequestPsnGap,
    /// A READ response's PSN is beyond the next one: a response was lost before it.
    ReadResponsePsnGap,
    /// An acknowledgement or response names a PSN that the requester has not sent.
    AckForUnsentPsn,
    /// The payloads of a message do not add up to the length that its RETH announces.
    LengthMismatch,
    /// First, Middle, Last and Only do not follow each other as they must.
    OpcodeOutOfSequence,
}

impl Rule {
    /// Every rule, in the order of their declaration.
    pub const ALL: [Self; 7] = [
        Self::IcrcMismatch,
        Self::MalformedPacket,
        Self::RequestPsnGap,
        Self::ReadResponsePsnGap,
        Self::AckForUnsentPsn,
        Self::LengthMismatch,
        Self::OpcodeOutOfSequence,
    ];

    /// The rule's name, as in the source: `RequestPsnGap`.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The rule of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// One sentence: what is wrong.
    pub fn title(self) -> &'static str {
        match self {
            Self::IcrcMismatch => "the invariant CRC does not match the packet",
            Self::MalformedPacket => "the packet contradicts itself",
            Self::RequestPsnGap => "a request before this one is missing",
            Self::ReadResponsePsnGap => "a READ response before this one is missing",
            Self::AckForUnsentPsn => "a PSN is acknowledged that was not sent",
            Self::LengthMismatch => "the payloads do not add up to the announced length",
            Self::OpcodeOutOfSequence => "the packet does not follow the one before it in its message",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_by_its_name() {
        for rule in Rule::ALL {
            assert_eq!(Rule::from_name(&rule.name()), Some(rule));
            assert!(!rule.title().is_empty());
        }
        assert_eq!(Rule::from_name("NoSuchRule"), None);
    }
}
