//! Outcomes as a text, packet by packet, as a summary without any time, and as a page with a link to each run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use roce_page::{Index, IndexRow, PacketTable, RunState, TableCell, TableRow};

use crate::explore::grid::{self, FaultGrid};
use crate::explore::outcome::{Cost, Outcome, Tried};
use crate::scenario::fault::Fault;

/// Renders outcomes and costs: the same in a second exploration of the same.
pub fn summary(name: &str, tried: &[Tried]) -> String {
    let mut text = FaultGrid::of(tried).to_string();
    for tried in tried.iter().filter(|tried| tried.placement.faults.len() != 1) {
        let _ = writeln!(text, "{:<2}  {}", grid::sign(tried), tried.placement);
    }
    let _ = writeln!(text, "\n{name}: {}", sum(tried));
    text
}

/// Renders what each packet's faults came to, the surprises, and the sum.
pub fn text(name: &str, tried: &[Tried]) -> String {
    let (one, several): (Vec<&Tried>, Vec<&Tried>) =
        tried.iter().partition(|tried| tried.placement.faults.len() == 1);
    let mut packets: BTreeMap<u64, Vec<&Tried>> = BTreeMap::new();
    for tried in one {
        packets.entry(tried.placement.packets[0]).or_default().push(tried);
    }
    let mut text = String::new();
    for (number, tried) in &packets {
        let matcher = &tried[0].placement.faults[0].matcher;
        let _ = writeln!(text, "packet {number}: {matcher}");
        for outcome in Outcome::ALL {
            let faults: Vec<String> =
                tried.iter().filter(|tried| tried.outcome == outcome).map(|tried| action(tried)).collect();
            if !faults.is_empty() {
                let _ = writeln!(text, "  {outcome:<10}  {}", faults.join(", "));
            }
        }
    }
    for tried in several {
        let _ = writeln!(text, "{:<10}  {}{}", tried.outcome, tried.placement, cost(tried));
    }
    for tried in tried.iter().filter(|tried| tried.outcome.is_news()) {
        let _ = writeln!(text, "\n{}: {}", tried.outcome, tried.placement);
        let _ = writeln!(text, "  {}\n  {}", tried.why, tried.artifacts.display());
    }
    let _ = write!(text, "\n{}", summary(name, tried));
    text
}

/// Renders the page, for `index.html` in the exploration's directory.
pub fn page(name: &str, directory: &Path, tried: &[Tried]) -> String {
    let entry = |tried: &Tried| IndexRow {
        name: tried.placement.to_string(),
        state: state(tried.outcome),
        headline: format!("{}{} {}", tried.outcome, cost(tried), tried.why).trim_end().to_owned(),
        packets: tried.packets,
        findings: tried.deviations.clone(),
        link: link(tried, directory),
        seconds: format!("{:.1}", tried.stall_s),
    };
    Index {
        title: format!("explore {name}"),
        summary: sum(tried),
        table: Some(packet_table(&FaultGrid::of(tried), directory)).filter(|table| !table.rows.is_empty()),
        entries: tried.iter().map(entry).collect(),
    }
    .to_html()
}

fn packet_table(grid: &FaultGrid<'_>, directory: &Path) -> PacketTable {
    let column = |kind: &crate::explore::placement::FaultKind| match kind.is_resealed {
        true => format!("{}, ICRC fits", kind.word),
        false => kind.word.to_owned(),
    };
    let cell = |tried: &&Tried| TableCell {
        text: grid::sign(tried),
        title: match tried.cost {
            Cost::Nothing => tried.outcome.word().to_owned(),
            cost => format!("{}, {}", tried.outcome, cost.words()),
        },
        state: state(tried.outcome),
        link: link(tried, directory),
    };
    let rows = grid.rows.iter().map(|row| TableRow {
        name: row.packet.to_string(),
        cells: grid.columns.iter().map(|kind| row.runs.get(kind).map(cell)).collect(),
    });
    PacketTable { columns: grid.columns.iter().map(column).collect(), rows: rows.collect() }
}

fn state(outcome: Outcome) -> RunState {
    match outcome {
        Outcome::Surprise | Outcome::Undetected => RunState::Failed,
        Outcome::Disturbed | Outcome::NotMet => RunState::NotRun,
        Outcome::Failed | Outcome::Recovered | Outcome::Unharmed => RunState::Passed,
    }
}

/// The page of a run, from the exploration's directory.
fn link(tried: &Tried, directory: &Path) -> Option<String> {
    let run = tried.artifacts.strip_prefix(directory).ok()?;
    Some(run.join("report.html").display().to_string())
}

/// Counts by outcome: `164 runs for 164 placements: 0 surprises, 90 recovered …`.
pub fn sum(tried: &[Tried]) -> String {
    let counts: Vec<String> = Outcome::ALL
        .iter()
        .map(|outcome| (outcome, tried.iter().filter(|tried| tried.outcome == *outcome).count()))
        .filter(|(outcome, count)| *count > 0 || **outcome == Outcome::Surprise)
        .map(|(outcome, count)| format!("{} {count}", outcome.word()))
        .collect();
    let stood_for: u64 = tried.iter().map(|tried| tried.placement.stands_for).sum();
    format!("{} runs for {stood_for} placements: {}", tried.len(), counts.join(", "))
}

fn action(tried: &Tried) -> String {
    let Fault { action, .. } = &tried.placement.faults[0];
    let seal = if tried.placement.faults[0].is_resealed() { " (good ICRC)" } else { "" };
    format!("{action}{seal}{}", cost(tried))
}

/// Its cost in time and packets, in brackets.
fn cost(tried: &Tried) -> String {
    let mut parts = Vec::new();
    if tried.sent_again > 0 {
        parts.push(format!("{} sent again", tried.sent_again));
    }
    if tried.outcome == Outcome::Recovered && tried.stall_s >= 0.05 {
        parts.push(format!("{:.1} s", tried.stall_s));
    }
    parts.extend(tried.deviations.iter().cloned());
    if parts.is_empty() { String::new() } else { format!(" [{}]", parts.join(", ")) }
}
