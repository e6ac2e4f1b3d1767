//! A matrix as text: the table, then what each guest does otherwise.

use std::fmt::Write as _;

use crate::node::Provenance;
use crate::trial::matrix::departure::Ground;
use crate::trial::matrix::table::{Matrix, MatrixCell, SharedDeparture};
use crate::trial::page::INDEX_FILE;
use crate::trial::results::Class;

/// The table's file in a matrix's directory.
pub const FILE: &str = "matrix.json";

/// Scenarios that are named of a departure; of more their number is told.
const NAMED: usize = 4;

/// Renders the table, every departure with its ground, and the sums.
pub fn text(matrix: &Matrix) -> String {
    let mut out = table(matrix);
    for (index, column) in matrix.columns.iter().enumerate() {
        let _ = writeln!(out, "\n{}: {}", column.name, Provenance::of_both(&column.provenance));
        let _ = writeln!(out, "  {} in {:.1} s", column.totals, column.seconds);
        if index == matrix.reference {
            let _ = writeln!(out, "  the others are compared with it");
        }
        for row in &matrix.rows {
            if let Some(Some(cell)) = row.cells.get(index)
                && cell.class != Class::Passed
            {
                let _ = writeln!(out, "  {} {}: {}", row.scenario, cell.class.name(), cell.headline);
            }
        }
        for shared in matrix.departures_of(index) {
            let _ = writeln!(out, "  {:<10}  {}", shared.departure.kind, shared.departure.text);
            let _ = writeln!(
                out,
                "              {}; in {}",
                ground(&shared.departure.ground),
                scenarios(&shared)
            );
        }
    }
    let _ = writeln!(out, "\n{}", summary(matrix));
    let _ = writeln!(out, "matrix in {}: {INDEX_FILE}, {FILE}", matrix.run.display());
    out
}

/// A sentence on the whole: `2 scenarios on 2 guests: red on 1`.
pub(super) fn summary(matrix: &Matrix) -> String {
    let count =
        |number: usize, thing: &str| format!("{number} {thing}{}", if number == 1 { "" } else { "s" });
    let red = matrix.columns.iter().filter(|column| !column.is_green()).count();
    let state = if red == 0 { "green".to_owned() } else { format!("red on {red}") };
    format!("{} on {}: {state}", count(matrix.rows.len(), "scenario"), count(matrix.columns.len(), "guest"))
}

fn table(matrix: &Matrix) -> String {
    let heads = matrix.columns.iter().map(|column| column.name.clone());
    let mut rows: Vec<Vec<String>> = vec![std::iter::once("scenario".to_owned()).chain(heads).collect()];
    for row in &matrix.rows {
        let cells = row.cells.iter().map(|cell| cell.as_ref().map_or_else(String::new, words));
        rows.push(std::iter::once(row.scenario.clone()).chain(cells).collect());
    }
    let columns = matrix.columns.len() + 1;
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

/// Words for a run in a cell: `passed`, `passed, 2 otherwise`, `failed`.
pub fn words(cell: &MatrixCell) -> String {
    match (cell.class, cell.departures.len()) {
        (class, 0) => class.name().to_owned(),
        (class, count) => format!("{}, {count} otherwise", class.name()),
    }
}

/// The ground of a departure, for people.
pub fn ground(ground: &Ground) -> String {
    match ground {
        Ground::Declared(why) => format!("declared ({why})"),
        Ground::Open => "left open by the scenario".to_owned(),
        Ground::Undeclared => "UNDECLARED".to_owned(),
    }
}

/// The scenarios of a departure: all of a few, the number of many.
pub fn scenarios(shared: &SharedDeparture<'_>) -> String {
    match shared.scenarios.len() {
        count if count > NAMED => format!("{count} scenarios"),
        _ => shared.scenarios.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::matrix::table::synth;

    #[test]
    fn table_and_departures_are_told_with_their_grounds() {
        let expected = "\
scenario    debian-13  debian-12
lost_ack    passed     passed, 1 otherwise
write_read  passed     failed, 2 otherwise

debian-13: debian-13, kernel 6.12
  2 passed, 0 failed, 0 disturbed, 0 not run in 12.3 s
  the others are compared with it

debian-12: debian-12, kernel 6.1
  1 passed, 1 failed, 0 disturbed, 0 not run in 12.3 s
  write_read failed: DMESG: client: 1 line
  trace       `ACK timeout 19 (2.15 s)`, there `ACK timeout 17 (537 ms)`
              declared (ack_timeout: a longer life); in lost_ack, write_read
  kernel log  client logs `<Oops>`
              UNDECLARED; in write_read

2 scenarios on 2 guests: red on 1
matrix in /run: index.html, matrix.json
";
        assert_eq!(text(&synth::matrix()), expected);
    }
}
