//! One symptom and two causes: what the recorder did is no warning about the network or a node, and what the network did is one.
#![cfg(feature = "synth")]

use roce::capture::Record;
use roce::synth::Pair;
use roce::{Analysis, Finding, Names, Rule, Severity};

use Severity::{Note, Warning};

/// Frames, and the microseconds that pass before each.
type Steps = Vec<(u64, Vec<u8>)>;

/// Findings of a capture, with a comment in each record or without, as `check` takes them out.
fn findings(steps: &[(u64, Vec<u8>)], comment: Option<&str>) -> Vec<Finding> {
    let mut analysis = Analysis::streaming(Names::new());
    let (mut now_us, mut found) = (1_000_000, Vec::new());
    for (number, (after_us, frame)) in (1..).zip(steps) {
        now_us += after_us;
        analysis.push(&Record { comment, ..Record::ethernet(number, now_us * 1_000, frame) });
        if analysis.has_findings() {
            found.append(&mut analysis.take_findings());
        }
    }
    found.append(&mut analysis.finish().findings);
    found
}

fn told(steps: &[(u64, Vec<u8>)]) -> Vec<(Rule, Severity)> {
    findings(steps, None).iter().map(|finding| (finding.rule, finding.severity)).collect()
}

fn told_with_fates(steps: &[(u64, Vec<u8>)]) -> Vec<(Rule, Severity)> {
    findings(steps, Some("fate=forwarded")).iter().map(|finding| (finding.rule, finding.severity)).collect()
}

fn pair() -> Pair {
    Pair::new(31)
}

fn send(n: u32) -> Vec<u8> {
    pair().request(0x04, n).ack_request().payload(&n.to_be_bytes()).build()
}

fn answer(n: u32, syndrome: u8, msn: u32) -> Vec<u8> {
    pair().response(0x11, n).aeth(syndrome, msn).build()
}

fn ack(n: u32, msn: u32) -> Vec<u8> {
    answer(n, 0x1f, msn)
}

fn read(n: u32, from: u32, pieces: u32) -> Vec<u8> {
    let (va, rkey) = (pair().passive.va + 1024 * u64::from(from), pair().passive.rkey);
    pair().request(0x0c, n + from).ack_request().reth(va, rkey, 1024 * (pieces - from)).build()
}

/// Responses from `from` on of a READ at `n` of so many.
fn pieces(n: u32, from: u32, count: u32, msn: u32) -> impl Iterator<Item = Vec<u8>> {
    (from..count).map(move |at| {
        let opcode = match (at == from, at + 1 == count) {
            (true, _) => 0x0d,
            (_, true) => 0x0f,
            _ => 0x0e,
        };
        let frame = pair().response(opcode, n + at);
        let frame = if opcode == 0x0e { frame } else { frame.aeth(0x1f, msn) };
        frame.payload(&[0x5a; 1024]).build()
    })
}

/// Frames ten microseconds apart, between those that make a connection and end it, the last of those ten milliseconds later.
fn managed(frames: impl IntoIterator<Item = Vec<u8>>) -> Steps {
    let begin = [pair().req(7471, &[]), pair().rep(&[]), pair().rtu()];
    let mut steps: Steps = begin.into_iter().chain(frames).map(|frame| (10, frame)).collect();
    steps.extend([(20_000, pair().dreq()), (10, pair().drep())]);
    steps
}

fn without(mut steps: Steps, at: usize) -> Steps {
    let (after_us, _) = steps.remove(at);
    if let Some((next_us, _)) = steps.get_mut(at) {
        *next_us += after_us;
    }
    steps
}

#[test]
fn answer_of_management_proves_what_it_answers() {
    let steps = managed([send(0), ack(0, 1)]);
    assert_eq!(told(&steps), []);
    // The DREQ, and the REP.
    for at in [5, 1] {
        assert_eq!(told(&without(steps.clone(), at)), [(Rule::CmOutOfSequence, Note)]);
        assert_eq!(told_with_fates(&without(steps.clone(), at)), [(Rule::CmOutOfSequence, Warning)]);
    }
}

#[test]
fn answer_that_nobody_waits_for_may_be_there() {
    let steps = managed([send(0), ack(0, 1), send(1), ack(1, 2)]);
    let lacking = without(steps, 6);
    assert_eq!(told(&lacking), [(Rule::RequestNotAnswered, Note)]);
    assert_eq!(told_with_fates(&lacking), [(Rule::RequestNotAnswered, Warning)]);
    let mut dead = managed([send(0), ack(0, 1), send(1)]);
    dead.truncate(6);
    dead.extend((0..3).map(|_| (500_000, send(1))));
    assert_eq!(told(&dead), [(Rule::RequestNotAnswered, Warning)], "repeated and never answered");
}

#[test]
fn answer_behind_a_refusal_proves_the_repetition() {
    let steps = managed([send(0), answer(0, 0x2e, 0), ack(0, 1)]);
    assert_eq!(told(&steps), [(Rule::NakWithoutRetransmission, Note)]);
    assert_eq!(told_with_fates(&steps), [(Rule::NakWithoutRetransmission, Warning)]);
}

#[test]
fn gap_that_nobody_refuses_may_be_the_recorders() {
    let unrefused = managed([send(0), ack(0, 1), send(2)]);
    let gap = |severity| (Rule::RequestPsnGap, severity);
    assert!(told(&unrefused).contains(&gap(Note)), "{:?}", told(&unrefused));
    assert!(told_with_fates(&unrefused).contains(&gap(Warning)));
    let refused =
        managed([send(0), ack(0, 1), send(2), answer(1, 0x60, 1), send(1), ack(1, 2), send(2), ack(2, 3)]);
    assert_eq!(told(&refused), [gap(Warning)]);
    let mut at_the_end = managed([send(0), ack(0, 1), send(2)]);
    at_the_end.truncate(6);
    assert_eq!(told(&at_the_end), [gap(Warning)], "the capture ends before anybody could refuse it");
}

#[test]
fn gap_before_a_timeout_of_what_comes_before_it_may_be_the_recorders() {
    let mut steps = managed([send(0), send(2)]);
    steps.truncate(5);
    steps.extend([(2_000_000, send(0)), (10, send(1)), (10, send(2)), (10, ack(2, 3))]);
    assert_eq!(told(&steps), [(Rule::RequestPsnGap, Note)]);
}

#[test]
fn unreliable_requests_are_repeated_by_nobody() {
    let write = |n: u32| pair().request(0x24, n).payload(&n.to_be_bytes()).build();
    let bare = |frames: &[u32]| -> Steps { frames.iter().map(|n| (10, write(*n))).collect() };
    assert!(told(&bare(&[0, 1, 3, 4])).contains(&(Rule::RequestPsnGap, Note)));
    assert!(told_with_fates(&bare(&[0, 1, 3, 4])).contains(&(Rule::RequestPsnGap, Warning)));
    // Nothing answers them, so nothing is missing.
    let mut twice = bare(&[0, 1, 2]);
    twice.extend((0..3).map(|n| (2_000, write(n))));
    twice.push((10_000, write(3)));
    let is_unanswered = |(rule, _): &(Rule, Severity)| *rule == Rule::RequestNotAnswered;
    assert!(!told(&twice).iter().any(is_unanswered), "{:?}", told(&twice));
}

#[test]
fn response_that_nobody_asks_for_again_was_there() {
    let frames = || std::iter::once(read(0, 0, 8)).chain(pieces(0, 0, 8, 1));
    // The third response, of the last READ.
    let lacking = without(managed(frames()), 6);
    assert_eq!(told(&lacking), [(Rule::CaptureLostPackets, Warning)]);
    let again = std::iter::once(read(0, 0, 8))
        .chain(pieces(0, 0, 8, 1).enumerate().filter_map(|(at, frame)| (at != 2).then_some(frame)));
    let again = again.chain([read(0, 2, 8)]).chain(pieces(0, 2, 8, 1));
    assert_eq!(told(&managed(again)), [(Rule::ReadResponsePsnGap, Warning)]);
}

#[test]
fn request_that_stands_behind_its_answer_is_in_another_order_and_not_lost() {
    let frames = [send(0), ack(0, 1), ack(1, 2), send(2), ack(2, 3), send(1), send(3), ack(3, 4)];
    assert_eq!(told(&managed(frames)), [(Rule::CaptureReordered, Note)]);
    let frames = [send(0), ack(0, 1), send(2), send(3), send(1), send(4), ack(4, 5)];
    assert_eq!(told(&managed(frames)), [(Rule::CaptureReordered, Note)]);
    let frames = [send(0), ack(0, 1), ack(1, 2), send(2), ack(2, 3), send(3), ack(3, 4)];
    assert_eq!(told(&managed(frames)), [(Rule::CaptureLostPackets, Warning)], "it never comes");
}

#[test]
fn requester_that_goes_on_behind_a_repetition_was_answered() {
    let mut steps: Steps = vec![(10, send(0)), (1_500, send(0))];
    steps.extend((1..5).map(|n| (5_000, send(n))));
    assert_eq!(told(&steps), [(Rule::CaptureOneDirection, Note)]);
    let dead: Steps = (0..4).map(|_| (5_000, send(0))).collect();
    assert_eq!(told(&dead), [(Rule::RequestNotAnswered, Warning)]);
}

/// Exchanges of a SEND and its ACK; a loss that is refused in each hundredth, if there are any.
fn long(has_losses: bool) -> Steps {
    let mut steps = managed([]);
    steps.truncate(3);
    for n in 0..2_000 {
        if has_losses && n % 100 == 50 {
            steps.extend([(10, send(n + 1)), (5, answer(n, 0x60, n))]);
        }
        steps.extend([(10, send(n)), (5, ack(n, n + 1))]);
    }
    steps
}

/// Blocks of so many packets in another order, the same in every run; connection management comes first all the same.
fn shuffled(mut steps: Steps, window: usize) -> Steps {
    let mut random = fastrand::Rng::with_seed(7);
    for block in steps[3..].chunks_mut(window) {
        random.shuffle(block);
    }
    steps
}

#[test]
fn long_capture_that_is_shuffled_is_told_as_that_while_it_is_read() {
    for window in [4, 16, 64] {
        let found = told(&shuffled(long(false), window));
        assert_eq!(found, [(Rule::CaptureReordered, Note)], "windows of {window}");
    }
}

#[test]
fn loss_that_is_refused_shows_in_every_order() {
    for window in [4, 16, 64] {
        let found = told(&shuffled(long(true), window));
        let expected = [(Rule::CaptureReordered, Note), (Rule::NakWithoutGap, Warning)];
        assert_eq!(found, expected, "windows of {window}");
    }
}

#[test]
fn neighbours_in_another_order_that_nobody_asks_for_again_lack_nothing() {
    let part = |opcode: u8, n: u32| {
        let request = pair().request(opcode, n);
        let request = if opcode == 0x02 { request.ack_request() } else { request };
        request.payload(&[3; 1024]).build()
    };
    // The responder acknowledges the message while its Last is on the way.
    let begun = [part(0x00, 0), part(0x02, 2), part(0x01, 1), ack(1, 0), send(3), ack(3, 2)];
    assert_eq!(told(&managed(begun)), [(Rule::CaptureReordered, Note)]);
    // It had no buffer for the second: a request behind a gap would not have been refused so.
    let mut refused = managed([send(1), send(0), answer(1, 0x2c, 1), send(1), ack(1, 2)]);
    refused[6].0 = 700;
    assert_eq!(told(&refused), [(Rule::CaptureReordered, Note)]);
}
