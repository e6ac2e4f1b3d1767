//! Captures, decoded with the nodes' names.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::Path;

use roce::wire::Packet;

use crate::base::error::{Error, IoContext as _, Kind, Result};
use crate::base::role::Role;

/// The capture's file in an artifact directory.
pub const CAPTURE: &str = "capture.pcapng";

/// Decodes a capture, with the nodes' names.
///
/// # Errors
///
/// There is no capture, or it cannot be read to its end.
pub fn decode_file(path: &Path, addresses: &BTreeMap<Role, IpAddr>) -> Result<roce::Report> {
    decode_named(path, addresses.iter().map(|(role, address)| (*role, *address)))
}

/// Decodes a capture, with the nodes' names; a node may have several addresses.
///
/// # Errors
///
/// As [`decode_file`].
pub fn decode_named(path: &Path, addresses: impl Iterator<Item = (Role, IpAddr)>) -> Result<roce::Report> {
    let failed = |source| Error::capture(format!("failed to read {}", path.display())).source(source);
    let file = File::open(path).at("failed to open", path).map_err(|error| error.kind_is(Kind::Capture))?;
    let names = addresses.fold(roce::Names::new(), |names, (role, address)| names.with(address, role.name()));
    let mut reader = roce::capture::Reader::new(file).map_err(failed)?;
    let mut analysis = roce::Analysis::new(names);
    while let Some(record) = reader.next().map_err(failed)? {
        analysis.push(&record);
    }
    Ok(analysis.finish())
}

/// Gives each RoCEv2 packet with its number, whether it was sent there and whether it was delivered.
pub(crate) fn each_packet(path: &Path, mut take: impl FnMut(u64, bool, bool, &Packet<'_>)) -> Result<()> {
    let failed = |source| Error::capture(format!("failed to read {}", path.display())).source(source);
    let mut reader =
        roce::capture::Reader::new(File::open(path).at("failed to open", path)?).map_err(failed)?;
    while let Some(record) = reader.next().map_err(failed)? {
        if let Some(packet) = record.frame().packet() {
            let fate = record.fate();
            take(record.number, fate.is_sent(), fate.is_delivered(), packet);
        }
    }
    Ok(())
}
