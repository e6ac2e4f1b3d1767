//! The table of a matrix: a row a scenario, a column a guest, and in each cell what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::role::Role;
use crate::judge::verdict::Verdict;
use crate::node::Provenance;
use crate::trial::matrix::departure::{Departure, departures};
use crate::trial::matrix::facts::RunFacts;
use crate::trial::page;
use crate::trial::results::{Class, ResultRow, Results, Totals};

/// Outcome of one scenario on one guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MatrixCell {
    /// The class of the run that counts.
    pub class: Class,
    /// Its headline: why it is red, or was not run; empty if it passed.
    pub headline: String,
    /// In what it departs from the guest that the others are compared with.
    pub departures: Vec<Departure>,
    /// Its directory.
    pub artifacts: PathBuf,
}

/// One guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MatrixColumn {
    /// Its name, as `--guest` takes it.
    pub name: String,
    /// Provenance of its machines.
    pub provenance: BTreeMap<Role, Provenance>,
    /// Numbers of runs, by class.
    pub totals: Totals,
    /// Time that its catalogue took.
    pub seconds: f64,
}

impl MatrixColumn {
    /// True if everything that was planned was run, and nothing failed.
    pub fn is_green(&self) -> bool {
        self.totals.failed == 0 && self.totals.interrupted == 0
    }
}

/// One scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MatrixRow {
    /// Its name.
    pub scenario: String,
    /// Outcomes in the order of the columns; `None` where it has no verdict.
    pub cells: Vec<Option<MatrixCell>>,
}

/// Table of a matrix.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Matrix {
    /// Its directory; each column is the directory of an invocation in it, by name.
    pub run: PathBuf,
    /// The column that the others are compared with, from 0.
    pub reference: usize,
    /// The guests.
    pub columns: Vec<MatrixColumn>,
    /// The scenarios.
    pub rows: Vec<MatrixRow>,
}

/// A departure with all runs that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedDeparture<'m> {
    /// The departure.
    pub departure: &'m Departure,
    /// The scenarios.
    pub scenarios: Vec<&'m str>,
}

impl Matrix {
    /// Makes the table of what came of each guest, by its name; `seconds` is how long each took, and `reference` the place of
    /// the one that the others are compared with.
    pub fn of(run: &Path, guests: Vec<(String, Results, f64)>, reference: usize) -> Matrix {
        let mut names: Vec<String> = Vec::new();
        for (_, results, _) in &guests {
            names.extend(results.scenarios.iter().map(|row| row.verdict.scenario.clone()));
        }
        names.sort();
        names.dedup();
        let row = |scenario: String| {
            let facts: Vec<Option<RunFacts>> = guests
                .iter()
                .map(|(_, results, _)| RunFacts::read(&counting(results, &scenario)?.verdict.artifacts).ok())
                .collect();
            let other = facts.get(reference).and_then(Option::as_ref);
            let cells = guests.iter().zip(&facts).map(|((_, results, _), facts)| {
                let row = counting(results, &scenario)?;
                let passed = row.class == Class::Passed;
                let both = facts.as_ref().zip(other);
                Some(MatrixCell {
                    class: row.class,
                    headline: headline(&row.verdict),
                    departures: both.map_or(Vec::new(), |(facts, other)| departures(facts, other, passed)),
                    artifacts: row.verdict.artifacts.clone(),
                })
            });
            MatrixRow { cells: cells.collect(), scenario: scenario.clone() }
        };
        let rows = names.into_iter().map(row).collect();
        let column = |(name, results, seconds): (String, Results, f64)| MatrixColumn {
            provenance: results
                .scenarios
                .iter()
                .map(|row| &row.verdict.provenance)
                .find(|provenance| !provenance.is_empty())
                .cloned()
                .unwrap_or_default(),
            totals: results.totals,
            name,
            seconds,
        };
        let columns = guests.into_iter().map(column).collect();
        Matrix { run: run.to_owned(), reference, columns, rows }
    }

    /// True if every guest is green.
    pub fn is_green(&self) -> bool {
        self.columns.iter().all(MatrixColumn::is_green)
    }

    /// The departures of a column, each once, with its scenarios.
    pub fn departures_of(&self, column: usize) -> Vec<SharedDeparture<'_>> {
        let mut all: BTreeMap<&Departure, Vec<&str>> = BTreeMap::new();
        for row in &self.rows {
            let cell = row.cells.get(column).and_then(Option::as_ref);
            for departure in cell.iter().flat_map(|cell| &cell.departures) {
                all.entry(departure).or_default().push(&row.scenario);
            }
        }
        all.into_iter().map(|(departure, scenarios)| SharedDeparture { departure, scenarios }).collect()
    }

    /// The path of a cell's page from the matrix's directory, if it has one.
    pub fn page_of(&self, cell: &MatrixCell) -> Option<String> {
        let page = cell.artifacts.join(page::FILE);
        let below = page.strip_prefix(&self.run).ok().filter(|_| page.is_file())?;
        Some(below.to_string_lossy().into_owned())
    }
}

/// The run of a scenario that counts: the last that was not made once more.
fn counting<'r>(results: &'r Results, scenario: &str) -> Option<&'r ResultRow> {
    let mut of = results.scenarios.iter().filter(|row| row.verdict.scenario == scenario);
    of.rfind(|row| row.class != Class::Disturbed)
}

fn headline(verdict: &Verdict) -> String {
    match &verdict.not_run {
        Some(why) => why.clone(),
        None => verdict.headline_text(),
    }
}

#[cfg(test)]
pub(super) mod synth {
    //! A matrix of two guests and two scenarios.

    use super::*;
    use crate::trial::matrix::departure::{DepartureKind, Ground};

    pub(crate) fn matrix() -> Matrix {
        let cell = |class, headline: &str, departures: Vec<Departure>| {
            let artifacts = PathBuf::from("/run/guest/scenario");
            Some(MatrixCell { class, headline: headline.to_owned(), departures, artifacts })
        };
        let timeout = Departure {
            kind: DepartureKind::Trace,
            text: "`ACK timeout 19 (2.15 s)`, there `ACK timeout 17 (537 ms)`".to_owned(),
            ground: Ground::Declared("ack_timeout: a longer life".to_owned()),
        };
        let oops = Departure {
            kind: DepartureKind::KernelLog,
            text: "client logs `<Oops>`".to_owned(),
            ground: Ground::Undeclared,
        };
        let column = |name: &str, kernel: &str, totals| MatrixColumn {
            name: name.to_owned(),
            provenance: Role::BOTH
                .map(|role| {
                    let (release, kernel) = (name.to_owned(), kernel.to_owned());
                    (role, Provenance { release, kernel, ..Provenance::default() })
                })
                .into(),
            totals,
            seconds: 12.34,
        };
        let passed = Totals { passed: 2, ..Totals::default() };
        let failed = Totals { passed: 1, failed: 1, ..Totals::default() };
        Matrix {
            run: "/run".into(),
            reference: 0,
            columns: vec![column("debian-13", "6.12", passed), column("debian-12", "6.1", failed)],
            rows: vec![
                MatrixRow {
                    scenario: "lost_ack".to_owned(),
                    cells: vec![
                        cell(Class::Passed, "", vec![]),
                        cell(Class::Passed, "", vec![timeout.clone()]),
                    ],
                },
                MatrixRow {
                    scenario: "write_read".to_owned(),
                    cells: vec![
                        cell(Class::Passed, "", vec![]),
                        cell(Class::Failed, "DMESG: client: 1 line", vec![timeout, oops]),
                    ],
                },
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn departure_of_many_scenarios_is_told_once() {
        let matrix = synth::matrix();
        assert_eq!(matrix.departures_of(0), []);
        let found = matrix.departures_of(1);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].scenarios, ["lost_ack", "write_read"]);
        assert_eq!(found[1].scenarios, ["write_read"]);
        assert!(!matrix.is_green() && matrix.columns[0].is_green());
    }

    #[test]
    fn run_that_counts_is_not_the_disturbed_one() {
        let of = |is_superseded: bool| Verdict {
            scenario: "a".to_owned(),
            passed: !is_superseded,
            is_superseded,
            seconds: if is_superseded { 1.0 } else { 2.0 },
            ..Verdict::default()
        };
        let results = Results::of(Path::new("/run"), vec![of(true), of(false)]);
        let matrix = Matrix::of(Path::new("/run"), vec![("g".to_owned(), results, 3.0)], 0);
        assert_eq!(matrix.rows[0].cells[0].as_ref().map(|cell| cell.class), Some(Class::Passed));
    }
}
