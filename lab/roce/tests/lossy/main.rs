//! Is anybody blamed who did no wrong? Two peers as the standard has them, over a network that loses before and behind the place of capture.
//!
//! Everything that is told has to be a loss: no *error*, nothing doubled, nothing in another order. Conversations are from fixed seeds.
#![cfg(feature = "synth")]

mod network;
#[path = "../support/splitmix.rs"]
mod splitmix;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use roce::capture::Record;
use roce::{Analysis, Finding, Names, Report, Rule, Severity};

use crate::network::{Conditions, PassingFrame, WorkKind, converse, converse_losing};

/// Conversations under each of the conditions.
const SEEDS: u64 = 40;

const EVERY: &[WorkKind] = &[WorkKind::Send, WorkKind::Write, WorkKind::Read, WorkKind::FetchAdd];

/// Rules that tell of a loss: of the network, or of a recorder that stands behind it.
const LOSSES: [Rule; 7] = [
    Rule::RequestPsnGap,
    Rule::ReadResponsePsnGap,
    Rule::AtomicAckMissing,
    Rule::NakWithoutGap,
    Rule::NakWithoutRetransmission,
    Rule::RequestNotAnswered,
    Rule::CaptureLostPackets,
];

const USUAL: Conditions = Conditions {
    lost_before: 0,
    lost_behind: 0,
    not_ready: 0,
    window: 16,
    messages: 12,
    kinds: EVERY,
    is_managed: true,
    timeout_ns: 1_000_000,
};

/// The report of a capture that has not got what was lost before its place.
fn report(frames: &[PassingFrame]) -> Report {
    let mut analysis = Analysis::new(Names::new());
    for (at, passing) in frames.iter().filter(|passing| !passing.is_lost).enumerate() {
        analysis.push(&Record::ethernet(at as u64 + 1, passing.time_ns, &passing.frame));
    }
    analysis.finish()
}

/// The report of a capture that has all of it, with its fates.
fn report_with_fates(frames: &[PassingFrame]) -> Report {
    let mut analysis = Analysis::new(Names::new());
    for (at, passing) in frames.iter().enumerate() {
        let comment = Some(if passing.is_lost { "fate=dropped" } else { "fate=forwarded" });
        analysis
            .push(&Record { comment, ..Record::ethernet(at as u64 + 1, passing.time_ns, &passing.frame) });
    }
    analysis.finish()
}

fn conditions() -> Vec<(&'static str, Conditions)> {
    vec![
        ("2 % lost", Conditions { lost_before: 10, lost_behind: 10, ..USUAL }),
        ("20 % lost", Conditions { lost_before: 100, lost_behind: 100, ..USUAL }),
        (
            "20 % lost, no management",
            Conditions { lost_before: 100, lost_behind: 100, is_managed: false, ..USUAL },
        ),
        ("lost before the capture", Conditions { lost_before: 80, ..USUAL }),
        ("lost behind the capture", Conditions { lost_behind: 80, ..USUAL }),
        ("not ready", Conditions { not_ready: 200, ..USUAL }),
        ("not ready and lost", Conditions { not_ready: 200, lost_before: 20, lost_behind: 20, ..USUAL }),
        ("large window", Conditions { lost_before: 20, lost_behind: 20, window: 120, messages: 40, ..USUAL }),
        (
            "READs",
            Conditions { lost_before: 30, lost_behind: 30, window: 60, kinds: &[WorkKind::Read], ..USUAL },
        ),
        (
            "atomics",
            Conditions {
                lost_before: 40,
                lost_behind: 40,
                kinds: &[WorkKind::FetchAdd, WorkKind::Send],
                ..USUAL
            },
        ),
    ]
}

#[test]
fn conversation_without_a_loss_is_clean() {
    for is_managed in [true, false] {
        for seed in 0..SEEDS {
            let report = report(&converse(seed, Conditions { is_managed, ..USUAL }));
            assert!(report.findings.is_empty(), "seed {seed}: {}", report.findings[0]);
            assert_eq!(report.retransmissions.total(), 0, "seed {seed}");
        }
    }
}

#[test]
fn network_that_loses_makes_no_error_of_a_peer_and_no_copies_of_the_recorder() {
    let (mut wrong, mut odd) = (BTreeMap::<String, (u64, String)>::new(), Vec::new());
    for (name, conditions) in conditions() {
        for seed in 0..SEEDS {
            for finding in report(&converse(seed, conditions)).findings {
                if finding.severity == Severity::Error || finding.rule == Rule::CaptureDoubled {
                    let first = || (0, format!("seed {seed}: {finding}"));
                    wrong.entry(format!("{name}: {}", finding.rule)).or_insert_with(first).0 += 1;
                } else if !LOSSES.contains(&finding.rule) {
                    odd.push(format!("{name}, seed {seed}: {finding}"));
                }
            }
        }
    }
    let mut text = String::new();
    for (key, (count, first)) in &wrong {
        let _ = writeln!(text, "{count:>5} {key}: {first}");
    }
    assert!(wrong.is_empty(), "\n{text}");
    assert!(odd.is_empty(), "\n{}", odd.join("\n"));
}

/// Few messages from either side, and more than a window of their packets.
const SMALL: Conditions =
    Conditions { window: 6, messages: 3, kinds: &[WorkKind::Write, WorkKind::Send], ..USUAL };

/// True for a rule that a loss before the place of capture may break.
fn is_told_of_a_loss(rule: Rule) -> bool {
    LOSSES.contains(&rule) && !matches!(rule, Rule::NakWithoutGap | Rule::CaptureLostPackets)
}

/// Findings of two captures of a conversation that are not told of its losses before the place of capture.
fn odd(frames: &[PassingFrame]) -> Vec<(&'static str, Finding)> {
    let with_fates = report_with_fates(frames).findings.into_iter().map(|finding| ("with fates", finding));
    let plain = report(frames).findings.into_iter().map(|finding| ("plain", finding));
    with_fates.chain(plain).filter(|(_, finding)| !is_told_of_a_loss(finding.rule)).collect()
}

#[test]
fn every_two_packets_and_what_is_sent_again_for_them_may_be_lost() {
    let mut all = BTreeMap::<String, (u64, String)>::new();
    for conditions in [SMALL, Conditions { is_managed: false, kinds: EVERY, messages: 4, ..SMALL }] {
        let sent = converse(5, conditions).len();
        let pairs = (0..sent).flat_map(|first| (first + 1..sent + 12).map(move |second| [first, second]));
        for lost in pairs {
            for (capture, finding) in odd(&converse_losing(&lost, 5, conditions)) {
                let first = || (0, format!("lost {lost:?}: {finding}"));
                all.entry(format!("{capture}: {}", finding.rule)).or_insert_with(first).0 += 1;
            }
        }
    }
    let lines: Vec<_> =
        all.iter().map(|(key, (count, first))| format!("{count:>5} {key}: {first}")).collect();
    assert!(all.is_empty(), "\n{}", lines.join("\n"));
}

#[test]
fn loss_before_the_capture_is_not_taken_for_one_behind_it() {
    let mut all = Vec::new();
    for (name, conditions) in conditions() {
        let lost_before = conditions.lost_before + conditions.lost_behind;
        for seed in 0..SEEDS / 2 {
            let frames = converse(seed, Conditions { lost_before, lost_behind: 0, ..conditions });
            // A plain capture of no connection management has nothing to begin with: a fifth of it less can be read in more than one way.
            let is_clear = |capture: &str| conditions.is_managed || capture == "with fates";
            let found = odd(&frames).into_iter().filter(|(capture, _)| is_clear(capture));
            all.extend(found.map(|(capture, finding)| format!("{name}, seed {seed}, {capture}: {finding}")));
        }
    }
    assert!(all.is_empty(), "{} findings\n{}", all.len(), all[..all.len().min(40)].join("\n"));
}

#[test]
fn requester_that_does_not_wait_for_a_refusal_makes_it_no_other() {
    for (name, conditions) in conditions() {
        let lost_before = conditions.lost_before + conditions.lost_behind;
        let conditions = Conditions { lost_before, lost_behind: 0, timeout_ns: 30_000, ..conditions };
        for seed in 0..SEEDS / 4 {
            let report = report_with_fates(&converse(seed, conditions));
            let odd = report.findings.iter().find(|finding| !is_told_of_a_loss(finding.rule));
            assert!(odd.is_none(), "{name}, seed {seed}: {}", odd.unwrap());
        }
    }
}
