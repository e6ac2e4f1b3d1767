//! A lesson with a run of it as a chapter of the book: docs/lessons/NAME.md, with its pictures beside it.
//!
//! Everything but the figures comes from the lesson itself, and a test holds chapters to that.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lab::Result;
use lab::base::cache::write_whole;

use super::page::{HEADINGS, LADDER, ladder};
use super::runner::LessonOutcome;
use super::vocabulary::Lesson;
use crate::workspace;

/// Directory of the chapters.
pub(crate) fn directory() -> PathBuf {
    workspace::root().join("docs/lessons")
}

/// Writes the chapter of a lesson and its pictures into `directory`; `date` is the run's, as in 2026-11-30.
///
/// # Errors
///
/// A plot cannot be drawn, or the directory not written.
pub(crate) fn write(lesson: &Lesson, outcome: &LessonOutcome, date: &str, directory: &Path) -> Result<()> {
    let failed = |why: String| lab::Error::setup(format!("no chapter of {}: {why}", lesson.name));
    let mut pictures = Vec::new();
    for plot in outcome.figures.iter().flat_map(|figures| &figures.plots) {
        let file = format!("{}-{}.svg", lesson.name, pictures.len() + 1);
        pictures.push((file, plot.title.clone(), plot.to_svg().map_err(failed)?));
    }
    if let Some(svg) = ladder(lesson, outcome) {
        pictures.push((format!("{}-ladder.svg", lesson.name), LADDER.to_owned(), svg));
    }
    for (file, _, svg) in &pictures {
        write_whole(&directory.join(file), format!("{}\n", svg.trim_end()).as_bytes())?;
    }
    let text = text(lesson, outcome, date, &pictures);
    write_whole(&directory.join(format!("{}.md", lesson.name)), text.as_bytes())
}

fn text(
    lesson: &Lesson,
    outcome: &LessonOutcome,
    date: &str,
    pictures: &[(String, String, String)],
) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        let _ = writeln!(text, "{line}");
    };
    for part in before(lesson) {
        line(&part);
        line("");
    }
    let machine = outcome.seen.runs().first().map_or("", |run| &run.evidence.provider);
    // Behind the colon: the reason that this computer has no better.
    let (machine, _) = machine.split_once(": ").unwrap_or((machine, ""));
    line(&format!(
        "## {}\n\nOn {date}, {machine}; {:.0} s in all.\n",
        HEADINGS[1],
        outcome.took.as_secs_f64()
    ));
    for run in outcome.seen.runs() {
        line(&format!("- {}: {}", run.name, run.verdict.proof));
    }
    line("");
    for table in outcome.figures.iter().flat_map(|figures| &figures.tables) {
        line(&format!("| {} |", table.heads.join(" | ")));
        line(&format!("|{}", "--|".repeat(table.heads.len())));
        for row in &table.rows {
            line(&format!("| {} |", row.join(" | ")));
        }
        line("");
    }
    for (file, words, _) in pictures {
        line(&format!("![{words}]({file})\n"));
    }
    line(&format!("## {}\n", HEADINGS[2]));
    for (claim, ruling) in &outcome.rulings {
        let (Ok(seen) | Err(seen)) = ruling;
        line(&format!("{}\n  Seen: {seen}", claim_line(claim.says)));
    }
    line("");
    let answer = answer(lesson);
    for (at, part) in answer.iter().enumerate() {
        line(part);
        if at + 1 < answer.len() {
            line("");
        }
    }
    text
}

fn claim_line(says: &str) -> String {
    format!("- {says}")
}

/// Parts before the figures.
fn before(lesson: &Lesson) -> Vec<String> {
    let mut parts = vec![format!("# {}", lesson.title), format!("**{}**", lesson.question)];
    parts.extend(lesson.before.iter().map(|text| (*text).to_owned()));
    parts.push(format!("## {}", HEADINGS[0]));
    parts.extend(lesson.runs.iter().map(|run| format!("```sh\n{}\n```", run.command())));
    parts.push(format!(
        "`cargo xtask lesson {}` runs that, draws the figures below and holds the claims against them. [Words and figures](words.md) says how they are read.",
        lesson.name
    ));
    parts
}

/// Parts behind the claims.
fn answer(lesson: &Lesson) -> Vec<String> {
    let mut parts = vec![format!("## {}", HEADINGS[3])];
    parts.extend(lesson.answer.iter().map(|text| (*text).to_owned()));
    parts
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::lesson::topics::LESSONS;

    fn chapter(lesson: &Lesson) -> String {
        let file = directory().join(format!("{}.md", lesson.name));
        fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!("{}: {error}: write it with `cargo xtask lesson {} --write`", file.display(), lesson.name)
        })
    }

    #[test]
    fn chapter_says_what_its_lesson_says_and_claims_no_more() {
        for lesson in LESSONS {
            let text = chapter(lesson);
            let again = format!("write it anew with `cargo xtask lesson {} --write`", lesson.name);
            let head = before(lesson).join("\n\n") + "\n\n";
            assert!(text.starts_with(&head), "{}: another beginning: {again}", lesson.name);
            let tail = format!("\n\n{}\n", answer(lesson).join("\n\n"));
            assert!(text.ends_with(&tail), "{}: another answer: {again}", lesson.name);
            let (_, rest) = text.split_once(&format!("\n## {}\n", HEADINGS[2])).expect("claims");
            let claims: Vec<&str> = rest.lines().filter(|line| line.starts_with("- ")).collect();
            let said: Vec<String> = lesson.claims.iter().map(|claim| claim_line(claim.says)).collect();
            assert_eq!(claims, said, "{}: {again}", lesson.name);
        }
    }

    #[test]
    fn every_chapter_has_a_lesson_and_a_place_in_the_book() {
        let summary = fs::read_to_string(workspace::root().join("docs/SUMMARY.md")).unwrap();
        for lesson in LESSONS {
            let line = format!("[{}](lessons/{}.md)", lesson.title, lesson.name);
            assert!(summary.contains(&line), "docs/SUMMARY.md lacks {line}");
        }
        for entry in fs::read_dir(directory()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let stem = name.split(['.', '-']).next().unwrap_or_default();
            let is_known =
                ["words", "questions"].contains(&stem) || LESSONS.iter().any(|lesson| lesson.name == stem);
            assert!(is_known, "docs/lessons/{name} is of no lesson");
        }
    }

    #[test]
    fn lesson_has_all_its_parts_and_commands_that_are_some() {
        for lesson in LESSONS {
            assert!(lesson.question.ends_with('?'), "{}", lesson.name);
            assert!(!lesson.before.is_empty() && !lesson.answer.is_empty(), "{}", lesson.name);
            assert!(lesson.claims.len() >= 3, "{}: {} claims", lesson.name, lesson.claims.len());
            assert!(lesson.runs.iter().any(|run| run.name == lesson.ladder.run), "{}", lesson.name);
            for run in lesson.runs {
                run.scenario(run.name).unwrap();
            }
            let texts = lesson.before.iter().chain(lesson.answer);
            for text in texts.copied().chain(lesson.claims.iter().map(|claim| claim.says)) {
                assert!(text.matches('`').count() % 2 == 0, "{}: {text}", lesson.name);
                assert!(text.ends_with(['.', ':']), "{}: {text}", lesson.name);
            }
        }
    }
}
