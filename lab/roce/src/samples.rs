//! The examples of each rule, judged: `roce explain` shows the conversation that breaks it.

use crate::capture::Record;
use crate::rule::Rule;
use crate::synth::script::{Steps, pair};
use crate::{Analysis, Names, Report};

/// Shortest conversation that breaks a rule, and no other. Each frame has its time in microseconds.
pub fn conversation(rule: Rule) -> Vec<(u64, Vec<u8>)> {
    (rule.examples().breaks)().steps
}

/// Nearest conversation that does not break a rule, and the rules that it breaks; nearly always none.
pub fn neighbour(rule: Rule) -> (Vec<(u64, Vec<u8>)>, &'static [Rule]) {
    let examples = rule.examples();
    ((examples.keeps)().steps, examples.beside)
}

/// The report of [`conversation`], between `client` and `server`.
pub fn sample(rule: Rule) -> Report {
    report(conversation(rule))
}

fn report(steps: Steps) -> Report {
    let pair = pair();
    let names = Names::new().with(pair.passive.address, "server").with(pair.active.address, "client");
    let mut analysis = Analysis::new(names);
    for (number, (time_us, frame)) in (1..).zip(steps) {
        analysis.push(&Record::ethernet(number, time_us * 1_000, &frame));
    }
    analysis.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules of a report that are other than expected, for people.
    fn objection(report: &Report, expected: &[Rule]) -> Option<String> {
        let found: Vec<Rule> = report.findings.iter().map(|finding| finding.rule).collect();
        let at_worst = report.findings.iter().all(|finding| finding.severity <= finding.rule.severity());
        let lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        (found != expected || !at_worst).then(|| format!("{expected:?} expected, found {lines:?}"))
    }

    #[test]
    fn conversation_that_breaks_a_rule_breaks_no_other() {
        let wrong = Rule::ALL.into_iter().filter_map(|rule| objection(&sample(rule), &[rule]));
        assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn nearest_conversation_does_not_break_the_rule() {
        let wrong = Rule::ALL.into_iter().filter_map(|rule| {
            let (steps, beside) = neighbour(rule);
            assert!(!beside.contains(&rule), "{rule} is its own neighbour");
            Some(format!("{rule}: {}", objection(&report(steps), beside)?))
        });
        assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
    }
}
