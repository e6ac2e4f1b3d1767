//! The names of queue pairs that send or get datagrams, and where their PSNs begin.
//!
//! They belong to no connection, so they are numbered by node as they appear: `server.ud1`. Queue pair 1 is `server.GSI` on every node.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::flow::QueuePairName;
use crate::names::Names;
use crate::wire::Psn;

/// The queue pair of general services.
const GSI: u32 = 1;

/// Every queue pair of a multicast group.
const MULTICAST: u32 = 0xff_ffff;

/// A queue pair that nothing shows to be there: its number, which may be wrong.
pub(crate) fn unknown(node: &str, qpn: u32) -> String {
    format!("{node}.{qpn:#x}")
}

/// A node's address and a queue pair number.
type DatagramKey = (IpAddr, u32);

/// The queue pairs of datagrams.
#[derive(Debug)]
pub(crate) struct Datagrams {
    limit: usize,
    numbers: HashMap<DatagramKey, u32>,
    counts: HashMap<String, u32>,
    psn_first: HashMap<DatagramKey, Psn>,
    /// Source and destination of the last datagram.
    last: Option<(DatagramKey, DatagramKey)>,
}

impl Datagrams {
    /// Makes room for `limit` queue pairs; more have no names.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, numbers: HashMap::new(), counts: HashMap::new(), psn_first: HashMap::new(), last: None }
    }

    /// Takes note of a datagram.
    pub(crate) fn see(&mut self, source: DatagramKey, destination: DatagramKey, psn: Psn, names: &Names) {
        if self.last.replace((source, destination)) == Some((source, destination)) {
            return;
        }
        for key in [source, destination] {
            if key.1 != GSI && self.numbers.len() < self.limit {
                self.numbers.entry(key).or_insert_with(|| {
                    let count = self.counts.entry(names.get(key.0)).or_default();
                    *count += 1;
                    *count
                });
            }
        }
        if self.psn_first.len() < self.limit {
            self.psn_first.entry(source).or_insert(psn);
        }
    }

    /// The name of a queue pair at its node; `None` when it was not seen, or came when there was no more room.
    pub(crate) fn number(&self, key: DatagramKey) -> Option<QueuePairName> {
        match key.1 {
            GSI => Some(QueuePairName::Gsi),
            _ => self.numbers.get(&key).copied().map(QueuePairName::Datagram),
        }
    }

    /// True if a queue pair sent a datagram.
    pub(crate) fn sends(&self, key: DatagramKey) -> bool {
        self.psn_first.contains_key(&key)
    }

    /// The name of a queue pair that was seen; its number when it sent nothing and its node did not tell of it either, as `has_told` says.
    pub(crate) fn name(
        &self,
        key: DatagramKey,
        names: &Names,
        has_told: impl Fn(DatagramKey) -> bool,
    ) -> Option<String> {
        let node = names.get(key.0);
        let name = self.number(key)?;
        let is_shown = matches!(key.1, GSI | MULTICAST) || self.psn_first.contains_key(&key) || has_told(key);
        Some(if is_shown { format!("{node}.{name}") } else { unknown(&node, key.1) })
    }

    /// Distance of a PSN from the first that its sender sent.
    pub(crate) fn psn_offset(&self, source: DatagramKey, psn: Psn) -> Option<i32> {
        self.psn_first.get(&source).map(|first| psn.distance(*first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_pairs_are_numbered_by_node_up_to_the_limit() {
        let key = |last, qpn| (IpAddr::from([198, 51, 100, last]), qpn);
        let names = Names::new().with(key(1, 0).0, "server").with(key(2, 0).0, "client");
        let mut datagrams = Datagrams::new(3);
        for (source, destination, psn) in [(7, 9, 40), (7, 9, 41), (7, 1, 42), (8, 8, 5), (9, 9, 6)] {
            datagrams.see(key(2, source), key(1, destination), Psn::new(psn), &names);
        }
        let told = key(1, 9);
        let named = |last, qpn| datagrams.name(key(last, qpn), &names, |key| key == told);
        assert_eq!(
            [(2, 7), (1, 9), (2, 8), (1, 1)].map(|(last, qpn)| named(last, qpn).unwrap()),
            ["client.ud1", "server.ud1", "client.ud2", "server.GSI"]
        );
        assert_eq!((named(2, 9), named(1, 8)), (None, None), "beyond the limit");
        let untold = datagrams.name(told, &names, |_| false);
        assert_eq!(untold.unwrap(), "server.0x9", "nobody knows that queue pair");
        assert_eq!(datagrams.psn_offset(key(2, 7), Psn::new(42)), Some(2));
    }
}
