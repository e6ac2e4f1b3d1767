//! The index page of an invocation: a row a run, with a link to its page.

use std::fmt::Write as _;

use crate::page::fill;
use crate::run::RunState;
use crate::table::{TableRow, rows_as_html};
use crate::text::{escape, linked};

pub(crate) const TEMPLATE: &str = include_str!("../assets/index.html");
pub(crate) const STYLE: &str = include_str!("../assets/page.css");

/// Heads of the columns behind the scenario's.
const HEADS: &str = "<th scope=\"col\">verdict</th><th scope=\"col\">packets</th><th scope=\"col\">findings</th>\
                     <th scope=\"col\">seconds</th><th scope=\"col\">headline</th>";

/// Row of the index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexRow {
    /// The scenario.
    pub name: String,
    /// Its state.
    pub state: RunState,
    /// The headline of its verdict.
    pub headline: String,
    /// Packets in its capture.
    pub packets: u64,
    /// Rules that it breaks, by name.
    pub findings: Vec<String>,
    /// Its page, as a path from the index; `None` where it has none.
    pub link: Option<String>,
    /// Seconds that it took, as text.
    pub seconds: String,
}

/// Table of packets: a row each, a column for each thing that was done to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PacketTable {
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Rows, in their order.
    pub rows: Vec<TableRow>,
}

impl PacketTable {
    fn to_html(&self) -> String {
        let mut out = String::from(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Packets and faults\"><table class=\"packets\">\
             <thead><tr><th scope=\"col\">packet</th>",
        );
        for column in &self.columns {
            let _ = write!(out, "<th scope=\"col\">{}</th>", escape(column));
        }
        out.push_str("</tr></thead><tbody>");
        out.push_str(&rows_as_html(&self.rows, |cell| {
            let (sign, words) = (escape(&cell.text), escape(&cell.title));
            let shown =
                format!("<span aria-hidden=\"true\">{sign}</span><span class=\"unseen\">{words}</span>");
            linked(shown, cell.link.as_deref())
        }));
        out.push_str("</tbody></table></div>");
        out
    }
}

/// Index page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Title.
    pub title: String,
    /// Outcome of all runs, in a sentence.
    pub summary: String,
    /// Table of packets, above the runs; `None` where they are of no one conversation.
    pub table: Option<PacketTable>,
    /// The runs, in the order in which they are shown.
    pub entries: Vec<IndexRow>,
}

impl Index {
    /// Renders the page.
    pub fn to_html(&self) -> String {
        let mut rows = String::new();
        for entry in &self.entries {
            let name = linked(escape(&entry.name), entry.link.as_deref());
            let (class, sign, words) = (entry.state.class(), entry.state.sign(), entry.state.words());
            let _ = write!(
                rows,
                "<tr><th scope=\"row\">{name}</th><td class=\"state {class}\"><span aria-hidden=\"true\">{sign}</span> {words}</td>\
                 <td class=\"number\">{}</td><td>{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
                entry.packets,
                escape(&entry.findings.join(", ")),
                escape(&entry.seconds),
                escape(&entry.headline)
            );
        }
        fill(TEMPLATE, |name| match name {
            "title" => escape(&self.title),
            "style" => STYLE.to_owned(),
            "summary" => escape(&self.summary),
            "label" => "Runs".to_owned(),
            "heads" => HEADS.to_owned(),
            "table" => self.table.as_ref().map(PacketTable::to_html).unwrap_or_default(),
            "rows" => rows.clone(),
            _ => String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TableCell;

    #[test]
    fn table_of_packets_has_a_cell_a_fault_and_each_leads_to_its_run() {
        let cell = TableCell {
            text: "rt".to_owned(),
            title: "recovered, an ACK timeout".to_owned(),
            state: RunState::Passed,
            link: Some("0001/report.html".to_owned()),
        };
        let row = TableRow { name: "RC <SEND>".to_owned(), cells: vec![Some(cell), None] };
        let table = PacketTable { columns: vec!["drop".to_owned(), "dup".to_owned()], rows: vec![row] };
        let html = Index { table: Some(table), ..Index::default() }.to_html();
        for part in [
            "<th scope=\"col\">drop</th><th scope=\"col\">dup</th>",
            "<th scope=\"row\">RC &lt;SEND&gt;</th>",
            "title=\"recovered, an ACK timeout\"><a href=\"./0001/report.html\">",
            "</a></td><td></td></tr>",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!Index::default().to_html().contains("class=\"packets\""));
    }

    #[test]
    fn a_name_is_text_and_a_link_stays_in_its_directory() {
        let entry = IndexRow {
            name: "<img src=x>".to_owned(),
            link: Some("javascript:alert(1)?/#\"".to_owned()),
            ..IndexRow::default()
        };
        let html = Index { title: "t".to_owned(), entries: vec![entry], ..Index::default() }.to_html();
        assert!(
            html.contains("href=\"./javascript%3Aalert%281%29%3F/%23%22\">&lt;img src=x&gt;</a>"),
            "{html}"
        );
    }
}
