//! A packet of a fixture, and what is known of its neighbours.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use roce::capture::Reader;
use roce::wire::{Bth, Frame, LinkType, Opcode, Operation, Packet, Place, icrc};

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) data: Vec<u8>,
    pub(crate) timestamp_ns: u64,
    pub(crate) original_length: usize,
}

pub(crate) fn fixtures() -> BTreeMap<String, Vec<Entry>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pcapng") {
            continue;
        }
        let mut reader = Reader::new(fs::File::open(&path).unwrap()).unwrap();
        let mut entries = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            entries.push(Entry {
                data: record.data.to_vec(),
                timestamp_ns: record.timestamp_ns,
                original_length: record.original_length_bytes as usize,
            });
        }
        all.insert(path.file_stem().unwrap().to_string_lossy().into_owned(), entries);
    }
    assert!(all.len() >= 20, "{} fixtures", all.len());
    all
}

pub(crate) fn packet(entry: &Entry) -> Option<Packet<'_>> {
    match Frame::decode(LinkType::ETHERNET, &entry.data) {
        Frame::Roce(packet) => Some(packet),
        Frame::NotRoce(_) => None,
    }
}

pub(crate) fn set_lengths(data: &mut [u8]) {
    let total = data.len() - 14;
    data[16..18].copy_from_slice(&(total as u16).to_be_bytes());
    data[38..40].copy_from_slice(&((total - 20) as u16).to_be_bytes());
}

/// Makes the ICRC right again.
pub(crate) fn seal(data: &mut [u8]) {
    let end = 14 + usize::from(u16::from_be_bytes([data[16], data[17]]));
    let crc = icrc(&data[14..34], &data[34..end - 4]).unwrap();
    data[end - 4..end].copy_from_slice(&crc.to_le_bytes());
}

/// A packet and its neighbours, as far as they are known.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    pub(crate) at: usize,
    pub(crate) entries: &'a [Entry],
    pub(crate) bth: Bth<'a>,
    pub(crate) opcode: Opcode,
    pub(crate) key: (std::net::IpAddr, u32),
    pub(crate) has_cm: bool,
}

impl<'a> Spot<'a> {
    pub(crate) fn new(entries: &'a [Entry], at: usize) -> Option<Self> {
        let found = packet(&entries[at])?;
        let bth = found.bth?;
        let has_cm = entries
            .iter()
            .filter_map(packet)
            .any(|packet| packet.mad().and_then(Result::ok).is_some_and(|mad| mad.attribute_id() == 0x10));
        let key = (found.destination, bth.destination_qpn());
        Some(Self { at, entries, bth, opcode: bth.opcode(), key, has_cm })
    }

    pub(crate) fn op(&self) -> Operation {
        self.opcode.operation()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.opcode.0 < 0x40
    }

    pub(crate) fn is_ack(&self) -> bool {
        self.op() == Operation::Acknowledge
    }

    /// The packets to the same queue pair in the same role, as (index, BTH).
    pub(crate) fn stream(&self) -> impl DoubleEndedIterator<Item = (usize, Bth<'a>)> + use<'a> {
        let (key, is_request) = (self.key, self.opcode.is_request());
        self.entries.iter().enumerate().filter_map(move |(at, entry)| {
            let packet = packet(entry)?;
            let bth = packet.bth?;
            ((packet.destination, bth.destination_qpn()) == key
                && bth.opcode().is_request() == is_request
                && bth.opcode().0 < 0x40)
                .then_some((at, bth))
        })
    }

    pub(crate) fn next(&self) -> Option<(usize, Bth<'a>)> {
        self.stream().find(|(at, _)| *at > self.at)
    }

    pub(crate) fn previous(&self) -> Option<(usize, Bth<'a>)> {
        self.stream().rfind(|(at, _)| *at < self.at)
    }

    /// The first later answer to this request, or to one behind it.
    pub(crate) fn answer(&self) -> Option<usize> {
        let psn = self.bth.psn();
        let source = packet(&self.entries[self.at])?.source;
        self.entries.iter().enumerate().skip(self.at + 1).find_map(|(at, entry)| {
            let found = packet(entry)?;
            let bth = found.bth?;
            let distance = bth.psn().distance(psn);
            (bth.opcode().is_response()
                && bth.opcode().0 < 0x40
                && found.destination == source
                && (0..1 << 16).contains(&distance))
            .then_some(at)
        })
    }

    /// True if neither connection management nor a First has told the path MTU.
    pub(crate) fn is_early(&self) -> bool {
        let is_first =
            |packet: Packet<'_>| packet.opcode().is_some_and(|opcode| opcode.place() == Place::First);
        !self.has_cm && !self.entries.iter().take(self.at).filter_map(packet).any(is_first)
    }

    /// True if the PSN after this answer's was sent before it.
    pub(crate) fn next_psn_is_sent(&self) -> bool {
        let psn = self.bth.psn().plus(1);
        let source = packet(&self.entries[self.at]).map(|packet| packet.source);
        self.entries.iter().take(self.at).filter_map(packet).any(|packet| {
            Some(packet.destination) == source
                && packet.bth.is_some_and(|bth| {
                    let reth = packet.reth.map_or(0, |reth| reth.dma_length());
                    let span =
                        if bth.opcode().operation() == Operation::ReadRequest { reth / 256 } else { 0 };
                    bth.opcode().is_request()
                        && bth.opcode().0 < 0x40
                        && (0..=span as i32).contains(&psn.distance(bth.psn()))
                })
        })
    }
}
