//! Does the checker go red? Every fixture, changed in one place in every way that matters.
//!
//! A harmful change has to be reported by the right rule at the right packet, a harmless one has to be silent. A change that leaves a legal conversation is
//! *equivalent*: no checker can tell. The table of kill rates is `docs/mutations.md`; `ROCE_UPDATE=1` writes it anew.
#![cfg(feature = "synth")]

mod changes;
mod spot;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use roce::capture::Record;
use roce::wire::Operation;
use roce::{Analysis, Evidence, Finding, Names, Rule};

use crate::changes::CHANGES;
use crate::changes::Expect::{Equivalent, Rules, Silence};
use crate::spot::{Entry, Spot, fixtures};

/// Positions that one kind of change is tried at in one capture.
const POSITIONS: usize = 12;

fn findings(entries: &[Entry]) -> Vec<Finding> {
    let mut analysis = Analysis::streaming(Names::new());
    for (at, entry) in entries.iter().enumerate() {
        analysis.push(&Record {
            original_length_bytes: entry.original_length as u32,
            ..Record::ethernet(at as u64 + 1, entry.timestamp_ns, &entry.data)
        });
    }
    analysis.finish().findings
}

#[derive(Default)]
struct Score {
    harmful: usize,
    killed: usize,
    single: usize,
    harmless: usize,
    silent: usize,
    equivalent: usize,
}

/// True if the finding points at the changed packet: by number, by PSN, or at the neighbour where the fault shows first.
fn points_at(finding: &Finding, spot: &Spot<'_>) -> bool {
    let number = |at: usize| at as u64 + 1;
    let psn = spot.bth.psn();
    let names_psn = matches!(finding.evidence, Evidence::Psn { expected, .. } if expected == psn);
    finding.packet == number(spot.at)
        || names_psn
        || finding.psn == Some(psn)
        || spot.next().is_some_and(|(at, _)| finding.packet == number(at))
        || spot.answer().is_some_and(|at| finding.packet == number(at))
        || (spot.op() == Operation::ReadRequest && finding.packet > number(spot.at))
        || (finding.rule == Rule::LengthMismatch && finding.packet > number(spot.at))
        || matches!(finding.rule, Rule::RequestNotAnswered | Rule::CmOutOfSequence)
        // Told once, at the first packet that proves it.
        || (matches!(finding.rule, Rule::CaptureLostPackets | Rule::CaptureReordered)
            && finding.packet >= number(spot.at))
}

#[test]
fn clean_fixtures_have_no_finding() {
    for (name, entries) in fixtures() {
        let found = findings(&entries);
        assert!(found.is_empty(), "{name}: {}", found[0]);
    }
}

#[test]
fn every_harmful_change_is_reported_and_every_harmless_one_is_silent() {
    let mut scores: Vec<Score> = CHANGES.iter().map(|_| Score::default()).collect();
    let mut wrong = String::new();
    let fixtures = fixtures();
    for (name, entries) in &fixtures {
        let spots: Vec<Spot<'_>> = (0..entries.len()).filter_map(|at| Spot::new(entries, at)).collect();
        for ((what, change), score) in CHANGES.iter().zip(&mut scores) {
            let possible: Vec<_> = spots.iter().filter(|spot| change(spot).is_some()).collect();
            let step = possible.len().div_ceil(POSITIONS).max(1);
            for (at, spot) in possible.iter().enumerate() {
                if at % step != 0 && at + 1 != possible.len() {
                    continue;
                }
                let (entries, expect) = change(spot).unwrap();
                let found = findings(&entries);
                let shown: Vec<String> = found.iter().take(4).map(ToString::to_string).collect();
                let mut complain = |why: &str| {
                    let _ = writeln!(
                        wrong,
                        "{name}: {what} at packet {} ({}): {why}: {shown:?}",
                        spot.at + 1,
                        spot.opcode
                    );
                };
                match expect {
                    Equivalent => score.equivalent += 1,
                    Silence => {
                        score.harmless += 1;
                        score.silent += usize::from(found.is_empty());
                        if !found.is_empty() {
                            complain("must be silent");
                        }
                    }
                    Rules(rules) => {
                        score.harmful += 1;
                        score.single += usize::from(found.len() == 1);
                        if found.len() != 1 {
                            complain("must be one finding");
                        }
                        let is_right =
                            |finding: &Finding| rules.contains(&finding.rule) && points_at(finding, spot);
                        if found.iter().any(is_right) {
                            score.killed += 1;
                        } else {
                            complain("must be reported");
                        }
                    }
                }
            }
        }
    }
    let mut table = format!(
        "# Mutations\n\n\
         Each of the {} clean captures in `fixtures/`, changed in one place: at up to {POSITIONS} places a capture for each kind of change. Written by the test \
         `every_harmful_change_is_reported_and_every_harmless_one_is_silent`, which fails below 100 %.\n\n\
         *Harmful* changes have to be reported by a rule that is right for them, at the changed packet or at the neighbour where it shows first; *one finding* \
         counts those that led to nothing else. *Harmless* ones have to be silent. *Equivalent* ones leave a legal conversation, or happen where the capture \
         cannot tell (the first packet of a stream without connection management, a last packet without an answer).\n\n\
         A request that is missing though its answers show that it arrived is the recorder's loss, and two that changed places without being asked for again \
         are the recorder's order: the finding is then `CaptureLostPackets` or `CaptureReordered`, and blames no peer. That is why the severity of a finding is \
         not asked here. That nothing a recorder does to a clean capture is an *error* is held by the test `recorder_that_errs_makes_no_error_of_a_peer`: the \
         same captures and nine synthetic ones, with gaps of 1, 5 and 30 %, bursts, cuts, copies, disorder, one direction, snap lengths, from fixed seeds.\n\n\
         | change | harmful | reported | one finding | harmless | silent | equivalent |\n|--|--|--|--|--|--|--|\n",
        fixtures.len()
    );
    for ((what, _), score) in CHANGES.iter().zip(&scores) {
        let _ = writeln!(
            table,
            "| {what} | {} | {} | {} | {} | {} | {} |",
            score.harmful, score.killed, score.single, score.harmless, score.silent, score.equivalent
        );
    }
    let sum = |of: fn(&Score) -> usize| scores.iter().map(of).sum::<usize>();
    let _ = writeln!(
        table,
        "| **all** | {} | {} | {} | {} | {} | {} |",
        sum(|score| score.harmful),
        sum(|score| score.killed),
        sum(|score| score.single),
        sum(|score| score.harmless),
        sum(|score| score.silent),
        sum(|score| score.equivalent)
    );
    println!("{table}");
    assert!(wrong.is_empty(), "\n{table}\n{wrong}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/mutations.md");
    // The package that is published has no documents.
    if !path.parent().is_some_and(Path::exists) {
        return;
    }
    if std::env::var_os("ROCE_UPDATE").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, table, "write docs/mutations.md anew with ROCE_UPDATE=1");
}
