//! The packets between the nodes as one SVG picture: a line a node, an arrow a packet.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;

use crate::cm::attribute_name;
use crate::report::Report;
use crate::row::{CmRow, Row};
use crate::trace::labels::Labels;
use crate::trace::render;

const COLUMN: usize = 520;
const ROW: usize = 30;
const TOP: usize = 60;
const MARGIN: usize = 110;

/// One arrow.
struct Arrow {
    number: u64,
    source: IpAddr,
    destination: IpAddr,
    text: String,
    is_delivered: bool,
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn of_row(labels: &Labels<'_>, row: &Row) -> Arrow {
    Arrow {
        number: row.number,
        source: row.source,
        destination: row.destination,
        text: render::short(labels, row),
        is_delivered: row.fate.is_delivered(),
    }
}

fn of_cm_row(row: &CmRow) -> Arrow {
    let name = row.mad().and_then(|mad| attribute_name(mad.attribute_id())).unwrap_or("MAD");
    Arrow {
        number: row.number,
        source: row.source,
        destination: row.destination,
        text: format!("CM {name}"),
        is_delivered: row.fate.is_delivered(),
    }
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
    let mut columns: Vec<IpAddr> = Vec::new();
    for address in arrows.iter().flat_map(|arrow| [arrow.source, arrow.destination]) {
        if !columns.contains(&address) {
            columns.push(address);
        }
    }
    columns.sort_by_key(|address| report.names.get(*address));
    let x =
        |address: IpAddr| MARGIN + columns.iter().position(|known| *known == address).unwrap_or(0) * COLUMN;
    let (width, height) =
        (2 * MARGIN + columns.len().saturating_sub(1) * COLUMN + 260, TOP + arrows.len() * ROW + 60);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"12\">\n\
         <style>.l{{stroke:#888}}.a{{stroke:#246;fill:#246}}.d{{stroke:#b22;fill:#b22;stroke-dasharray:5 4}}\
         text{{stroke:none;fill:#222}}.n{{fill:#888}}.f{{fill:#b22;font-weight:bold}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for address in &columns {
        let at = x(*address);
        let name = escape(&report.names.get(*address));
        let _ =
            writeln!(out, "<text x=\"{at}\" y=\"28\" text-anchor=\"middle\" font-size=\"15\">{name}</text>");
        let _ = writeln!(out, "<line class=\"l\" x1=\"{at}\" y1=\"38\" x2=\"{at}\" y2=\"{}\"/>", height - 30);
    }
    for (at, arrow) in arrows.iter().enumerate() {
        let y = TOP + at * ROW;
        let (from, to) = (x(arrow.source), x(arrow.destination));
        let to_right = to >= from;
        // What is lost ends half way.
        let end = if arrow.is_delivered { to } else { (from + to) / 2 };
        let class = if arrow.is_delivered { "a" } else { "d" };
        let text = escape(&arrow.text);
        let (tip, back) = if to_right { (end, end.saturating_sub(8)) } else { (end, end + 8) };
        let middle = (from + to) / 2;
        let _ = writeln!(out, "<text class=\"n\" x=\"8\" y=\"{}\">{}</text>", y + 4, arrow.number);
        let _ = writeln!(out, "<g class=\"{class}\"><title>packet {}: {text}</title>", arrow.number);
        let _ = writeln!(out, "<line x1=\"{from}\" y1=\"{y}\" x2=\"{end}\" y2=\"{y}\"/>");
        let _ = writeln!(
            out,
            "<polygon points=\"{tip},{y} {back},{} {back},{}\" stroke-dasharray=\"none\"/>",
            y - 4,
            y + 4
        );
        let _ =
            writeln!(out, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{text}</text></g>", y - 5);
        if let Some(rules) = found.get(&arrow.number) {
            let right = MARGIN + columns.len().saturating_sub(1) * COLUMN + 14;
            let _ = writeln!(
                out,
                "<text class=\"f\" x=\"{right}\" y=\"{}\">{}</text>",
                y + 4,
                escape(&rules.join(", "))
            );
        }
    }
    if more > 0 {
        let _ = writeln!(out, "<text x=\"{MARGIN}\" y=\"{}\">and {more} more packets</text>", height - 12);
    }
    out.push_str("</svg>\n");
    out
}
