//! Two traces side by side: rows aligned as `roce diff` aligns them, with the words that changed.

use std::time::Duration;

use similar::{Algorithm, DiffOp, TextDiff};

use crate::text::count;

/// Time after which a worse but quicker alignment is taken.
const LIMIT: Duration = Duration::from_secs(5);

/// Equal rows that stay visible beside a difference.
const CONTEXT: usize = 3;

/// Two traces that are held against each other.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    /// Name of the first one: `accepted: write_read.snap`.
    pub before_name: String,
    /// The trace that is demanded.
    pub before: String,
    /// Name of the second one.
    pub after_name: String,
    /// The trace that was found.
    pub after: String,
}

/// Sides of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ComparedRow {
    /// Both alike.
    Same(String),
    /// In the first alone.
    Gone(String),
    /// In the second alone.
    New(String),
    /// In both, otherwise; each side as pieces, of which some are changed.
    Changed([Vec<(bool, String)>; 2]),
    /// Rows that are alike and left out.
    Skipped(Vec<String>),
}

/// Aligned rows of two traces, with the differences in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) rows: Vec<ComparedRow>,
    pub(crate) gone: usize,
    pub(crate) new: usize,
    pub(crate) changed: usize,
}

/// Aligns two traces.
pub(crate) fn compare(before: &str, after: &str) -> Compared {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let diff = TextDiff::configure().algorithm(Algorithm::Patience).timeout(LIMIT).diff_slices(&old, &new);
    let mut compared = Compared::default();
    for op in diff.ops() {
        let (before, after) = (&old[op.old_range()], &new[op.new_range()]);
        match op {
            DiffOp::Equal { .. } => compared.equal(before),
            _ => compared.replaced(before, after),
        }
    }
    compared.fold();
    compared
}

impl Compared {
    fn equal(&mut self, lines: &[&str]) {
        self.rows.extend(lines.iter().map(|line| ComparedRow::Same((*line).to_owned())));
    }

    /// Rows that are like each other are one that changed.
    fn replaced(&mut self, before: &[&str], after: &[&str]) {
        let (mut old, mut new) = (before, after);
        loop {
            match (old, new) {
                ([left, old_rest @ ..], [right, new_rest @ ..]) if are_alike(left, right) => {
                    self.rows.push(ComparedRow::Changed(pieces(left, right)));
                    self.changed += 1;
                    (old, new) = (old_rest, new_rest);
                }
                // A row that has its like further on waits for it.
                ([left, rest @ ..], _) if !new.iter().any(|other| are_alike(left, other)) => {
                    self.rows.push(ComparedRow::Gone((*left).to_owned()));
                    self.gone += 1;
                    old = rest;
                }
                (_, [right, rest @ ..]) => {
                    self.rows.push(ComparedRow::New((*right).to_owned()));
                    self.new += 1;
                    new = rest;
                }
                _ => break,
            }
        }
    }

    /// Leaves out equal rows that are far from a difference.
    fn fold(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        let is_same: Vec<bool> = rows.iter().map(|row| matches!(row, ComparedRow::Same(_))).collect();
        let is_near = |at: usize| {
            let from = at.saturating_sub(CONTEXT);
            is_same.iter().skip(from).take(at + CONTEXT + 1 - from).any(|same| !same)
        };
        for (at, row) in rows.into_iter().enumerate() {
            match row {
                ComparedRow::Same(line) if !is_near(at) => match self.rows.last_mut() {
                    Some(ComparedRow::Skipped(lines)) => lines.push(line),
                    _ => self.rows.push(ComparedRow::Skipped(vec![line])),
                },
                row => self.rows.push(row),
            }
        }
    }

    /// The differences in words: `2 rows changed, 1 row gone, 3 rows new`.
    pub(crate) fn words(&self) -> String {
        let kinds = [(self.changed, "changed"), (self.gone, "gone"), (self.new, "new")];
        let kinds: Vec<String> = kinds
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", count(number as u64, "row")))
            .collect();
        if kinds.is_empty() { "no row differs".to_owned() } else { kinds.join(", ") }
    }
}

/// Whether two rows say something of the same thing: they begin with the same words, and share half of them.
fn are_alike(left: &str, right: &str) -> bool {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (left, right) = (words(left), words(right));
    let shared = left.iter().filter(|word| right.contains(word)).count();
    left.first() == right.first() && 2 * shared >= left.len().max(right.len())
}

/// The pieces of two lines, with those that differ marked.
fn pieces(left: &str, right: &str) -> [Vec<(bool, String)>; 2] {
    let words = |line| -> Vec<&str> { split(line) };
    let (left, right) = (words(left), words(right));
    let diff = TextDiff::configure().diff_slices(&left, &right);
    let mut sides = [Vec::new(), Vec::new()];
    for op in diff.ops() {
        let is_changed = !matches!(op, DiffOp::Equal { .. });
        let parts = [left.get(op.old_range()), right.get(op.new_range())];
        for (side, part) in sides.iter_mut().zip(parts) {
            let text = part.unwrap_or_default().concat();
            if !text.is_empty() {
                side.push((is_changed, text));
            }
        }
    }
    sides
}

/// Words and the spaces between them.
fn split(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let is_space = first == ' ';
        let end = rest.find(|character: char| (character == ' ') != is_space).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(end);
        parts.push(part);
        rest = behind;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_meaning_stand_beside_each_other() {
        let before = "head\nclient > server WRITE client+0 18\nserver > client ACK client+0 msn 1\nend\n";
        let after = "head\nclient > server WRITE client+0 20\nserver > client NAK refused for good\nserver > client ACK client+0 msn 1\nend\n";
        let compared = compare(before, after);
        assert_eq!((compared.changed, compared.gone, compared.new), (1, 0, 1), "{compared:?}");
        assert_eq!(compared.words(), "1 row changed, 1 row new");
        let ComparedRow::Changed([left, right]) = &compared.rows[1] else { panic!("{compared:?}") };
        assert_eq!(left.last().unwrap(), &(true, "18".to_owned()));
        assert_eq!(right.last().unwrap(), &(true, "20".to_owned()));
    }

    #[test]
    fn what_is_far_from_a_difference_is_folded() {
        let lines = |last: &str| (0..20).map(|n| format!("row {n}\n")).collect::<String>() + last;
        let compared = compare(&lines("x"), &lines("y"));
        let ComparedRow::Skipped(skipped) = &compared.rows[0] else { panic!("{compared:?}") };
        assert_eq!((skipped.len(), compared.gone, compared.new), (17, 1, 1));
        assert_eq!(compare("a\n", "a\n").words(), "no row differs");
    }

    #[test]
    fn every_row_of_both_is_there_once() {
        let before: String = (0..30).map(|n| format!("a {} b {n}\n", n % 3)).collect();
        let after: String = (0..30).map(|n| format!("a {} c {n}\n", n % 4)).collect();
        let compared = compare(&before, &after);
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let text =
            |pieces: &[(bool, String)]| pieces.iter().map(|(_, text)| text.as_str()).collect::<String>();
        for row in &compared.rows {
            match row {
                ComparedRow::Same(line) => (left.push(line.clone()), right.push(line.clone())),
                ComparedRow::Gone(line) => (left.push(line.clone()), ()),
                ComparedRow::New(line) => ((), right.push(line.clone())),
                ComparedRow::Changed([old, new]) => (left.push(text(old)), right.push(text(new))),
                ComparedRow::Skipped(lines) => (left.extend(lines.clone()), right.extend(lines.clone())),
            };
        }
        assert_eq!((left.join("\n") + "\n", right.join("\n") + "\n"), (before, after));
    }
}
