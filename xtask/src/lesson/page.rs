//! A lesson with its run as one page for a browser, which needs nothing else.

use roce::Fate;
use roce_page::{Article, ArticlePart, RunState};

use super::runner::LessonOutcome;
use super::vocabulary::{LadderStart, Lesson};

/// Heading of a lesson's parts, in their order; the chapter has the same.
pub(crate) const HEADINGS: [&str; 4] = ["Run it", "What this run shows", "What it claims", "Answer"];

/// Renders the page.
///
/// # Errors
///
/// A plot cannot be drawn.
pub(crate) fn page(lesson: &Lesson, outcome: &LessonOutcome) -> Result<String, String> {
    let [run_it, shows, claims, answer] = HEADINGS.map(|text| ArticlePart::Heading(text.to_owned()));
    let text = |text: &&str| ArticlePart::Text((*text).to_owned());
    let mut parts: Vec<ArticlePart> = lesson.before.iter().map(text).collect();
    parts.push(run_it);
    for (run, seen) in lesson.runs.iter().zip(outcome.seen.runs()) {
        parts.push(ArticlePart::Code(run.command()));
        parts.push(ArticlePart::Text(format!("{}; {}.", seen.verdict.proof, seen.evidence.provider)));
        let directory = seen.verdict.artifacts.file_name().unwrap_or_default().to_string_lossy();
        parts.push(ArticlePart::Link {
            page: format!("{directory}/{}", lab::trial::page::FILE),
            text: "Every packet of this run, with its bytes".to_owned(),
        });
    }
    parts.push(shows);
    if let Ok(figures) = &outcome.figures {
        for table in &figures.tables {
            parts.push(ArticlePart::Table { heads: table.heads.clone(), rows: table.rows.clone() });
        }
        for plot in &figures.plots {
            parts.push(ArticlePart::Picture { svg: plot.to_svg()?, words: plot.title.clone() });
        }
    }
    if let Some(svg) = ladder(lesson, outcome) {
        parts.push(ArticlePart::Text(format!("{LADDER}:")));
        parts.push(ArticlePart::Picture { svg, words: LADDER.to_owned() });
    }
    parts.push(claims);
    for (claim, ruling) in &outcome.rulings {
        let (state, seen) = match ruling {
            Ok(seen) => (RunState::Passed, seen),
            Err(seen) => (RunState::Failed, seen),
        };
        parts.push(ArticlePart::Claim { state, says: claim.says.to_owned(), seen: seen.clone() });
    }
    parts.push(answer);
    parts.extend(lesson.answer.iter().map(text));
    let wrong = outcome.wrong();
    let (state, headline) = match wrong.first() {
        Some(first) => (RunState::Failed, first.clone()),
        None => (RunState::Passed, format!("all {} claims are borne out by this run", outcome.rulings.len())),
    };
    let (title, lead) = (lesson.title.to_owned(), lesson.question.to_owned());
    Ok(Article { title, lead, state, headline, parts }.to_html())
}

/// Words below a ladder.
pub(crate) const LADDER: &str =
    "Some packets of this run, by their numbers in the capture, from top to bottom in the order of the wire";

/// The ladder of a lesson, if its run has those packets.
pub(crate) fn ladder(lesson: &Lesson, outcome: &LessonOutcome) -> Option<String> {
    let part = &lesson.ladder;
    let run = outcome.seen.run(part.run).ok()?;
    match part.from {
        LadderStart::First => run.ladder(part.connection, |_| true, 0, part.limit),
        LadderStart::Named(name) => {
            run.ladder(part.connection, |line| line.words.starts_with(name), 0, part.limit)
        }
        LadderStart::Lost => run.ladder(part.connection, |line| line.fate == Fate::Dropped, 3, part.limit),
    }
}
