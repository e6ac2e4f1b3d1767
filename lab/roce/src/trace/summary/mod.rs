//! The trace as what must hold whatever the timing.
//!
//! In: a report. Out: text that is the same in every run of the same intent. What a requester meant is in the packets that it sent for the first time, so
//! those are counted, folded and shown with what became of them; of everything that answers, repeats and recovers, only what the fault decides is shown.

mod message;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::finding::Finding;
use crate::flow::{ConnectionId, Side, StreamId};
use crate::message::Message;
use crate::report::Report;
use crate::trace::labels::Labels;
use crate::trace::summary::message::SummaryLine;
use crate::trace::summary::stream::{StreamSummary, Streams};
use crate::trace::{cm, render};

/// Connections that are brought into the order of their text; of more, the order is the capture's.
const SORTED_MAX: usize = 32;

pub(crate) fn summary(report: &Report) -> String {
    let streams = StreamSummary::all(report);
    let labels = Labels::ordered(report, order(report, &streams));
    let mut out = format!("roce trace {}, summary\n", render::FORMAT);
    for (place, index) in labels.order().iter().enumerate() {
        let _ = write!(out, "\nconnection {}: ", place + 1);
        connection(&mut out, report, &labels, &streams, *index);
    }
    if report.cm_rows.iter().any(|row| row.flow.is_none() && !row.is_hidden) {
        out.push_str("\nconnection management of no connection\n");
        cm::folded(&mut out, report, &labels, None);
    }
    unconnected(&mut out, report, &labels);
    findings(&mut out, report, &labels);
    out
}

/// Connections in the order of their text: which of two programs is first, timing decides.
fn order(report: &Report, streams: &Streams<'_>) -> Vec<ConnectionId> {
    let mut order: Vec<ConnectionId> = report.connection_ids().collect();
    if (2..=SORTED_MAX).contains(&order.len()) {
        order.sort_by_cached_key(|index| {
            let labels = Labels::ordered(report, vec![*index]);
            let mut text = String::new();
            connection(&mut text, report, &labels, streams, *index);
            text
        });
    }
    order
}

fn connection(
    out: &mut String,
    report: &Report,
    labels: &Labels<'_>,
    streams: &Streams<'_>,
    index: ConnectionId,
) {
    let (active, passive) = (labels.queue_pair(index, Side::Active), labels.queue_pair(index, Side::Passive));
    let has_cm = report.connection(index).is_some_and(|connection| connection.port_space.is_some());
    let by = if has_cm { "" } else { ", without connection management" };
    let _ = writeln!(out, "{active} > {passive}{by}");
    cm::folded(out, report, labels, Some(index));
    for side in Side::BOTH {
        let id = StreamId { connection: index, requester: side };
        if let Some(stream) = streams.get(&id) {
            let (from, to) = (labels.queue_pair(index, side), labels.queue_pair(index, side.other()));
            let _ = writeln!(out, "\n  {from} > {to}");
            let line = |message: &&Message| SummaryLine::new(labels, id, stream, message);
            message::write(out, stream.messages.iter().map(line).collect());
            stream.write(out, labels);
        }
    }
}

/// Datagrams, and packets that belong to no connection.
fn unconnected(out: &mut String, report: &Report, labels: &Labels<'_>) {
    let mut datagrams: BTreeMap<String, Vec<SummaryLine>> = BTreeMap::new();
    for message in &report.messages {
        if render::stream_of(report, message).is_none() {
            let from = labels.unconnected(message.requester, message.requester_qpn);
            let to = labels.unconnected(message.responder, Some(message.responder_qpn));
            datagrams
                .entry(format!("{from} > {to}"))
                .or_default()
                .push(SummaryLine::datagram(labels, message));
        }
    }
    for (direction, lines) in datagrams {
        let _ = writeln!(out, "\n  {direction}");
        message::write(out, lines);
    }
    let is_other = |opcode| crate::MessageKind::of(opcode).is_none();
    let others: BTreeSet<String> = report
        .rows
        .iter()
        .filter(|row| row.flow.is_none() && !row.is_hidden && row.opcode.is_none_or(is_other))
        .map(|row| format!("{:<23} {}", render::direction(labels, row), render::words(row)))
        .collect();
    if !others.is_empty() {
        out.push_str("\npackets of no connection\n");
        for other in others {
            let _ = writeln!(out, "  {other}");
        }
    }
}

/// The first finding of each rule in each direction.
fn findings(out: &mut String, report: &Report, labels: &Labels<'_>) {
    let mut first: BTreeMap<(usize, String, String), &Finding> = BTreeMap::new();
    for finding in &report.findings {
        let place = finding.stream.map_or(usize::MAX, |stream| labels.place(stream.connection));
        first
            .entry((place, render::finding_direction(labels, finding), finding.rule.name()))
            .or_insert(finding);
    }
    if first.is_empty() {
        out.push_str("\nfindings: none\n");
        return;
    }
    out.push_str("\nfindings, the first of each kind\n");
    for finding in first.values() {
        render::finding(out, labels, finding);
    }
}
