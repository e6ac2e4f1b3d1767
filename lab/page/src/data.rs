//! The packets, messages and regions of a capture as JSON for the page's script: columns of numbers, and texts that are there once.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roce::{Fate, PacketLine, Part, Report};
use serde_json::{Value, json};

use crate::answers::{self, LinkedLines};
use crate::calls::{CallKind, Calls};
use crate::fields::ShownNotation;
use crate::frames::Capture;
use crate::text::visible;
use crate::{html, memory};

/// Texts, each once.
#[derive(Debug, Default)]
struct Strings {
    texts: Vec<String>,
    by_text: HashMap<String, i64>,
}

impl Strings {
    fn add(&mut self, text: &str) -> i64 {
        let text = visible(text);
        if let Some(index) = self.by_text.get(&text) {
            return *index;
        }
        let index = self.texts.len() as i64;
        self.texts.push(text.clone());
        self.by_text.insert(text, index);
        index
    }
}

/// Columns of numbers, by name.
#[derive(Debug, Default)]
struct Columns(BTreeMap<&'static str, Vec<i64>>);

impl Columns {
    fn push(&mut self, name: &'static str, value: impl TryInto<i64>) {
        self.0.entry(name).or_default().push(value.try_into().unwrap_or(i64::MAX));
    }

    fn to_json(&self) -> Value {
        self.0.iter().map(|(name, column)| ((*name).to_owned(), packed(column))).collect()
    }
}

/// A column as it is shortest: as it is, as runs of equal values, or as runs of equal steps. Columns are long, and most say the same in each row.
fn packed(column: &[i64]) -> Value {
    let steps: Vec<i64> = std::iter::once(&0)
        .chain(column)
        .zip(column)
        .map(|(before, value)| value.wrapping_sub(*before))
        .collect();
    let (same, stepped) = (runs(column), runs(&steps));
    if stepped.len() < same.len() && stepped.len() < column.len() {
        return json!({ "steps": stepped });
    }
    if same.len() < column.len() { json!({ "runs": same }) } else { json!(column) }
}

/// Values, each followed by how often it comes.
fn runs(column: &[i64]) -> Vec<i64> {
    column
        .chunk_by(|a, b| a == b)
        .flat_map(|run| [run.first().copied().unwrap_or(0), run.len() as i64])
        .collect()
}

/// Packets as columns, with all that they refer to.
struct Packed {
    columns: Columns,
    /// Values of fields, packet by packet, as indices of texts.
    values: Vec<i64>,
    /// Parameters of connection management, by the packet's place.
    parameters: BTreeMap<String, Value>,
    /// Bytes of the frames, one behind the other.
    blob: Vec<u8>,
    /// Layouts that are used, as indices into the capture's.
    layouts: Vec<usize>,
}

/// A capture and the programs' calls as data, and the bytes of the frames in base64.
pub(crate) fn of(capture: &Capture, linked: &LinkedLines, programs: &[Calls]) -> (Value, String) {
    let report = &capture.report;
    let mut strings = Strings::default();
    strings.add("");
    let nodes = nodes(report, &linked.lines);
    let Packed { columns, values, parameters, blob, layouts } =
        packets(capture, linked, &nodes, &mut strings);
    let regions = memory::regions(report, programs);
    let messages = messages(report, &regions, &mut strings);
    let (calls, clocks) = calls(capture, linked, programs, &nodes, &mut strings);
    let layouts: Vec<Value> = layouts
        .into_iter()
        .filter_map(|index| capture.layouts.get(index))
        .map(|layout| {
            let slot = |slot: &crate::fields::Slot| {
                let notation = match slot.notation {
                    ShownNotation::Same => 's',
                    ShownNotation::Own => 'o',
                    ShownNotation::Decimal => 'd',
                    ShownNotation::Hexadecimal => 'x',
                    ShownNotation::Bytes => 'b',
                    ShownNotation::Ipv4 => '4',
                    ShownNotation::Mac => 'm',
                };
                let (header, name) = (strings.add(slot.header), strings.add(slot.name));
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
        "packets": columns.to_json(),
        "values": packed(&values),
        "parameters": parameters,
        "layouts": layouts,
        "messages": messages,
        "calls": calls,
        "clocks": clocks,
        "regions": shown_regions(&regions),
        "findings": findings(report, linked),
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
fn fate(fate: &Fate) -> (i64, u64) {
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
        Fate::EcnMarked | Fate::QueueMarked => (9, 0),
        Fate::ReleaseOf { number } => (10, *number),
        Fate::AlteredOf { number } => (11, *number),
        Fate::DuplicateOf { number } => (12, *number),
        Fate::Unknown(_) => (13, 0),
    }
}

fn part(part: Part) -> i64 {
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
    LinkedLines { lines, links }: &LinkedLines,
    nodes: &[String],
    strings: &mut Strings,
) -> Packed {
    let report = &capture.report;
    let frames: HashMap<u64, _> = capture.frames.iter().map(|frame| (frame.number, frame)).collect();
    let (mut columns, mut parameters, mut blob) = (Columns::default(), BTreeMap::new(), Vec::new());
    let mut values = Vec::new();
    // Those of packets that a filter hides are left out.
    let mut used: HashMap<usize, usize> = HashMap::new();
    for (at, (line, link)) in lines.iter().zip(links).enumerate() {
        let node = |address| nodes.iter().position(|name| *name == report.names.get(address)).unwrap_or(0);
        let [from, to] = line.ends.map(node);
        let mut push = |name, value: i64| columns.push(name, value);
        push("number", line.number as i64);
        push("from", from as i64);
        push("to", to as i64);
        let [source, destination] = line.queue_pairs.each_ref().map(|name| strings.add(name));
        push("source", source);
        push("destination", destination);
        push("connection", line.connection.map_or(0, |id| id.index() as i64 + 1));
        push("part", part(line.part));
        push("words", strings.add(&line.words));
        push("psn", strings.add(&line.psn));
        let counted =
            line.psn_offset.as_ref().and_then(|(node, _)| nodes.iter().position(|name| name == node));
        push("counted", counted.map_or(-1, |at| at as i64));
        push("offset", line.psn_offset.as_ref().map_or(0, |(_, offset)| i64::from(*offset)));
        push("msn", line.msn.map_or(-1, i64::from));
        push("bytes", line.payload_bytes.map_or(-1, |bytes| bytes as i64));
        push("details", strings.add(&line.details));
        let (code, amount) = fate(&line.fate);
        push("fate", code);
        push("amount", amount as i64);
        push("again", line.again.map_or(0, |class| strings.add(class.words())));
        push("damaged", i64::from(line.is_damaged));
        push("message", link.message.map_or(-1, |index| index as i64));
        push("arrival", link.arrival as i64);
        push("about", link.about as i64);
        if !line.parameters.is_empty() {
            let shown = line.parameters.iter().map(|(name, value)| json!([name, visible(value)])).collect();
            parameters.insert(at.to_string(), shown);
        }
        let frame = frames.get(&line.number);
        let time = frame.map_or(0, |frame| i128::from(frame.timestamp_ns) - i128::from(capture.first_ns));
        push("time", i64::try_from(time).unwrap_or(0));
        push("kept", frame.map_or(0, |frame| frame.bytes.len() as i64));
        push("captured", frame.map_or(0, |frame| frame.captured as i64));
        push("original", frame.map_or(0, |frame| frame.original.into()));
        let next = used.len();
        push("layout", frame.map_or(-1, |frame| *used.entry(frame.layout).or_insert(next) as i64));
        for value in frame.iter().flat_map(|frame| &frame.values) {
            values.push(strings.add(value));
        }
        blob.extend_from_slice(frame.map_or(&[], |frame| &frame.bytes));
    }
    let mut layouts: Vec<(usize, usize)> = used.into_iter().map(|(layout, index)| (index, layout)).collect();
    layouts.sort_unstable();
    let layouts = layouts.into_iter().map(|(_, layout)| layout).collect();
    Packed { columns, values, parameters, blob, layouts }
}

fn messages(report: &Report, regions: &[memory::ShownRegion], strings: &mut Strings) -> Value {
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
        let is_unknown = |name: &str| regions.iter().any(|region| region.is_unknown && region.name == name);
        let memory = line.memory.map_or_else(String::new, |(region, offset)| match message.rkey {
            Some(rkey) if is_unknown(&region) => format!("rkey {rkey:#x}, which nobody gave out"),
            _ => format!("{region}{offset:+}"),
        });
        columns.push("memory", strings.add(&memory));
        let last = message.psn_last.value().wrapping_sub(message.psn_first.value()) & 0x00ff_ffff;
        columns.push("psns", u64::from(last) + 1);
        columns.push("first", message.packet_first);
        columns.push("last", message.packet_last);
        columns.push("outcome", strings.add(&message.outcome.to_string()));
        let took = message
            .ended_ns
            .map_or(-1, |end| i64::try_from(end.saturating_sub(message.sent_ns)).unwrap_or(-1));
        columns.push("took", took);
    }
    columns.to_json()
}

/// Calls of the programs whose clock is matched, in the order of time; those of setting up are not for the ladder. Beside them, node by node, by how many
/// nanoseconds they may be wrong, or −1 where the wire bounds that on one side alone.
fn calls(
    capture: &Capture,
    linked: &LinkedLines,
    programs: &[Calls],
    nodes: &[String],
    strings: &mut Strings,
) -> (Value, Vec<i64>) {
    let (mut rows, mut clocks) = (Vec::new(), vec![-1; nodes.len()]);
    for program in programs {
        let offset = program.offset(capture, linked);
        let Some(offset_ns) = offset.ns() else { continue };
        let Some(node) = nodes.iter().position(|name| *name == program.node) else { continue };
        if let (Some(clock), Some(ns)) = (clocks.get_mut(node), offset.uncertainty_ns()) {
            *clock = i64::try_from(ns).unwrap_or(i64::MAX);
        }
        for call in &program.calls {
            let kind = match call.kind {
                CallKind::Setup => continue,
                CallKind::Posted => 0,
                CallKind::Completed => 1,
                CallKind::Failed => 2,
                CallKind::Event => 3,
                CallKind::Connection => 4,
                CallKind::State => 5,
            };
            let time = i128::from(call.time_ns) + offset_ns - i128::from(capture.first_ns);
            rows.push((i64::try_from(time).unwrap_or(0), node as i64, kind, strings.add(&call.text)));
        }
    }
    rows.sort_by_key(|(time, ..)| *time);
    let mut columns = Columns::default();
    for (time, node, kind, text) in rows {
        columns.push("time", time);
        columns.push("node", node);
        columns.push("kind", kind);
        columns.push("text", text);
    }
    (columns.to_json(), clocks)
}

fn shown_regions(regions: &[memory::ShownRegion]) -> Vec<Value> {
    let region = |region: &memory::ShownRegion| {
        let messages: Vec<Value> = region
            .messages
            .iter()
            .map(|(index, offset)| json!([index, i64::try_from(*offset).unwrap_or(i64::MAX)]))
            .collect();
        json!({
            "name": visible(&region.name),
            "rkey": format!("{:#x}", region.rkey),
            "base": format!("{:#x}", region.base),
            "messages": messages,
            "length": region.length,
            "unknown": region.is_unknown,
            "given": visible(&region.given),
        })
    };
    regions.iter().map(region).collect()
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

/// The findings: rule, severity, packet, evidence, and the packet that is missing before it, or 0.
fn findings(report: &Report, linked: &LinkedLines) -> Vec<Value> {
    let shown = report.finding_lines();
    let found = report.findings.iter().zip(shown).map(|(finding, line)| {
        let (rule, severity) = (finding.rule.name(), finding.severity.to_string());
        let missing = answers::missing_of(finding, linked).unwrap_or(0);
        let evidence = html::evidence(report, finding, &line.evidence);
        json!([rule, severity, finding.packet, visible(&evidence), missing])
    });
    found.collect()
}
