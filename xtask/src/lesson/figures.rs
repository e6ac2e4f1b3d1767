//! Figures of a lesson: tables and plots that are read off its runs.

use super::plot::Plot;

/// Figures of a lesson.
#[derive(Debug, Default)]
pub(crate) struct LessonFigures {
    /// Tables.
    pub(crate) tables: Vec<LessonTable>,
    /// Plots.
    pub(crate) plots: Vec<Plot>,
}

/// Table; the first cell of a row is its head.
#[derive(Debug)]
pub(crate) struct LessonTable {
    /// Heads of the columns.
    pub(crate) heads: Vec<String>,
    /// Rows.
    pub(crate) rows: Vec<Vec<String>>,
}

impl LessonFigures {
    /// Adds a table.
    #[must_use]
    pub(crate) fn table(
        mut self,
        heads: &[&str],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> LessonFigures {
        let heads = heads.iter().map(|head| (*head).to_owned()).collect();
        self.tables.push(LessonTable { heads, rows: rows.into_iter().collect() });
        self
    }

    /// Adds a plot.
    #[must_use]
    pub(crate) fn plot(mut self, plot: Plot) -> LessonFigures {
        self.plots.push(plot);
        self
    }
}
