//! The trace as values: each packet, message and finding with the names that the text has for it.
//!
//! For those who show a trace otherwise than as text. The order is that of the capture; connection management stands among the data.

use std::net::IpAddr;

use crate::fate::Fate;
use crate::flow::{ConnectionId, Side};
use crate::report::Report;
use crate::retransmission::RetransmissionClass;
use crate::row::{CmRow, Row};
use crate::trace::labels::Labels;
use crate::trace::{cm, render};
use crate::wire::{Icrc, PacketRole, Syndrome};

/// Part of a packet in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Connection management.
    Management,
    /// A requester's packet.
    Request,
    /// A responder's packet that takes a request, or answers it.
    Response,
    /// A responder's RNR NAK: it had no receive buffer.
    NotReady,
    /// A responder's NAK.
    Refusal,
}

/// A packet under the trace's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketLine {
    /// Number of the packet in the capture, from 1.
    pub number: u64,
    /// Time in nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// Address of its sender and of its receiver.
    pub ends: [IpAddr; 2],
    /// Names of the queue pairs at both: `client.qp1`; of connection management those of the connection.
    pub queue_pairs: [String; 2],
    /// The connection.
    pub connection: Option<ConnectionId>,
    /// Part of the line.
    pub part: Part,
    /// Name of the packet: `RC RDMA WRITE Only`, `CM REQ`.
    pub words: String,
    /// PSN under the trace's name, `client+3`; empty where it has none.
    pub psn: String,
    /// Node whose requests the PSN counts, and the distance from the first of them.
    pub psn_offset: Option<(String, i32)>,
    /// Message sequence number of an answer.
    pub msn: Option<u32>,
    /// Payload in bytes, where it is known.
    pub payload_bytes: Option<usize>,
    /// Everything else that the trace says of it.
    pub details: String,
    /// Parameters of a connection management message.
    pub parameters: Vec<(&'static str, String)>,
    /// Fate of the frame at the switch.
    pub fate: Fate,
    /// Retransmission class, if the packet is a retransmission.
    pub again: Option<RetransmissionClass>,
    /// True if its ICRC is wrong.
    pub is_damaged: bool,
}

/// A message under the trace's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLine {
    /// The requester's and the responder's queue pair.
    pub queue_pairs: [String; 2],
    /// First and last PSN: `client+3..7`.
    pub psn: String,
    /// Memory region at the responder, and the offset of the first byte in it.
    pub memory: Option<(String, i128)>,
}

/// A memory region under the trace's names: each key that a packet uses or a REP advertises.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryLine {
    /// Name: `server.mr1`.
    pub name: String,
    /// Address of the node whose memory it is.
    pub node: IpAddr,
    /// Remote key.
    pub rkey: u32,
    /// Virtual address of its first byte: what its node advertised in a REP, else the lowest seen.
    pub base: u64,
    /// True if a REP advertised it.
    pub is_advertised: bool,
}

/// A finding under the trace's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingLine {
    /// The nodes: `client > server`.
    pub direction: String,
    /// PSN; empty where it has none.
    pub psn: String,
    /// Expected and found, in the trace's words.
    pub evidence: String,
}

pub(crate) fn packets(report: &Report) -> Vec<PacketLine> {
    let labels = Labels::new(report);
    let mut lines: Vec<PacketLine> =
        report.rows.iter().filter(|row| !row.is_hidden).map(|row| of_row(&labels, row)).collect();
    let connections = report.connection_ids().map(Some).chain([None]);
    for (row, parameters) in connections.flat_map(|index| cm::parts(report, &labels, index)) {
        lines.push(of_cm_row(&labels, row, parameters));
    }
    lines.sort_by_key(|line| line.number);
    lines
}

fn of_row(labels: &Labels<'_>, row: &Row) -> PacketLine {
    let part = match (row.aeth, row.opcode.map(|opcode| opcode.role())) {
        (Some((Syndrome::RnrNak { .. }, _)), _) => Part::NotReady,
        (Some((Syndrome::Nak(_), _)), _) => Part::Refusal,
        (_, Some(PacketRole::Response)) => Part::Response,
        _ => Part::Request,
    };
    PacketLine {
        number: row.number,
        timestamp_ns: row.timestamp_ns,
        ends: [row.source, row.destination],
        queue_pairs: render::queue_pairs(labels, row),
        connection: row.flow.map(|(index, _)| index),
        part,
        words: render::words(row),
        psn: render::psn(labels, row),
        psn_offset: render::psn_offset(labels, row),
        msn: row.aeth.map(|(_, msn)| msn),
        payload_bytes: row.payload_length_bytes,
        details: render::details(labels, row),
        parameters: Vec::new(),
        fate: row.fate.clone(),
        again: row.again,
        is_damaged: matches!(row.icrc, Icrc::Bad { .. }),
    }
}

fn of_cm_row(labels: &Labels<'_>, row: &CmRow, parameters: Vec<(&'static str, String)>) -> PacketLine {
    PacketLine {
        number: row.number,
        timestamp_ns: row.timestamp_ns,
        ends: [row.source, row.destination],
        queue_pairs: [row.source, row.destination].map(|address| format!("{}.GSI", labels.node(address))),
        connection: row.flow,
        part: Part::Management,
        words: format!("CM {}", cm::name(row)),
        psn: String::new(),
        psn_offset: None,
        msn: None,
        payload_bytes: None,
        details: row.fate.words().unwrap_or_default(),
        parameters,
        fate: row.fate.clone(),
        again: None,
        is_damaged: matches!(row.icrc, Icrc::Bad { .. }),
    }
}

pub(crate) fn connections(report: &Report) -> Vec<[String; 2]> {
    let labels = Labels::new(report);
    let names = |index| [Side::Active, Side::Passive].map(|side| labels.queue_pair(index, side).to_owned());
    report.connection_ids().map(names).collect()
}

pub(crate) fn messages(report: &Report) -> Vec<MessageLine> {
    let labels = Labels::new(report);
    let line = |message| {
        let (queue_pairs, psn) = render::message_names(report, &labels, message);
        let memory = message.va.zip(message.rkey);
        let memory = memory.and_then(|(va, rkey)| labels.offset(message.responder, va, rkey));
        let memory = memory.map(|(region, offset)| (region.to_owned(), offset));
        MessageLine { queue_pairs, psn, memory }
    };
    report.messages.iter().map(line).collect()
}

pub(crate) fn memory(report: &Report) -> Vec<MemoryLine> {
    let labels = Labels::new(report);
    let mut lines: Vec<MemoryLine> = labels
        .regions()
        .map(|(node, rkey, region)| MemoryLine {
            name: region.name.clone(),
            node,
            rkey,
            base: region.base,
            is_advertised: region.is_advertised,
        })
        .collect();
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    lines
}

pub(crate) fn findings(report: &Report) -> Vec<FindingLine> {
    let labels = Labels::new(report);
    let line = |finding| {
        let psn = render::finding_psn(&labels, finding);
        let direction = render::finding_direction(&labels, finding);
        FindingLine { direction, psn, evidence: render::evidence(&labels, finding) }
    };
    report.findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Analysis, Names, Rule, synth};

    #[test]
    fn values_are_those_of_the_text() {
        let capture = include_bytes!("../../fixtures/write_read.pcapng");
        let report = Analysis::new(Names::new()).of_capture(capture);
        let (trace, lines) = (report.trace(), report.packet_lines());
        assert_eq!(lines.len() as u64, report.packets);
        assert!(lines.is_sorted_by_key(|line| line.number));
        for line in &lines {
            let [from, to] = &line.queue_pairs;
            let is_there = |words: &str| trace.contains(words);
            match line.part {
                Part::Management => {
                    assert!(is_there(&line.words[3..]));
                    assert!(line.parameters.iter().all(|(name, value)| is_there(name) && is_there(value)));
                }
                _ => assert!(is_there(&format!("{from} > {to}")) && is_there(&line.psn), "{line:?}"),
            }
            assert!(is_there(&line.details), "{line:?}");
        }
        assert_eq!(report.connection_names(), [["node1.qp1", "node2.qp1"]]);
        let messages = report.message_lines();
        assert_eq!(messages.len(), report.messages.len());
        assert!(messages.iter().all(|line| line.memory.as_ref().is_some_and(|(_, offset)| *offset == 0)));
    }

    #[test]
    fn refusals_and_findings_have_their_words() {
        let report = synth::sample(Rule::RequestRefused);
        assert!(report.packet_lines().iter().any(|line| line.part == Part::Refusal));
        let findings = report.finding_lines();
        assert_eq!(findings.len(), report.findings.len());
        assert!(findings.iter().all(|line| report.trace().contains(&line.evidence)));
        let not_ready = synth::sample(Rule::RnrRetryTooEarly);
        assert!(not_ready.packet_lines().iter().any(|line| line.part == Part::NotReady));
    }

    #[test]
    fn regions_are_those_of_the_messages_and_of_the_adverts() {
        let report =
            Analysis::new(Names::new()).of_capture(include_bytes!("../../fixtures/write_read.pcapng"));
        let regions = report.memory_lines();
        assert!(regions.is_sorted_by(|a, b| a.name <= b.name));
        for (message, line) in report.messages.iter().zip(report.message_lines()) {
            let (name, offset) = line.memory.unwrap();
            let region = regions.iter().find(|region| region.name == name).unwrap();
            assert_eq!((region.node, Some(region.rkey)), (message.responder, message.rkey));
            assert_eq!(Some(i128::from(region.base) + offset), message.va.map(i128::from));
            assert!(region.is_advertised, "{region:?}");
        }
    }
}
