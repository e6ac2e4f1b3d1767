//! A page of text with pictures and tables: a lesson.
//!
//! Text may hold `code` between backticks and *words* between asterisks, and nothing else that has a meaning. Pictures are SVG of the caller's own making and stand in the page as they are;
//! they are drawn on white, and the dark page turns them over.

use std::fmt::Write as _;

use crate::index::STYLE;
use crate::page::fill;
use crate::run::RunState;
use crate::text::{escape, linked};

const TEMPLATE: &str = include_str!("../assets/article.html");

/// Part of an article.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArticlePart {
    /// Heading.
    Heading(String),
    /// Paragraph.
    Text(String),
    /// Commands or output, as they are.
    Code(String),
    /// Table: heads, and rows of as many cells.
    Table {
        /// Heads of the columns.
        heads: Vec<String>,
        /// Rows; the first cell is the row's head.
        rows: Vec<Vec<String>>,
    },
    /// Picture, with its description for who does not see it.
    Picture {
        /// One `svg` element.
        svg: String,
        /// Description.
        words: String,
    },
    /// Judged sentence, with what was seen.
    Claim {
        /// Ruling.
        state: RunState,
        /// Sentence.
        says: String,
        /// Values that were seen.
        seen: String,
    },
    /// Link to a page in the same directory or below it.
    Link {
        /// Path.
        page: String,
        /// Text.
        text: String,
    },
}

/// Article.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Article {
    /// Title.
    pub title: String,
    /// First sentence: the question.
    pub lead: String,
    /// State, where the article is of something judged.
    pub state: RunState,
    /// Reason of the state, in a sentence.
    pub headline: String,
    /// Parts, in their order.
    pub parts: Vec<ArticlePart>,
}

impl Article {
    /// Renders the page.
    pub fn to_html(&self) -> String {
        let parts: String = self.parts.iter().map(part).collect();
        fill(TEMPLATE, |name| match name {
            "title" => escape(&self.title),
            "style" => STYLE.to_owned(),
            "lead" => with_code(&self.lead),
            "verdict" => self.verdict(),
            "parts" => parts.clone(),
            _ => String::new(),
        })
    }

    fn verdict(&self) -> String {
        if self.state == RunState::NotJudged {
            return String::new();
        }
        let (class, sign, words) = (self.state.class(), self.state.sign(), self.state.words());
        format!(
            "<p class=\"verdict {class}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span> <strong>{words}</strong> \
             <span class=\"headline\">{}</span></p>",
            escape(&self.headline)
        )
    }
}

fn part(part: &ArticlePart) -> String {
    match part {
        ArticlePart::Heading(text) => format!("<h2>{}</h2>", with_code(text)),
        ArticlePart::Text(text) => format!("<p>{}</p>", with_code(text)),
        ArticlePart::Code(text) => format!("<pre tabindex=\"0\">{}</pre>", escape(text)),
        ArticlePart::Table { heads, rows } => table(heads, rows),
        ArticlePart::Picture { svg, words } => format!(
            "<div class=\"drawn scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">{svg}</div>",
            escape(words)
        ),
        ArticlePart::Claim { state, says, seen } => format!(
            "<p class=\"claim\"><span class=\"state {}\"><span aria-hidden=\"true\">{}</span><span class=\"unseen\">{}: </span></span> \
             {} <span class=\"quiet\">{}</span></p>",
            state.class(),
            state.sign(),
            state.words(),
            with_code(says),
            escape(seen)
        ),
        ArticlePart::Link { page, text } => format!("<p>{}</p>", linked(escape(text), Some(page))),
    }
}

fn table(heads: &[String], rows: &[Vec<String>]) -> String {
    let mut out = String::from(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Figures of this run\"><table><thead><tr>",
    );
    for head in heads {
        let _ = write!(out, "<th scope=\"col\">{}</th>", with_code(head));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (place, cell) in row.iter().enumerate() {
            let text = with_code(cell);
            let _ = match place {
                0 => write!(out, "<th scope=\"row\">{text}</th>"),
                _ => write!(out, "<td class=\"number\">{text}</td>"),
            };
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

/// Escaped text, with what stands between backticks as code.
fn with_code(text: &str) -> String {
    let mut out = String::new();
    for (number, piece) in text.split('`').enumerate() {
        let piece = escape(piece);
        match number % 2 {
            0 => with_emphasis(&mut out, &piece),
            _ => {
                let _ = write!(out, "<code>{piece}</code>");
            }
        }
    }
    out
}

/// Writes escaped text, with what stands between asterisks as emphasis.
fn with_emphasis(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some((before, (inside, after))) =
        rest.split_once('*').and_then(|(before, tail)| Some((before, tail.split_once('*')?)))
    {
        let _ = write!(out, "{before}<em>{inside}</em>");
        rest = after;
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_and_only_backticks_mean_something() {
        let article = Article {
            title: "<b>".to_owned(),
            lead: "why `a<b` *so* and 2 * 3?".to_owned(),
            state: RunState::Failed,
            headline: "1 & 2".to_owned(),
            parts: vec![
                ArticlePart::Claim {
                    state: RunState::Passed,
                    says: "so <it> is".to_owned(),
                    seen: "\"4\"".to_owned(),
                },
                ArticlePart::Link { page: "javascript:x".to_owned(), text: "run".to_owned() },
                ArticlePart::Table { heads: vec!["a".to_owned()], rows: vec![vec!["<i>".to_owned()]] },
                ArticlePart::Picture { svg: "<svg></svg>".to_owned(), words: "a \"plot\"".to_owned() },
            ],
        };
        let html = article.to_html();
        for there in [
            "<title>&lt;b&gt;</title>",
            "why <code>a&lt;b</code> <em>so</em> and 2 * 3?",
            "1 &amp; 2",
            "so &lt;it&gt; is",
            "&quot;4&quot;",
            "href=\"./javascript%3Ax\"",
            "<th scope=\"row\">&lt;i&gt;</th>",
            "<svg></svg>",
            "aria-label=\"a &quot;plot&quot;\"",
        ] {
            assert!(html.contains(there), "{there}: {html}");
        }
        assert!(!html.contains("<script") && !html.contains("://"), "{html}");
    }

    #[test]
    fn article_that_nobody_judged_has_no_verdict() {
        assert!(!Article::default().to_html().contains("class=\"verdict"));
    }
}
