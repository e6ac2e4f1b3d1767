//! The packets between the nodes as one SVG picture: a line a node, an arrow a packet.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;

use crate::cm::attribute_name;
use crate::fate::Fate;
use crate::report::Report;
use crate::row::{CmRow, Row};
use crate::trace::labels::Labels;
use crate::trace::render;

/// Least distance between two nodes' lines.
const COLUMN: usize = 360;
const ROW: usize = 30;
const TOP: usize = 60;
const MARGIN: usize = 90;
/// Width of a character, in tenths: that of common monospaced fonts at this size, rounded up.
const CHARACTER: usize = 73;

const STYLE: &str = ".l{stroke:#999}.q{stroke:#1f4e79;fill:#1f4e79}.r{stroke:#3a7d44;fill:#3a7d44}.m{stroke:#666;fill:#666}\
    .s{stroke:#b45f06;fill:#b45f06}.d{stroke:#b22;fill:#b22}.d line{stroke-dasharray:5 4}.d path{fill:none;stroke-width:2}\
    text{stroke:none;fill:#222}.w{fill:#666}.n{fill:#888}.f{fill:#b22;font-weight:bold}.b{fill:#fdecea}";

/// One arrow.
struct Arrow {
    number: u64,
    source: IpAddr,
    destination: IpAddr,
    /// What it is, then what else there is to say.
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
    Arrow {
        number: row.number,
        source: row.source,
        destination: row.destination,
        words: render::words(row),
        more: render::beside(labels, row),
        class: class(&row.fate, if is_response { "r" } else { "q" }),
        is_delivered: row.fate.is_delivered(),
    }
}

fn of_cm_row(row: &CmRow) -> Arrow {
    let name = row.mad().and_then(|mad| attribute_name(mad.attribute_id())).unwrap_or("MAD");
    Arrow {
        number: row.number,
        source: row.source,
        destination: row.destination,
        words: format!("CM {name}"),
        more: row.fate.words().unwrap_or_default(),
        class: class(&row.fate, "m"),
        is_delivered: row.fate.is_delivered(),
    }
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
    arrows.extend(report.cm_rows.iter().filter(|row| !row.is_hidden).map(of_cm_row));
    arrows.sort_by_key(|arrow| arrow.number);
    let more = arrows.len().saturating_sub(limit);
    arrows.truncate(limit);
    let mut found: HashMap<u64, Vec<String>> = HashMap::new();
    for finding in &report.findings {
        found.entry(finding.packet).or_default().push(finding.rule.name());
    }
    let picture = Picture::new(report, &arrows, &found);
    let mut out = picture.head();
    for (at, arrow) in arrows.iter().enumerate() {
        picture.arrow(&mut out, TOP + at * ROW, arrow, found.get(&arrow.number));
    }
    if more > 0 {
        let _ =
            writeln!(out, "<text x=\"{MARGIN}\" y=\"{}\">and {more} more packets</text>", picture.height - 8);
    }
    out.push_str("</svg>\n");
    out
}

/// Where everything is.
struct Picture {
    nodes: Vec<(IpAddr, String)>,
    column: usize,
    width: usize,
    height: usize,
}

impl Picture {
    fn new(report: &Report, arrows: &[Arrow], found: &HashMap<u64, Vec<String>>) -> Self {
        let mut nodes: Vec<(IpAddr, String)> = Vec::new();
        for address in arrows.iter().flat_map(|arrow| [arrow.source, arrow.destination]) {
            if !nodes.iter().any(|(known, _)| *known == address) {
                nodes.push((address, report.names.get(address)));
            }
        }
        nodes.sort_by(|a, b| a.1.cmp(&b.1));
        let label = |arrow: &Arrow| arrow.words.chars().count() + arrow.more.chars().count() + 1;
        let longest = arrows.iter().map(label).max().unwrap_or(0);
        let rules = found.values().map(|rules| rules.join(", ").chars().count()).max().unwrap_or(0);
        let column = COLUMN.max(width(longest) + 40);
        let lines = nodes.len().saturating_sub(1) * column;
        Self {
            nodes,
            column,
            width: 2 * MARGIN + lines + width(rules),
            height: TOP + arrows.len() * ROW + 60,
        }
    }

    fn x(&self, address: IpAddr) -> usize {
        MARGIN + self.nodes.iter().position(|(known, _)| *known == address).unwrap_or(0) * self.column
    }

    /// Everything but the packets: the nodes' lines, with their names at both ends.
    fn head(&self) -> String {
        let Self { width, height, .. } = self;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"ui-monospace, monospace\" font-size=\"12\">\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        let end = height - 48;
        for (address, name) in &self.nodes {
            let (x, name) = (self.x(*address), escape(name));
            for y in [28, end + 16] {
                let _ = writeln!(
                    out,
                    "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" font-size=\"15\">{name}</text>"
                );
            }
            let _ = writeln!(out, "<line class=\"l\" x1=\"{x}\" y1=\"38\" x2=\"{x}\" y2=\"{end}\"/>");
        }
        out
    }

    fn arrow(&self, out: &mut String, y: usize, arrow: &Arrow, rules: Option<&Vec<String>>) {
        let (from, to) = (self.x(arrow.source), self.x(arrow.destination));
        let middle = (from + to) / 2;
        let (words, more) = (escape(&arrow.words), escape(&arrow.more));
        if let Some(rules) = rules {
            let right = MARGIN + self.nodes.len().saturating_sub(1) * self.column + 14;
            let rules = escape(&rules.join(", "));
            let _ = writeln!(out, "<rect class=\"b\" y=\"{}\" width=\"100%\" height=\"{ROW}\"/>", y - 20);
            let _ = writeln!(out, "<text class=\"f\" x=\"{right}\" y=\"{}\">{rules}</text>", y + 4);
        }
        let number = arrow.number;
        let _ = writeln!(out, "<text class=\"n\" x=\"8\" y=\"{}\">{number}</text>", y + 4);
        let _ = writeln!(out, "<g class=\"{}\"><title>packet {number}: {words} {more}</title>", arrow.class);
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
            y - 6
        );
    }
}
