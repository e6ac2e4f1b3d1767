//! The parts of a trace and its columns. Widths are fixed: a longer value moves its own row and no other.

use std::fmt::Write;

use crate::finding::{Evidence, Finding};
use crate::flow::{Side, StreamId};
use crate::message::Message;
use crate::report::{PacketNames, Report};
use crate::row::Row;
use crate::rule::Rule;
use crate::trace::cm;
use crate::trace::labels::Labels;
use crate::wire::{Icrc, Operation, PacketRole};
use crate::words::{immediate_words, length_words, number_words};

/// Number of the text's format; a change of the text changes it.
pub(super) const FORMAT: u32 = 1;

pub(crate) fn render(report: &Report) -> String {
    render_with(report, false)
}

/// The trace; `has_times` puts the times before each packet, and behind it why it came again.
pub(crate) fn render_with(report: &Report, has_times: bool) -> String {
    let labels = Labels::new(report);
    let mut out = format!(
        "roce trace {FORMAT}: {} packets\n",
        report.packets.saturating_sub(cm::surplus(report, &labels))
    );
    for (index, connection) in report.connection_ids().zip(&report.connections) {
        let (active, passive) =
            (labels.queue_pair(index, Side::Active), labels.queue_pair(index, Side::Passive));
        let by = match connection.port_space {
            Some(_) => "",
            None => ", without connection management",
        };
        let _ = writeln!(out, "\nconnection {}: {active} > {passive}{by}", index.index() + 1);
        cm::block(&mut out, report, &labels, Some(index));
    }
    if report.cm_rows.iter().any(|row| row.flow.is_none() && !row.is_hidden) {
        out.push_str("\nconnection management of no connection\n");
        cm::block(&mut out, report, &labels, None);
    }
    if report.rows.iter().any(|row| !row.is_hidden) {
        out.push('\n');
        if has_times {
            let _ = write!(out, "{:>8} {:>13} {:>13}", "packet", "seconds", "since before");
        }
        line(&mut out, "  ", ["packets", "", "psn", "bytes", "pad", ""]);
        let first_ns = report.rows.first().map_or(0, |row| row.timestamp_ns);
        let mut before_ns = first_ns;
        for row in report.rows.iter().filter(|row| !row.is_hidden) {
            if has_times {
                let seconds = |from: u64| (i128::from(row.timestamp_ns) - i128::from(from)) as f64 / 1e9;
                let (since_first, since_before) = (seconds(first_ns), seconds(before_ns));
                let _ = write!(out, "{:>8} {since_first:>13.6} {since_before:>+13.6}", row.number);
                before_ns = row.timestamp_ns;
            }
            packet(&mut out, &labels, row, has_times);
        }
    }
    messages(&mut out, report, &labels);
    findings(&mut out, report, &labels);
    out
}

fn line(out: &mut String, mark: &str, columns: [&str; 6]) {
    let [direction, words, psn, bytes, pad, detail] = columns;
    let text = format!("{mark}{direction:<23} {words:<33} {psn:<11} {bytes:>7} {pad:>3}  {detail}");
    out.push_str(text.trim_end());
    out.push('\n');
}

/// The queue pairs of a packet, its sender's first.
pub(super) fn queue_pairs(labels: &Labels<'_>, row: &Row) -> [String; 2] {
    match row.flow {
        Some((index, sender)) => {
            [sender, sender.other()].map(|side| labels.queue_pair(index, side).to_owned())
        }
        None => [
            labels.unconnected(row.source, row.source_qpn),
            labels.unconnected(row.destination, row.destination_qpn),
        ],
    }
}

pub(super) fn direction(labels: &Labels<'_>, row: &Row) -> String {
    queue_pairs(labels, row).join(" > ")
}

/// The names of every packet.
pub(crate) fn packet_names(report: &Report) -> Vec<PacketNames> {
    let labels = Labels::new(report);
    let names = |row: &Row| PacketNames {
        number: row.number,
        connection: row.flow,
        queue_pairs: queue_pairs(&labels, row),
        psn: psn_offset(&labels, row),
    };
    report.rows.iter().map(names).collect()
}

/// The node whose requests a packet's PSN counts, and the distance from the first of them.
pub(super) fn psn_offset(labels: &Labels<'_>, row: &Row) -> Option<(String, i32)> {
    match (stream(row), row.psn?) {
        (Some(stream), psn) => Some((labels.requester_node(stream), labels.psn_offset(stream, psn))),
        (None, psn) => {
            let offset = labels.unconnected_offset(row.source, row.source_qpn, psn)?;
            Some((labels.node(row.source), offset))
        }
    }
}

/// The side whose requests a packet's PSN counts.
pub(super) fn stream(row: &Row) -> Option<StreamId> {
    let (connection, sender) = row.flow?;
    let is_response = row.opcode?.role() == PacketRole::Response;
    Some(StreamId { connection, requester: if is_response { sender.other() } else { sender } })
}

pub(super) fn words(row: &Row) -> String {
    row.opcode.map_or_else(|| "no BTH".to_owned(), |opcode| opcode.to_string())
}

pub(super) fn psn(labels: &Labels<'_>, row: &Row) -> String {
    match (row.psn, stream(row)) {
        (Some(psn), _) if row.opcode.is_some_and(|opcode| opcode.operation() == Operation::Cnp) => {
            psn.to_string()
        }
        (Some(psn), Some(stream)) => labels.psn(stream, psn),
        (Some(psn), None) => labels.unconnected_psn(row.source, row.source_qpn, psn),
        (None, _) => String::new(),
    }
}

fn packet(out: &mut String, labels: &Labels<'_>, row: &Row, has_class: bool) {
    let mut details = details(labels, row);
    if let Some(class) = row.again.filter(|_| has_class) {
        let separator = if details.is_empty() { "" } else { ", " };
        let _ = write!(details, "{separator}again: {class}");
    }
    let (words, psn) = (words(row), psn(labels, row));
    let (bytes, pad) = match row.payload_length_bytes {
        Some(0) if row.pad_count == 0 => (String::new(), String::new()),
        Some(bytes) => (bytes.to_string(), row.pad_count.to_string()),
        None => (String::new(), String::new()),
    };
    line(out, row.fate.mark(), [&direction(labels, row), &words, &psn, &bytes, &pad, &details]);
}

pub(super) fn details(labels: &Labels<'_>, row: &Row) -> String {
    let mut words = Vec::new();
    if let Some((va, rkey, length)) = row.reth {
        words.push(format!("{} len {}", labels.memory(row.destination, va, rkey), length_words(length)));
    }
    if let (Some((va, rkey, ..)), Some(operands)) = (row.atomic, operands(row)) {
        words.push(format!("{} {operands}", labels.memory(row.destination, va, rkey)));
    }
    if let Some((syndrome, msn)) = row.aeth {
        words.push(format!("{syndrome} msn {msn}"));
    }
    if let Some(original) = row.original {
        words.push(format!("original {}", number_words(original, 16)));
    }
    if let Some(immediate) = row.immediate {
        words.push(immediate_words(immediate));
    }
    if let Some(rkey) = row.invalidate {
        words.push(format!("invalidate {}", labels.rkey(row.destination, rkey)));
    }
    if let Some((placement, selectivity)) = row.flush {
        words.push(format!("placement {placement} selectivity {selectivity}"));
    }
    if let Some(number) = row.srq_number {
        words.push(format!("SRQ {number:#x}"));
    }
    if let Some(q_key) = row.q_key {
        words.push(format!("Q_Key {q_key:#010x}"));
    }
    if let Some((class, attribute)) = row.mad {
        words.push(format!("MAD class {class:#04x} attribute {attribute:#06x}"));
    }
    flags(&mut words, labels, row);
    words.join(", ")
}

/// Operands of an atomic.
pub(super) fn operands(row: &Row) -> Option<String> {
    let (_, _, operand, compare) = row.atomic?;
    Some(match row.opcode.map(|opcode| opcode.operation()) {
        Some(Operation::FetchAdd) => format!("add {}", number_words(operand, 16)),
        _ => format!("compare {} swap {}", number_words(compare, 16), number_words(operand, 16)),
    })
}

fn flags(words: &mut Vec<String>, labels: &Labels<'_>, row: &Row) {
    let mut push_if = |set: bool, word: &str| {
        if set {
            words.push(word.to_owned());
        }
    };
    push_if(row.ack_request, "AckReq");
    push_if(row.solicited_event, "SE");
    push_if(row.congestion.0, "FECN");
    push_if(row.congestion.1, "BECN");
    push_if(row.ecn == 3, "ECN congestion experienced");
    push_if(stream(row).zip(row.psn).is_some_and(|(stream, psn)| labels.wraps(stream, psn)), "psn wraps");
    push_if(matches!(row.icrc, Icrc::Bad { .. }), "ICRC bad");
    if row.p_key != 0xffff {
        words.push(format!("P_Key {:#06x}", row.p_key));
    }
    if row.transport_version != 0 {
        words.push(format!("TVer {}", row.transport_version));
    }
    if let Some(stop) = row.stop {
        words.push(if row.is_cut { format!("cut ({stop})") } else { stop.to_string() });
    }
    words.extend(row.fate.words());
}

/// The requests that a message belongs to.
pub(super) fn stream_of(report: &Report, message: &Message) -> Option<StreamId> {
    let connection = message.connection?;
    Some(StreamId { connection, requester: message.requester_side(report.connection(connection)?) })
}

/// The queue pairs of a message, its requester's first, and its first and last PSN.
pub(super) fn message_names(
    report: &Report,
    labels: &Labels<'_>,
    message: &Message,
) -> ([String; 2], String) {
    let (queue_pairs, psn) = match stream_of(report, message) {
        Some(stream) => (
            [stream.requester, stream.requester.other()]
                .map(|side| labels.queue_pair(stream.connection, side).to_owned()),
            labels.psn(stream, message.psn_first),
        ),
        None => (
            [
                labels.unconnected(message.requester, message.requester_qpn),
                labels.unconnected(message.responder, Some(message.responder_qpn)),
            ],
            labels.unconnected_psn(message.requester, message.requester_qpn, message.psn_first),
        ),
    };
    let more = message.psn_last.distance(message.psn_first);
    let last = psn.rsplit_once('+').and_then(|(_, first)| first.parse::<i32>().ok()).filter(|_| more > 0);
    let psn = last.map_or_else(|| psn.clone(), |first| format!("{psn}..{}", first + more));
    (queue_pairs, psn)
}

fn messages(out: &mut String, report: &Report, labels: &Labels<'_>) {
    if report.messages.is_empty() {
        out.push_str("\nmessages: none\n");
        return;
    }
    out.push('\n');
    line(out, "  ", ["messages", "", "psn", "bytes", "", ""]);
    for message in &report.messages {
        let (queue_pairs, psn) = message_names(report, labels, message);
        let direction = queue_pairs.join(" > ");
        let mut detail = Vec::new();
        if let (Some(va), Some(rkey)) = (message.va, message.rkey) {
            detail.push(labels.memory(message.responder, va, rkey));
        }
        if let Some(immediate) = message.immediate {
            detail.push(immediate_words(immediate));
        }
        detail.push(message.outcome.to_string());
        line(
            out,
            "  ",
            [&direction, &message.kind.to_string(), &psn, &message.bytes.to_string(), "", &detail.join(", ")],
        );
    }
}

fn findings(out: &mut String, report: &Report, labels: &Labels<'_>) {
    if report.findings.is_empty() {
        out.push_str("\nfindings: none\n");
        return;
    }
    out.push('\n');
    line(out, "  ", ["findings", "", "psn", "", "", ""]);
    for found in &report.findings {
        finding(out, labels, found);
    }
}

/// The nodes between which a finding was made.
pub(super) fn finding_direction(labels: &Labels<'_>, finding: &Finding) -> String {
    format!("{} > {}", labels.node(finding.source), labels.node(finding.destination))
}

/// The PSN at which a finding was made.
pub(super) fn finding_psn(labels: &Labels<'_>, finding: &Finding) -> String {
    match (finding.psn, finding.stream) {
        (Some(psn), Some(stream)) => labels.psn(stream, psn),
        _ => String::new(),
    }
}

/// Writes one finding.
pub(super) fn finding(out: &mut String, labels: &Labels<'_>, finding: &Finding) {
    let psn = finding_psn(labels, finding);
    let direction = finding_direction(labels, finding);
    line(out, "  ", [&direction, &finding.rule.name(), &psn, "", "", &evidence(labels, finding)]);
}

pub(super) fn evidence(labels: &Labels<'_>, finding: &Finding) -> String {
    match (finding.evidence, finding.stream) {
        (Evidence::Psn { expected, .. }, Some(stream)) => {
            format!("expected {}", labels.psn(stream, expected))
        }
        // The values depend on random numbers in the packet, or on time.
        (Evidence::Icrc { .. }, _) => "does not match".to_owned(),
        (Evidence::Time { .. }, _) => "too early".to_owned(),
        (Evidence::Refusal(refusal), _) => refusal.words(),
        (Evidence::Untold { .. }, _) => "a queue pair that was never told of".to_owned(),
        (Evidence::UntoldQKey { .. }, _) => "a Q_Key that was never told of".to_owned(),
        (Evidence::Unanswered { times, .. }, _) => format!("sent {times} times, answered by nothing"),
        (Evidence::Number { .. }, _) if finding.rule == Rule::DreqForOtherQueuePair => {
            "not the receiver's".to_owned()
        }
        (other, _) => other.to_string(),
    }
}
