//! The numbers in the names of queue pairs.
//!
//! A node's queue pairs are numbered from 1 in the order in which packets name them. A REQ names its sender's, and keeps the next number of its receiver's
//! node for the queue pair that the REP will name, so the answers' order changes no name; a REJ gives that number back. Without connection management the
//! first packet to a queue pair names it. So a name is known at the packet, and does not change.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

/// A queue pair's name at its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum QueuePairName {
    /// One with a connection: `qp1`.
    Connected(u32),
    /// One that sends or gets datagrams: `ud1`.
    Datagram(u32),
    /// Queue pair 1, that of general services.
    Gsi,
}

impl fmt::Display for QueuePairName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(number) => write!(f, "qp{number}"),
            Self::Datagram(number) => write!(f, "ud{number}"),
            Self::Gsi => f.write_str("GSI"),
        }
    }
}

/// Reads a name in either case.
impl FromStr for QueuePairName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        let number = |prefix| name.strip_prefix(prefix)?.parse().ok().filter(|number| *number > 0);
        number("qp")
            .map(Self::Connected)
            .or_else(|| number("ud").map(Self::Datagram))
            .or((name == "gsi").then_some(Self::Gsi))
            .ok_or_else(|| format!("no queue pair is called `{text}`"))
    }
}

/// The numbers of one node.
#[derive(Clone, Debug, Default)]
struct Node {
    given: u32,
    /// Numbers below that were given back.
    free: BTreeSet<u32>,
}

/// The numbers that were given, by the name of the node: a node may have several addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    nodes: HashMap<String, Node>,
}

impl Numbers {
    /// Returns the next number at a node.
    pub(crate) fn next(&mut self, node: &str) -> u32 {
        let node = self.nodes.entry(node.to_owned()).or_default();
        node.free.pop_first().unwrap_or_else(|| {
            node.given += 1;
            node.given
        })
    }

    /// Takes a number back that named nothing.
    pub(super) fn give_back(&mut self, node: &str, number: u32) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.free.insert(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_read_as_it_is_written() {
        for name in [QueuePairName::Connected(1), QueuePairName::Datagram(12), QueuePairName::Gsi] {
            assert_eq!(name.to_string().parse(), Ok(name));
            assert_eq!(name.to_string().to_uppercase().parse(), Ok(name));
        }
        for text in ["", "qp", "qp0", "qp-1", "mr1", "1"] {
            text.parse::<QueuePairName>().unwrap_err();
        }
    }

    #[test]
    fn number_that_was_given_back_is_the_next_one() {
        let mut numbers = Numbers::default();
        let given: Vec<u32> = ["a", "b", "a", "a"].map(|node| numbers.next(node)).into();
        assert_eq!(given, [1, 1, 2, 3]);
        numbers.give_back("a", 2);
        assert_eq!(["a", "a", "b"].map(|node| numbers.next(node)), [2, 4, 2]);
    }
}
