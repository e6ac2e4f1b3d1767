//! Arrows of a ladder, which every output draws.

use crate::trace::lines::Part;

/// Property of a packet that a sign shows, beside its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LadderMark {
    Lost,
    Late,
    Altered,
    Repeated,
    NotReady,
    Refused,
    Finding,
}

impl LadderMark {
    pub(super) const ALL: [Self; 7] =
        [Self::Lost, Self::Late, Self::Altered, Self::Repeated, Self::NotReady, Self::Refused, Self::Finding];

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Altered => "altered",
            Self::Repeated => "repeated",
            Self::NotReady => "not ready",
            Self::Refused => "refused",
            Self::Finding => "breaks a rule",
        }
    }
}

/// Drawn part of an arrow: a packet that did not arrive as it was sent ends half way, one that the switch sent begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArrowLength {
    Whole,
    UpToTheSwitch,
    FromTheSwitch,
}

/// An arrow.
#[derive(Clone, Debug)]
pub(super) struct Arrow {
    pub(super) number: u64,
    /// Time in nanoseconds since the first packet of the capture.
    pub(super) time_ns: i128,
    /// Its ends, as indices of the lanes.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) part: Part,
    pub(super) way: ArrowLength,
    pub(super) marks: Vec<LadderMark>,
    /// Name of the packet.
    pub(super) words: String,
    /// Further words.
    pub(super) more: String,
    /// Rules that it breaks.
    pub(super) rules: Vec<String>,
}

/// Packets between nodes, ready to be drawn.
#[derive(Clone, Debug)]
pub struct Ladder {
    pub(super) title: String,
    pub(super) lanes: Vec<String>,
    pub(super) arrows: Vec<Arrow>,
    /// Packets that are left out behind the last.
    pub(super) more: u64,
}

impl Ladder {
    /// Number of the packets that are drawn.
    pub fn len(&self) -> usize {
        self.arrows.len()
    }

    /// True if no packet is drawn.
    pub fn is_empty(&self) -> bool {
        self.arrows.is_empty()
    }

    /// Words at each packet, which every output has: its number, its time, its name, what else there is to say, and the rules that it breaks.
    pub fn labels(&self) -> Vec<[String; 5]> {
        let label = |arrow: &Arrow| {
            let (number, time) = (arrow.number.to_string(), time(arrow.time_ns));
            [number, time, arrow.words.clone(), arrow.more.clone(), arrow.rules.join(", ")]
        };
        self.arrows.iter().map(label).collect()
    }
}

/// A time for people: `12.3 µs`, `4.05 ms`.
pub(super) fn time(ns: i128) -> String {
    let value = ns as f64;
    match ns.unsigned_abs() {
        0..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", value / 1e6),
        _ => format!("{:.3} s", value / 1e9),
    }
}
