//! A matrix as files: JSON, and a page whose cells link to their runs'.

use roce_page::{Grid, GridColumn, GridNote, RunState, TableCell, TableRow};

use crate::base::cache::write_whole;
use crate::base::error::{Error, Result};
use crate::node::Provenance;
use crate::trial::matrix::table::{Matrix, MatrixCell};
use crate::trial::matrix::text::{FILE, ground, scenarios, summary, words};
use crate::trial::page::INDEX_FILE;
use crate::trial::results::Class;

/// Writes both into the matrix's directory.
///
/// # Errors
///
/// The directory cannot be written.
pub fn keep(matrix: &Matrix) -> Result<()> {
    let json = serde_json::to_vec_pretty(matrix)
        .map_err(|source| Error::setup("failed to write the matrix as JSON").source(source))?;
    write_whole(&matrix.run.join(FILE), &json)?;
    write_whole(&matrix.run.join(INDEX_FILE), html(matrix).as_bytes())
}

/// Renders the page.
fn html(matrix: &Matrix) -> String {
    let columns = matrix.columns.iter().map(|column| GridColumn {
        name: column.name.clone(),
        note: format!("{}; {:.1} s", Provenance::of_both(&column.provenance), column.seconds),
    });
    let cell = |cell: &Option<MatrixCell>| {
        let cell = cell.as_ref()?;
        Some(TableCell {
            state: state(cell.class),
            text: words(cell),
            title: cell.headline.clone(),
            link: matrix.page_of(cell),
        })
    };
    let rows = matrix
        .rows
        .iter()
        .map(|row| TableRow { name: row.scenario.clone(), cells: row.cells.iter().map(cell).collect() });
    let notes = matrix.columns.iter().enumerate().map(|(index, column)| GridNote {
        head: column.name.clone(),
        lines: matrix
            .departures_of(index)
            .iter()
            .map(|shared| {
                let departure = shared.departure;
                [
                    departure.kind.to_string(),
                    departure.text.clone(),
                    ground(&departure.ground),
                    scenarios(shared),
                ]
            })
            .collect(),
    });
    Grid {
        title: "Matrix".to_owned(),
        summary: summary(matrix),
        columns: columns.collect(),
        rows: rows.collect(),
        notes: notes.filter(|note| !note.lines.is_empty()).collect(),
    }
    .to_html()
}

fn state(class: Class) -> RunState {
    match class {
        Class::Passed => RunState::Passed,
        Class::Failed => RunState::Failed,
        Class::Disturbed => RunState::Disturbed,
        Class::NotRun | Class::Interrupted => RunState::NotRun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::matrix::table::synth;

    #[test]
    fn matrix_is_kept_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let matrix = Matrix { run: directory.path().to_owned(), ..synth::matrix() };
        keep(&matrix).unwrap();
        let json = std::fs::read(directory.path().join(FILE)).unwrap();
        let read: Matrix = serde_json::from_slice(&json).unwrap();
        assert_eq!(html(&read), html(&matrix));
    }

    #[test]
    fn page_has_every_cell_and_departure_as_text() {
        let html = html(&synth::matrix());
        for part in ["debian-12, kernel 6.1", "failed, 2 otherwise", "&lt;Oops&gt;", "UNDECLARED"] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("<Oops>"));
    }
}
