//! The ladder: a line for each node, an arrow for each packet in the order of the wire.
//!
//! In: a [`Report`]. Out: a [`Ladder`], whose rows every output draws with the same words: [`svg`] as a picture, [`mermaid`] as a diagram in Markdown.

mod arrow;
mod mermaid;
mod signs;
mod svg;

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::fate::Fate;
use crate::report::Report;
use crate::trace::lines::{PacketLine, Part};
use crate::words::is_unseen;

pub use arrow::Ladder;
use arrow::{Arrow, ArrowLength, LadderMark};

/// Characters of a label; a longer one is cut.
const LABEL: usize = 120;

/// Choice of what a ladder shows.
#[derive(Clone, Debug)]
pub struct LadderOptions {
    /// Title above it; none if empty.
    pub title: String,
    /// Most packets; the ladder says how many more there are.
    pub limit: usize,
    /// Numbers of the packets in the capture, from 1; the others are left out in silence.
    pub packets: Option<RangeInclusive<u64>>,
}

impl Default for LadderOptions {
    fn default() -> Self {
        Self { title: String::new(), limit: 1_000, packets: None }
    }
}

/// A node's line; what a node sends to itself goes from its first to its second and back.
type LadderLane = (IpAddr, bool);

impl Ladder {
    pub(super) fn new(report: &Report, options: &LadderOptions) -> Self {
        let mut lines = report.packet_lines();
        // Of all, what a filter hides among them.
        let (data, management) = (report.rows.first(), report.cm_rows.first());
        let times =
            data.map(|row| row.timestamp_ns).into_iter().chain(management.map(|row| row.timestamp_ns));
        let first_ns = times.min().unwrap_or(0);
        let mut more = report.packets_untraced;
        if let Some(range) = &options.packets {
            lines.retain(|line| range.contains(&line.number));
            more = 0;
        }
        more += lines.len().saturating_sub(options.limit) as u64;
        lines.truncate(options.limit);
        let mut found: HashMap<u64, Vec<String>> = HashMap::new();
        for finding in &report.findings {
            let rules = found.entry(finding.packet).or_default();
            if !rules.contains(&finding.rule.name()) {
                rules.push(finding.rule.name());
            }
        }
        let mut lanes: Vec<LadderLane> = Vec::new();
        for lane in lines.iter().flat_map(ends) {
            if !lanes.contains(&lane) {
                lanes.push(lane);
            }
        }
        let name = |lane: &LadderLane| report.names.get(lane.0);
        lanes.sort_by_key(|lane| (name(lane), *lane));
        let has_several = report.connections.len() > 1;
        let arrows = lines
            .iter()
            .map(|line| {
                let [from, to] =
                    ends(line).map(|end| lanes.iter().position(|lane| *lane == end).unwrap_or(0));
                let rules = found.get(&line.number).cloned().unwrap_or_default();
                Arrow {
                    number: line.number,
                    time_ns: i128::from(line.timestamp_ns) - i128::from(first_ns),
                    from,
                    to,
                    part: line.part,
                    way: way(&line.fate),
                    marks: marks(line, !rules.is_empty()),
                    words: visible(&line.words),
                    more: cut(&visible(&more_words(line, has_several))),
                    rules,
                }
            })
            .collect();
        Self {
            title: visible(&options.title),
            lanes: lanes.iter().map(|lane| visible(&name(lane))).collect(),
            arrows,
            more,
        }
    }

    /// Draws it as one SVG picture that needs nothing else and that every renderer draws alike: no style sheet, each text at its own place.
    pub fn to_svg(&self) -> String {
        svg::draw(self)
    }

    /// Writes it as a sequence diagram of [Mermaid](https://mermaid.js.org), which Markdown shows on GitHub and elsewhere. Its length is bounded: Mermaid
    /// refuses more than 50,000 characters.
    pub fn to_mermaid(&self) -> String {
        mermaid::write(self)
    }
}

fn ends(line: &PacketLine) -> [LadderLane; 2] {
    let [source, destination] = line.ends;
    if source == destination {
        let is_back = !matches!(line.part, Part::Request)
            && !matches!(line.words.as_str(), "CM REQ" | "CM RTU" | "CM DREQ");
        return [(source, is_back), (source, !is_back)];
    }
    [(source, false), (destination, false)]
}

fn way(fate: &Fate) -> ArrowLength {
    match (fate.is_sent(), fate.is_delivered()) {
        (true, false) => ArrowLength::UpToTheSwitch,
        (false, true) => ArrowLength::FromTheSwitch,
        _ => ArrowLength::Whole,
    }
}

fn marks(line: &PacketLine, has_findings: bool) -> Vec<LadderMark> {
    let is = |mark: &LadderMark| match mark {
        LadderMark::Lost => matches!(line.fate, Fate::Dropped | Fate::LinkCut | Fate::PortFull),
        LadderMark::Late => {
            matches!(line.fate, Fate::Delayed { .. } | Fate::Reordered | Fate::ReleaseOf { .. })
        }
        LadderMark::Altered => {
            line.is_damaged
                || matches!(
                    line.fate,
                    Fate::Corrupted
                        | Fate::Truncated
                        | Fate::EcnMarked
                        | Fate::QueueMarked
                        | Fate::AlteredOf { .. }
                )
        }
        LadderMark::Repeated => line.again.is_some() || matches!(line.fate, Fate::DuplicateOf { .. }),
        LadderMark::NotReady => line.part == Part::NotReady,
        LadderMark::Refused => line.part == Part::Refusal,
        LadderMark::Finding => has_findings,
    };
    LadderMark::ALL.into_iter().filter(is).collect()
}

/// PSN, details, length and retransmission of a packet; of connection management the parameter that tells most.
fn more_words(line: &PacketLine, has_several: bool) -> String {
    let said = |name: &str| {
        let (_, value) = line.parameters.iter().find(|(key, _)| *key == name)?;
        (value != "none").then(|| value.clone())
    };
    let names = ["reason", "service", "private data", "queue pair"];
    let parameter = names.into_iter().find_map(said).unwrap_or_default();
    let pairs = match &line.queue_pairs {
        [from, to] if has_several && line.part != Part::Management => {
            let [from, to] =
                [from, to].map(|name| name.rsplit_once('.').map_or(name.as_str(), |(_, name)| name));
            format!("{from} > {to}")
        }
        _ => String::new(),
    };
    let bytes = match line.payload_bytes {
        Some(bytes) if bytes > 0 => format!("{bytes} bytes"),
        _ => String::new(),
    };
    let again = line.again.map_or_else(String::new, |class| format!("again: {}", class.words()));
    let parts = [pairs, line.psn.clone(), parameter, line.details.clone(), bytes, again];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LABEL) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Shows what a reader would not see, or would see elsewhere, as an escape.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unseen(character) { out.extend(character.escape_unicode()) } else { out.push(character) }
    }
    out
}

#[cfg(test)]
mod tests;
