//! The names of a report's queue pairs, PSNs and memory regions.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::cm::{Advert, Message as CmMessage};
use crate::flow::{ConnectionEnd, ConnectionId, Numbers, Side, StreamId, unknown};
use crate::report::Report;
use crate::row::CmRow;
use crate::wire::{Icrc, Psn};

/// A memory region, by the rkey that its node gave out.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) name: String,
    pub(super) base: u64,
    pub(super) is_advertised: bool,
}

/// Every name that the trace uses.
pub(super) struct Labels<'a> {
    report: &'a Report,
    /// Connections in the order in which they are named, then the place of each in it.
    order: Vec<ConnectionId>,
    places: Vec<usize>,
    connected: HashMap<(ConnectionId, Side), String>,
    /// Other queue pairs without a connection, and where the PSNs begin that a node sends them.
    unconnected: HashMap<(IpAddr, u32), String>,
    first_psn: HashMap<IpAddr, Psn>,
    regions: HashMap<(IpAddr, u32), Region>,
    /// Connection management packets that are shown, by connection.
    cm_rows: HashMap<Option<ConnectionId>, Vec<&'a CmRow>>,
}

/// The next number at a node, which may have several addresses.
fn next(counts: &mut HashMap<String, usize>, node: &str) -> usize {
    let count = counts.entry(node.to_owned()).or_default();
    *count += 1;
    *count
}

/// Appearance of a region in the capture.
struct Appearance {
    /// Damage of the packet, place of its connection, its number: the least names first.
    rank: (bool, usize, u64),
    node: IpAddr,
    rkey: u32,
    va: Option<u64>,
    /// True if the node gave it out itself.
    is_advert: bool,
}

impl<'a> Labels<'a> {
    /// Names everything as the capture does; queue pairs have the names that they had from their first packet on.
    pub(super) fn new(report: &'a Report) -> Self {
        let mut labels = Self::empty(report, report.connection_ids().collect());
        let number = |index, side| report.connection(index)?.endpoint(side).number;
        labels.name_queue_pairs(report.numbers.clone(), number);
        labels.name_regions();
        labels
    }

    /// Names everything connection by connection in that order, each once.
    pub(super) fn ordered(report: &'a Report, order: Vec<ConnectionId>) -> Self {
        let mut labels = Self::empty(report, order);
        let mut numbers = Numbers::default();
        let mut given = HashMap::new();
        for index in labels.order.iter().copied() {
            for side in Side::BOTH {
                let end = report.connection(index).map(|connection| connection.endpoint(side));
                if let Some(end) = end.filter(|end| end.qpn.is_some()) {
                    given.insert((index, side), numbers.next(&report.names.get(end.address)));
                }
            }
        }
        labels.name_queue_pairs(numbers, |index, side| given.get(&(index, side)).copied());
        labels.name_regions();
        labels
    }

    fn empty(report: &'a Report, order: Vec<ConnectionId>) -> Self {
        let mut places = vec![usize::MAX; report.connections.len()];
        for (place, index) in order.iter().enumerate() {
            if let Some(slot) = places.get_mut(index.index()) {
                *slot = place;
            }
        }
        let mut labels = Self {
            report,
            order,
            places,
            connected: HashMap::new(),
            unconnected: HashMap::new(),
            first_psn: HashMap::new(),
            regions: HashMap::new(),
            cm_rows: HashMap::new(),
        };
        for row in report.cm_rows.iter().filter(|row| !row.is_hidden) {
            labels.cm_rows.entry(row.flow).or_default().push(row);
        }
        labels
    }

    /// Names the ends of connections by their numbers, and those that packets of no connection go to by the next ones.
    fn name_queue_pairs(&mut self, mut numbers: Numbers, number: impl Fn(ConnectionId, Side) -> Option<u32>) {
        for index in self.order.iter().copied() {
            let Some(connection) = self.report.connection(index) else { continue };
            for side in [Side::Active, Side::Passive] {
                let end = connection.endpoint(side);
                let node = self.report.names.get(end.address);
                let has_told = |qpn| self.report.adverts.has_told(end.address, qpn);
                let name = match end.qpn.zip(number(index, side)) {
                    Some((qpn, number)) if connection.is_shown(side) || has_told(qpn) => {
                        format!("{node}.qp{number}")
                    }
                    Some((qpn, _)) => unknown(&node, qpn),
                    None => format!("{node}.qp?"),
                };
                self.connected.insert((index, side), name);
            }
        }
        for row in self.report.rows.iter().filter(|row| row.flow.is_none()) {
            let (Some(qpn), Some(psn)) = (row.destination_qpn, row.psn) else { continue };
            let destination = (row.destination, qpn);
            if row.source_qpn.is_some() {
                continue;
            }
            let node = self.report.names.get(row.destination);
            self.unconnected.entry(destination).or_insert_with(|| {
                let number = numbers.next(&node);
                if self.report.adverts.has_told(row.destination, qpn) {
                    format!("{node}.qp{number}")
                } else {
                    unknown(&node, qpn)
                }
            });
            self.first_psn.entry(row.source).or_insert(psn);
        }
    }

    fn appearances(&self) -> Vec<Appearance> {
        let place = |index: Option<ConnectionId>| index.map_or(usize::MAX, |index| self.place(index));
        let mut used: HashSet<(IpAddr, u32)> = HashSet::new();
        let mut all: Vec<Appearance> = Vec::new();
        for row in &self.report.rows {
            let memory =
                row.reth.map(|(va, rkey, _)| (va, rkey)).or(row.atomic.map(|(va, rkey, _, _)| (va, rkey)));
            let node = row.destination;
            let is_damaged = matches!(row.icrc, Icrc::Bad { .. });
            let rank = (is_damaged, place(row.flow.map(|(index, _)| index)), row.number);
            if let Some((va, rkey)) = memory {
                used.insert((node, rkey));
                all.push(Appearance { rank, node, rkey, va: Some(va), is_advert: false });
            }
            if let Some(rkey) = row.invalidate {
                all.push(Appearance { rank, node, rkey, va: None, is_advert: false });
            }
        }
        for row in &self.report.cm_rows {
            let Some(Ok(CmMessage::Rep(rep))) = row.mad().map(|mad| mad.message()) else {
                continue;
            };
            let Some(Advert { va, rkey }) = Advert::new(rep.private_data()) else {
                continue;
            };
            let is_alone = rep.private_data().iter().skip(Advert::LENGTH).all(|byte| *byte == 0);
            if used.contains(&(row.source, rkey)) || is_alone && !is_text(rep.private_data()) {
                let rank = (matches!(row.icrc, Icrc::Bad { .. }), place(row.flow), row.number);
                all.push(Appearance { rank, node: row.source, rkey, va: Some(va), is_advert: true });
            }
        }
        all.sort_by_key(|appearance| appearance.rank);
        all
    }

    fn name_regions(&mut self) {
        let mut counts = HashMap::new();
        for Appearance { node, rkey, va, is_advert, .. } in self.appearances() {
            let names = &self.report.names;
            let region = self.regions.entry((node, rkey)).or_insert_with(|| {
                let node = names.get(node);
                Region {
                    name: format!("{node}.mr{}", next(&mut counts, &node)),
                    base: va.unwrap_or(u64::MAX),
                    is_advertised: false,
                }
            });
            match va {
                Some(va) if is_advert && !region.is_advertised => {
                    (region.base, region.is_advertised) = (va, true);
                }
                Some(va) if !region.is_advertised => region.base = region.base.min(va),
                _ => {}
            }
        }
    }

    /// Connection management packets of a connection, or of none, in the order of the capture.
    pub(super) fn cm_rows(&self, connection: Option<ConnectionId>) -> Vec<&'a CmRow> {
        self.cm_rows.get(&connection).cloned().unwrap_or_default()
    }

    /// Connections in the order in which they are named.
    pub(super) fn order(&self) -> &[ConnectionId] {
        &self.order
    }

    /// The place of a connection in that order.
    pub(super) fn place(&self, connection: ConnectionId) -> usize {
        self.places.get(connection.index()).copied().unwrap_or(usize::MAX)
    }

    /// The end that sends the requests.
    fn requester(&self, stream: StreamId) -> Option<&'a ConnectionEnd> {
        self.report.connection(stream.connection).map(|connection| connection.endpoint(stream.requester))
    }

    /// The node that sends the requests.
    pub(super) fn requester_node(&self, stream: StreamId) -> String {
        self.requester(stream).map_or_else(String::new, |end| self.node(end.address))
    }

    pub(super) fn node(&self, address: IpAddr) -> String {
        self.report.names.get(address)
    }

    /// A queue pair of a connection.
    pub(super) fn queue_pair(&self, connection: ConnectionId, side: Side) -> &str {
        self.connected.get(&(connection, side)).map_or("?", String::as_str)
    }

    /// The queue pair of `address` with that number, when it has no connection.
    pub(super) fn unconnected(&self, address: IpAddr, qpn: Option<u32>) -> String {
        let name = |qpn| {
            let has_told = |(node, qpn)| self.report.adverts.has_told(node, qpn);
            let datagrams = self.report.datagrams.name((address, qpn), &self.report.names, has_told);
            datagrams.or_else(|| self.unconnected.get(&(address, qpn)).cloned())
        };
        qpn.and_then(name).unwrap_or_else(|| self.node(address))
    }

    /// A PSN of the requests of `stream`.
    pub(super) fn psn(&self, stream: StreamId, psn: Psn) -> String {
        let Some(end) = self.requester(stream) else { return String::new() };
        match end.psn_first {
            Some(first) => format!("{}{:+}", self.node(end.address), psn.distance(first)),
            None => format!("{}+?", self.node(end.address)),
        }
    }

    /// A PSN of a sender without a connection.
    pub(super) fn unconnected_psn(&self, source: IpAddr, source_qpn: Option<u32>, psn: Psn) -> String {
        match self.unconnected_offset(source, source_qpn, psn) {
            Some(offset) => format!("{}{offset:+}", self.node(source)),
            None => String::new(),
        }
    }

    /// Distance from the sender's first.
    pub(super) fn unconnected_offset(
        &self,
        source: IpAddr,
        source_qpn: Option<u32>,
        psn: Psn,
    ) -> Option<i32> {
        match source_qpn {
            Some(qpn) => self.report.datagrams.psn_offset((source, qpn), psn),
            None => self.first_psn.get(&source).map(|first| psn.distance(*first)),
        }
    }

    /// True if `psn` is the 0 at which the requests of `stream` wrap.
    pub(super) fn wraps(&self, stream: StreamId, psn: Psn) -> bool {
        let first = self.requester(stream).and_then(|end| end.psn_first);
        psn.value() == 0 && first.is_some_and(|first| psn.distance(first) > 0)
    }

    /// An address in a region: `server.mr1+8`; the key names the region.
    pub(super) fn memory(&self, node: IpAddr, va: u64, rkey: u32) -> String {
        match self.offset(node, va, rkey) {
            Some((name, offset)) => format!("{name}{offset:+}"),
            None => self.rkey(node, rkey),
        }
    }

    /// The region that a key names, and where in it an address is.
    pub(super) fn offset(&self, node: IpAddr, va: u64, rkey: u32) -> Option<(&str, i128)> {
        let region = self.regions.get(&(node, rkey))?;
        Some((&region.name, i128::from(va) - i128::from(region.base)))
    }

    /// Distance of a PSN from the first of the requests of `stream`.
    pub(super) fn psn_offset(&self, stream: StreamId, psn: Psn) -> i32 {
        self.requester(stream).and_then(|end| end.psn_first).map_or(0, |first| psn.distance(first))
    }

    /// All regions: the node and the key of each.
    pub(super) fn regions(&self) -> impl Iterator<Item = (IpAddr, u32, &Region)> {
        self.regions.iter().map(|((node, rkey), region)| (*node, *rkey, region))
    }

    /// The name of a key.
    pub(super) fn rkey(&self, node: IpAddr, rkey: u32) -> String {
        self.regions
            .get(&(node, rkey))
            .map_or_else(|| format!("{}.mr?", self.node(node)), |region| region.name.clone())
    }

    /// The region with that base, on any node. When there are several, an address being used again: one whose key is among
    /// `beside`, and then the smallest name.
    pub(super) fn region_at(&self, va: u64, beside: &[u32]) -> Option<&Region> {
        self.regions
            .iter()
            .filter(|(_, region)| region.base == va)
            .min_by_key(|((_, rkey), region)| (!beside.contains(rkey), &region.name))
            .map(|(_, region)| region)
    }

    /// The region with that key, on any node; the smallest name when there are several.
    pub(super) fn region_of(&self, rkey: u32) -> Option<&Region> {
        self.regions
            .iter()
            .filter(|((_, key), _)| *key == rkey)
            .map(|(_, region)| region)
            .min_by(|a, b| a.name.cmp(&b.name))
    }
}

fn is_text(field: &[u8]) -> bool {
    matches!(crate::cm::PrivateData::new(field, false), crate::cm::PrivateData::Text(_))
}
