//! Does the checker blame the right one? Clean captures, as a recorder that errs would have written them.
//!
//! Every fixture and some synthetic conversations, with packets left out at random and in bursts, cut at either end, doubled, written in another order, seen in
//! one direction alone, or cut by a snap length. The peers did nothing wrong, so no finding is an *error*: more than 10,000 variants, from fixed seeds.
#![cfg(feature = "synth")]

mod blame;
mod conversations;
mod recorder;
#[path = "../support/splitmix.rs"]
mod splitmix;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use roce::capture::Record;
use roce::{Analysis, Finding, Names, Rule, Severity};

use crate::blame::{BOUNDS, kept};
use crate::conversations::{Entry, clean};
use crate::recorder::{Random, WAYS, refusals_doubled, shuffled};

/// Variants of each capture for each way to mutilate it.
const SEEDS: u64 = 30;

/// Findings as `check` tells them: what is found is taken out while the capture is read.
fn findings(entries: &[Entry]) -> Vec<Finding> {
    let mut analysis = Analysis::streaming(Names::new());
    let mut found = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        analysis.push(&Record {
            original_length_bytes: entry.original_length as u32,
            ..Record::ethernet(at as u64 + 1, entry.timestamp_ns, &entry.data)
        });
        if analysis.has_findings() {
            found.append(&mut analysis.take_findings());
        }
    }
    found.append(&mut analysis.finish().findings);
    found
}

#[test]
fn recorder_that_errs_makes_no_error_of_a_peer() {
    let captures = clean();
    assert!(captures.len() >= 28, "{} captures", captures.len());
    let (mut variants, mut wrong) = (0, BTreeMap::<String, (u64, String)>::new());
    for (name, entries) in &captures {
        for finding in findings(entries) {
            assert!(finding.severity < Severity::Error, "{name}: {finding}");
        }
        for (way, mutilate) in WAYS {
            for seed in 0..SEEDS {
                variants += 1;
                let mutilated = mutilate(entries, &mut Random::new(seed << 8 | variants & 0xff));
                let found = findings(&mutilated);
                let Some(error) = found.iter().find(|finding| finding.severity == Severity::Error) else {
                    continue;
                };
                let key = format!("{way}: {}", error.rule);
                let entry = wrong.entry(key).or_insert_with(|| (0, format!("{name}, seed {seed}: {error}")));
                entry.0 += 1;
            }
        }
    }
    assert!(variants >= 10_000, "{variants} variants");
    let mut text = String::new();
    for (key, (count, first)) in &wrong {
        let _ = writeln!(text, "{count:>5} {key}: {first}");
    }
    assert!(wrong.is_empty(), "errors in {variants} variants:\n{text}");
}

#[test]
fn recorder_that_errs_makes_no_warning_about_a_peer_or_the_network() {
    let captures: Vec<_> = clean().into_iter().map(|(_, entries)| (findings(&entries), entries)).collect();
    let mut text =
        String::from("of 10,000 variants with a warning that is not true, and of 100 real losses told:\n");
    let mut is_wrong = false;
    for ((way, mutilate), bound) in WAYS.iter().zip(&BOUNDS) {
        assert_eq!(*way, bound.way);
        let (mut variants, mut all_false, mut real, mut told) = (0, 0, 0, 0);
        let mut rules = BTreeMap::<Rule, u64>::new();
        for (whole, entries) in &captures {
            for seed in 0..SEEDS {
                variants += 1;
                let found = findings(&mutilate(entries, &mut Random::new(seed << 8 | variants & 0xff)));
                let mut false_rules: Vec<Rule> =
                    found.iter().filter(|one| bound.is_false(one, whole)).map(|one| one.rule).collect();
                all_false += u64::from(!false_rules.is_empty());
                false_rules.sort();
                false_rules.dedup();
                for rule in false_rules {
                    *rules.entry(rule).or_default() += 1;
                }
                let (all, kept) = kept(&found, whole);
                (real, told) = (real + all, told + kept);
            }
        }
        let is_over = all_false > bound.false_most;
        let is_under = told * 100 < real * bound.real_least_percent;
        is_wrong |= is_over || is_under;
        let _ = writeln!(
            text,
            "{:>5} {:>4}  {way}: {all_false} of {variants}, at most {}; {told} of {real}, at least {} %{}",
            all_false * 10_000 / variants,
            told * 100 / real.max(1),
            bound.false_most,
            bound.real_least_percent,
            if is_over || is_under { " !" } else { "" }
        );
        for (rule, count) in &rules {
            let _ = writeln!(text, "              {rule}: {}", count * 10_000 / variants);
        }
    }
    println!("{text}");
    assert!(!is_wrong, "\n{text}");
}

#[test]
fn recorder_that_shuffles_is_told_as_that_and_nobody_is_blamed() {
    let (mut others, mut variants) = (Vec::new(), 0);
    for (name, entries) in clean().iter().filter(|(_, entries)| entries.len() >= 36) {
        let is_refused = findings(entries).iter().any(|finding| finding.rule == Rule::RequestPsnGap);
        for window in [2, 4, 8, 16, 32, 64] {
            for seed in 0..8 {
                variants += 1;
                let found = findings(&shuffled(entries, window, &mut Random::new(seed)));
                // A real loss shows in every order, by its NAK.
                let is_of_order = |rule| {
                    matches!(rule, Rule::CaptureReordered) || is_refused && rule == Rule::NakWithoutGap
                };
                let other = found.iter().find(|finding| !is_of_order(finding.rule));
                others
                    .extend(other.map(|other| format!("{name}, windows of {window}, seed {seed}: {other}")));
                assert!(
                    found.iter().all(|finding| finding.severity < Severity::Error),
                    "{}",
                    others.join("\n")
                );
            }
        }
    }
    // A few leave too little that shows it: swapped neighbours, and captures of which half is other protocols.
    assert!(others.len() * 100 <= variants * 7, "{} of {variants}:\n{}", others.len(), others.join("\n"));
}

#[test]
fn refusal_that_stands_there_twice_is_told_as_that() {
    let without_doubled = |found: Vec<Finding>| -> Vec<String> {
        let others = found.into_iter().filter(|finding| finding.rule != Rule::CaptureDoubled);
        others.map(|finding| format!("{} {:?}", finding.rule, finding.psn)).collect()
    };
    let mut wrong = Vec::new();
    for (name, entries) in &clean() {
        let expected = without_doubled(findings(entries));
        for seed in 0..SEEDS {
            let found = findings(&refusals_doubled(entries, &mut Random::new(seed)));
            let is_note = |finding: &&Finding| finding.rule == Rule::CaptureDoubled;
            assert!(found.iter().filter(is_note).count() <= 1);
            let got = without_doubled(found);
            if got != expected {
                wrong.push(format!("{name}, seed {seed}: {got:?} and not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong[..wrong.len().min(8)].join("\n"));
}
