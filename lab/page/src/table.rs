//! Rows of cells that are runs: common to a table of packets and one of scenarios.

use std::fmt::Write as _;

use crate::run::RunState;
use crate::text::escape;

/// Cell of a table of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableCell {
    /// State that the run ended in.
    pub state: RunState,
    /// Text that is shown of it.
    pub text: String,
    /// More words, for a pointer that rests on it.
    pub title: String,
    /// Page of the run, as a path from the table's; `None` where it has none.
    pub link: Option<String>,
}

/// Row of a table of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableRow {
    /// Its head.
    pub name: String,
    /// A cell for each column; `None` where there is no run.
    pub cells: Vec<Option<TableCell>>,
}

/// Rows as HTML: head and cells, what is in one as `inside` says it.
pub(crate) fn rows_as_html(rows: &[TableRow], inside: impl Fn(&TableCell) -> String) -> String {
    let mut out = String::new();
    for row in rows {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(&row.name));
        for cell in &row.cells {
            let Some(cell) = cell else {
                out.push_str("<td></td>");
                continue;
            };
            let (class, title) = (cell.state.class(), escape(&cell.title));
            let _ = write!(out, "<td class=\"state {class}\" title=\"{title}\">{}</td>", inside(cell));
        }
        out.push_str("</tr>");
    }
    out
}
