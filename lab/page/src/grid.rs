//! The page of a table whose cells are runs: a row a scenario, a column a guest.

use std::fmt::Write as _;

use crate::index::{STYLE, TEMPLATE};
use crate::page::fill;
use crate::table::{TableRow, rows_as_html};
use crate::text::{escape, linked};

/// Column of a grid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GridColumn {
    /// Its head.
    pub name: String,
    /// Sentence below its head.
    pub note: String,
}

/// List below a grid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GridNote {
    /// Its head.
    pub head: String,
    /// Its lines: kind, text, ground, and where it was seen.
    pub lines: Vec<[String; 4]>,
}

/// Page of a grid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grid {
    /// Title.
    pub title: String,
    /// Sum of all, in a sentence.
    pub summary: String,
    /// The columns, in their order.
    pub columns: Vec<GridColumn>,
    /// The rows, in their order.
    pub rows: Vec<TableRow>,
    /// The lists below.
    pub notes: Vec<GridNote>,
}

impl Grid {
    /// Renders the page.
    pub fn to_html(&self) -> String {
        let mut heads = String::new();
        for column in &self.columns {
            let (name, note) = (escape(&column.name), escape(&column.note));
            let _ = write!(heads, "<th scope=\"col\">{name}<br><small>{note}</small></th>");
        }
        let rows = rows_as_html(&self.rows, |cell| {
            let words = linked(escape(&cell.text), cell.link.as_deref());
            format!("<span aria-hidden=\"true\">{}</span> {words}", cell.state.sign())
        });
        let mut notes = String::from(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"What each guest does otherwise\">",
        );
        for note in &self.notes {
            let _ = write!(notes, "<h2>{}</h2><table><tbody>", escape(&note.head));
            for [kind, text, ground, places] in &note.lines {
                let [kind, text, ground, places] = [kind, text, ground, places].map(|text| escape(text));
                let _ = write!(
                    notes,
                    "<tr><th scope=\"row\">{kind}</th><td>{text}</td><td>{ground}</td><td>{places}</td></tr>"
                );
            }
            notes.push_str("</tbody></table>");
        }
        notes.push_str("</div>");
        fill(TEMPLATE, |name| match name {
            "title" => escape(&self.title),
            "style" => STYLE.to_owned(),
            "summary" => escape(&self.summary),
            "label" => "Guests".to_owned(),
            "heads" => heads.clone(),
            "rows" => rows.clone(),
            "notes" => notes.clone(),
            _ => String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunState;
    use crate::table::TableCell;

    #[test]
    fn a_cell_is_text_and_its_link_stays_in_its_directory() {
        let cell = TableCell {
            state: RunState::Failed,
            text: "<b>failed".to_owned(),
            title: "\"quoted\"".to_owned(),
            link: Some("javascript:x".to_owned()),
        };
        let row = TableRow { name: "<i>".to_owned(), cells: vec![Some(cell), None] };
        let html = Grid { rows: vec![row], ..Grid::default() }.to_html();
        assert!(html.contains("href=\"./javascript%3Ax\">&lt;b&gt;failed</a>"), "{html}");
        assert!(html.contains("title=\"&quot;quoted&quot;\"") && html.contains("&lt;i&gt;"), "{html}");
        assert!(html.contains("<td></td>"), "{html}");
        // What scrolls can be reached with keys.
        assert!(!html.contains("class=\"scroll\">"), "{html}");
    }
}
