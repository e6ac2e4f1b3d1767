//! Retransmissions by class, the faults around refusals, and the bounds of a streaming analysis.
#![cfg(feature = "synth")]

use roce::capture::Record;
use roce::synth::{FrameBuilder, Pair};
use roce::wire::{NakCode, Opcode, Psn};
use roce::{Analysis, MessageOutcome, Names, Report, RetransmissionClass, Retransmissions, Rule};

type Step = (u64, Vec<u8>, &'static str);

/// Frames with their times in microseconds and their fates.
fn run(steps: &[Step]) -> Report {
    let mut analysis = Analysis::new(Names::new());
    for (at, (time_us, frame, comment)) in steps.iter().enumerate() {
        analysis.push(&Record {
            comment: Some(comment),
            ..Record::ethernet(at as u64 + 1, time_us * 1_000, frame)
        });
    }
    analysis.finish()
}

fn rules(report: &Report) -> Vec<(Rule, u64)> {
    report.findings.iter().map(|finding| (finding.rule, finding.packet)).collect()
}

fn begin(pair: &Pair) -> Vec<Step> {
    vec![(0, pair.req(1, &[]), "fate=forwarded"), (1, pair.rep(&[]), "fate=forwarded")]
}

fn send(pair: &Pair, n: u32) -> Vec<u8> {
    pair.request(0x04, n).ack_request().payload(b"four").build()
}

fn answer(pair: &Pair, n: u32, syndrome: u8, msn: u32) -> Vec<u8> {
    pair.response(0x11, n).aeth(syndrome, msn).build()
}

const OK: &str = "fate=forwarded";

fn counts(report: &Report) -> Vec<(RetransmissionClass, u64)> {
    RetransmissionClass::ALL
        .into_iter()
        .map(|class| (class, report.retransmissions.of(class)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn go_back_n_counts_everything_that_is_sent_again() {
    let pair = Pair::new(1);
    let mut steps = begin(&pair);
    steps.extend([
        (10, send(&pair, 0), "fate=dropped"),
        (11, send(&pair, 1), OK),
        (12, send(&pair, 2), OK),
        (20, answer(&pair, 0, 0x60, 0), OK),
        (30, send(&pair, 0), OK),
        (31, send(&pair, 1), OK),
        (32, send(&pair, 2), OK),
        (40, answer(&pair, 2, 0x1f, 3), OK),
    ]);
    let report = run(&steps);
    assert_eq!(rules(&report), [(Rule::RequestPsnGap, 4)]);
    assert_eq!(counts(&report), [(RetransmissionClass::GoBackN, 3)]);
    assert_eq!(report.connections[0].retransmissions, Retransmissions { go_back_n: 3, ..Default::default() });
}

#[test]
fn lost_last_request_is_a_timeout_and_breaks_no_rule() {
    let pair = Pair::new(2);
    let mut steps = begin(&pair);
    steps.extend([
        (10, send(&pair, 0), "fate=dropped"),
        (2_200_000, send(&pair, 0), OK),
        (2_200_010, answer(&pair, 0, 0x1f, 1), OK),
    ]);
    let report = run(&steps);
    assert_eq!(rules(&report), []);
    assert_eq!(counts(&report), [(RetransmissionClass::Timeout, 1)]);
}

#[test]
fn lost_acknowledgement_is_a_timeout_too() {
    let pair = Pair::new(3);
    let mut steps = begin(&pair);
    steps.extend([
        (10, send(&pair, 0), OK),
        (20, answer(&pair, 0, 0x1f, 1), "fate=dropped"),
        (2_200_000, send(&pair, 0), OK),
        (2_200_010, answer(&pair, 0, 0x1f, 1), OK),
    ]);
    let report = run(&steps);
    assert_eq!(rules(&report), []);
    assert_eq!(counts(&report), [(RetransmissionClass::Timeout, 1)]);
}

#[test]
fn copy_of_the_switch_and_a_copy_of_the_network_are_duplicates() {
    let pair = Pair::new(4);
    let mut steps = begin(&pair);
    steps.extend([
        (10, send(&pair, 0), OK),
        (11, send(&pair, 0), "fate=duplicate-of #3"),
        (20, answer(&pair, 0, 0x1f, 1), OK),
        (30, send(&pair, 1), OK),
        (31, send(&pair, 1), OK),
        (40, answer(&pair, 1, 0x1f, 2), OK),
    ]);
    let report = run(&steps);
    assert_eq!(rules(&report), []);
    assert_eq!(counts(&report), [(RetransmissionClass::Duplicate, 2)]);
}

#[test]
fn rnr_retry_has_to_wait_for_the_timer() {
    let pair = Pair::new(5);
    let steps = |retry_us| {
        let mut steps = begin(&pair);
        steps.extend([
            (10, send(&pair, 0), OK),
            // Timer code 14: 1.28 ms.
            (20, answer(&pair, 0, 0x2e, 0), OK),
            (retry_us, send(&pair, 0), OK),
            (9_000, answer(&pair, 0, 0x1f, 1), OK),
        ]);
        steps
    };
    let report = run(&steps(1_400));
    assert_eq!((rules(&report), counts(&report)), (vec![], vec![(RetransmissionClass::RnrRetry, 1)]));
    let report = run(&steps(900));
    assert_eq!(rules(&report), [(Rule::RnrRetryTooEarly, 5)]);
}

#[test]
fn read_that_is_asked_for_again_is_its_own_class() {
    let pair = Pair::new(6);
    let peer = pair.passive;
    let piece = [7; 1024];
    let mut steps = begin(&pair);
    steps.extend([
        (10, pair.request(0x0c, 0).ack_request().reth(peer.va, peer.rkey, 3072).build(), OK),
        (20, pair.response(0x0d, 0).aeth(0x1f, 1).payload(&piece).build(), OK),
        (21, pair.response(0x0e, 1).payload(&piece).build(), "fate=dropped"),
        (22, pair.response(0x0f, 2).aeth(0x1f, 1).payload(&piece).build(), OK),
        (30, pair.request(0x0c, 1).ack_request().reth(peer.va + 1024, peer.rkey, 2048).build(), OK),
        (40, pair.response(0x0d, 1).aeth(0x1f, 1).payload(&piece).build(), OK),
        (41, pair.response(0x0f, 2).aeth(0x1f, 1).payload(&piece).build(), OK),
    ]);
    let report = run(&steps);
    assert_eq!(rules(&report), [(Rule::ReadResponsePsnGap, 6)]);
    assert_eq!(counts(&report), [(RetransmissionClass::ReadRetry, 1)]);
}

#[test]
fn refusal_for_good_ends_the_queue_pair() {
    let pair = Pair::new(7);
    let steps = |later_us| {
        let mut steps = begin(&pair);
        steps.extend([
            (10, send(&pair, 0), OK),
            (20, answer(&pair, 0, 0x62, 0), OK),
            (later_us, send(&pair, 1), OK),
        ]);
        steps
    };
    let refused = [(Rule::RequestRefused, 4)];
    assert_eq!(rules(&run(&steps(50))), refused, "the next one may have been on its way");
    assert_eq!(rules(&run(&steps(500_000))), [(Rule::TrafficAfterFatalNak, 5)]);
}

#[test]
fn write_that_is_refused_before_its_last_packet_is_refused_whether_that_is_sent_or_not() {
    let pair = Pair::new(8);
    let write = |opcode, n| pair.request(opcode, n).payload(&[1; 1024]);
    let first = write(0x06, 0).reth(pair.passive.va, 7, 3072).build();
    let mut steps = begin(&pair);
    steps.extend([(10, first, OK), (11, answer(&pair, 0, 0x62, 0), OK), (12, write(0x07, 1).build(), OK)]);
    let mut summaries = Vec::new();
    for is_whole in [false, true] {
        if is_whole {
            steps.push((13, write(0x08, 2).ack_request().build(), OK));
        }
        let report = run(&steps);
        assert_eq!(rules(&report), [(Rule::RequestRefused, 4)]);
        let [message] = &report.messages[..] else { panic!("{:?}", report.messages) };
        assert_eq!(
            (message.outcome, message.ended_ns, message.is_whole),
            (MessageOutcome::Refused(NakCode::RemoteAccessError), Some(11_000), is_whole)
        );
        summaries.push(report.summary());
    }
    assert_eq!(summaries[0], summaries[1], "how far it came, timing decides");
}

#[test]
fn refusal_after_an_acknowledgement_and_of_what_arrived_are_reported() {
    let pair = Pair::new(8);
    let steps = |psn, msn| {
        let mut steps = begin(&pair);
        steps.extend([
            (10, send(&pair, 0), OK),
            (11, send(&pair, 1), OK),
            (20, answer(&pair, 0, 0x1f, 1), OK),
            (21, answer(&pair, psn, 0x60, msn), OK),
        ]);
        steps
    };
    assert_eq!(rules(&run(&steps(0, 1))), [(Rule::NakForAcknowledgedPsn, 6)]);
    assert_eq!(rules(&run(&steps(1, 1))), [(Rule::NakWithoutGap, 6)]);
}

#[test]
fn atomics_are_held_to_their_alignment_and_to_their_first_answer() {
    let pair = Pair::new(9);
    let steps = |va, original: u64| {
        let mut steps = begin(&pair);
        let atomic = pair.request(0x14, 0).ack_request().atomic_eth(va, 7, 1, 0).build();
        let answer = |value: u64| pair.response(0x12, 0).aeth(0x1f, 1).header(&value.to_be_bytes()).build();
        steps.extend([
            (10, atomic.clone(), OK),
            (20, answer(5), OK),
            (2_200_000, atomic, OK),
            (2_200_010, answer(original), OK),
        ]);
        steps
    };
    assert_eq!(rules(&run(&steps(64, 5))), []);
    assert_eq!(rules(&run(&steps(60, 5))), [(Rule::AtomicAddressMisaligned, 3)]);
    assert_eq!(rules(&run(&steps(64, 6))), [(Rule::AtomicReplayDiffers, 6)]);
}

#[test]
fn more_reads_than_the_connection_allows_are_reported_once_and_as_many_are_not() {
    // REQ and REP of the pair allow one at a time.
    let pair = Pair::new(9);
    let read = |n| pair.request(0x0c, n).ack_request().reth(pair.passive.va, pair.passive.rkey, 8).build();
    let answer = |n| pair.response(0x10, n).aeth(0x1f, n + 1).payload(&[1; 8]).build();
    let run = |frames: Vec<Vec<u8>>| {
        let mut steps = begin(&pair);
        steps.extend(frames.into_iter().enumerate().map(|(at, frame)| (10 + at as u64, frame, OK)));
        rules(&run(&steps))
    };
    assert_eq!(run(vec![read(0), answer(0), read(1), answer(1)]), []);
    assert_eq!(
        run(vec![read(0), read(1), read(2), answer(0), answer(1), answer(2)]),
        [(Rule::InitiatorDepthExceeded, 4)]
    );
}

#[test]
fn congestion_notification_has_its_reserved_bytes_and_its_flag() {
    let pair = Pair::new(9);
    let cnp = |reserved: &[u8], becn: bool| {
        let mut frame = pair.response(0x81, 0).header(reserved).build();
        // The ICRC does not cover this byte.
        frame[46] |= u8::from(becn) << 6;
        let mut steps = begin(&pair);
        steps.push((10, frame, OK));
        rules(&run(&steps))
    };
    assert_eq!(cnp(&[0; 16], true), []);
    let mut other = [0; 16];
    other[15] = 1;
    for (reserved, becn) in [(&other[..], true), (&[0; 12], true), (&[0; 20], true), (&[0; 16], false)] {
        assert_eq!(cnp(reserved, becn), [(Rule::CnpMalformed, 3)], "{reserved:?} {becn}");
    }
}

#[test]
fn connection_management_in_the_wrong_order_or_for_another_queue_pair_is_reported() {
    let pair = Pair::new(11);
    let mut other = pair;
    other.passive.qpn += 1;
    let step = |frame| (0, frame, OK);
    let report = run(&[step(pair.req(1, &[])), step(pair.rtu())]);
    assert_eq!(rules(&report), [(Rule::CmOutOfSequence, 2)]);
    let report = run(&[step(pair.req(1, &[])), step(pair.rep(&[])), step(other.dreq())]);
    assert_eq!(rules(&report), [(Rule::DreqForOtherQueuePair, 3)]);
    assert!(report.trace().contains("not the receiver's"), "{}", report.trace());
}

#[test]
fn request_without_an_answer_is_named_when_the_connection_has_ended() {
    let pair = Pair::new(12);
    let mut steps = begin(&pair);
    steps.push((10, send(&pair, 0), OK));
    assert_eq!(rules(&run(&steps)), [], "the capture may have ended first");
    steps.push((20, pair.dreq(), OK));
    assert_eq!(rules(&run(&steps)), [(Rule::RequestNotAnswered, 3)]);
}

#[test]
fn million_queue_pairs_stay_in_bounds_and_what_was_dropped_is_said() {
    let mut analysis = Analysis::streaming(Names::new());
    let (requester, responder) = ([198, 51, 100, 2].into(), [198, 51, 100, 1].into());
    let mut frame =
        FrameBuilder::new(requester, responder, Opcode(0x04)).psn(Psn::new(7)).payload(b"four").build();
    let total: u32 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    for number in 0..total {
        frame[47..50].copy_from_slice(&(number + 1).to_be_bytes()[1..]);
        let end = frame.len() - 4;
        let crc = roce::wire::icrc(&frame[14..34], &frame[34..end]).unwrap();
        frame[end..].copy_from_slice(&crc.to_le_bytes());
        analysis.push(
            // Backwards, as a clock that is set may go.
            &Record::ethernet(u64::from(number) + 1, u64::from(total - number), &frame),
        );
    }
    let report = analysis.finish();
    assert_eq!(report.packets, u64::from(total));
    assert_eq!(rules(&report), [(Rule::CaptureOneDirection, 1)]);
    assert_eq!(report.connections.len() as u64 + report.connections_dropped, u64::from(total));
    assert!(report.connections.len() <= 131_072 && report.connections_dropped > 0);
}

#[test]
fn read_that_is_never_answered_whole_does_not_hold_the_others() {
    let pair = Pair::new(9);
    let mut analysis = Analysis::streaming(Names::new());
    let mut number = 0;
    let mut push = |frame: Vec<u8>| {
        number += 1;
        analysis.push(&Record::ethernet(number, number, &frame));
    };
    let read = |n, bytes| pair.request(0x0c, n).reth(pair.passive.va, pair.passive.rkey, bytes).build();
    push(pair.req(1, &[]));
    push(pair.rep(&[]));
    push(read(0, 2048));
    // Its first response is not in the capture.
    push(pair.response(0x0f, 1).aeth(0x1f, 1).payload(&[1; 1024]).build());
    for n in 2..20_000 {
        push(read(n, 8));
        push(pair.response(0x10, n).aeth(0x1f, n).payload(&[1; 8]).build());
    }
    let report = analysis.finish();
    assert_eq!(rules(&report), [(Rule::ReadResponsePsnGap, 4)]);
    assert_eq!(report.requests_dropped, 0);
}

#[test]
fn requests_without_their_answers_are_followed_again_behind_a_missing_one_and_a_late_one() {
    let pair = Pair::new(9);
    let lost: &[u32] = &[0, 2];
    let late: &[u32] = &[0, 2, 1];
    for begin in [lost, late] {
        let mut analysis = Analysis::new(Names::new());
        for (at, n) in begin.iter().copied().chain(3..5_000).enumerate() {
            analysis.push(&Record::ethernet(at as u64 + 1, at as u64, &send(&pair, n)));
        }
        let report = analysis.finish();
        assert_eq!(rules(&report), [(Rule::CaptureOneDirection, 1), (Rule::RequestPsnGap, 2)]);
        assert!(report.messages.len() > 900, "{}", report.messages.len());
    }
}

#[test]
fn packets_beyond_65536_pairs_of_addresses_are_said_to_be_uncounted() {
    let count = |total: u32| {
        let mut analysis = Analysis::streaming(Names::new());
        for number in 0..total {
            let [_, middle, high, low] = number.to_be_bytes();
            let frame =
                FrameBuilder::new([10, middle, high, low].into(), [198, 51, 100, 1].into(), Opcode(0x04))
                    .psn(Psn::new(7))
                    .payload(b"four")
                    .build();
            for at in [0, 1] {
                analysis.push(&Record::ethernet(u64::from(2 * number + at) + 1, u64::from(number), &frame));
            }
        }
        let report = analysis.finish();
        assert_eq!(report.packets, u64::from(2 * total));
        assert_eq!(report.sent.values().sum::<u64>() + report.packets_uncounted, report.packets);
        (report.sent.len(), report.packets_uncounted)
    };
    assert_eq!(count(65_536), (65_536, 0));
    assert_eq!(count(65_540), (65_536, 8));
}

#[test]
fn request_under_the_psn_of_the_next_is_one_finding_and_a_later_difference_is_another() {
    let pair = Pair::new(15);
    let steps = |psns: &[(u32, &[u8])]| {
        let mut steps = begin(&pair);
        steps.push((10, send(&pair, 0), OK));
        for (at, (psn, payload)) in psns.iter().enumerate() {
            let frame = pair.request(0x04, *psn).ack_request().payload(payload).build();
            steps.push((20 + at as u64, frame, OK));
        }
        rules(&run(&steps))
    };
    let gap = (Rule::RequestPsnGap, 4);
    assert_eq!(steps(&[(2, b"1111"), (2, b"22222222")]), [gap]);
    // The requester goes back to what is missing, and then sends another packet than before.
    assert_eq!(
        steps(&[(2, b"1111"), (1, b"1111"), (2, b"22222222")]),
        [gap, (Rule::RetransmissionDiffers, 6)]
    );
}

#[test]
fn retransmission_of_another_length_is_reported_and_the_same_packet_is_not() {
    let pair = Pair::new(14);
    let steps = |payload: &[u8]| {
        let mut steps = begin(&pair);
        steps.push((10, send(&pair, 0), OK));
        steps.push((2_200_000, pair.request(0x04, 0).ack_request().payload(payload).build(), OK));
        steps
    };
    assert_eq!(rules(&run(&steps(b"four"))), []);
    assert_eq!(rules(&run(&steps(b"eight888"))), [(Rule::RetransmissionDiffers, 4)]);
}

#[test]
fn only_of_one_path_mtu_is_silent_and_a_longer_one_is_reported() {
    let pair = Pair::new(17);
    let steps = |length: usize| {
        let mut steps = begin(&pair);
        steps.push((10, pair.request(0x04, 0).payload(&vec![1; length]).build(), OK));
        steps
    };
    assert_eq!(rules(&run(&steps(1024))), []);
    assert_eq!(rules(&run(&steps(1028))), [(Rule::PathMtuViolated, 3)]);
}

#[test]
fn time_before_a_request_that_comes_again_is_told_by_class_and_once_a_run() {
    let pair = Pair::new(40);
    let mut steps = begin(&pair);
    steps.extend([
        (10, send(&pair, 0), "fate=dropped"),
        (67_010, send(&pair, 0), "fate=dropped"),
        (134_010, send(&pair, 0), OK),
        (134_020, answer(&pair, 0, 0x1f, 1), OK),
        (140_000, send(&pair, 1), "fate=dropped"),
        (140_010, send(&pair, 2), OK),
        (140_020, answer(&pair, 1, 0x60, 1), OK),
        (140_110, send(&pair, 1), OK),
        (140_120, send(&pair, 2), OK),
        (140_130, answer(&pair, 2, 0x1f, 3), OK),
    ]);
    let report = run(&steps);
    let got: Vec<_> = report
        .stats
        .intervals()
        .map(|(class, times)| {
            (class, times.count(), [0.0, 100.0].map(|percent| times.percentile_ns(percent)))
        })
        .collect();
    assert_eq!(
        got,
        [
            (RetransmissionClass::GoBackN, 1, [Some(100_000); 2]),
            (RetransmissionClass::Timeout, 2, [Some(67_000_000); 2]),
        ]
    );
}
