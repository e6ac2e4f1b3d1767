//! Signs of the ladder, drawn around a point with plain attributes: the shape tells what the colour tells.

use std::fmt::Write as _;

use super::arrow::LadderMark;
use crate::trace::lines::Part;

pub(super) const PAPER: &str = "#ffffff";
pub(super) const FAULT: &str = "#fdeceb";
pub(super) const TEXT: &str = "#1b1f24";
pub(super) const QUIET: &str = "#57606a";
pub(super) const LANE: &str = "#9aa4af";
const REFUSED: &str = "#b3261e";

/// Colour of an arrow: that of its first mark, else of its part.
pub(super) fn colour(part: Part, marks: &[LadderMark]) -> &'static str {
    match (marks.first(), part) {
        (Some(LadderMark::Lost | LadderMark::NotReady | LadderMark::Refused), _) => REFUSED,
        (Some(LadderMark::Late), _) => "#7b3fb5",
        (Some(LadderMark::Altered), _) => "#a04a00",
        (Some(LadderMark::Repeated), _) => "#00707a",
        (_, Part::Management) => QUIET,
        (_, Part::Request) => "#0b5cad",
        (_, Part::Response) => "#1a7f37",
        (_, Part::NotReady | Part::Refusal) => REFUSED,
    }
}

/// Dashes of a line.
pub(super) fn dashes(marks: &[LadderMark]) -> &'static str {
    match marks.first() {
        Some(LadderMark::Lost) => " stroke-dasharray=\"6 5\"",
        Some(LadderMark::Late) => " stroke-dasharray=\"2 4\"",
        Some(LadderMark::Altered) => " stroke-dasharray=\"9 3 2 3\"",
        _ => "",
    }
}

/// Draws the sign of a mark around a point.
pub(super) fn sign(out: &mut String, mark: LadderMark, x: i64, y: i64, colour: &str, back: &str) {
    let at = |points: &[(i64, i64)]| {
        points.iter().map(|(dx, dy)| format!("{},{}", x + dx, y + dy)).collect::<Vec<_>>().join(" ")
    };
    let line = |out: &mut String, from: (i64, i64), to: (i64, i64), width: &str, colour: &str| {
        let _ = writeln!(
            out,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
            x + from.0,
            y + from.1,
            x + to.0,
            y + to.1
        );
    };
    let polygon = |out: &mut String, points: &[(i64, i64)], fill: &str| {
        let points = at(points);
        let _ = writeln!(
            out,
            "<polygon points=\"{points}\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.6\"/>"
        );
    };
    let round = |out: &mut String, fill: &str| {
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"7\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.6\"/>"
        );
    };
    match mark {
        LadderMark::Lost => {
            line(out, (-6, -6), (6, 6), "2.6", colour);
            line(out, (-6, 6), (6, -6), "2.6", colour);
        }
        LadderMark::Late => polygon(out, &[(-5, -7), (5, -7), (-5, 7), (5, 7)], back),
        LadderMark::Altered => {
            let points = at(&[(-9, 0), (-5, -6), (-1, 6), (3, -6), (7, 6), (9, 0)]);
            let _ = writeln!(
                out,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            );
        }
        LadderMark::Repeated => {
            round(out, back);
            polygon(out, &[(-3, -4), (-3, 4), (4, 0)], colour);
        }
        LadderMark::NotReady => {
            round(out, back);
            line(out, (-2, -3), (-2, 3), "2", colour);
            line(out, (2, -3), (2, 3), "2", colour);
        }
        LadderMark::Refused => {
            polygon(out, &[(-3, -7), (3, -7), (7, -3), (7, 3), (3, 7), (-3, 7), (-7, 3), (-7, -3)], colour);
            line(out, (-4, 0), (4, 0), "2.2", back);
        }
        LadderMark::Finding => {
            line(out, (-4, 7), (-4, -7), "1.6", colour);
            polygon(out, &[(-4, -7), (6, -3), (-4, 1)], colour);
        }
    }
}

/// Colour of a mark by itself.
pub(super) fn colour_of(mark: LadderMark) -> &'static str {
    match mark {
        LadderMark::Finding => REFUSED,
        mark => colour(Part::Request, &[mark]),
    }
}
