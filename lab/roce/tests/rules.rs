//! Each rule's sample breaks that rule and no other; [`NEIGHBOURS`](neighbours) are legal conversations that are nearest to breaking it.
#![cfg(feature = "synth")]

use roce::capture::Record;
use roce::synth::{Pair, sample};
use roce::{Analysis, Names, Rule, Severity};

#[test]
fn each_rules_sample_breaks_it_and_no_other() {
    let mut wrong = Vec::new();
    for rule in Rule::ALL {
        let report = sample(rule);
        let found: Vec<_> = report.findings.iter().map(|finding| finding.rule).collect();
        if found != [rule] {
            wrong.push(format!(
                "{rule}: {:?}",
                report.findings.iter().map(ToString::to_string).collect::<Vec<_>>()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn rules(frames: Vec<(u64, Vec<u8>)>) -> Vec<(Rule, Severity)> {
    let mut analysis = Analysis::new(Names::new());
    for (number, (time_us, frame)) in (1..).zip(frames) {
        analysis.push(&Record::ethernet(number, time_us * 1_000, &frame));
    }
    analysis.finish().findings.iter().map(|finding| (finding.rule, finding.severity)).collect()
}

/// Frames ten microseconds apart, behind REQ, REP and RTU.
fn managed(frames: Vec<Vec<u8>>) -> Vec<(u64, Vec<u8>)> {
    let pair = Pair::new(1);
    let begin = [pair.req(7471, &[]), pair.rep(&pair.advert()), pair.rtu()];
    (0..).step_by(10).zip(begin.into_iter().chain(frames)).collect()
}

#[test]
fn neighbours() {
    let pair = Pair::new(1);
    let send = |n| pair.request(0x04, n).ack_request().payload(b"four").build();
    let ack = |n, msn| pair.response(0x11, n).aeth(0x1f, msn).build();
    let none: [(Rule, Severity); 0] = [];
    // A request behind the PSNs of a READ, and not among them.
    let read = pair.request(0x0c, 0).ack_request().reth(pair.passive.va, pair.passive.rkey, 2048).build();
    let piece = |opcode, n| pair.response(opcode, n).aeth(0x1f, 1).payload(&[1; 1024]).build();
    let answered = vec![read, piece(0x0d, 0), piece(0x0f, 1), send(2), ack(2, 2)];
    assert_eq!(rules(managed(answered)), none);
    // An answer before its request, which comes: the recorder's order. Which never comes: its loss.
    assert_eq!(
        rules(managed(vec![send(0), ack(0, 1), ack(1, 2), send(1)])),
        [(Rule::CaptureReordered, Severity::Note)]
    );
    assert_eq!(
        rules(managed(vec![send(0), ack(0, 1), ack(1, 2), send(2), ack(2, 3)])),
        [(Rule::CaptureLostPackets, Severity::Warning)]
    );
    // Which counts no more messages than were sent: a peer's error.
    assert_eq!(
        rules(managed(vec![send(0), ack(0, 1), ack(1, 1)])),
        [(Rule::AckForUnsentPsn, Severity::Error)]
    );
    // A request that is not answered in a capture that goes on to its end, once, and of one direction.
    assert_eq!(rules(managed(vec![send(0)])), none);
    let alone = (0..4).map(|n| (u64::from(n) * 10, send(n))).collect();
    assert_eq!(rules(alone), [(Rule::CaptureOneDirection, Severity::Note)]);
    // A limited member of the same partition.
    let mut limited = send(0);
    limited[44] = 0x7f;
    let end = limited.len() - 4;
    let crc = roce::wire::icrc(&limited[14..34], &limited[34..end]).unwrap();
    limited[end..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(rules(managed(vec![limited, ack(0, 1)])), none);
    // Seven repetitions are what the REQ allows.
    let mut steps = managed(vec![send(0)]);
    for repetition in 1..=7 {
        steps.push((repetition * 500_000, send(0)));
    }
    steps.push((4_000_000, ack(0, 1)));
    assert_eq!(rules(steps), none);
}
