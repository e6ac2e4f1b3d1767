//! The page of a table whose cells are runs: a row a scenario, a column a guest.

use std::fmt::Write as _;

use crate::index::path;
use crate::page::fill;
use crate::run::RunState;
use crate::text::escape;

const TEMPLATE: &str = include_str!("../assets/grid.html");
const STYLE: &str = include_str!("../assets/page.css");

/// Column of a grid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GridColumn {
    /// Its head.
    pub name: String,
    /// Sentence below its head.
    pub note: String,
}

/// Cell of a grid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GridCell {
    /// State that the run ended in.
    pub state: RunState,
    /// The same, and what else there is to say.
    pub words: String,
    /// Its headline, for who points at it.
    pub title: String,
    /// Its page, as a path from the grid's; `None` where it has none.
    pub link: Option<String>,
}

/// Row of a grid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GridRow {
    /// Its head.
    pub name: String,
    /// A cell for each column; `None` where there is nothing.
    pub cells: Vec<Option<GridCell>>,
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
    pub rows: Vec<GridRow>,
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
        let mut rows = String::new();
        for row in &self.rows {
            let _ = write!(rows, "<tr><th scope=\"row\">{}</th>", escape(&row.name));
            for cell in &row.cells {
                let _ = write!(rows, "{}", cell.as_ref().map_or_else(|| "<td></td>".to_owned(), told));
            }
            rows.push_str("</tr>");
        }
        let mut notes = String::new();
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
        fill(TEMPLATE, |name| match name {
            "title" => escape(&self.title),
            "style" => STYLE.to_owned(),
            "summary" => escape(&self.summary),
            "heads" => heads.clone(),
            "rows" => rows.clone(),
            "notes" => notes.clone(),
            _ => String::new(),
        })
    }
}

/// A cell as HTML.
fn told(cell: &GridCell) -> String {
    let words = escape(&cell.words);
    let words = match &cell.link {
        Some(link) => format!("<a href=\"{}\">{words}</a>", escape(&path(link))),
        None => words,
    };
    let (class, sign) = (cell.state.class(), cell.state.sign());
    format!(
        "<td class=\"state {class}\" title=\"{}\"><span aria-hidden=\"true\">{sign}</span> {words}</td>",
        escape(&cell.title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_and_its_link_stays_in_its_directory() {
        let cell = GridCell {
            state: RunState::Failed,
            words: "<b>failed".to_owned(),
            title: "\"quoted\"".to_owned(),
            link: Some("javascript:x".to_owned()),
        };
        let row = GridRow { name: "<i>".to_owned(), cells: vec![Some(cell), None] };
        let html = Grid { rows: vec![row], ..Grid::default() }.to_html();
        assert!(html.contains("href=\"./javascript%3Ax\">&lt;b&gt;failed</a>"), "{html}");
        assert!(html.contains("title=\"&quot;quoted&quot;\"") && html.contains("&lt;i&gt;"), "{html}");
        assert!(html.contains("<td></td>"), "{html}");
    }
}
