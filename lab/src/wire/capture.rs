//! Captures, decoded with the nodes' names.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::Path;

use roce::capture::{ReadError, Reader, Record};
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
    let names = addresses.fold(roce::Names::new(), |names, (role, address)| names.with(address, role.name()));
    let mut analysis = roce::Analysis::new(names);
    each_record(path, |record| {
        analysis.push(record);
        Ok(())
    })?;
    Ok(analysis.finish())
}

/// Passes on each RoCEv2 packet with its number, whether it was sent there and whether it was delivered.
pub(crate) fn each_packet(path: &Path, mut take: impl FnMut(u64, bool, bool, &Packet<'_>)) -> Result<()> {
    each_record(path, |record| {
        if let Some(packet) = record.frame().packet() {
            let fate = record.fate();
            take(record.number, fate.is_sent(), fate.is_delivered(), packet);
        }
        Ok(())
    })
}

/// Passes on each record of a capture, to its end or to an error of `take`.
pub(crate) fn each_record(path: &Path, mut take: impl FnMut(&Record<'_>) -> Result<()>) -> Result<()> {
    let mut reader = open(path)?;
    while let Some(record) = reader.next().map_err(|source| unreadable(path, source))? {
        take(&record)?;
    }
    Ok(())
}

/// Opens a capture.
///
/// # Errors
///
/// There is none, or its head is not one.
pub(crate) fn open(path: &Path) -> Result<Reader<File>> {
    let file = File::open(path).at("failed to open", path).map_err(|error| error.kind_is(Kind::Capture))?;
    Reader::new(file).map_err(|source| unreadable(path, source))
}

/// The error of a capture that cannot be read.
pub(crate) fn unreadable(path: &Path, source: ReadError) -> Error {
    Error::capture(format!("failed to read {}", path.display())).source(source)
}
