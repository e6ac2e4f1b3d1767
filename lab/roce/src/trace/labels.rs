//! The names of a report's queue pairs, PSNs and memory regions.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::analysis::Report;
use crate::cm::{Advert, Message as CmMessage};
use crate::flow::Side;
use crate::wire::Psn;

/// A memory region, by the rkey that its node gave out.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) name: String,
    pub(super) base: u64,
    advertised: bool,
}

/// Every name that the trace uses.
pub(super) struct Labels<'a> {
    report: &'a Report,
    connected: HashMap<(usize, Side), String>,
    unconnected: HashMap<(IpAddr, u32), String>,
    first_psn: HashMap<(IpAddr, Option<u32>), Psn>,
    regions: HashMap<(IpAddr, u32), Region>,
}

fn next(counts: &mut HashMap<IpAddr, usize>, address: IpAddr) -> usize {
    let count = counts.entry(address).or_default();
    *count += 1;
    *count
}

/// Where a region shows itself: packet number, node, key, address, and whether the node advertised it.
type Appearance = (u64, IpAddr, u32, Option<u64>, bool);

impl<'a> Labels<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let mut labels = Self {
            report,
            connected: HashMap::new(),
            unconnected: HashMap::new(),
            first_psn: HashMap::new(),
            regions: HashMap::new(),
        };
        labels.name_queue_pairs();
        labels.name_regions();
        labels
    }

    fn name_queue_pairs(&mut self) {
        let mut counts = HashMap::new();
        for (index, connection) in self.report.connections.iter().enumerate() {
            for side in [Side::Active, Side::Passive] {
                let end = connection.endpoint(side);
                let node = self.report.names.get(end.address);
                let name = match end.qpn {
                    Some(_) => format!("{node}.qp{}", next(&mut counts, end.address)),
                    None => format!("{node}.qp?"),
                };
                self.connected.insert((index, side), name);
            }
        }
        for row in &self.report.rows {
            if row.flow.is_none() {
                for (address, qpn) in [(row.source, row.source_qpn), (row.destination, row.destination_qpn)] {
                    let Some(qpn) = qpn else { continue };
                    let node = self.report.names.get(address);
                    self.unconnected.entry((address, qpn)).or_insert_with(|| match qpn {
                        1 => format!("{node}.GSI"),
                        _ => format!("{node}.qp{}", next(&mut counts, address)),
                    });
                }
                if let Some(psn) = row.psn {
                    self.first_psn.entry((row.source, row.source_qpn)).or_insert(psn);
                }
            }
        }
    }

    fn appearances(&self) -> Vec<Appearance> {
        let mut used: BTreeMap<(IpAddr, u32), ()> = BTreeMap::new();
        let mut all: Vec<Appearance> = Vec::new();
        for row in &self.report.rows {
            let memory =
                row.reth.map(|(va, rkey, _)| (va, rkey)).or(row.atomic.map(|(va, rkey, _, _)| (va, rkey)));
            if let Some((va, rkey)) = memory {
                used.insert((row.destination, rkey), ());
                all.push((row.number, row.destination, rkey, Some(va), false));
            }
            if let Some(rkey) = row.invalidate {
                all.push((row.number, row.destination, rkey, None, false));
            }
        }
        for row in &self.report.cm_rows {
            let Some(Ok(CmMessage::Rep(rep))) = row.mad().map(|mad| mad.message()) else {
                continue;
            };
            let Some(advert) = Advert::new(rep.private_data()) else {
                continue;
            };
            let is_alone = rep.private_data().iter().skip(Advert::LENGTH).all(|byte| *byte == 0);
            if used.contains_key(&(row.source, advert.rkey)) || is_alone && !is_text(rep.private_data()) {
                all.push((row.number, row.source, advert.rkey, Some(advert.va), true));
            }
        }
        all.sort_by_key(|(number, ..)| *number);
        all
    }

    fn name_regions(&mut self) {
        let mut counts = HashMap::new();
        for (_, node, rkey, va, advertised) in self.appearances() {
            let names = &self.report.names;
            let region = self.regions.entry((node, rkey)).or_insert_with(|| Region {
                name: format!("{}.mr{}", names.get(node), next(&mut counts, node)),
                base: va.unwrap_or(u64::MAX),
                advertised: false,
            });
            match va {
                Some(va) if advertised && !region.advertised => (region.base, region.advertised) = (va, true),
                Some(va) if !region.advertised => region.base = region.base.min(va),
                _ => {}
            }
        }
    }

    pub(super) fn node(&self, address: IpAddr) -> String {
        self.report.names.get(address)
    }

    /// A queue pair of a connection.
    pub(super) fn queue_pair(&self, connection: usize, side: Side) -> &str {
        self.connected.get(&(connection, side)).map_or("?", String::as_str)
    }

    /// The queue pair of `address` with that number, connected or not.
    pub(super) fn unconnected(&self, address: IpAddr, qpn: Option<u32>) -> String {
        qpn.and_then(|qpn| self.unconnected.get(&(address, qpn)).cloned())
            .unwrap_or_else(|| self.node(address))
    }

    /// A PSN of the requests of `requester`.
    pub(super) fn psn(&self, requester: (usize, Side), psn: Psn) -> String {
        let (index, side) = requester;
        let Some(end) = self.report.connections.get(index).map(|connection| connection.endpoint(side)) else {
            return String::new();
        };
        match end.psn_first {
            Some(first) => format!("{}{:+}", self.node(end.address), psn.distance(first)),
            None => format!("{}+?", self.node(end.address)),
        }
    }

    /// A PSN of a sender without a connection.
    pub(super) fn unconnected_psn(&self, source: IpAddr, source_qpn: Option<u32>, psn: Psn) -> String {
        match self.first_psn.get(&(source, source_qpn)) {
            Some(first) => format!("{}{:+}", self.node(source), psn.distance(*first)),
            None => String::new(),
        }
    }

    /// Whether `psn` is the 0 at which the requests of `requester` wrap.
    pub(super) fn wraps(&self, requester: (usize, Side), psn: Psn) -> bool {
        let first = self
            .report
            .connections
            .get(requester.0)
            .and_then(|connection| connection.endpoint(requester.1).psn_first);
        psn.value() == 0 && first.is_some_and(|first| psn.distance(first) > 0)
    }

    /// An address in a region: `server.mr1+8`; the key names the region.
    pub(super) fn memory(&self, node: IpAddr, va: u64, rkey: u32) -> String {
        match self.regions.get(&(node, rkey)) {
            Some(region) => format!("{}{:+}", region.name, i128::from(va) - i128::from(region.base)),
            None => format!("{}.mr?", self.node(node)),
        }
    }

    /// The name of a key.
    pub(super) fn rkey(&self, node: IpAddr, rkey: u32) -> String {
        self.regions
            .get(&(node, rkey))
            .map_or_else(|| format!("{}.mr?", self.node(node)), |region| region.name.clone())
    }

    /// The region with that base, on any node; the smallest name when there are several.
    pub(super) fn region_at(&self, va: u64) -> Option<&Region> {
        self.regions.values().filter(|region| region.base == va).min_by(|a, b| a.name.cmp(&b.name))
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
