//! The trace's names while a capture is read: of the queue pairs and PSNs of messages and findings, without the packets.

use std::collections::{BTreeMap, HashMap};

use crate::analysis::Analysis;
use crate::checker::Adverts;
use crate::finding::Finding;
use crate::flow::{Connection, Side};
use crate::message::Message;
use crate::names::Names;
use crate::report::Report;
use crate::trace::datagrams::{Datagrams, unknown};
use crate::wire::{Packet, Psn};

/// Queue pairs of datagrams that have names; the numbers of more are shown.
const DATAGRAMS_MAX: usize = 4_096;

/// Names of queue pairs as the trace has them, in memory that does not grow with the capture: numbered by node, in the order of the connections, and those of
/// datagrams in the order of the packets.
///
/// # Example
/// ```
/// # use roce::{Analysis, Names, capture::{Reader, Record}};
/// use roce::RunningNames;
///
/// # let capture = std::fs::read("fixtures/write_with_imm.pcapng")?;
/// let (mut analysis, mut running) = (Analysis::streaming(Names::new()), RunningNames::new());
/// let mut reader = Reader::new(&capture[..])?;
/// while let Some(record) = reader.next()? {
///     analysis.push(&record);
///     for message in analysis.take_messages() {
///         running.learn(&analysis);
///         let names = running.message(&message, analysis.known());
///         assert_eq!(names.queue_pairs, ["node1.qp1", "node2.qp1"]);
///         assert_eq!(names.psn.as_deref(), Some("node1+0"));
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunningNames {
    counts: HashMap<String, usize>,
    numbers: BTreeMap<usize, [usize; 2]>,
    /// The number that the next new connection has at least.
    next: usize,
    datagrams: Datagrams,
}

/// Nodes and connections as an analysis or a report knows them.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    names: &'a Names,
    adverts: &'a Adverts,
    connections: Connections<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Connections<'a> {
    Followed(&'a Analysis),
    All(&'a [Connection]),
}

impl<'a> Known<'a> {
    pub(crate) fn of_analysis(analysis: &'a Analysis) -> Self {
        let connections = Connections::Followed(analysis);
        Self { names: analysis.names(), adverts: analysis.adverts(), connections }
    }

    pub(crate) fn of_report(report: &'a Report) -> Self {
        let connections = Connections::All(&report.connections);
        Self { names: &report.names, adverts: &report.adverts, connections }
    }

    /// Names of the nodes.
    pub fn names(self) -> &'a Names {
        self.names
    }

    fn connection(self, index: usize) -> Option<&'a Connection> {
        match self.connections {
            Connections::Followed(analysis) => analysis.connection(index),
            Connections::All(connections) => connections.get(index),
        }
    }
}

/// The names of a message in the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageNames {
    /// The requester's and the responder's queue pair: `client.qp1`.
    pub queue_pairs: [String; 2],
    /// First and last PSN, by their distance from the requester's first: `client+3..7`. `None` when that is not known.
    pub psn: Option<String>,
}

impl Default for RunningNames {
    fn default() -> Self {
        Self::new()
    }
}

impl RunningNames {
    /// Begins a capture.
    pub fn new() -> Self {
        let datagrams = Datagrams::new(DATAGRAMS_MAX);
        Self { counts: HashMap::new(), numbers: BTreeMap::new(), next: 0, datagrams }
    }

    /// Takes note of a packet that may be a datagram.
    pub fn see(&mut self, packet: &Packet<'_>, names: &Names) {
        if let (Some(bth), Some(deth)) = (packet.bth, packet.deth)
            && !packet.mad().is_some_and(|mad| mad.is_ok_and(|mad| mad.is_cm()))
        {
            let source = (packet.source, deth.source_qpn());
            self.datagrams.see(source, (packet.destination, bth.destination_qpn()), bth.psn(), names);
        }
    }

    /// Numbers the ends of connections that are new, and forgets those that are followed no more.
    pub fn learn(&mut self, analysis: &Analysis) {
        let first = analysis.connections(0).next().map_or(0, |(index, _)| index);
        self.number(analysis.connections(self.next), analysis.names());
        while let Some(oldest) = self.numbers.first_entry().filter(|oldest| *oldest.key() < first) {
            oldest.remove();
        }
    }

    /// Numbers the ends of all connections anew, as the capture's end shows them.
    pub fn at_end(self, report: &Report) -> Self {
        let mut names = Self { datagrams: self.datagrams, ..Self::new() };
        names.number(report.connections.iter().enumerate(), &report.names);
        names
    }

    fn number<'a>(&mut self, new: impl Iterator<Item = (usize, &'a Connection)>, names: &Names) {
        for (index, connection) in new {
            self.next = index + 1;
            self.numbers.entry(index).or_insert_with(|| {
                [connection.active.address, connection.passive.address].map(|address| {
                    let count = self.counts.entry(names.get(address)).or_default();
                    *count += 1;
                    *count
                })
            });
        }
    }

    /// The queue pairs of a connection, `requester`'s first.
    fn queue_pairs(
        &self,
        index: usize,
        requester: Side,
        connection: &Connection,
        known: Known<'_>,
    ) -> Option<[String; 2]> {
        let [active, passive] = self.numbers.get(&index)?;
        let name = |side: Side| {
            let end = connection.endpoint(side);
            let (node, number) =
                (known.names.get(end.address), if side == Side::Active { active } else { passive });
            match end.qpn {
                Some(qpn) if connection.is_shown(side) || known.adverts.has_told(end.address, qpn) => {
                    format!("{node}.qp{number}")
                }
                Some(qpn) => unknown(&node, qpn),
                None => format!("{node}.qp?"),
            }
        };
        Some([name(requester), name(requester.other())])
    }

    /// The names of a message.
    pub fn message(&self, message: &Message, known: Known<'_>) -> MessageNames {
        let Known { names, adverts, .. } = known;
        let connection = message.connection.and_then(|index| Some((index, known.connection(index)?)));
        let connected = connection.and_then(|(index, connection)| {
            let (active, passive) = (connection.active, connection.passive);
            let is_passive = passive.address == message.requester
                && (active.address != message.requester || message.requester_qpn == passive.qpn);
            let requester = if is_passive { Side::Passive } else { Side::Active };
            let queue_pairs = self.queue_pairs(index, requester, connection, known)?;
            Some((queue_pairs, connection.endpoint(requester).psn_first))
        });
        let node = names.get(message.requester);
        let (queue_pairs, psn) = match connected {
            Some((queue_pairs, first)) => {
                let psn = first.map(|first| {
                    let distance = |psn: Psn| psn.distance(first);
                    (format!("{node}{:+}", distance(message.psn_first)), distance(message.psn_last))
                });
                (queue_pairs, psn)
            }
            None => {
                let name = |address, qpn: Option<u32>| match qpn {
                    None => format!("{}.qp?", names.get(address)),
                    Some(qpn) => {
                        let has_told = |(node, qpn)| adverts.has_told(node, qpn);
                        let known = self.datagrams.name((address, qpn), names, has_told);
                        known.unwrap_or_else(|| format!("{}.{qpn:#x}", names.get(address)))
                    }
                };
                let from = name(message.requester, message.requester_qpn);
                let psn = message.requester_qpn.and_then(|qpn| {
                    let distance = self.datagrams.psn_offset((message.requester, qpn), message.psn_first)?;
                    Some((format!("{node}{distance:+}"), distance))
                });
                ([from, name(message.responder, Some(message.responder_qpn))], psn)
            }
        };
        let psn =
            psn.map(
                |(first, last)| {
                    if message.psn_first == message.psn_last { first } else { format!("{first}..{last}") }
                },
            );
        MessageNames { queue_pairs, psn }
    }

    /// The place of a finding: `client.qp1 > server.qp1, client+2`.
    pub fn place(&self, finding: &Finding, known: Known<'_>) -> String {
        let names = known.names;
        let nodes = [finding.source, finding.destination].map(|address| names.get(address));
        let connected = finding.requester.and_then(|(index, side)| {
            let connection = known.connection(index)?;
            Some((side, connection, self.queue_pairs(index, side, connection, known)?))
        });
        let Some((side, connection, [requester, responder])) = connected else { return nodes.join(" > ") };
        let end = connection.endpoint(side);
        let from_requester = end.address == finding.source;
        let ends = if from_requester { [requester, responder] } else { [responder, requester] };
        match (end.psn_first, finding.psn) {
            (Some(first), Some(psn)) => {
                format!("{}, {}{:+}", ends.join(" > "), names.get(end.address), psn.distance(first))
            }
            _ => ends.join(" > "),
        }
    }
}
