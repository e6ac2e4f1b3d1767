//! The packets between the nodes as one SVG picture: a line a node, an arrow a packet.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;

use crate::cm::attribute_name;
use crate::fate::Fate;
use crate::flow::Side;
use crate::report::Report;
use crate::row::{CmRow, Row};
use crate::trace::labels::Labels;
use crate::trace::render;

/// Least distance between two nodes' lines.
const COLUMN: usize = 360;
const ROW: usize = 26;
const TOP: usize = 60;
/// Least room beside the outer lines, of which the packets' numbers take some.
const MARGIN: usize = 90;
/// Packets from one line with the nodes' names to the next.
const NAMED_EVERY: usize = 40;
/// Width of a character, in tenths: that of common monospaced fonts at this size, rounded up.
const CHARACTER: usize = 73;
/// The same of a node's name, at its size.
const NAME_CHARACTER: usize = 92;

const STYLE: &str = ".l{stroke:#999}.q{stroke:#1f4e79;fill:#1f4e79}.r{stroke:#3a7d44;fill:#3a7d44}.m{stroke:#666;fill:#666}\
    .s{stroke:#b45f06;fill:#b45f06}.d{stroke:#b22;fill:#b22}.d line{stroke-dasharray:5 4}.d path{fill:none;stroke-width:2}\
    text{stroke:#fff;stroke-width:4px;paint-order:stroke;fill:#222}.w{fill:#666}.n{fill:#888}.f{fill:#b22;font-weight:bold}.b{fill:#fdecea}\
    .f,.x text{stroke:#fdecea}";

/// A node's line; what a node sends to itself goes from its first to its second and back.
type Line = (IpAddr, bool);

/// One arrow.
struct Arrow {
    number: u64,
    from: Line,
    to: Line,
    /// Words: the packet's name, then its details.
    words: String,
    more: String,
    class: &'static str,
    is_delivered: bool,
}

fn class(fate: &Fate, otherwise: &'static str) -> &'static str {
    match (fate.is_delivered(), fate.is_sent()) {
        (false, _) => "d",
        (true, false) => "s",
        (true, true) => otherwise,
    }
}

fn of_row(labels: &Labels<'_>, row: &Row) -> Arrow {
    let is_response = row.opcode.is_some_and(|opcode| opcode.is_response());
    let (from, to) = ends(row.source, row.destination, is_response);
    let more = [queue_pairs(labels, render::queue_pairs(labels, row)), render::beside(labels, row)];
    Arrow {
        number: row.number,
        from,
        to,
        words: render::words(row),
        more: join(more),
        class: class(&row.fate, if is_response { "r" } else { "q" }),
        is_delivered: row.fate.is_delivered(),
    }
}

fn of_cm_row(labels: &Labels<'_>, row: &CmRow) -> Arrow {
    let name = row.mad().and_then(|mad| attribute_name(mad.attribute_id())).unwrap_or("MAD");
    let (from, to) = ends(row.source, row.destination, matches!(name, "MRA" | "REJ" | "REP" | "DREP"));
    let pair = row
        .flow
        .map(|index| [Side::Active, Side::Passive].map(|side| labels.queue_pair(index, side).to_owned()));
    let more = [
        pair.map_or_else(String::new, |pair| queue_pairs(labels, pair)),
        row.fate.words().unwrap_or_default(),
    ];
    Arrow {
        number: row.number,
        from,
        to,
        words: format!("CM {name}"),
        more: join(more),
        class: class(&row.fate, "m"),
        is_delivered: row.fate.is_delivered(),
    }
}

fn ends(source: IpAddr, destination: IpAddr, is_back: bool) -> (Line, Line) {
    if source == destination {
        return ((source, is_back), (source, !is_back));
    }
    ((source, false), (destination, false))
}

/// The queue pairs without their nodes, where there are several connections to tell apart.
fn queue_pairs(labels: &Labels<'_>, names: [String; 2]) -> String {
    if labels.order().len() < 2 {
        return String::new();
    }
    names.map(|name| name.rsplit_once('.').map_or(name.clone(), |(_, name)| name.to_owned())).join(" > ")
}

fn join(parts: [String; 2]) -> String {
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn width(characters: usize) -> usize {
    characters * CHARACTER / 10
}

pub(crate) fn draw(report: &Report, limit: usize) -> String {
    let labels = Labels::new(report);
    let mut arrows: Vec<Arrow> =
        report.rows.iter().filter(|row| !row.is_hidden).map(|row| of_row(&labels, row)).collect();
    arrows.extend(report.cm_rows.iter().filter(|row| !row.is_hidden).map(|row| of_cm_row(&labels, row)));
    arrows.sort_by_key(|arrow| arrow.number);
    let more = arrows.len().saturating_sub(limit) as u64 + report.packets_untraced;
    arrows.truncate(limit);
    let mut found: HashMap<u64, Vec<String>> = HashMap::new();
    for finding in &report.findings {
        found.entry(finding.packet).or_default().push(finding.rule.name());
    }
    let picture = Picture::new(report, &arrows, &found);
    let mut out = picture.head();
    let rows =
        || arrows.iter().enumerate().map(|(at, arrow)| (Picture::y(at), arrow, found.get(&arrow.number)));
    for (y, _, rules) in rows() {
        if let Some(rules) = rules {
            picture.rules(&mut out, y, rules);
        }
    }
    picture.lines(&mut out);
    for (y, arrow, rules) in rows() {
        picture.arrow(&mut out, y, arrow, rules.is_some());
    }
    if more > 0 {
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\">and {more} more packets</text>",
            picture.margin,
            picture.height - 8
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Columns of the picture.
struct Picture {
    nodes: Vec<(Line, String)>,
    margin: usize,
    column: usize,
    width: usize,
    height: usize,
    /// The middles of the rows with the nodes' names.
    named: Vec<usize>,
}

impl Picture {
    fn new(report: &Report, arrows: &[Arrow], found: &HashMap<u64, Vec<String>>) -> Self {
        let mut nodes: Vec<(Line, String)> = Vec::new();
        for line in arrows.iter().flat_map(|arrow| [arrow.from, arrow.to]) {
            if !nodes.iter().any(|(known, _)| *known == line) {
                nodes.push((line, report.names.get(line.0)));
            }
        }
        nodes.sort_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
        let label = |arrow: &Arrow| arrow.words.chars().count() + arrow.more.chars().count() + 1;
        let longest = arrows.iter().map(label).max().unwrap_or(0);
        let name =
            nodes.iter().map(|(_, name)| name.chars().count()).max().unwrap_or(0) * NAME_CHARACTER / 10;
        let rules = found.values().map(|rules| rules.join(", ").chars().count()).max().unwrap_or(0);
        let (margin, column) = (MARGIN.max(name / 2 + 40), COLUMN.max(width(longest) + 40).max(name + 40));
        let lines = nodes.len().saturating_sub(1) * column;
        let end = Self::y(arrows.len());
        let between = (1..arrows.len()).filter(|at| at % NAMED_EVERY == 0).map(|at| Self::y(at) - ROW + 2);
        Self {
            nodes,
            margin,
            column,
            width: 2 * margin + lines + width(rules),
            height: end + 60,
            named: [28].into_iter().chain(between).chain([end + 28]).collect(),
        }
    }

    /// The middle of a packet's row.
    fn y(at: usize) -> usize {
        TOP + (at + at / NAMED_EVERY) * ROW
    }

    fn x(&self, line: Line) -> usize {
        self.margin + self.nodes.iter().position(|(known, _)| *known == line).unwrap_or(0) * self.column
    }

    fn head(&self) -> String {
        let Self { width, height, .. } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"ui-monospace, monospace\" font-size=\"12\">\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        )
    }

    /// Findings of a packet, beside it.
    fn rules(&self, out: &mut String, y: usize, rules: &[String]) {
        let right = self.margin + self.nodes.len().saturating_sub(1) * self.column + 14;
        let rules = escape(&rules.join(", "));
        let _ = writeln!(out, "<rect class=\"b\" y=\"{}\" width=\"100%\" height=\"{ROW}\"/>", y - ROW + 8);
        let _ = writeln!(out, "<text class=\"f\" x=\"{right}\" y=\"{}\">{rules}</text>", y + 4);
    }

    /// The nodes' lines with their names.
    fn lines(&self, out: &mut String) {
        let end = self.height - 48;
        for (line, name) in &self.nodes {
            let (x, name) = (self.x(*line), escape(name));
            let _ = writeln!(out, "<line class=\"l\" x1=\"{x}\" y1=\"38\" x2=\"{x}\" y2=\"{end}\"/>");
            for y in &self.named {
                let _ = writeln!(
                    out,
                    "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" font-size=\"15\">{name}</text>"
                );
            }
        }
    }

    fn arrow(&self, out: &mut String, y: usize, arrow: &Arrow, is_marked: bool) {
        let (from, to) = (self.x(arrow.from), self.x(arrow.to));
        let middle = (from + to) / 2;
        let (words, more) = (escape(&arrow.words), escape(&arrow.more));
        let number = arrow.number;
        let mark = if is_marked { " x" } else { "" };
        let _ = writeln!(
            out,
            "<g class=\"{}{mark}\"><title>packet {number}: {words} {more}</title>",
            arrow.class
        );
        let _ = writeln!(out, "<text class=\"n\" x=\"8\" y=\"{}\">{number}</text>", y + 4);
        // What is lost ends half way.
        let end = if arrow.is_delivered { to } else { middle };
        let _ = writeln!(out, "<line x1=\"{from}\" y1=\"{y}\" x2=\"{end}\" y2=\"{y}\"/>");
        let (above, below) = (y - 4, y + 4);
        let _ = if arrow.is_delivered {
            let back = if to >= from { end.saturating_sub(8) } else { end + 8 };
            writeln!(out, "<polygon points=\"{end},{y} {back},{above} {back},{below}\"/>")
        } else {
            let (left, right) = (end.saturating_sub(4), end + 4);
            writeln!(out, "<path d=\"M{left},{above} {right},{below} M{left},{below} {right},{above}\"/>")
        };
        let _ = writeln!(
            out,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{words} <tspan class=\"w\">{more}</tspan></text></g>",
            y - 7
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Record;
    use crate::synth::{FrameBuilder, Pair};
    use crate::wire::{Opcode, Psn};
    use crate::{Analysis, Names};

    fn ladder(frames: impl IntoIterator<Item = Vec<u8>>) -> String {
        let mut analysis = Analysis::new(Names::new());
        for (at, frame) in frames.into_iter().enumerate() {
            analysis.push(&Record::ethernet(at as u64 + 1, 0, &frame));
        }
        analysis.finish().ladder(1_000)
    }

    #[test]
    fn what_a_node_sends_to_itself_goes_between_two_lines_and_back() {
        let node = IpAddr::from([198, 51, 100, 1]);
        let frame = |opcode, qpn| FrameBuilder::new(node, node, Opcode(opcode)).destination_qpn(qpn);
        let svg = ladder([frame(0x04, 9).payload(b"four").build(), frame(0x11, 8).aeth(0x1f, 1).build()]);
        let lines = |start: &str| svg.lines().filter(|line| line.starts_with(start)).count();
        let (left, right) = (MARGIN, MARGIN + COLUMN);
        assert_eq!(lines("<line class=\"l\""), 2, "{svg}");
        assert_eq!(
            [(left, right), (right, left)].map(|(from, to)| {
                let arrow =
                    format!("x1=\"{from}\" y1=\"{}\" x2=\"{to}\"", TOP + usize::from(from > to) * ROW);
                svg.matches(&arrow).count()
            }),
            [1, 1],
            "{svg}"
        );
    }

    #[test]
    fn queue_pairs_are_told_apart_where_there_are_several() {
        let one = Pair::new(1).write_then_read();
        let two = Pair::new(2).write_with_immediate();
        assert!(!ladder(one.clone()).contains("qp1"));
        let both = ladder([one, two].concat());
        assert!(
            both.contains("CM REQ <tspan class=\"w\">qp1 &gt; qp1<") && both.contains(">qp2 &gt; qp2, "),
            "{both}"
        );
    }

    #[test]
    fn long_picture_says_again_whose_lines_they_are() {
        let pair = Pair::new(1);
        let names = |count: u32| {
            let write = |n: u32| pair.request(0x04, n).psn(Psn::new(n)).payload(b"four").build();
            ladder((0..count).map(write)).matches(">node2<").count()
        };
        assert_eq!([names(40), names(41), names(81)], [2, 3, 4]);
    }
}
