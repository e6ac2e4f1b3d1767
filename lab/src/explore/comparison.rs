//! Two explorations of the same, held against each other: a second one has to come to the same.

use std::collections::BTreeMap;
use std::fmt;

use crate::explore::outcome::{Cost, Tried};

/// Differences between two explorations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Number of runs that came to the same in both, by outcome and cost.
    pub same: usize,
    /// Number of runs that prove nothing in one of them: a busy computer disturbed it, or its packet did not come.
    pub unproven: usize,
    /// Runs that came to something else, or are in one of them only, in words.
    pub different: Vec<String>,
}

impl Comparison {
    /// Compares the runs of two explorations, whatever their order.
    pub fn of(here: &[Tried], there: &[Tried]) -> Comparison {
        let keyed = |tried: &'_ [Tried]| -> BTreeMap<String, Tried> {
            tried.iter().map(|tried| (tried.placement.key(), tried.clone())).collect()
        };
        let (here, mut there) = (keyed(here), keyed(there));
        let mut comparison = Comparison { same: 0, unproven: 0, different: Vec::new() };
        for (key, one) in &here {
            match there.remove(key) {
                None => comparison.different.push(format!("{key}: only here")),
                Some(other) if !(one.outcome.is_proven() && other.outcome.is_proven()) => {
                    comparison.unproven += 1;
                }
                Some(other) if (one.outcome, one.cost) == (other.outcome, other.cost) => comparison.same += 1,
                Some(other) => {
                    let line = format!("{key}: {}, there {}", words(one), words(&other));
                    comparison.different.push(line);
                }
            }
        }
        comparison.different.extend(there.keys().map(|key| format!("{key}: only there")));
        comparison
    }
}

/// The sum, then each difference.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { same, unproven, different } = self;
        write!(f, "compared: {same} the same, {} different", different.len())?;
        if *unproven > 0 {
            write!(f, ", {unproven} that prove nothing in one of them")?;
        }
        different.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

fn words(tried: &Tried) -> String {
    match tried.cost {
        Cost::Nothing => tried.outcome.word().to_owned(),
        cost => format!("{}, {}", tried.outcome, cost.words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::outcome::Outcome;

    const LOST: &str = "action='drop',opcode='RC SEND Only',psn=0";
    const TWICE: &str = "action='duplicate',opcode='RC SEND Only',psn=0";

    fn tried(fault: &str, outcome: Outcome, cost: Cost) -> Tried {
        Tried { outcome, cost, ..Tried::with(fault) }
    }

    #[test]
    fn same_runs_are_the_same_in_any_order_whatever_their_seconds() {
        let one =
            [tried(LOST, Outcome::Recovered, Cost::Timeout), tried(TWICE, Outcome::Unharmed, Cost::Nothing)];
        let mut other = one.clone();
        other.reverse();
        other[0].stall_s = 3.0;
        let comparison = Comparison::of(&one, &other);
        assert_eq!(comparison.to_string(), "compared: 2 the same, 0 different");
    }

    #[test]
    fn difference_is_told_and_what_proves_nothing_is_none() {
        let one = [tried(LOST, Outcome::Recovered, Cost::Timeout)];
        let other = [tried(LOST, Outcome::Recovered, Cost::Again)];
        assert_eq!(
            Comparison::of(&one, &other).different,
            ["drop RC SEND Only, psn 0: recovered, an ACK timeout, there recovered, sent again at once"]
        );
        let disturbed = [tried(LOST, Outcome::Disturbed, Cost::Timeout)];
        let comparison = Comparison::of(&one, &disturbed);
        assert_eq!((comparison.unproven, comparison.different.len()), (1, 0));
        let more = Comparison::of(&one, &[]).different;
        assert_eq!(more, ["drop RC SEND Only, psn 0: only here"]);
        assert_eq!(Comparison::of(&[], &one).different, ["drop RC SEND Only, psn 0: only there"]);
    }
}
