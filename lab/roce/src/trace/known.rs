//! The trace's names of messages and findings, while a capture is read and at its end.

use std::net::IpAddr;

use crate::analysis::Analysis;
use crate::checker::Adverts;
use crate::finding::{Evidence, Finding};
use crate::flow::{Connection, ConnectionId, Datagrams, Side, unknown};
use crate::message::Message;
use crate::names::Names;
use crate::report::Report;
use crate::wire::Psn;

/// Nodes and connections as an analysis or a report knows them. Their names are the trace's, and do not change while the capture is read.
///
/// # Example
/// ```
/// # use roce::{Analysis, Names, capture::{Reader, Record}};
/// # let capture = include_bytes!("../../fixtures/write_with_imm.pcapng");
/// let mut analysis = Analysis::streaming(Names::new());
/// let mut reader = Reader::new(&capture[..])?;
/// while let Some(record) = reader.next()? {
///     analysis.push(&record);
///     for message in analysis.take_messages() {
///         let names = analysis.known().message(&message);
///         assert_eq!(names.queue_pairs, ["node1.qp1", "node2.qp1"]);
///         assert_eq!(names.psn.as_deref(), Some("node1+0"));
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    names: &'a Names,
    adverts: &'a Adverts,
    datagrams: &'a Datagrams,
    connections: Connections<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Connections<'a> {
    Followed(&'a Analysis),
    All(&'a [Connection]),
}

/// The names of a message in the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageNames {
    /// The requester's and the responder's queue pair: `client.qp1`.
    pub queue_pairs: [String; 2],
    /// First and last PSN, by their distance from the requester's first: `client+3..7`. `None` when that is not known.
    pub psn: Option<String>,
}

impl Analysis {
    /// The nodes and connections that came so far.
    pub fn known(&self) -> Known<'_> {
        Known {
            names: self.names(),
            adverts: self.adverts(),
            datagrams: self.datagrams(),
            connections: Connections::Followed(self),
        }
    }
}

impl Report {
    /// The nodes and connections of the whole capture.
    pub fn known(&self) -> Known<'_> {
        Known {
            names: &self.names,
            adverts: &self.adverts,
            datagrams: &self.datagrams,
            connections: Connections::All(&self.connections),
        }
    }
}

impl<'a> Known<'a> {
    /// Names of the nodes.
    pub fn names(self) -> &'a Names {
        self.names
    }

    fn connection(self, id: ConnectionId) -> Option<&'a Connection> {
        match self.connections {
            Connections::Followed(analysis) => analysis.connection(id),
            Connections::All(connections) => connections.get(id.index()),
        }
    }

    /// The queue pair on a side of a connection.
    fn queue_pair(self, connection: &Connection, side: Side) -> String {
        let end = connection.endpoint(side);
        let node = self.names.get(end.address);
        match end.qpn.zip(end.number) {
            Some((qpn, number)) if connection.is_shown(side) || self.adverts.has_told(end.address, qpn) => {
                format!("{node}.qp{number}")
            }
            Some((qpn, _)) => unknown(&node, qpn),
            None => format!("{node}.qp?"),
        }
    }

    /// A queue pair of no connection.
    fn unconnected(self, address: IpAddr, qpn: Option<u32>) -> String {
        let node = self.names.get(address);
        let Some(qpn) = qpn else { return format!("{node}.qp?") };
        let has_told = |(node, qpn)| self.adverts.has_told(node, qpn);
        self.datagrams.name((address, qpn), self.names, has_told).unwrap_or_else(|| unknown(&node, qpn))
    }

    /// The names of a message.
    pub fn message(self, message: &Message) -> MessageNames {
        let node = self.names.get(message.requester);
        let connection = message.connection.and_then(|id| self.connection(id));
        let (queue_pairs, psn) = match connection {
            Some(connection) => {
                let requester = message.requester_side(connection);
                let psn = connection.endpoint(requester).psn_first.map(|first| {
                    let distance = |psn: Psn| psn.distance(first);
                    (format!("{node}{:+}", distance(message.psn_first)), distance(message.psn_last))
                });
                ([requester, requester.other()].map(|side| self.queue_pair(connection, side)), psn)
            }
            None => {
                let from = self.unconnected(message.requester, message.requester_qpn);
                let psn = message.requester_qpn.and_then(|qpn| {
                    let distance = self.datagrams.psn_offset((message.requester, qpn), message.psn_first)?;
                    Some((format!("{node}{distance:+}"), distance))
                });
                ([from, self.unconnected(message.responder, Some(message.responder_qpn))], psn)
            }
        };
        let is_single = message.psn_first == message.psn_last;
        let psn = psn.map(|(first, last)| if is_single { first } else { format!("{first}..{last}") });
        MessageNames { queue_pairs, psn }
    }

    /// The place of a finding: `client.qp1 > server.qp1, client+2, message 3`.
    pub fn place(self, finding: &Finding) -> String {
        let connected =
            finding.stream.and_then(|stream| Some((stream.requester, self.connection(stream.connection)?)));
        let Some((requester, connection)) = connected else {
            return [finding.source, finding.destination].map(|address| self.names.get(address)).join(" > ");
        };
        let end = connection.endpoint(requester);
        let sender = if end.address == finding.source { requester } else { requester.other() };
        let mut place = [sender, sender.other()].map(|side| self.queue_pair(connection, side)).join(" > ");
        if let (Some(first), Some(psn)) = (end.psn_first, finding.psn) {
            place += &format!(", {}{:+}", self.names.get(end.address), psn.distance(first));
        }
        if let Some(message) = finding.message {
            place += &format!(", message {message}");
        }
        place
    }

    /// The evidence of a finding, PSNs as distances: `expected client+2, got client+3`.
    pub fn evidence(self, finding: &Finding) -> String {
        let end = finding
            .stream
            .and_then(|stream| Some(*self.connection(stream.connection)?.endpoint(stream.requester)));
        match (finding.evidence, end.and_then(|end| Some((self.names.get(end.address), end.psn_first?)))) {
            (Evidence::Psn { expected, got }, Some((node, first))) => {
                let [expected, got] = [expected, got].map(|psn| psn.distance(first));
                format!("expected {node}{expected:+}, got {node}{got:+}")
            }
            (evidence, _) => evidence.to_string(),
        }
    }

    /// A finding in one line: `RequestPsnGap at packet 7, client.qp1 > server.qp1, client+2: …`.
    pub fn finding(self, finding: &Finding) -> String {
        let (rule, packet) = (finding.rule, finding.packet);
        format!("{rule} at packet {packet}, {}: {}", self.place(finding), self.evidence(finding))
    }
}
