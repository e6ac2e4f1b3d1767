//! Outcomes as a grid: a row a packet, a column a kind of fault, in an order that follows from what packets mean and from no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use crate::explore::outcome::{Cost, Outcome, Tried};
use crate::explore::placement::FaultKind;
use crate::scenario::fault::Matcher;
use crate::scenario::fault::matcher::PacketKind;

/// Width of a column.
const WIDTH: usize = 5;

/// Outcomes of runs with one fault each.
#[derive(Debug)]
pub struct FaultGrid<'a> {
    /// Kinds of faults, in their order.
    pub columns: Vec<FaultKind>,
    /// Packets, each with its runs by kind of fault.
    pub rows: Vec<FaultRow<'a>>,
}

/// The runs with a fault on one packet.
#[derive(Debug)]
pub struct FaultRow<'a> {
    /// The packet.
    pub packet: &'a Matcher,
    /// Its runs.
    pub runs: BTreeMap<FaultKind, &'a Tried>,
}

/// Order of a packet among those of its run: connecting, data by PSN, what has none, disconnecting.
fn place(packet: &Matcher) -> (u8, u32, String) {
    let name = packet.to_string();
    match packet.kind {
        Some(PacketKind::Cm(0x15..=0x16)) => (3, 0, name),
        Some(PacketKind::Cm(id)) => (0, u32::from(id), name),
        _ => packet.psn.map_or((2, packet.nth.unwrap_or_default(), name.clone()), |psn| (1, psn, name)),
    }
}

impl<'a> FaultGrid<'a> {
    /// Sorts the runs with one fault.
    pub fn of(tried: &'a [Tried]) -> FaultGrid<'a> {
        let mut rows: BTreeMap<(u8, u32, String), FaultRow<'a>> = BTreeMap::new();
        let mut columns = BTreeSet::new();
        for tried in tried {
            let [fault] = &tried.placement.faults[..] else { continue };
            let kind = FaultKind::of(fault.action);
            columns.insert(kind);
            let row = rows
                .entry(place(&fault.matcher))
                .or_insert_with(|| FaultRow { packet: &fault.matcher, runs: BTreeMap::new() });
            row.runs.insert(kind, tried);
        }
        FaultGrid { columns: columns.into_iter().collect(), rows: rows.into_values().collect() }
    }
}

/// Sign of a run: its outcome and its cost.
pub fn sign(tried: &Tried) -> String {
    format!("{}{}", tried.outcome.sign(), tried.cost.sign()).trim_end().to_owned()
}

/// The grid as text, with a legend.
impl fmt::Display for FaultGrid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.rows.iter().map(|row| row.packet.to_string()).collect();
        let wide = names.iter().map(String::len).max().unwrap_or_default().max("packet".len());
        let line = |name: &str, cell: &dyn Fn(&FaultKind) -> String| {
            let mut text = format!("{name:<wide$}");
            for kind in &self.columns {
                let _ = write!(text, "  {:<WIDTH$}", cell(kind));
            }
            text.trim_end().to_owned()
        };
        if let Some(first) = self.columns.iter().position(|kind| kind.is_resealed) {
            let indent = wide + first * (2 + WIDTH) + 2;
            writeln!(f, "{:indent$}with an ICRC that fits", "")?;
        }
        writeln!(f, "{}", line("packet", &|kind| kind.word.to_owned()))?;
        for (row, name) in self.rows.iter().zip(&names) {
            let cell = |kind: &FaultKind| row.runs.get(kind).map_or_else(String::new, |tried| sign(tried));
            writeln!(f, "{}", line(name, &cell))?;
        }
        let there = |is: &dyn Fn(&&Tried) -> bool| self.rows.iter().flat_map(|row| row.runs.values()).any(is);
        let outcomes = Outcome::ALL.iter().filter(|outcome| there(&|tried| tried.outcome == **outcome));
        let costs =
            Cost::ALL.iter().filter(|cost| **cost > Cost::Nothing && there(&|tried| tried.cost == **cost));
        let mut legend: Vec<String> =
            outcomes.map(|outcome| format!("{} {}", outcome.sign(), outcome.word())).collect();
        legend.extend(costs.map(|cost| format!("{} {}", cost.sign(), cost.words())));
        if legend.is_empty() { Ok(()) } else { writeln!(f, "({})", legend.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(fault: &str, outcome: Outcome, cost: Cost) -> Tried {
        Tried { outcome, cost, ..Tried::with(fault) }
    }

    #[test]
    fn grid_is_the_same_in_whatever_order_the_runs_came() {
        let mut runs = vec![
            tried("action='drop',opcode='CM DREQ',to='server'", Outcome::Recovered, Cost::Management),
            tried(
                "action='drop',opcode='RC Acknowledge',to='client.qp1',nth=1",
                Outcome::Surprise,
                Cost::Nothing,
            ),
            tried(
                "action='corrupt',field='rkey',reseal=true,opcode='RC RDMA WRITE Only',to='server.qp1',psn=0",
                Outcome::Failed,
                Cost::Nothing,
            ),
            tried(
                "action='drop',opcode='RC RDMA WRITE Only',to='server.qp1',psn=0",
                Outcome::Recovered,
                Cost::Timeout,
            ),
            tried("action='mark-ecn',opcode='CM REQ',to='server'", Outcome::Unharmed, Cost::Nothing),
        ];
        let text = FaultGrid::of(&runs).to_string();
        let expected = [
            "                                                        with an ICRC that fits",
            "packet                                    drop   ecn    rkey",
            "CM REQ, to server                                .",
            "RC RDMA WRITE Only, to server.qp1, psn 0  rt            x",
            "RC Acknowledge, to client.qp1, nth 1      !",
            "CM DREQ, to server                        rm",
            "(! SURPRISE, x failed, r recovered, . unharmed, t an ACK timeout, m connection management's timer)",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        runs.reverse();
        assert_eq!(FaultGrid::of(&runs).to_string(), text);
    }
}
