//! Findings, and packets that break no rule.

use roce::capture::Record;
use roce::synth::Pair;
use roce::{Analysis, MessageKind, MessageOutcome, Names, Report, Rule};

use crate::{analyse, forwarded, rules};

#[test]
fn removed_request_is_one_finding_at_the_packet_after_it() {
    let pair = Pair::new(8);
    let write = |n, words: &[u8]| {
        pair.request(0x0a, n)
            .ack_request()
            .reth(pair.passive.va, pair.passive.rkey, words.len() as u32)
            .payload(words)
            .build()
    };
    let ack = |n| pair.response(0x11, n).aeth(0x1f, n + 1).build();
    let whole = |missing: u32| {
        let mut frames = vec![pair.req(1, &[]), pair.rep(&[]), pair.rtu()];
        for n in (0..6).filter(|n| *n != missing) {
            frames.extend([write(n, b"four"), ack(n)]);
        }
        forwarded(frames)
    };
    assert_eq!(rules(&whole(99)), []);
    assert_eq!(rules(&whole(2)), [(Rule::RequestPsnGap, 8)]);
}

#[test]
fn go_back_n_after_a_dropped_request_is_one_finding_and_no_message_is_lost() {
    let pair = Pair::new(9);
    let write = |n, opcode| {
        let builder = pair.request(opcode, n);
        let builder =
            if opcode == 0x06 { builder.reth(pair.passive.va, pair.passive.rkey, 3072) } else { builder };
        builder.payload(&[7; 1024]).build()
    };
    let nak = pair.response(0x11, 1).aeth(0x60, 0).build();
    let frames = vec![
        (pair.req(1, &[]), "fate=forwarded"),
        (pair.rep(&[]), "fate=forwarded"),
        (write(0, 0x06), "fate=forwarded"),
        (write(1, 0x07), "fate=dropped"),
        (write(2, 0x08), "fate=forwarded"),
        (nak, "fate=forwarded"),
        (write(1, 0x07), "fate=forwarded"),
        (write(2, 0x08), "fate=forwarded"),
        (pair.response(0x11, 2).aeth(0x1f, 1).build(), "fate=forwarded"),
    ];
    let report = analyse(&frames);
    assert_eq!(
        report.findings.iter().map(|f| (f.rule, f.packet)).collect::<Vec<_>>(),
        [(Rule::RequestPsnGap, 5)]
    );
    assert_eq!(
        (report.messages.len(), report.messages[0].bytes, report.messages[0].outcome),
        (1, 3072, MessageOutcome::Acknowledged)
    );
    let trace = report.trace();
    assert!(
        trace.contains(
            "\n~ client.qp1 > server.qp1 RC RDMA WRITE Middle              client+1       1024   0  dropped\n"
        ),
        "{trace}"
    );
    assert!(
        trace.contains("NAK PSN sequence error msn 0")
            && trace.contains("RequestPsnGap                     client+2"),
        "{trace}"
    );
    assert_eq!((report.sent[&pair.active.address], report.delivered[&pair.passive.address]), (6, 5));
}

#[test]
fn read_response_psn_gap_is_reported_once_and_its_retry_is_clean() {
    let pair = Pair::new(10);
    let mut frames = forwarded(pair.write_then_read());
    frames[7].1 = "fate=dropped";
    assert_eq!(rules(&frames), [(Rule::ReadResponsePsnGap, 9)]);
    // The requester asks again from the missing response on.
    let again = vec![
        pair.request(0x0c, 2).ack_request().reth(pair.passive.va + 1024, pair.passive.rkey, 3072).build(),
        pair.response(0x0d, 2).aeth(0x1f, 2).payload(&[0x5a; 1024]).build(),
        pair.response(0x0e, 3).payload(&[0x5a; 1024]).build(),
        pair.response(0x0f, 4).aeth(0x1f, 2).payload(&[0x5a; 1024]).build(),
    ];
    frames.splice(10..10, forwarded(again));
    let report = analyse(&frames);
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.messages[1].outcome, MessageOutcome::Responded);
}

#[test]
fn retry_that_does_not_begin_anew_is_out_of_sequence_whether_a_response_was_lost_or_late() {
    let pair = Pair::new(10);
    let piece = [0x5a; 1024];
    let retry = |opcode| {
        vec![
            pair.request(0x0c, 3).ack_request().reth(pair.passive.va + 2048, pair.passive.rkey, 2048).build(),
            pair.response(opcode, 3).aeth(0x1f, 2).payload(&piece).build(),
            pair.response(0x0f, 4).aeth(0x1f, 2).payload(&piece).build(),
        ]
    };
    let middle = |fate| (pair.response(0x0e, 2).payload(&piece).build(), fate);
    for (opcode, at) in [(0x0d, None), (0x0e, Some(Rule::OpcodeOutOfSequence))] {
        // The third response is lost, so that the fourth is discarded.
        let mut lost = forwarded(pair.write_then_read());
        lost[8].1 = "fate=dropped";
        lost.splice(10..10, forwarded(retry(opcode)));
        // The third overtakes the second, so that it is discarded, and the fourth with it.
        let mut late = forwarded(pair.write_then_read());
        late[7].1 = "fate=reordered";
        late.insert(9, middle("fate=released #8"));
        late.splice(11..11, forwarded(retry(opcode)));
        for frames in [lost, late] {
            let report = analyse(&frames);
            let found: Vec<Rule> = report.findings.iter().map(|finding| finding.rule).collect();
            let expected: Vec<Rule> = [Rule::ReadResponsePsnGap].into_iter().chain(at).collect();
            assert_eq!(found, expected);
            assert_eq!(report.messages[1].outcome, MessageOutcome::Responded);
        }
    }
}

#[test]
fn ack_of_the_last_sent_psn_is_silent_and_of_the_next_is_reported() {
    let pair = Pair::new(11);
    let mut frames = forwarded(pair.write_then_read());
    frames[4].0 = pair.response(0x11, 1).aeth(0x1f, 1).build();
    assert_eq!(rules(&frames), [(Rule::AckForUnsentPsn, 5)]);
}

#[test]
fn wrong_dma_length_is_reported_at_the_packet_that_ends_the_message() {
    let pair = Pair::new(12);
    let mut frames = forwarded(pair.write_then_read());
    let write = pair.request(0x0a, 0).ack_request().reth(pair.passive.va, pair.passive.rkey, 19);
    frames[3].0 = write.payload(b"client-wrote-this\0").build();
    assert_eq!(rules(&frames), [(Rule::LengthMismatch, 4)]);
    let mut frames = forwarded(pair.write_then_read());
    frames[9].0 = pair.response(0x0f, 4).aeth(0x1f, 2).payload(&[0x5a; 1020]).build();
    assert_eq!(rules(&frames), [(Rule::LengthMismatch, 10)]);
}

#[test]
fn first_after_a_first_and_a_last_alone_are_out_of_sequence() {
    let pair = Pair::new(13);
    let send = |opcode, n| pair.request(opcode, n).payload(&[1; 1024]).build();
    let head = || vec![pair.req(1, &[]), pair.rep(&[])];
    let run = |opcodes: &[u8]| {
        let mut frames = head();
        frames.extend(opcodes.iter().enumerate().map(|(n, opcode)| send(*opcode, n as u32)));
        rules(&forwarded(frames))
    };
    assert_eq!(run(&[0x00, 0x01, 0x02, 0x04]), []);
    assert_eq!(run(&[0x00, 0x00, 0x02]), [(Rule::OpcodeOutOfSequence, 4)]);
    assert_eq!(run(&[0x04, 0x02, 0x02, 0x04]), [(Rule::OpcodeOutOfSequence, 4)]);
}

#[test]
fn one_flipped_bit_is_one_icrc_mismatch_and_the_packet_counts_as_lost() {
    let mut frames = forwarded(Pair::new(14).write_then_read());
    let last = frames[4].0.len() - 6;
    frames[4].0[last] ^= 1;
    let report = analyse(&frames);
    assert_eq!(
        report.findings.iter().map(|f| (f.rule, f.packet)).collect::<Vec<_>>(),
        [(Rule::IcrcMismatch, 5)]
    );
    assert!(report.trace().contains("ICRC bad"));
}

#[test]
fn pad_that_is_not_zero_or_beyond_the_payload_is_malformed() {
    let pair = Pair::new(22);
    let with = |at: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut frames = forwarded(pair.write_then_read());
        let frame = &mut frames[at].0;
        change(frame);
        let body = frame.len() - 4;
        let crc = roce::wire::icrc(&frame[14..34], &frame[34..body]).unwrap();
        frame[body..].copy_from_slice(&crc.to_le_bytes());
        rules(&frames)
    };
    assert_eq!(with(3, &|_| ()), []);
    assert_eq!(with(3, &|frame| *frame.iter_mut().rev().nth(4).unwrap() = 1), [(Rule::PadNotZero, 4)]);
    // With a pad count of 1 the packet agrees with itself: only its RETH tells that a byte is too many.
    assert_eq!(with(3, &|frame| frame[43] = 1 << 4), [(Rule::LengthMismatch, 4)]);
    // An ACK has no payload that a pad could follow.
    assert_eq!(with(4, &|frame| frame[43] = 3 << 4), [(Rule::MalformedPacket, 5)]);
}

#[test]
fn frame_that_is_held_back_is_judged_where_it_is_released() {
    let pair = Pair::new(15);
    let send = |n| pair.request(0x04, n).payload(b"four").build();
    for held in ["fate=delayed 20 ms", "fate=reordered"] {
        let mut frames = vec![
            (pair.req(1, &[]), "fate=forwarded"),
            (pair.rep(&[]), "fate=forwarded"),
            (send(0), held),
            (send(0), "fate=released #3"),
            (send(1), "fate=forwarded"),
        ];
        let report = analyse(&frames);
        assert_eq!((report.findings.len(), report.messages.len()), (0, 2), "{:?}", report.findings);
        assert_eq!((report.sent[&pair.active.address], report.delivered[&pair.passive.address]), (3, 3));
        let trace = report.trace();
        let rows: Vec<&str> = trace.lines().filter(|row| row.contains("SEND Only  ")).collect();
        assert!(rows[0].starts_with("~ ") && rows[0].ends_with(&held[5..]), "{trace}");
        assert!(rows[1].starts_with("+ ") && rows[1].ends_with("released"), "{trace}");

        frames.swap(3, 4);
        assert_eq!(rules(&frames), [(Rule::RequestPsnGap, 4)], "what overtook it shows a gap");
    }
}

#[test]
fn altered_frame_is_the_receivers_and_its_original_the_senders() {
    let pair = Pair::new(15);
    let send = |n| pair.request(0x04, n).payload(b"four").build();
    let nak = pair.response(0x11, 0).aeth(0x60, 0).build();
    let run = |fate: &'static str, altered: Vec<u8>| {
        analyse(&[
            (pair.req(1, &[]), "fate=forwarded"),
            (pair.rep(&[]), "fate=forwarded"),
            (send(0), fate),
            (altered, "fate=altered-of #3"),
            (send(1), "fate=forwarded"),
            (nak.clone(), "fate=forwarded"),
            (send(0), "fate=forwarded"),
            (send(1), "fate=forwarded"),
            (pair.response(0x11, 1).aeth(0x1f, 2).build(), "fate=forwarded"),
        ])
    };
    let rules = |report: &Report| report.findings.iter().map(|f| (f.rule, f.packet)).collect::<Vec<_>>();

    let mut corrupt = send(0);
    let last = corrupt.len() - 6;
    corrupt[last] ^= 1;
    let report = run("fate=corrupted", corrupt);
    assert_eq!(rules(&report), [(Rule::IcrcMismatch, 4)]);
    // The client sent 5, and the server took all but the corrupt one.
    assert_eq!((report.sent[&pair.active.address], report.delivered[&pair.passive.address]), (5, 4));
    assert_eq!((report.messages.len(), report.retransmissions.go_back_n), (2, 2));
    let trace = report.trace();
    assert!(trace.contains("\n~ ") && trace.contains("corrupted\n+ "), "{trace}");
    assert!(trace.contains("ICRC bad, altered\n"), "{trace}");

    let mut short = send(0);
    short.truncate(60);
    let report = run("fate=truncated", short);
    assert_eq!(rules(&report), [(Rule::MalformedPacket, 4)]);
    assert_eq!((report.sent[&pair.active.address], report.delivered[&pair.passive.address]), (5, 4));
}

#[test]
fn congestion_mark_changes_what_is_delivered_and_breaks_no_rule() {
    let pair = Pair::new(15);
    let send = pair.request(0x04, 0).payload(b"four").build();
    let mut marked = send.clone();
    marked[15] |= 3;
    let report = analyse(&[
        (pair.req(1, &[]), "fate=forwarded"),
        (pair.rep(&[]), "fate=forwarded"),
        (send, "fate=ecn-marked"),
        (marked, "fate=altered-of #3"),
    ]);
    assert_eq!((report.findings.len(), report.messages.len()), (0, 1));
    let trace = report.trace();
    assert!(
        trace.contains("ECN marked\n+ ") && trace.contains("ECN congestion experienced, altered\n"),
        "{trace}"
    );
}

#[test]
fn mark_of_a_long_queue_is_in_the_trace_and_not_in_the_summary() {
    let pair = Pair::new(15);
    let send = pair.request(0x04, 0).payload(b"four").build();
    let mut marked = send.clone();
    marked[15] |= 3;
    let managed = [(pair.req(1, &[]), "fate=forwarded"), (pair.rep(&[]), "fate=forwarded")];
    let mut marked_rtu = pair.rtu();
    marked_rtu[15] |= 3;
    let plain = [(pair.rtu(), "fate=forwarded"), (send.clone(), "fate=queued 9 us")];
    let queued = [
        (pair.rtu(), "fate=queue-marked"),
        (marked_rtu, "fate=altered-of #3"),
        (send, "fate=queue-marked"),
        (marked, "fate=altered-of #5"),
    ];
    let unmarked = analyse(&[&managed[..], &plain].concat());
    let marked = analyse(&[&managed[..], &queued].concat());
    // How long a queue is, timing decides.
    assert_eq!(marked.summary(), unmarked.summary());
    assert!(marked.trace().contains("ECN marked\n+ "), "{}", marked.trace());
}

fn analyse_with_seventh_cut(length: usize, by_snap_length: bool) -> Report {
    let frames = Pair::new(21).write_then_read();
    let mut analysis = Analysis::new(Names::new());
    for (at, frame) in frames.iter().enumerate() {
        let data = if at == 6 { &frame[..length] } else { &frame[..] };
        let original = if by_snap_length { frame.len() } else { data.len() };
        analysis.push(&Record {
            original_length_bytes: original as u32,
            ..Record::ethernet(at as u64 + 1, 0, data)
        });
    }
    analysis.finish()
}

#[test]
fn packet_cut_by_the_snap_length_decodes_as_far_as_it_goes_and_breaks_no_rule() {
    for length in 0..Pair::new(21).write_then_read()[6].len() {
        let report = analyse_with_seventh_cut(length, true);
        // Without a BTH the capture has not got the packet, and the next response shows that.
        let expected: &[Rule] = if length < 54 { &[Rule::ReadResponsePsnGap] } else { &[] };
        let rules: Vec<Rule> = report.findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, expected, "cut to {length} bytes");
        assert!(report.trace().ends_with('\n'));
    }
}

#[test]
fn packet_that_was_short_on_the_wire_is_malformed() {
    let report = analyse_with_seventh_cut(500, false);
    let rules: Vec<_> = report.findings.iter().map(|finding| (finding.rule, finding.packet)).collect();
    // A receiver discards it; the gap that it leaves is the same fault.
    assert_eq!(rules, [(Rule::MalformedPacket, 7)]);
}

#[test]
fn read_whose_length_the_snap_length_cut_has_the_bytes_of_its_responses() {
    let pair = Pair::new(25);
    let piece = [0x5a; 1024];
    let frames = [
        pair.request(0x0c, 0).reth(pair.passive.va, pair.passive.rkey, 2048).ack_request().build(),
        pair.response(0x0d, 0).aeth(0x1f, 1).payload(&piece).build(),
        pair.response(0x0f, 1).aeth(0x1f, 1).payload(&piece).build(),
    ];
    let mut analysis = Analysis::new(Names::new());
    for (at, frame) in frames.iter().enumerate() {
        let record = Record::ethernet(at as u64 + 1, 0, &frame[..64]);
        analysis.push(&Record { original_length_bytes: frame.len() as u32, ..record });
    }
    let report = analysis.finish();
    let message = &report.messages[0];
    assert_eq!(
        (message.kind, message.bytes, message.outcome),
        (MessageKind::Read, 2048, MessageOutcome::Responded)
    );
    assert!(
        report.findings.is_empty() && report.trace().contains("node1+0..1     2048"),
        "{}",
        report.trace()
    );
}
