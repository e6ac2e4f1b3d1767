//! The packets, messages and regions of a capture as JSON for the page's script: columns of numbers, and texts that are there once.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roce::{Fate, PacketLine, Part, Report};
use serde_json::{Value, json};

use crate::fields::Notation;
use crate::frames::Capture;
use crate::memory;
use crate::text::visible;

/// Texts, each once.
#[derive(Debug, Default)]
struct Strings {
    texts: Vec<String>,
    by_text: HashMap<String, usize>,
}

impl Strings {
    fn add(&mut self, text: &str) -> usize {
        let text = visible(text);
        if let Some(index) = self.by_text.get(&text) {
            return *index;
        }
        let index = self.texts.len();
        self.texts.push(text.clone());
        self.by_text.insert(text, index);
        index
    }
}

/// The columns of packets, by name.
#[derive(Debug, Default)]
struct Columns(BTreeMap<&'static str, Vec<Value>>);

impl Columns {
    fn push(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.entry(name).or_default().push(value.into());
    }
}

/// A capture as data, and the bytes of its frames in base64.
pub(crate) fn of(capture: &Capture) -> (Value, String) {
    let report = &capture.report;
    let mut strings = Strings::default();
    strings.add("");
    let lines = report.packet_lines();
    let nodes = nodes(report, &lines);
    let (packets, parameters, blob) = packets(capture, &lines, &nodes, &mut strings);
    let messages = messages(report, &mut strings);
    let layouts: Vec<Value> = capture
        .layouts
        .iter()
        .map(|layout| {
            let slot = |slot: &crate::fields::Slot| {
                let notation = match slot.notation {
                    Notation::Same => 's',
                    Notation::Own => 'o',
                    Notation::Decimal => 'd',
                    Notation::Hexadecimal => 'x',
                    Notation::Bytes => 'b',
                    Notation::Ipv4 => '4',
                    Notation::Mac => 'm',
                };
                let (header, name) = (strings.add(slot.header), strings.add(&slot.name));
                let (value, note) = (strings.add(&slot.value), strings.add(&slot.note));
                json!([header, name, slot.start, slot.length, notation.to_string(), value, note])
            };
            layout.iter().map(slot).collect()
        })
        .collect();
    let connections: Vec<String> =
        report.connection_names().iter().map(|names| visible(&names.join(" > "))).collect();
    let data = json!({
        "nodes": nodes.iter().map(|name| visible(name)).collect::<Vec<_>>(),
        "connections": connections,
        "packets": packets.0,
        "parameters": parameters,
        "layouts": layouts,
        "messages": messages,
        "regions": regions(report),
        "findings": findings(report),
        "rules": rules(report),
        "strings": strings.texts,
    });
    (data, STANDARD.encode(blob))
}

/// Names of the nodes that packets go between, in the order of the ladder's lines: by name.
fn nodes(report: &Report, lines: &[PacketLine]) -> Vec<String> {
    let mut nodes: Vec<String> =
        lines.iter().flat_map(|line| line.ends).map(|address| report.names.get(address)).collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

/// Numbers of fates in the page's script.
fn fate(fate: &Fate) -> (u8, u64) {
    match fate {
        Fate::Forwarded => (0, 0),
        Fate::Queued { delay_us } => (1, *delay_us),
        Fate::Dropped => (2, 0),
        Fate::LinkCut => (3, 0),
        Fate::PortFull => (4, 0),
        Fate::Delayed { delay_ms } => (5, *delay_ms),
        Fate::Reordered => (6, 0),
        Fate::Corrupted => (7, 0),
        Fate::Truncated => (8, 0),
        Fate::EcnMarked => (9, 0),
        Fate::ReleaseOf { number } => (10, *number),
        Fate::AlteredOf { number } => (11, *number),
        Fate::DuplicateOf { number } => (12, *number),
        Fate::Unknown(_) => (13, 0),
    }
}

fn part(part: Part) -> u8 {
    match part {
        Part::Management => 0,
        Part::Request => 1,
        Part::Response => 2,
        Part::NotReady => 3,
        Part::Refusal => 4,
    }
}

fn packets(
    capture: &Capture,
    lines: &[PacketLine],
    nodes: &[String],
    strings: &mut Strings,
) -> (Columns, BTreeMap<String, Value>, Vec<u8>) {
    let report = &capture.report;
    let frames: HashMap<u64, _> = capture.frames.iter().map(|frame| (frame.number, frame)).collect();
    let (mut columns, mut parameters, mut blob) = (Columns::default(), BTreeMap::new(), Vec::new());
    for (at, line) in lines.iter().enumerate() {
        let node = |address| nodes.iter().position(|name| *name == report.names.get(address)).unwrap_or(0);
        let [from, to] = line.ends.map(node);
        let mut push = |name, value: Value| columns.push(name, value);
        push("number", line.number.into());
        push("from", from.into());
        push("to", to.into());
        let [source, destination] = line.queue_pairs.each_ref().map(|name| strings.add(name));
        push("source", source.into());
        push("destination", destination.into());
        push("connection", line.connection.map_or(0, |index| index + 1).into());
        push("part", part(line.part).into());
        push("words", strings.add(&line.words).into());
        push("psn", strings.add(&line.psn).into());
        let offset = line.psn_offset.as_ref();
        push(
            "counted",
            offset
                .map_or(-1, |(node, _)| nodes.iter().position(|name| name == node).map_or(-1, |at| at as i64))
                .into(),
        );
        push("offset", offset.map_or(0, |(_, offset)| *offset).into());
        push("msn", line.msn.map_or(-1, i64::from).into());
        push("bytes", line.payload_bytes.map_or(-1, |bytes| bytes as i64).into());
        push("details", strings.add(&line.details).into());
        let (code, amount) = fate(&line.fate);
        push("fate", code.into());
        push("amount", amount.into());
        push("again", line.again.map_or(0, |class| strings.add(class.words())).into());
        push("damaged", u8::from(line.is_damaged).into());
        if !line.parameters.is_empty() {
            let shown = line.parameters.iter().map(|(name, value)| json!([name, visible(value)])).collect();
            parameters.insert(at.to_string(), shown);
        }
        let frame = frames.get(&line.number);
        let time = frame.map_or(0, |frame| i128::from(frame.timestamp_ns) - i128::from(capture.first_ns));
        push("time", i64::try_from(time).unwrap_or(0).into());
        push("kept", frame.map_or(0, |frame| frame.bytes.len()).into());
        push("captured", frame.map_or(0, |frame| frame.captured).into());
        push("original", frame.map_or(0, |frame| frame.original).into());
        push("layout", frame.map_or(-1, |frame| frame.layout as i64).into());
        let values = frame
            .map_or_else(Vec::new, |frame| frame.values.iter().map(|value| strings.add(value)).collect());
        push("values", values.into());
        blob.extend_from_slice(frame.map_or(&[], |frame| &frame.bytes));
    }
    (columns, parameters, blob)
}

fn messages(report: &Report, strings: &mut Strings) -> Value {
    let mut columns = Columns::default();
    for (message, line) in report.messages.iter().zip(report.message_lines()) {
        let [requester, responder] = line.queue_pairs.each_ref().map(|name| strings.add(name));
        columns.push("kind", strings.add(&message.kind.to_string()));
        columns.push("requester", requester);
        columns.push("responder", responder);
        columns.push("psn", strings.add(&line.psn));
        columns.push("bytes", message.bytes);
        let immediate = message.immediate.map_or_else(String::new, |immediate| immediate.to_string());
        columns.push("immediate", strings.add(&immediate));
        let memory = line.memory.map_or_else(String::new, |(region, offset)| format!("{region}{offset:+}"));
        columns.push("memory", strings.add(&memory));
        columns.push("first", message.packet_first);
        columns.push("last", message.packet_last);
        columns.push("outcome", strings.add(&message.outcome.to_string()));
        let took = message
            .ended_ns
            .map_or(-1, |end| i64::try_from(end.saturating_sub(message.sent_ns)).unwrap_or(-1));
        columns.push("took", took);
    }
    json!(columns.0)
}

fn regions(report: &Report) -> Vec<Value> {
    let lines = report.message_lines();
    let region = |region: memory::Region| {
        let messages: Vec<Value> = region
            .messages
            .iter()
            .map(|(index, offset)| json!([index, i64::try_from(*offset).unwrap_or(i64::MAX)]))
            .collect();
        json!({
            "name": visible(&region.name),
            "rkey": format!("{:#010x}", region.rkey),
            "base": format!("{:#018x}", region.base),
            "messages": messages,
        })
    };
    memory::regions(report, &lines).into_iter().map(region).collect()
}

/// The rules that are broken, by name.
fn rules(report: &Report) -> Value {
    let broken: BTreeMap<String, _> =
        report.findings.iter().map(|finding| (finding.rule.name(), finding.rule)).collect();
    let rule = |(name, rule): (String, roce::Rule)| {
        (name, json!({ "title": rule.title(), "explanation": rule.explanation() }))
    };
    broken.into_iter().map(rule).collect()
}

/// The findings: rule, severity, packet, evidence.
fn findings(report: &Report) -> Vec<Value> {
    let lines = report.finding_lines();
    let found = report.findings.iter().zip(lines).map(|(finding, line)| {
        let (rule, severity) = (finding.rule.name(), finding.severity.to_string());
        json!([rule, severity, finding.packet, visible(&line.evidence)])
    });
    found.collect()
}
