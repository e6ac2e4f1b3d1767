//! A request that others overtake on its way: whatever the order in which it, the NAK and the retransmission come, one finding, and every message whole.
#![cfg(feature = "synth")]

mod support;

use roce::synth::Pair;
use roce::{MessageOutcome, Report, Rule};

/// WRITEs of the exchange, and packets of each.
const MESSAGES: u32 = 3;
const PACKETS: u32 = 3;

/// Variables of the tests.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// PSN of the packet that is overtaken, from the first.
    held: u32,
    /// By how many packets.
    by: u32,
    /// Packets that go by before an answer is seen.
    lag: u32,
    /// True if the capture tells what became of a frame.
    has_fates: bool,
    has_cm: bool,
}

/// A responder that takes requests in order, and refuses the first one behind a gap.
#[derive(Default)]
struct Responder {
    expected: u32,
    has_refused: bool,
    msn: u32,
}

impl Responder {
    /// Takes a request in; gives PSN and syndrome of its answer.
    fn take(&mut self, psn: u32) -> Option<(u32, u8)> {
        if psn > self.expected {
            return (!std::mem::replace(&mut self.has_refused, true)).then_some((self.expected, 0x60));
        }
        let ends = psn % PACKETS == PACKETS - 1;
        if psn == self.expected {
            self.expected += 1;
            self.has_refused = false;
            self.msn += u32::from(ends);
            return ends.then_some((psn, 0x1f));
        }
        Some((self.expected - 1, 0x1f))
    }
}

fn request(pair: &Pair, psn: u32) -> Vec<u8> {
    let (opcode, place) = ([0x06, 0x07, 0x08], psn % PACKETS);
    let builder = pair.request(opcode[place as usize], psn).payload(&[7; 1024]);
    match place {
        0 => builder.reth(pair.passive.va, pair.passive.rkey, PACKETS * 1024).build(),
        2 => builder.ack_request().build(),
        _ => builder.build(),
    }
}

/// The capture of an exchange until everything is acknowledged.
fn exchange(case: Case) -> Vec<(u64, Vec<u8>, &'static str)> {
    let pair = Pair::new(7);
    let mut frames = Vec::new();
    let mut put = |frame, fate: &'static str| frames.push((frames.len() as u64 * 10_000, frame, fate));
    if case.has_cm {
        for frame in [pair.req(1, &[]), pair.rep(&[]), pair.rtu()] {
            put(frame, OK);
        }
    }
    let (mut responder, mut next, mut is_held) = (Responder::default(), 0, None);
    let mut answers: Vec<(u32, u32, u8, u32)> = Vec::new();
    let mut has_been_held = false;
    for _ in 0..100 {
        let mut delivered = Vec::new();
        if next < MESSAGES * PACKETS {
            if next == case.held && !has_been_held {
                has_been_held = true;
                is_held = Some(case.by);
                if case.has_fates {
                    put(request(&pair, next), "fate=reordered");
                }
            } else {
                put(request(&pair, next), OK);
                delivered.push(next);
                is_held = is_held.map(|by| by - 1);
            }
            next += 1;
        } else {
            is_held = is_held.map(|_| 0);
        }
        if is_held == Some(0) {
            is_held = None;
            put(request(&pair, case.held), "fate=released #1");
            delivered.push(case.held);
        }
        for psn in delivered {
            answers.extend(responder.take(psn).map(|(at, syndrome)| (case.lag, at, syndrome, responder.msn)));
        }
        for answer in &mut answers {
            if let Some(rest) = answer.0.checked_sub(1) {
                answer.0 = rest;
                continue;
            }
            let (_, psn, syndrome, msn) = *answer;
            put(pair.response(0x11, psn).aeth(syndrome, msn).build(), OK);
            if syndrome == 0x60 {
                next = psn;
            }
            answer.0 = u32::MAX;
        }
        answers.retain(|answer| answer.0 < 1_000);
    }
    assert_eq!(responder.msn, MESSAGES, "{case:?}");
    frames
}

const OK: &str = "fate=forwarded";

fn analyse(case: Case) -> Report {
    let frames = exchange(case);
    let fate = |fate| if case.has_fates { fate } else { "" };
    support::analyse(frames.iter().map(|(at_ns, frame, comment)| (*at_ns, &frame[..], fate(comment))))
}

/// Judges every case in which packets of `has_cm` or not are overtaken.
fn judge(has_cm: bool, held: std::ops::Range<u32>, check: impl Fn(&Report, &dyn std::fmt::Debug)) {
    for held in held {
        for by in 1..4 {
            for lag in 0..6 {
                for has_fates in [true, false] {
                    let case = Case { held, by, lag, has_fates, has_cm };
                    check(&analyse(case), &case);
                }
            }
        }
    }
}

fn rules(report: &Report) -> Vec<Rule> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

/// A gap where the NAK passed before what was overtaken, else a note of the network's order.
fn is_one_gap(report: &Report, case: &dyn std::fmt::Debug) {
    let found = rules(report);
    let is_one = matches!(found[..], [Rule::RequestPsnGap | Rule::NetworkReordered]);
    assert!(is_one, "{found:?}: {case:?}");
    let messages: Vec<_> = report.messages.iter().map(|message| (message.bytes, message.outcome)).collect();
    assert_eq!(messages, [(3072, MessageOutcome::Acknowledged); MESSAGES as usize], "{case:?}");
    let counts = report.retransmissions;
    assert_eq!(counts.timeout + counts.read_retry, 0, "{case:?}: {counts}");
}

#[test]
fn overtaken_request_is_one_gap_and_every_message_is_acknowledged() {
    judge(true, 0..MESSAGES * PACKETS - 1, is_one_gap);
    judge(false, 1..MESSAGES * PACKETS - 1, is_one_gap);
}

#[test]
fn network_that_reorders_is_a_note_with_its_extent() {
    let pair = Pair::new(8);
    let send = |n: u32| pair.request(0x04, n).ack_request().payload(&n.to_be_bytes()).build();
    let answer = |n: u32, syndrome: u8, msn: u32| pair.response(0x11, n).aeth(syndrome, msn).build();
    let mut frames = vec![pair.req(1, &[]), pair.rep(&[]), pair.rtu()];
    for first in (0..15).step_by(3) {
        // The second one comes behind the third, which is refused.
        frames.extend([send(first), send(first + 2), answer(first, 0x1f, first + 1), send(first + 1)]);
        frames.extend([answer(first + 1, 0x60, first + 1), send(first + 1), send(first + 2)]);
        frames.push(answer(first + 2, 0x1f, first + 3));
    }
    let report = support::analyse((1..).zip(&frames).map(|(at, frame)| (at * 10_000, &frame[..], "")));
    assert_eq!(rules(&report), [Rule::NetworkReordered]);
    assert_eq!(report.findings[0].evidence.to_string(), "5 overtaken requests, in 5 places");
    assert_eq!(report.findings[0].severity, roce::Severity::Note);
}

#[test]
fn overtaken_first_packet_of_a_capture_without_connection_management_breaks_no_rule() {
    judge(false, 0..1, |report, case| assert_eq!(rules(report), [], "{case:?}"));
}
