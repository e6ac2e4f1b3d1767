//! A switch's recording: each frame as it enters, with its fate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use roce::Fate;
use roce::capture::Writer;
use roce::wire::{Frame, Icrc, LinkType};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;
use crate::wire::captured::Captured;
use crate::wire::gate::nanoseconds;
use crate::wire::table::NodeSet;

/// Most addresses of nodes whose names a capture says.
const NAMED_MAX: usize = 64;

/// A frame at the switch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ingress<'a> {
    pub(super) from: Role,
    pub(super) to: NodeSet,
    pub(super) bytes: &'a [u8],
    /// Time of its arrival, of one that waited at the gate; else now.
    pub(super) came: Option<SystemTime>,
}

impl<'a> Ingress<'a> {
    pub(super) fn now(from: Role, to: NodeSet, bytes: &'a [u8]) -> Ingress<'a> {
        Ingress { from, to, bytes, came: None }
    }

    /// The node that it is for; of one for several, the sender's usual peer.
    pub(super) fn receiver(self) -> Role {
        self.to.single().unwrap_or(self.from.peer())
    }

    /// Frames that the switch sends in its place.
    pub(super) fn replaced<'b>(self, bytes: &'b [u8]) -> Ingress<'b> {
        Ingress::now(self.from, self.to, bytes)
    }

    /// Its fate if it is delivered as it is.
    pub(super) fn forwarded(self) -> Fate {
        self.came.map_or(Fate::Forwarded, |came| {
            let waited = came.elapsed().unwrap_or_default();
            Fate::Queued { delay_us: u64::try_from(waited.as_micros()).unwrap_or(u64::MAX) }
        })
    }
}

/// A capture that a switch writes.
pub(super) struct SwitchRecording {
    /// Unbuffered: a reader that follows the file sees each frame at once.
    writer: Writer<File>,
    pub(super) path: PathBuf,
    pub(super) records: u64,
    pub(super) captured: BTreeMap<Role, Captured>,
    /// Addresses of the nodes, whose names are in the file.
    named: BTreeSet<(Role, IpAddr)>,
    /// Nodes, an interface each.
    nodes: NodeSet,
    pub(super) failure: Option<String>,
}

impl std::fmt::Debug for SwitchRecording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SwitchRecording").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SwitchRecording {
    /// Begins to record into `file`, with an interface for each of `nodes`.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn begin(file: &Path, nodes: NodeSet) -> Result<SwitchRecording> {
        let sink = File::create(file).at("failed to create", file)?;
        let names: Vec<&str> = nodes.iter().map(Role::name).collect();
        let writer = Writer::new(sink, &names).map_err(|source| capture_error(file, source))?;
        Ok(SwitchRecording {
            writer,
            path: file.to_owned(),
            records: 0,
            captured: nodes.iter().map(|role| (role, Captured::default())).collect(),
            named: BTreeSet::new(),
            nodes,
            failure: None,
        })
    }

    /// Writes a frame with the time at which it came in.
    pub(super) fn record(&mut self, frame: Ingress<'_>, fate: &Fate) -> u64 {
        let Ingress { from, to, bytes: frame, came } = frame;
        let came_ns = nanoseconds(came.unwrap_or_else(SystemTime::now));
        let interface = self.nodes.iter().take_while(|role| *role != from).count() as u32;
        let decoded = Frame::decode(LinkType::ETHERNET, frame);
        let mut written = Ok(());
        if let Some(packet) = decoded.packet() {
            // rxe counts what it receives behind its check of the ICRC.
            let is_taken = packet.icrc == Icrc::Good;
            self.captured.entry(from).or_default().sent += u64::from(fate.is_sent());
            for receiver in to.iter() {
                self.captured.entry(receiver).or_default().delivered +=
                    u64::from(fate.is_delivered() && is_taken);
            }
            if fate.is_sent()
                && is_taken
                && self.named.len() < NAMED_MAX
                && self.named.insert((from, packet.source))
            {
                written = self.writer.name(packet.source, from.name());
            }
        }
        let written = written.and_then(|()| self.writer.write(interface, came_ns, frame, &fate.to_string()));
        if let Err(source) = written {
            self.failure.get_or_insert(capture_error(&self.path, source).to_string());
        }
        self.records += 1;
        self.records
    }
}

fn capture_error(file: &Path, source: roce::capture::WriteError) -> Error {
    Error::capture(format!("failed to write the capture {}", file.display())).source(source)
}
