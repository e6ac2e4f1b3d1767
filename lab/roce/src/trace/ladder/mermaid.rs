//! The ladder as a sequence diagram in Mermaid's words.
//!
//! Text of strangers stands in labels alone, and of it only what Mermaid takes for text: every other character is its number, `#60;`.
//! Source: the grammar of Mermaid 11 (`sequenceDiagram.jison`) and its entity codes.

use std::fmt::Write as _;

use super::arrow::{Arrow, ArrowLength, Ladder, LadderMark, time};
use crate::trace::lines::Part;

/// Characters of a diagram; Mermaid refuses more than 50,000.
const MOST: usize = 45_000;

/// Text as a label has it.
fn label(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let is_plain = character.is_alphanumeric()
            || matches!(character, ' ' | '.' | ',' | '_' | '-' | '+' | '/' | '(' | ')' | '…' | '·');
        // A word that ends a block.
        let is_end = text.get(at..at + 3).is_some_and(|word| word.eq_ignore_ascii_case("end"));
        if is_plain && !is_end {
            out.push(character);
        } else {
            let _ = write!(out, "#{};", u32::from(character));
        }
    }
    out
}

/// Arrow signs: a cross for what is lost, an open end for what ends or begins at the switch, a broken line for responses.
fn sign(arrow: &Arrow) -> &'static str {
    let is_answer = !matches!(arrow.part, Part::Request | Part::Management);
    match (arrow.marks.contains(&LadderMark::Lost), arrow.way, is_answer) {
        (true, _, false) => "-x",
        (true, _, true) => "--x",
        (false, ArrowLength::UpToTheSwitch, false) => "-)",
        (false, ArrowLength::UpToTheSwitch, true) => "--)",
        (false, _, false) => "->>",
        (false, _, true) => "-->>",
    }
}

fn words(arrow: &Arrow) -> String {
    let mut words = format!("{} · {} · {}", arrow.number, time(arrow.time_ns), arrow.words);
    if !arrow.more.is_empty() {
        let _ = write!(words, " · {}", arrow.more);
    }
    let told = |mark: &&LadderMark| {
        matches!(
            mark,
            LadderMark::Lost
                | LadderMark::Late
                | LadderMark::Altered
                | LadderMark::Refused
                | LadderMark::NotReady
        )
    };
    let marks: Vec<&str> = arrow.marks.iter().filter(told).map(|mark| mark.words()).collect();
    if !marks.is_empty() {
        let _ = write!(words, " · {}", marks.join(", ").to_uppercase());
    }
    words
}

pub(super) fn write(ladder: &Ladder) -> String {
    let mut out = String::from("sequenceDiagram\n");
    if !ladder.title.is_empty() {
        let _ = writeln!(out, "    title {}", label(&ladder.title));
    }
    for (lane, name) in ladder.lanes.iter().enumerate() {
        let _ = writeln!(out, "    participant n{lane} as {}", label(name));
    }
    let mut left = ladder.more;
    for (at, arrow) in ladder.arrows.iter().enumerate() {
        let (from, to) = (arrow.from, arrow.to);
        let mut row = format!("    n{from}{}n{to}: {}\n", sign(arrow), label(&words(arrow)));
        if !arrow.rules.is_empty() {
            let _ = writeln!(row, "    Note over n{from},n{to}: breaks {}", label(&arrow.rules.join(", ")));
        }
        if out.len() + row.len() > MOST {
            left += (ladder.arrows.len() - at) as u64;
            break;
        }
        out.push_str(&row);
    }
    if ladder.lanes.is_empty() {
        out.push_str("    participant n0 as no packet\n");
    } else if left > 0 {
        let _ = writeln!(out, "    Note over n0: and {left} more packet{}", if left == 1 { "" } else { "s" });
    }
    out
}
