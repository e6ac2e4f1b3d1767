//! Captures in which a recorder wrote every frame twice, its copy some time behind it: they say what the frames say once.
#![cfg(feature = "synth")]

use roce::capture::Record;
use roce::synth::Pair;
use roce::{Analysis, Names, Report, Rule};

/// Microseconds between a frame and the next one.
const STEP_US: u64 = 10;

fn report(frames: &[(u64, Vec<u8>)]) -> Report {
    let mut analysis = Analysis::new(Names::new());
    for (number, (time_ns, frame)) in (1..).zip(frames) {
        analysis.push(&Record::ethernet(number, *time_ns, frame));
    }
    analysis.finish()
}

fn once(frames: &[Vec<u8>]) -> Vec<(u64, Vec<u8>)> {
    (1..).map(|at| at * STEP_US * 1_000).zip(frames.iter().cloned()).collect()
}

/// Frames, each with a copy so many nanoseconds behind it.
fn twice(frames: &[Vec<u8>], behind_ns: u64) -> Vec<(u64, Vec<u8>)> {
    let copies = once(frames).into_iter().map(|(at_ns, frame)| (at_ns + behind_ns, frame));
    let mut both: Vec<_> = once(frames).into_iter().chain(copies).collect();
    both.sort_by_key(|(at_ns, _)| *at_ns);
    both
}

fn rules(report: &Report) -> Vec<Rule> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

/// Rules but that of the copies.
fn others(report: &Report) -> Vec<Rule> {
    rules(report).into_iter().filter(|rule| *rule != Rule::CaptureDoubled).collect()
}

fn send(pair: &Pair, n: u32) -> Vec<u8> {
    pair.request(0x04, n).ack_request().payload(&[n as u8; 8]).build()
}

fn answer(pair: &Pair, n: u32, syndrome: u8, msn: u32) -> Vec<u8> {
    pair.response(0x11, n).aeth(syndrome, msn).build()
}

#[test]
fn responses_of_long_reads_are_copies_however_far_behind() {
    let pair = Pair::new(71);
    let mut frames = Vec::new();
    for round in 0..30 {
        let (va, rkey) = (pair.passive.va, pair.passive.rkey);
        frames.push(pair.request(0x0c, round * 32).ack_request().reth(va, rkey, 32 * 1024).build());
        frames.extend((0..32).map(|at| {
            let opcode = [0x0d, 0x0e, 0x0f][usize::from(at > 0) + usize::from(at == 31)];
            let response = pair.response(opcode, round * 32 + at);
            let response = if opcode == 0x0e { response } else { response.aeth(0x1f, round + 1) };
            response.payload(&[at as u8; 1024]).build()
        }));
    }
    assert_eq!(rules(&report(&once(&frames))), []);
    for behind_us in [1, 31, 101, 301] {
        let report = report(&twice(&frames, behind_us * 1_000));
        assert_eq!(rules(&report), [Rule::CaptureDoubled], "{behind_us} us behind");
        assert_eq!(report.retransmissions.total(), 0, "{behind_us} us behind");
    }
}

#[test]
fn congestion_notifications_are_not_held_against_the_copies() {
    let pair = Pair::new(72);
    let frames: Vec<_> = (0..12)
        .flat_map(|n| {
            let notification = pair.request(0x81, 0).bth(|bth| bth.becn = true).payload(&[0; 16]).build();
            [send(&pair, n), answer(&pair, n, 0x1f, n + 1), notification]
        })
        .collect();
    // A notification looks like the one before it, so it may seem to come too often.
    let report = report(&twice(&frames, 500));
    assert_eq!(report.retransmissions.total(), 0);
    assert!(rules(&report).contains(&Rule::CaptureDoubled), "{:?}", rules(&report));
}

#[test]
fn second_loss_of_a_request_that_is_sent_again_is_told_as_well() {
    let pair = Pair::new(73);
    let mut frames: Vec<_> = (0..8).flat_map(|n| [send(&pair, n), answer(&pair, n, 0x1f, n + 1)]).collect();
    // 8 is lost, and of those that are sent again 9.
    frames.extend([send(&pair, 9), send(&pair, 10), answer(&pair, 8, 0x60, 8)]);
    frames.extend([send(&pair, 8), send(&pair, 10), answer(&pair, 8, 0x1f, 9), answer(&pair, 9, 0x60, 9)]);
    frames.extend([send(&pair, 9), send(&pair, 10), answer(&pair, 10, 0x1f, 11)]);
    let expected = [Rule::RequestPsnGap; 2];
    assert_eq!(others(&report(&once(&frames))), expected);
    let doubled = report(&twice(&frames, 1_000));
    assert_eq!(others(&doubled), expected);
    assert_eq!(doubled.retransmissions, report(&once(&frames)).retransmissions);
}
