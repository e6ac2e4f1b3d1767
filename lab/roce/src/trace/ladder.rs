//! The ladder: a line for each node, an arrow for each packet in the order of the wire.
//!
//! In: a [`Report`]. Out: a [`Ladder`], whose rows every output draws with the same words: [`svg`] as a picture, [`mermaid`] as a diagram in Markdown.

mod mermaid;
mod signs;
mod svg;

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::fate::Fate;
use crate::report::Report;
use crate::trace::lines::{PacketLine, Part};

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

/// What a sign tells of a packet, beside its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LadderMark {
    Lost,
    Late,
    Altered,
    Repeated,
    NotReady,
    Refused,
    Finding,
}

impl LadderMark {
    const ALL: [Self; 7] =
        [Self::Lost, Self::Late, Self::Altered, Self::Repeated, Self::NotReady, Self::Refused, Self::Finding];

    const fn words(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Altered => "altered",
            Self::Repeated => "repeated",
            Self::NotReady => "not ready",
            Self::Refused => "refused",
            Self::Finding => "breaks a rule",
        }
    }
}

/// How much of an arrow there is: what did not arrive as it was sent ends half way, what the switch sent begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArrowLength {
    Whole,
    UpToTheSwitch,
    FromTheSwitch,
}

/// A node's line; what a node sends to itself goes from its first to its second and back.
type LadderLane = (IpAddr, bool);

/// An arrow.
#[derive(Clone, Debug)]
pub(super) struct Arrow {
    pub(super) number: u64,
    /// Time in nanoseconds since the first packet of the capture.
    pub(super) time_ns: i128,
    /// Its ends, as indices of the lanes.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) part: Part,
    pub(super) way: ArrowLength,
    pub(super) marks: Vec<LadderMark>,
    /// Name of the packet.
    pub(super) words: String,
    /// What else there is to say.
    pub(super) more: String,
    /// Rules that it breaks.
    pub(super) rules: Vec<String>,
}

/// Packets between nodes, ready to be drawn.
#[derive(Clone, Debug)]
pub struct Ladder {
    title: String,
    lanes: Vec<String>,
    arrows: Vec<Arrow>,
    /// Packets that are left out behind the last.
    more: u64,
}

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

    /// Number of the packets that are drawn.
    pub fn len(&self) -> usize {
        self.arrows.len()
    }

    /// Whether no packet is drawn.
    pub fn is_empty(&self) -> bool {
        self.arrows.is_empty()
    }

    /// Words at each packet, which every output has: its number, its time, its name, what else there is to say, and the rules that it breaks.
    pub fn labels(&self) -> Vec<[String; 5]> {
        let label = |arrow: &Arrow| {
            let (number, time) = (arrow.number.to_string(), time(arrow.time_ns));
            [number, time, arrow.words.clone(), arrow.more.clone(), arrow.rules.join(", ")]
        };
        self.arrows.iter().map(label).collect()
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
                    Fate::Corrupted | Fate::Truncated | Fate::EcnMarked | Fate::AlteredOf { .. }
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
    let names = ["reason", "private data", "service", "queue pair"];
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

/// Shows what a reader would not see, or would see elsewhere, as an escape: control characters, marks of direction, spaces without a width.
fn visible(text: &str) -> String {
    let is_unseen = |character: char| {
        character.is_control()
            || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e0fff}')
    };
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unseen(character) { out.extend(character.escape_unicode()) } else { out.push(character) }
    }
    out
}

/// A time for people: `12.3 µs`, `4.05 ms`.
fn time(ns: i128) -> String {
    let value = ns as f64;
    match ns.unsigned_abs() {
        0..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", value / 1e6),
        _ => format!("{:.3} s", value / 1e9),
    }
}

#[cfg(test)]
mod tests;
