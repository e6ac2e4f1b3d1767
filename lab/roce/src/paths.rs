//! Packets counted at their addresses: what is held against the counters of senders and receivers.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::names::Names;
use crate::wire::{Icrc, Packet, TransportService};

/// Packets from one address to another.
#[derive(Debug, Default)]
struct Path {
    sent: u64,
    delivered: u64,
    /// Number of the first packet of a connection whose other side answers.
    first_connected: Option<u64>,
    has_right_icrc: bool,
    has_wrong_icrc: bool,
}

/// A source and a destination.
type PathKey = (IpAddr, IpAddr);

/// Counts between every two addresses, up to a number of pairs.
#[derive(Debug)]
pub(crate) struct Paths {
    paths: Vec<(PathKey, Path)>,
    numbers: HashMap<PathKey, usize>,
    /// Number of the path of the packet before, and of the one before that.
    last: [usize; 2],
    limit: usize,
    /// Packets between further pairs.
    pub(crate) uncounted: u64,
}

impl Paths {
    /// Makes room for `limit` pairs.
    pub(crate) fn new(limit: usize) -> Self {
        Self { paths: Vec::new(), numbers: HashMap::new(), last: [0; 2], limit, uncounted: 0 }
    }

    /// Counts a packet; addresses that are new get a name.
    #[inline]
    pub(crate) fn count(
        &mut self,
        packet: &Packet<'_>,
        number: u64,
        names: &mut Names,
        is_sent: bool,
        is_delivered: bool,
    ) {
        let is_at = |at: &usize| {
            self.paths.get(*at).is_some_and(|((source, destination), _)| {
                *source == packet.source && *destination == packet.destination
            })
        };
        let [last, before] = self.last;
        let at = if is_at(&last) {
            last
        } else if is_at(&before) {
            self.last = [before, last];
            before
        } else {
            match self.find(packet, names) {
                Some(at) => at,
                None => return,
            }
        };
        if let Some((_, path)) = self.paths.get_mut(at) {
            path.sent += u64::from(is_sent);
            path.delivered += u64::from(is_delivered);
            path.has_right_icrc |= packet.icrc == Icrc::Good;
            path.has_wrong_icrc |= matches!(packet.icrc, Icrc::Bad { .. });
            if path.first_connected.is_none()
                && packet.opcode().is_some_and(|opcode| {
                    matches!(opcode.transport(), TransportService::Rc | TransportService::Xrc)
                })
            {
                path.first_connected = Some(number);
            }
        }
    }

    /// The path of a packet that is not like one of the last two; `None` when there are too many.
    #[cold]
    fn find(&mut self, packet: &Packet<'_>, names: &mut Names) -> Option<usize> {
        let key = (packet.source, packet.destination);
        let at = match self.numbers.get(&key) {
            Some(at) => *at,
            None if self.paths.len() >= self.limit => {
                self.uncounted += 1;
                return None;
            }
            None => {
                for address in [packet.source, packet.destination] {
                    names.see(address);
                }
                let at = self.paths.len();
                self.paths.push((key, Path::default()));
                self.numbers.insert(key, at);
                at
            }
        };
        self.last = [at, self.last[0]];
        Some(at)
    }

    /// Packets of that direction that were sent.
    pub(crate) fn packets(&self, source: IpAddr, destination: IpAddr) -> u64 {
        let at = self.numbers.get(&(source, destination));
        at.and_then(|at| self.paths.get(*at)).map_or(0, |(_, path)| path.sent)
    }

    /// True if no packet of the direction had the right ICRC, and one had a wrong one: what the capture has of them is not what was sent.
    #[cold]
    pub(crate) fn is_rewritten(&self, packet: &Packet<'_>) -> bool {
        let at = self.numbers.get(&(packet.source, packet.destination));
        let path = at.and_then(|at| self.paths.get(*at));
        path.is_some_and(|(_, path)| path.has_wrong_icrc && !path.has_right_icrc)
    }

    /// True if a packet of that direction came.
    pub(crate) fn has(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.numbers.contains_key(&(source, destination))
    }

    /// Directions of connections whose other direction is not in the capture: number of the first packet, its source and destination.
    pub(crate) fn one_sided(&self) -> impl Iterator<Item = (u64, IpAddr, IpAddr)> {
        self.paths.iter().filter_map(|((source, destination), path)| {
            let first = path.first_connected?;
            (!self.has(*destination, *source)).then_some((first, *source, *destination))
        })
    }

    /// Packets that each address sent.
    pub(crate) fn sent(&self) -> BTreeMap<IpAddr, u64> {
        sum(self.paths.iter().map(|((source, _), path)| (*source, path.sent)))
    }

    /// Packets that were delivered to each address.
    pub(crate) fn delivered(&self) -> BTreeMap<IpAddr, u64> {
        sum(self.paths.iter().map(|((_, destination), path)| (*destination, path.delivered)))
    }
}

/// Adds up by address, without those that have none.
fn sum(counts: impl Iterator<Item = (IpAddr, u64)>) -> BTreeMap<IpAddr, u64> {
    let mut sums = BTreeMap::new();
    for (address, count) in counts.filter(|(_, count)| *count > 0) {
        *sums.entry(address).or_default() += count;
    }
    sums
}
