//! Captures of others, with what their mirrors, programs and network cards do: each finding has one cause and blames the one who did it.
#![cfg(feature = "synth")]

use roce::capture::Record;
use roce::synth::Pair;
use roce::{Analysis, MessageOutcome, Names, Report, RetransmissionClass, Retransmissions, Rule, Severity};

/// TimedFrames with their times in microseconds, as a recorder without fates has them.
type TimedFrames = Vec<(u64, Vec<u8>)>;

fn report(frames: &[(u64, Vec<u8>)]) -> Report {
    let mut analysis = Analysis::new(Names::new());
    for (at, (time_us, frame)) in frames.iter().enumerate() {
        analysis.push(&Record::ethernet(at as u64 + 1, time_us * 1_000, frame));
    }
    analysis.finish()
}

fn rules(report: &Report) -> Vec<Rule> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

/// TimedFrames ten microseconds apart.
fn spaced(frames: impl IntoIterator<Item = Vec<u8>>) -> TimedFrames {
    (1..).map(|at| at * 10).zip(frames).collect()
}

/// TimedFrames between those that make a connection and end it.
fn managed(pair: &Pair, frames: impl IntoIterator<Item = Vec<u8>>) -> TimedFrames {
    let begin = [pair.req(7471, &[]), pair.rep(&[]), pair.rtu()];
    spaced(begin.into_iter().chain(frames).chain([pair.dreq(), pair.drep()]))
}

fn send(pair: &Pair, n: u32, length: usize) -> Vec<u8> {
    pair.request(0x04, n).ack_request().payload(&[n as u8; 1024][..length]).build()
}

fn ack(pair: &Pair, n: u32, msn: u32) -> Vec<u8> {
    answer(pair, n, 0x1f, msn)
}

fn answer(pair: &Pair, n: u32, syndrome: u8, msn: u32) -> Vec<u8> {
    pair.response(0x11, n).aeth(syndrome, msn).build()
}

fn read(pair: &Pair, n: u32, from: u64, length: u32) -> Vec<u8> {
    pair.request(0x0c, n).ack_request().reth(pair.passive.va + from, pair.passive.rkey, length).build()
}

fn piece(pair: &Pair, opcode: u8, n: u32, msn: u32, length: usize) -> Vec<u8> {
    let builder = pair.response(opcode, n);
    let builder = if opcode == 0x0e { builder } else { builder.aeth(0x1f, msn) };
    builder.payload(&[n as u8; 4096][..length]).build()
}

/// SENDs that are answered, with a pause of so many microseconds before them; their MSNs count from 1.
fn exchange(pair: &Pair, frames: &mut TimedFrames, pause_us: u64, from: u32, count: u32, length: usize) {
    let begin_us = frames.last().map_or(0, |(last_us, _)| last_us + pause_us);
    let exchanged = (0..count).flat_map(|n| [send(pair, from + n, length), ack(pair, from + n, n + 1)]);
    frames.extend(spaced(exchanged).into_iter().map(|(us, frame)| (begin_us + us, frame)));
}

#[test]
fn mirror_that_cuts_without_a_word_is_no_fault_of_a_peer() {
    let pair = Pair::new(11);
    // Round or not: several packets are cut there, and none is longer.
    for length in 54..300 {
        let mut cut = pair.write_then_read();
        cut.iter_mut().for_each(|frame| frame.truncate(length));
        let report = report(&spaced(cut));
        assert_eq!(rules(&report), [], "{length} bytes");
        // At least the messages of connection management.
        assert!(report.packets_cut_by_mirror >= 5, "{length} bytes: {}", report.packets_cut_by_mirror);
    }
    let mut short = pair.write_then_read();
    let at = short.iter().position(|frame| (65..200).contains(&frame.len())).unwrap();
    short[at].truncate(64);
    let report = report(&spaced(short));
    assert_eq!(rules(&report), [Rule::MalformedPacket], "longer frames came before");
    assert_eq!(report.packets_cut_by_mirror, 0);
}

#[test]
fn packet_that_is_short_by_itself_is_malformed_once_a_longer_frame_comes() {
    let pair = Pair::new(23);
    let exchange = |n: u32, length: usize| [send(&pair, n, length), ack(&pair, n, n + 1)];
    let mut frames: Vec<_> = [exchange(0, 200), exchange(1, 8), exchange(2, 300)].concat();
    frames[0].truncate(101);
    for count in [2, 4, 6] {
        let report = report(&spaced(frames[..count].to_vec()));
        assert_eq!(rules(&report), [Rule::MalformedPacket], "{count} frames");
        assert_eq!((report.findings[0].packet, report.packets_cut_by_mirror), (1, 0));
    }
}

#[test]
fn responder_that_stops_counting_is_told_once() {
    let pair = Pair::new(12);
    let exchange = |msn: fn(u32) -> u32| {
        managed(&pair, (0..20).flat_map(|n| [send(&pair, n, 8), ack(&pair, n, msn(n))]))
    };
    assert_eq!(rules(&report(&exchange(|n| n + 1))), []);
    assert_eq!(rules(&report(&exchange(|n| n.min(3) + 1))), [Rule::MsnNotAdvanced]);
    assert_eq!(rules(&report(&exchange(|_| 0))), [Rule::MsnNotAdvanced]);
    assert_eq!(rules(&report(&exchange(|n| 0x00c0_ffee ^ n << 12))).len(), 1);
}

#[test]
fn what_follows_a_missing_packet_again_is_no_copy() {
    let pair = Pair::new(13);
    let mut frames: Vec<_> = [0, 2, 3].map(|n| send(&pair, n, 8)).into();
    frames.push(answer(&pair, 1, 0x60, 1));
    // These were on their way when the refusal passed the place of capture.
    frames.extend((4..8).map(|n| send(&pair, n, 8)));
    frames.extend((1..8).map(|n| send(&pair, n, 8)));
    frames.push(ack(&pair, 7, 8));
    let report = report(&managed(&pair, frames));
    assert_eq!(rules(&report), [Rule::RequestPsnGap]);
    assert_eq!(report.retransmissions, Retransmissions { go_back_n: 7, ..Default::default() });
    assert!(report.messages.iter().all(|message| message.outcome == MessageOutcome::Acknowledged));
}

#[test]
fn rest_of_a_read_and_what_follows_it_come_again_for_a_lost_response() {
    let pair = Pair::new(14);
    let mut frames = vec![read(&pair, 0, 0, 4096)];
    frames.extend((4..12).map(|n| send(&pair, n, 8)));
    for round in [0, 1] {
        let opcodes = [0x0d, 0x0e, 0x0e, 0x0f];
        // The second response is lost behind the place of capture.
        frames.extend((round..4).map(|n| {
            let opcode = if n == round { 0x0d } else { opcodes[n as usize] };
            piece(&pair, opcode, n, 1 + 8 * round, 1024)
        }));
        frames.extend((4..12).map(|n| if round == 0 { ack(&pair, n, n - 2) } else { ack(&pair, 11, 9) }));
        if round == 0 {
            frames.push(read(&pair, 1, 1024, 3072));
            frames.extend((4..12).map(|n| send(&pair, n, 8)));
        }
    }
    let report = report(&managed(&pair, frames));
    assert_eq!(rules(&report), []);
    assert_eq!(report.retransmissions.of(RetransmissionClass::ReadRetry), 9, "{}", report.retransmissions);
}

#[test]
fn queue_pairs_that_are_used_again_without_management_begin_anew() {
    let pair = Pair::new(15);
    let run = |from, pause_us, lost: usize| {
        let mut frames = Vec::new();
        exchange(&pair, &mut frames, 0, 100, 6, 16);
        exchange(&pair, &mut frames, pause_us, from, 6, 20);
        // Of the second run.
        frames.remove(12 + lost * 2);
        report(&frames)
    };
    for from in [3, 103, 106, 107, 150, 4_000, 100_000] {
        // Its last answer shows a loss nowhere.
        assert_eq!(rules(&run(from, 500_000, 0))[..], [], "from {from}, first lost");
        let found = run(from, 500_000, 2);
        assert_eq!(rules(&found), [Rule::CaptureLostPackets], "from {from}");
    }
    let found = run(103, 100, 0);
    assert_eq!(found.findings[0].rule, Rule::RetransmissionDiffers, "nobody is as fast as that");
}

#[test]
fn queue_pairs_that_are_used_again_at_any_psn_are_no_error() {
    let pair = Pair::new(24);
    for from in 90..115 {
        for (first, second) in [(8, 8), (16, 8), (16, 16)] {
            let mut frames = Vec::new();
            exchange(&pair, &mut frames, 0, 100, 6, first);
            exchange(&pair, &mut frames, 500_000, from, 6, second);
            let report = report(&frames);
            let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
            assert_eq!(errors.count(), 0, "from {from}, {first} and {second} bytes: {:?}", rules(&report));
            if from >= 106 {
                assert_eq!(rules(&report), [], "from {from}, {first} and {second} bytes");
            }
        }
    }
}

#[test]
fn requester_that_died_in_a_message_begins_anew_without_management() {
    let pair = Pair::new(16);
    for from in [90, 103, 106, 107] {
        let mut frames = Vec::new();
        exchange(&pair, &mut frames, 0, 100, 6, 16);
        let begun = [(0x00, 106), (0x01, 107)];
        let begun = begun.map(|(opcode, n)| pair.request(opcode, n).payload(&[9; 1024]).build());
        frames.extend((1_000..).zip(begun));
        exchange(&pair, &mut frames, 800_000, from, 6, 20);
        let report = report(&frames);
        let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        assert_eq!(errors, 0, "from {from}: {:?}", rules(&report));
    }
}

#[test]
fn answer_without_a_meaning_and_opcode_without_a_meaning_are_one_finding() {
    let pair = Pair::new(17);
    let frames = [send(&pair, 0, 8), ack(&pair, 0, 1), send(&pair, 1, 8), answer(&pair, 1, 0x64, 1)];
    assert_eq!(rules(&report(&managed(&pair, frames))), [Rule::ReservedSyndrome]);
    for (opcode, rule) in
        [(0x18, Rule::ReservedOpcode), (0xc5, Rule::ReservedOpcode), (0x44, Rule::ReliableDatagramUsed)]
    {
        let own = pair.request(opcode, 1).ack_request().payload(&[7; 40]).build();
        let frames =
            [send(&pair, 0, 8), ack(&pair, 0, 1), own, ack(&pair, 1, 2), send(&pair, 2, 8), ack(&pair, 2, 3)];
        assert_eq!(rules(&report(&managed(&pair, frames))), [rule], "opcode {opcode:#x}");
    }
}

#[test]
fn acknowledgement_where_a_response_is_due_is_told_as_that() {
    let pair = Pair::new(18);
    let atomic = pair.request(0x14, 0).ack_request().atomic_eth(pair.passive.va, pair.passive.rkey, 1, 0);
    for first in [read(&pair, 0, 0, 8), atomic.build()] {
        let frames = [first, ack(&pair, 0, 1), send(&pair, 1, 8), ack(&pair, 1, 2)];
        assert_eq!(rules(&report(&managed(&pair, frames))), [Rule::ResponseOfWrongKind]);
    }
}

#[test]
fn responder_with_another_path_mtu_is_one_finding() {
    let pair = Pair::new(19);
    for (mtu, count) in [(512, 6), (2048, 2)] {
        let mut frames = vec![read(&pair, 0, 0, 3072)];
        frames.extend((0..count).map(|n| {
            let opcode = if n == 0 {
                0x0d
            } else if n + 1 == count {
                0x0f
            } else {
                0x0e
            };
            let length = if opcode == 0x0f { 3072 - (count - 1) * mtu } else { mtu };
            piece(&pair, opcode, n, 1, length as usize)
        }));
        frames.extend([send(&pair, 3, 8), ack(&pair, 3, 2)]);
        assert_eq!(rules(&report(&managed(&pair, frames))), [Rule::PathMtuViolated], "{mtu}");
    }
}

#[test]
fn retry_long_after_the_request_may_be_a_timeout() {
    let pair = Pair::new(20);
    let severity = |after_us: u64| {
        // Timer code 0: 655 ms.
        let frames = vec![
            (10, send(&pair, 0, 8)),
            (20, ack(&pair, 0, 1)),
            (30, send(&pair, 1, 8)),
            (40, answer(&pair, 1, 0x20, 1)),
        ];
        let again = [(40 + after_us, send(&pair, 1, 8)), (60 + after_us, ack(&pair, 1, 2))];
        let report = report(&[frames, again.into()].concat());
        report.findings.first().map(|finding| (finding.rule, finding.severity))
    };
    assert_eq!(severity(200), Some((Rule::RnrRetryTooEarly, Severity::Error)));
    assert_eq!(
        severity(67_000),
        Some((Rule::RnrRetryTooEarly, Severity::Warning)),
        "the refusal may be lost"
    );
    assert_eq!(severity(0), None, "the clock of the capture is too coarse");
}

#[test]
fn atomic_write_has_the_length_that_it_announces() {
    let pair = Pair::new(21);
    let write = |length: usize| {
        let builder = pair.request(0x1d, 0).ack_request().reth(pair.passive.va, pair.passive.rkey, 8);
        [builder.payload(&[1; 8][..length]).build(), piece(&pair, 0x10, 0, 1, 0)]
    };
    assert_eq!(rules(&report(&managed(&pair, write(8)))), []);
    assert_eq!(rules(&report(&managed(&pair, write(4)))), [Rule::LengthMismatch]);
}

#[test]
fn capture_with_two_or_three_copies_of_one_direction_is_doubled() {
    let pair = Pair::new(22);
    let single = managed(&pair, (0..20).flat_map(|n| [send(&pair, n, 8), ack(&pair, n, n + 1)]));
    for copies in [1, 2] {
        // Requests alone pass both mirrors.
        let times = |(time_us, frame): &(u64, Vec<u8>)| {
            let is_answer = frame[26..30] == [198, 51, 100, 1];
            let of = if is_answer { 1 } else { copies + 1 };
            (0..of).map(|copy| (time_us + copy, frame.clone())).collect::<TimedFrames>()
        };
        let report = report(&single.iter().flat_map(times).collect::<TimedFrames>());
        assert_eq!(rules(&report), [Rule::CaptureDoubled], "{copies}");
        assert_eq!(report.retransmissions.total(), 0);
    }
}

#[test]
fn copy_of_a_request_behind_its_rnr_nak_is_no_early_retry() {
    let pair = Pair::new(25);
    // Timer code 14: 1.28 ms.
    let steps = |n: u32, begin_us: u64| {
        let (request, refusal) = (send(&pair, n, 8), answer(&pair, n, 0x2e, n));
        let once = [(0, request.clone()), (5, refusal), (1_400, request), (1_405, ack(&pair, n, n + 1))];
        once.map(|(us, frame)| (begin_us + us, frame))
    };
    let once: TimedFrames = (0..5).flat_map(|n| steps(n, 100 + u64::from(n) * 5_000)).collect();
    for lag_us in [0, 1, 20, 200] {
        let later = once.iter().map(|(us, frame)| (us + lag_us, frame.clone()));
        let mut doubled: TimedFrames = once.iter().cloned().chain(later).collect();
        doubled.sort_by_key(|(us, _)| *us);
        let report = report(&doubled);
        let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        assert_eq!(errors, 0, "{lag_us} us: {:?}", rules(&report));
    }
    let mut early = once;
    early[2].0 = 300;
    assert_eq!(report(&early).findings[0].rule, Rule::RnrRetryTooEarly, "its requester sent it once");
}

#[test]
fn requester_that_goes_back_further_meets_a_refused_request_on_its_way() {
    let pair = Pair::new(26);
    let timed = |again: &[u32]| {
        let mut frames = managed(&pair, [0, 1].map(|n| send(&pair, n, 8)));
        frames.truncate(5);
        frames.extend([(55, ack(&pair, 0, 1)), (56, answer(&pair, 1, 0x2e, 1))]);
        // Its timer for the first one ran out when the refusal was on its way.
        frames.extend((600..).zip(again).map(|(us, n)| (us, send(&pair, *n, 8))));
        frames.push((700, ack(&pair, 1, 2)));
        report(&frames).findings.iter().map(|finding| finding.rule).collect::<Vec<_>>()
    };
    assert_eq!(timed(&[0, 1]), []);
    assert_eq!(timed(&[1]), [Rule::RnrRetryTooEarly]);
}

/// READs of four responses each, one after the other, with `change` made to the responses of each.
fn reads(pair: &Pair, change: impl Fn(u32, &mut Vec<Vec<u8>>)) -> TimedFrames {
    let one = |round: u32| {
        let n = round * 4;
        let pieces = [(0, 0x0d), (1, 0x0e), (2, 0x0e), (3, 0x0f)];
        let mut pieces: Vec<_> =
            pieces.map(|(at, opcode)| piece(pair, opcode, n + at, round + 1, 1024)).into();
        change(round, &mut pieces);
        pieces.insert(0, read(pair, n, 0, 4096));
        pieces
    };
    let mut frames = managed(pair, (0..40).flat_map(one));
    // Slow enough for every requester to have seen what is missing.
    frames.iter_mut().for_each(|(us, _)| *us *= 20);
    frames
}

#[test]
fn responses_that_a_requester_got_all_the_same_are_the_recorders_loss() {
    let pair = Pair::new(27);
    assert_eq!(rules(&report(&reads(&pair, |_, _| {}))), []);
    let lossy = |round: u32, pieces: &mut Vec<Vec<u8>>| {
        if round.is_multiple_of(3) && round < 30 {
            pieces.remove(round as usize % 4);
        }
    };
    let report = report(&reads(&pair, lossy));
    assert_eq!(rules(&report), [Rule::CaptureLostPackets], "{:?}", report.findings);
    assert_eq!(report.findings[0].evidence.to_string(), "10 packets, in 10 places");
}

#[test]
fn responses_behind_later_ones_that_nobody_asked_for_again_are_another_order() {
    let pair = Pair::new(28);
    let reordering =
        |round: u32, pieces: &mut Vec<Vec<u8>>| pieces.swap(round as usize % 3, 1 + round as usize % 3);
    let report = report(&reads(&pair, reordering));
    assert_eq!(rules(&report), [Rule::CaptureReordered], "{:?}", report.findings);
}

#[test]
fn response_that_is_asked_for_again_is_lost_and_told_where_it_is_missing() {
    let pair = Pair::new(29);
    let frames = reads(&pair, |round, pieces| {
        if round == 5 {
            pieces.remove(1);
            pieces.push(read(&pair, 21, 1024, 3072));
            pieces.extend(
                [(21, 0x0d), (22, 0x0e), (23, 0x0f)].map(|(n, opcode)| piece(&pair, opcode, n, 6, 1024)),
            );
        }
    });
    let report = report(&frames);
    assert_eq!(rules(&report), [Rule::ReadResponsePsnGap], "{:?}", report.findings);
    // Three of management, five whole READs, then the READ and its first response.
    assert_eq!(report.findings[0].packet, 3 + 5 * 5 + 3);
    assert_eq!(report.retransmissions.total(), 1);
}

#[test]
fn notifications_and_management_have_no_psn_of_the_connection() {
    let pair = Pair::new(26);
    let notification = pair.request(0x81, 0).payload(&[0; 16]).build();
    let mut frames = managed(&pair, [send(&pair, 0, 8), ack(&pair, 0, 1), notification]);
    // The DREP is left without its DREQ.
    frames.remove(frames.len() - 2);
    let report = report(&frames);
    assert_eq!(rules(&report), [Rule::CnpMalformed, Rule::CmOutOfSequence]);
    assert!(report.findings.iter().all(|finding| finding.stream.is_some() && finding.psn.is_none()));
}
