//! First words of doc comments: a noun or a verb names the object, a question does not.

use crate::sources::{Crate, crates, planted};

/// First words of a question.
const QUESTIONS: [&str; 9] = ["What", "Which", "How", "Whether", "Those", "Where", "Who", "When", "Why"];

/// Beginnings of doc comments that are questions, with their places.
fn questions(of: &Crate) -> Vec<String> {
    let mut found = Vec::new();
    for module in &of.modules {
        let mut before = None;
        for (number, line) in (1..).zip(module.text.lines()) {
            let mark = ["///", "//!"].into_iter().find(|mark| line.trim_start().starts_with(mark));
            let words = line.trim_start().trim_start_matches(['/', '!']).trim_start();
            let first = words.split(|character: char| !character.is_alphabetic()).next().unwrap_or_default();
            if mark.is_some() && mark != before && QUESTIONS.contains(&first) {
                found.push(format!("{}: {}: line {number}: {words}", of.name, module.path.join("::")));
            }
            before = mark;
        }
    }
    found
}

#[test]
fn doc_comment_begins_with_a_noun_or_a_verb() {
    let found: Vec<String> = crates().iter().flat_map(questions).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn planted_question_is_found() {
    let text = "//! How it is.\n\n/// Noun.\n/// What follows.\nstruct A;\n\n/// Whether.\nstruct B;\n";
    let found = questions(&planted(&[("a", text)]));
    assert_eq!(found, ["planted: a: line 1: How it is.", "planted: a: line 7: Whether."]);
}
