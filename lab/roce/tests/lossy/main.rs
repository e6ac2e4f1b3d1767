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
use roce::{Analysis, Names, Report, Rule, Severity};

use crate::network::{Conditions, WorkKind, converse};

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
};

fn report(frames: &[(u64, Vec<u8>)]) -> Report {
    let mut analysis = Analysis::new(Names::new());
    for (at, (time_ns, frame)) in frames.iter().enumerate() {
        analysis.push(&Record::ethernet(at as u64 + 1, *time_ns, frame));
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
