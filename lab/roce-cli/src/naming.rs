//! Names of nodes that a capture itself says: its name resolution blocks, and the interfaces of a recording by the lab, which are called by the nodes at them.
//!
//! In: the first records of a file, which is opened for that; what comes only once, as a pipe does, is left alone. Out: names for addresses that have none.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use etherparse::{NetSlice, SlicedPacket};

use crate::{Common, input};
use roce::Fate;
use roce::Names;
use roce::capture::Reader;
use roce::wire::{Frame, LinkType};

/// Records in which names are looked for: a node speaks early, and name resolution stands at the beginning.
const RECORDS: usize = 1_000;

impl Common {
    /// The names of nodes: those of the options before `defaults`, and these before what the capture itself says.
    pub(super) fn names(&self, defaults: Names, files: &[PathBuf]) -> Names {
        let names = self.names.iter().fold(defaults, |names, (address, name)| names.with(*address, name));
        of_capture(files, self, names)
    }
}

/// Adds the names that the files say to `names`, which go before them.
fn of_capture(files: &[PathBuf], common: &Common, mut names: Names) -> Names {
    for file in files.iter().filter(|file| input::can_be_read_again(file)) {
        for (address, name) in of_file(file, common) {
            names.learn(address, &name);
        }
    }
    names
}

/// Source and destination of a frame that is not RoCE.
fn path_beside(frame: &[u8]) -> Option<[IpAddr; 2]> {
    let path: [IpAddr; 2] = match SlicedPacket::from_ethernet(frame).ok()?.net? {
        NetSlice::Ipv4(ip) => [ip.header().source_addr().into(), ip.header().destination_addr().into()],
        NetSlice::Ipv6(ip) => [ip.header().source_addr().into(), ip.header().destination_addr().into()],
        NetSlice::Arp(_) => return None,
    };
    (!path[0].is_unspecified()).then_some(path)
}

/// Names in one file, those that count before others first. What cannot be read is for others to tell.
fn of_file(file: &Path, common: &Common) -> Vec<(IpAddr, String)> {
    // Without a thread that reads ahead: little is read.
    let Ok(source) = input::source(file).map(|(_, source)| source) else { return Vec::new() };
    let Ok(source) = input::plain(source) else { return Vec::new() };
    let Ok(mut reader) = Reader::new(source) else { return Vec::new() };
    let mut decoder = common.decoder();
    let mut at_interfaces: Vec<(IpAddr, String)> = Vec::new();
    let mut paths: Vec<[IpAddr; 2]> = Vec::new();
    for _ in 0..RECORDS {
        let Ok(Some(record)) = reader.next() else { break };
        // A frame without a fate is of another recorder, whose interfaces are its own.
        let (Some(name), Some(comment)) = (record.interface_name, record.comment) else { continue };
        let fate = Fate::from_comment(comment);
        if matches!(fate, Fate::Unknown(_)) || !fate.is_sent() {
            continue;
        }
        let path = match decoder.decode(record.link_type, record.data) {
            Frame::Roce(packet) => Some([packet.source, packet.destination]),
            Frame::NotRoce(_) if record.link_type == LinkType::ETHERNET => path_beside(record.data),
            Frame::NotRoce(_) => None,
        };
        if let Some(path) = path.filter(|path| !paths.contains(path)) {
            paths.push(path);
            if !at_interfaces.iter().any(|(known, _)| *known == path[0]) {
                at_interfaces.push((path[0], name.to_owned()));
            }
        }
    }
    let mut names = reader.names().to_vec();
    let name = |address| at_interfaces.iter().find(|(known, _)| *known == address).map(|(_, name)| name);
    // An interface at which two nodes talk to each other is none of either.
    let is_shared = |[source, destination]: &[IpAddr; 2]| {
        source != destination && name(*destination).is_some_and(|other| name(*source) == Some(other))
    };
    if !paths.iter().any(is_shared) {
        names.extend(at_interfaces);
    }
    names
}
