//! The ladder as SVG with nothing that a renderer could leave out: no style sheet, no inherited text, no outline behind letters. Each piece of text is an
//! element with a place of its own, worked out from the width of a fixed-width font; where none of the named fonts is there, LibreOffice takes a
//! proportional one, so words in bold have room behind them.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::arrow::{Arrow, ArrowLength, Ladder, LadderMark, time};
use super::signs::{FAULT, LANE, PAPER, QUIET, TEXT, colour, colour_of, dashes, sign};
use crate::trace::lines::Part;

const ROW: i64 = 36;
/// Least room left of the first lane: number and time.
const LEFT: i64 = 200;
const NUMBER_END: i64 = 62;
const TIME_END: i64 = 148;
/// Least distance of two lanes.
const COLUMN: i64 = 420;
/// Columns of a node's name above its lane; a longer one is cut there.
const NAME: usize = 40;
/// Packets from one line with the nodes' names to the next.
const NAMED_EVERY: usize = 40;
/// A pause that is drawn, in nanoseconds, and how many times the usual distance of two packets it has to be.
const PAUSE_NS: i128 = 5_000_000;
const PAUSE_TIMES: i128 = 20;
const FONT: &str = "DejaVu Sans Mono, Hack, Liberation Mono, Menlo, Consolas, monospace";

/// Width of a text, in the font's own measure: 0.602 of its size, twice that for letters of two columns.
fn width(text: &str, size: i64) -> i64 {
    (text.width() as i64 * size * 602 + 999) / 1000
}

/// Room between words in bold and what stands behind them.
fn gap(words: &str) -> i64 {
    width(" ", 12) + width(words, 12) / 10
}

/// Width of all that stands at an arrow.
fn label_width(arrow: &Arrow) -> i64 {
    let more = if arrow.more.is_empty() { 0 } else { gap(&arrow.words) + width(&arrow.more, 12) };
    width(&arrow.words, 12) + more
}

/// A node's name as it stands above its lane.
fn short(name: &str) -> String {
    if name.width() <= NAME {
        return name.to_owned();
    }
    let mut columns = 0;
    let fits = |character: &char| {
        columns += character.width().unwrap_or(0);
        columns < NAME
    };
    name.chars().take_while(fits).chain(['…']).collect()
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A row of the picture.
enum LadderRow<'a> {
    Arrow(&'a Arrow),
    /// Time that passes, in nanoseconds.
    Pause(i128),
    /// The nodes' names once more.
    Names,
}

fn rows(ladder: &Ladder) -> Vec<LadderRow<'_>> {
    let mut steps: Vec<i128> =
        ladder.arrows.iter().zip(ladder.arrows.iter().skip(1)).map(|(a, b)| b.time_ns - a.time_ns).collect();
    steps.sort_unstable();
    let usual = steps.get(steps.len() / 2).copied().unwrap_or(0);
    let least = PAUSE_NS.max(usual * PAUSE_TIMES);
    let mut rows = Vec::new();
    let mut before: Option<&Arrow> = None;
    for (at, arrow) in ladder.arrows.iter().enumerate() {
        if at > 0 && at % NAMED_EVERY == 0 {
            rows.push(LadderRow::Names);
        }
        match before {
            Some(before) if arrow.time_ns - before.time_ns > least => {
                rows.push(LadderRow::Pause(arrow.time_ns - before.time_ns));
            }
            _ => {}
        }
        rows.push(LadderRow::Arrow(arrow));
        before = Some(arrow);
    }
    rows
}

struct Picture {
    out: String,
    width: i64,
    /// Place of the first lane.
    left: i64,
    column: i64,
    lanes: i64,
}

impl Picture {
    fn x(&self, lane: usize) -> i64 {
        self.left + lane as i64 * self.column
    }

    fn right(&self) -> i64 {
        self.left + (self.lanes - 1).max(0) * self.column
    }

    fn text(&mut self, x: i64, y: i64, size: i64, fill: &str, more: &str, text: &str) {
        let text = escape(text);
        let _ = writeln!(
            self.out,
            "<text x=\"{x}\" y=\"{y}\" font-family=\"{FONT}\" font-size=\"{size}\" fill=\"{fill}\"{more} xml:space=\"preserve\">{text}</text>"
        );
    }

    fn rect(&mut self, x: i64, y: i64, width: i64, height: i64, fill: &str) {
        let _ = writeln!(
            self.out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>"
        );
    }

    fn line(&mut self, [x1, y1, x2, y2]: [i64; 4], stroke: &str, width: &str, more: &str) {
        let _ = writeln!(
            self.out,
            "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"{stroke}\" stroke-width=\"{width}\"{more}/>"
        );
    }

    /// The pieces of the lanes beside a row.
    fn lanes(&mut self, top: i64, height: i64) {
        for lane in 0..self.lanes as usize {
            let x = self.x(lane);
            self.line([x, top, x, top + height], LANE, "1.4", "");
        }
    }

    fn names(&mut self, ladder: &Ladder, baseline: i64) {
        for (lane, name) in ladder.lanes.iter().enumerate() {
            let name = short(name);
            let x = self.x(lane) - width(&name, 15) / 2;
            self.text(x, baseline, 15, TEXT, " font-weight=\"bold\"", &name);
        }
    }

    fn arrow(&mut self, arrow: &Arrow, top: i64) {
        let is_faulty = !arrow.rules.is_empty();
        let back = if is_faulty { FAULT } else { PAPER };
        if is_faulty {
            self.rect(0, top, self.width, ROW, FAULT);
        }
        self.lanes(top, ROW);
        let (y, baseline) = (top + 25, top + 15);
        let (from, to) = (self.x(arrow.from), self.x(arrow.to));
        let (middle, way) = ((from + to) / 2, (to - from).signum());
        let stroke = colour(arrow.part, &arrow.marks);
        let number = arrow.number.to_string();
        let _ = writeln!(
            self.out,
            "<g><title>packet {number}: {} {}</title>",
            escape(&arrow.words),
            escape(&arrow.more)
        );
        self.text(NUMBER_END - width(&number, 12), y - 5, 12, TEXT, "", &number);
        let at = time(arrow.time_ns);
        self.text(TIME_END - width(&at, 12), y - 5, 12, QUIET, "", &at);
        let start = if arrow.way == ArrowLength::FromTheSwitch { middle } else { from };
        let end = if arrow.way == ArrowLength::UpToTheSwitch { middle } else { to };
        let stop = if arrow.way == ArrowLength::UpToTheSwitch { end } else { end - way * 8 };
        let has_first = |mark| arrow.marks.first() == Some(&mark);
        let dashes = dashes(&arrow.marks);
        if has_first(LadderMark::Repeated) {
            self.line([start, y - 2, stop, y - 2], stroke, "1.4", dashes);
            self.line([start, y + 2, stop, y + 2], stroke, "1.4", dashes);
        } else {
            self.line([start, y, stop, y], stroke, "1.8", dashes);
        }
        if arrow.way != ArrowLength::UpToTheSwitch {
            let _ = writeln!(
                self.out,
                "<polygon points=\"{end},{y} {0},{1} {0},{2}\" fill=\"{stroke}\"/>",
                end - way * 10,
                y - 5,
                y + 5
            );
        }
        for mark in &arrow.marks {
            let x = match (mark, arrow.way) {
                (LadderMark::Lost | LadderMark::Late, _) => middle,
                (LadderMark::Altered, ArrowLength::UpToTheSwitch) => middle,
                (LadderMark::Altered, _) => start + way * 48,
                (LadderMark::Finding, _) => self.right() + 20,
                _ => start + way * 24,
            };
            let colour = if *mark == LadderMark::Finding { colour_of(*mark) } else { stroke };
            sign(&mut self.out, *mark, x, y, colour, back);
        }
        if is_faulty {
            let rules = arrow.rules.join(", ");
            self.text(
                self.right() + 32,
                y + 4,
                12,
                colour_of(LadderMark::Finding),
                " font-weight=\"bold\"",
                &rules,
            );
        }
        // The words above the arrow, on the paper where lanes cross them.
        let long = label_width(arrow);
        let left = (middle - long / 2).max(self.left - 10);
        if arrow.from.abs_diff(arrow.to) > 1 {
            self.rect(left - 3, top + 4, long + 6, 14, back);
        }
        self.text(left, baseline, 12, colour(arrow.part, &[]), " font-weight=\"bold\"", &arrow.words);
        if !arrow.more.is_empty() {
            let behind = left + width(&arrow.words, 12) + gap(&arrow.words);
            self.text(behind, baseline, 12, QUIET, "", &arrow.more);
        }
        self.out.push_str("</g>\n");
    }

    fn pause(&mut self, ns: i128, top: i64) {
        for lane in 0..self.lanes as usize {
            let x = self.x(lane);
            let points = [
                (x, top),
                (x, top + 11),
                (x - 5, top + 15),
                (x + 5, top + 22),
                (x, top + 26),
                (x, top + ROW),
            ];
            let points = points.map(|(x, y)| format!("{x},{y}")).join(" ");
            let _ = writeln!(
                self.out,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{LANE}\" stroke-width=\"1.4\"/>"
            );
        }
        let words = format!("{} pass", time(ns));
        let long = width(&words, 12);
        let x = (self.left + self.right()) / 2 - long / 2;
        self.rect(x - 3, top + 11, long + 6, 14, PAPER);
        self.text(x, top + 22, 12, QUIET, "", &words);
    }

    /// Draws the meaning of the signs that are there; returns its height.
    fn legend(&mut self, ladder: &Ladder, top: i64) -> i64 {
        let parts = [
            (Part::Request, "request"),
            (Part::Response, "response"),
            (Part::Management, "connection management"),
        ];
        let has_part = |part: Part| ladder.arrows.iter().any(|arrow| arrow.part == part);
        let mut items: Vec<(Option<LadderMark>, Part, &str)> = parts
            .into_iter()
            .filter(|(part, _)| has_part(*part))
            .map(|(part, words)| (None, part, words))
            .collect();
        let has_mark = |mark: &LadderMark| ladder.arrows.iter().any(|arrow| arrow.marks.contains(mark));
        items.extend(
            LadderMark::ALL
                .into_iter()
                .filter(has_mark)
                .map(|mark| (Some(mark), Part::Request, mark.words())),
        );
        let (mut x, mut y) = (16, top + 10);
        for (mark, part, words) in items {
            let long = 52 + width(words, 12) + 18;
            if x > 16 && x + long > self.width - 16 {
                (x, y) = (16, y + 22);
            }
            let marks: Vec<LadderMark> = mark.into_iter().collect();
            let stroke = mark.map_or_else(|| colour(part, &[]), colour_of);
            if mark != Some(LadderMark::Finding) {
                let end = if mark == Some(LadderMark::Lost) { 22 } else { 36 };
                self.line([x, y, x + end, y], stroke, "1.8", dashes(&marks));
                if mark != Some(LadderMark::Lost) {
                    let _ = writeln!(
                        self.out,
                        "<polygon points=\"{},{y} {1},{2} {1},{3}\" fill=\"{stroke}\"/>",
                        x + 44,
                        x + 35,
                        y - 5,
                        y + 5
                    );
                }
            }
            if let Some(mark) = mark {
                sign(
                    &mut self.out,
                    mark,
                    x + if mark == LadderMark::Lost { 22 } else { 16 },
                    y,
                    stroke,
                    PAPER,
                );
            }
            self.text(x + 52, y + 4, 12, TEXT, "", words);
            x += long;
        }
        y - top + 16
    }
}

pub(super) fn draw(ladder: &Ladder) -> String {
    let labels = ladder.arrows.iter().map(|arrow| {
        let spans = arrow.from.abs_diff(arrow.to).max(1) as i64;
        (label_width(arrow) + 40) / spans
    });
    let names: Vec<i64> = ladder.lanes.iter().map(|name| width(&short(name), 15)).collect();
    let left = LEFT.max(TIME_END + 20 + names.first().map_or(0, |name| name / 2));
    let column = labels.chain(names.iter().map(|name| name + 30)).max().unwrap_or(0).max(COLUMN);
    let rules = ladder.arrows.iter().map(|arrow| width(&arrow.rules.join(", "), 12)).max().unwrap_or(0);
    let last_name = names.last().map_or(0, |name| name / 2 + name / 10);
    let beside = (rules + if rules > 0 { 48 } else { 0 }).max(last_name + 16).max(60);
    let lanes = ladder.lanes.len().max(2) as i64;
    let wide = (left + (lanes - 1) * column + beside).max(width(&ladder.title, 18) + 40);
    let mut picture = Picture { out: String::new(), width: wide, left, column, lanes };
    let mut y = 10;
    if !ladder.title.is_empty() {
        picture.text(16, y + 20, 18, TEXT, " font-weight=\"bold\"", &ladder.title);
        y += 34;
    }
    y += picture.legend(ladder, y);
    picture.text(NUMBER_END - width("packet", 12), y + 16, 12, QUIET, "", "packet");
    picture.text(TIME_END - width("time", 12), y + 16, 12, QUIET, "", "time");
    picture.names(ladder, y + 17);
    y += 26;
    for row in rows(ladder) {
        match row {
            LadderRow::Arrow(arrow) => picture.arrow(arrow, y),
            LadderRow::Pause(ns) => picture.pause(ns, y),
            LadderRow::Names => picture.names(ladder, y + 22),
        }
        y += ROW;
    }
    picture.lanes(y, 8);
    y += 8;
    if ladder.arrows.is_empty() {
        picture.text(left, y + 18, 12, QUIET, "", "no packet");
        y += 26;
    }
    if ladder.more > 0 {
        let words = format!("and {} more packet{}", ladder.more, if ladder.more == 1 { "" } else { "s" });
        picture.text(left, y + 18, 12, TEXT, "", &words);
        y += 26;
    } else if ladder.arrows.len() > NAMED_EVERY / 2 {
        picture.names(ladder, y + 18);
        y += 26;
    }
    let high = y + 12;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide}\" height=\"{high}\" viewBox=\"0 0 {wide} {high}\">\n\
         <rect x=\"0\" y=\"0\" width=\"{wide}\" height=\"{high}\" fill=\"{PAPER}\"/>\n{}</svg>\n",
        picture.out
    )
}
