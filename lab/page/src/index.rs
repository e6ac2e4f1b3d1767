//! The index page of an invocation: a row a run, with a link to its page.

use std::fmt::Write as _;

use crate::page::fill;
use crate::run::RunState;
use crate::text::escape;

const TEMPLATE: &str = include_str!("../assets/index.html");
const STYLE: &str = include_str!("../assets/page.css");

/// Row of the index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexRow {
    /// The scenario.
    pub name: String,
    /// How it ended.
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

/// Index page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Title.
    pub title: String,
    /// What came of all, in a sentence.
    pub summary: String,
    /// The runs, in the order in which they are shown.
    pub entries: Vec<IndexRow>,
}

impl Index {
    /// Renders the page.
    pub fn to_html(&self) -> String {
        let mut rows = String::new();
        for entry in &self.entries {
            let name = escape(&entry.name);
            let name = match &entry.link {
                Some(link) => format!("<a href=\"{}\">{name}</a>", escape(&path(link))),
                None => name,
            };
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
            "rows" => rows.clone(),
            _ => String::new(),
        })
    }
}

/// A relative path as a link, so that no part of it is taken for a scheme, a query or a fragment.
fn path(link: &str) -> String {
    let mut out = String::from("./");
    for byte in link.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

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
