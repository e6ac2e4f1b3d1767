//! The trace and the rules over synthetic captures, the way a caller runs them: frames through writer, reader and analysis.
#![cfg(feature = "synth")]

mod support;

use std::net::IpAddr;

use roce::capture::Record;
use roce::synth::{FrameBuilder, Pair};
use roce::wire::Opcode;
use roce::{Analysis, MessageKind, MessageOutcome, Names, Report, Rule};

type Frames = Vec<(Vec<u8>, &'static str)>;

fn analyse(frames: &[(Vec<u8>, &'static str)]) -> Report {
    let timed = frames.iter().enumerate();
    support::analyse(timed.map(|(at, (frame, comment))| (1_000_000 * at as u64, &frame[..], *comment)))
}

fn forwarded(frames: Vec<Vec<u8>>) -> Frames {
    frames.into_iter().map(|frame| (frame, "fate=forwarded")).collect()
}

fn rules(frames: &Frames) -> Vec<(Rule, u64)> {
    analyse(frames).findings.iter().map(|finding| (finding.rule, finding.packet)).collect()
}

const WRITE_THEN_READ: &str = "\
roce trace 1: 12 packets

connection 1: client.qp1 > server.qp1
  client > server  REQ   service           RDMA_PS_TCP port 7471, RC
                         queue pair        client.qp1, starting PSN server+0
                         path              MTU 1024 bytes, P_Key 0xffff, ACK timeout 19 (2.15 s)
                         GIDs              client > server
                         limits            responder resources 1, initiator depth 1
                         retries           retry count 7, RNR retry 7, CM retries 15
                         CM timeouts       local 20, remote 20
                         IP CM             version 0.0, IPv4, client port <port> > server
                         private data      none
  server > client  REP   queue pair        server.qp1, starting PSN client+0
                         limits            responder resources 1, initiator depth 1
                         retries           RNR retry 7, target ACK delay 15
                         private data      va server.mr1+0, rkey server.mr1
  client > server  RTU
  client > server  DREQ  queue pair        server.qp1
  server > client  DREP

  packets                                                   psn           bytes pad
  client.qp1 > server.qp1 RC RDMA WRITE Only                client+0         18   2  server.mr1+0 len 18, AckReq
  server.qp1 > client.qp1 RC Acknowledge                    client+0                 ACK msn 1
  client.qp1 > server.qp1 RC RDMA READ Request              client+1                 server.mr1+0 len 4096, AckReq
  server.qp1 > client.qp1 RC RDMA READ response First       client+1       1024   0  ACK msn 2
  server.qp1 > client.qp1 RC RDMA READ response Middle      client+2       1024   0
  server.qp1 > client.qp1 RC RDMA READ response Middle      client+3       1024   0
  server.qp1 > client.qp1 RC RDMA READ response Last        client+4       1024   0  ACK msn 2

  messages                                                  psn           bytes
  client.qp1 > server.qp1 RDMA WRITE                        client+0         18      server.mr1+0, acknowledged
  client.qp1 > server.qp1 RDMA READ                         client+1..4    4096      server.mr1+0, responded

findings: none
";

const DATA_OF_WRITE_WITH_IMMEDIATE: &str = "
  packets                                                   psn           bytes pad
  client.qp1 > server.qp1 RC RDMA WRITE Only with Immediate client+0         22   2  server.mr1+0 len 22, imm 22, AckReq
  server.qp1 > client.qp1 RC Acknowledge                    client+0                 ACK msn 1

  messages                                                  psn           bytes
  client.qp1 > server.qp1 RDMA WRITE with Immediate         client+0         22      server.mr1+0, imm 22, acknowledged

findings: none
";

#[test]
fn first_sample_has_the_same_trace_whatever_the_random_numbers() {
    for seed in 0..20 {
        assert_eq!(
            analyse(&forwarded(Pair::new(seed).write_then_read())).trace(),
            WRITE_THEN_READ,
            "seed {seed}"
        );
    }
}

#[test]
fn second_sample_has_its_seven_packets() {
    let report = analyse(&forwarded(Pair::new(3).write_with_immediate()));
    let trace = report.trace();
    assert!(trace.starts_with("roce trace 1: 7 packets\n") && trace.contains("RDMA_PS_TCP port 7472"));
    assert!(trace.ends_with(DATA_OF_WRITE_WITH_IMMEDIATE), "{trace}");
}

#[test]
fn messages_carry_what_completions_are_compared_with() {
    let pair = Pair::new(4);
    let report = analyse(&forwarded(pair.write_then_read()));
    let seen: Vec<_> = report
        .messages
        .iter()
        .map(|m| (m.kind, m.bytes, m.requester_qpn, m.responder_qpn, m.outcome))
        .collect();
    let (active, passive) = (Some(pair.active.qpn), pair.passive.qpn);
    assert_eq!(
        seen,
        [
            (MessageKind::Write, 18, active, passive, MessageOutcome::Acknowledged),
            (MessageKind::Read, 4096, active, passive, MessageOutcome::Responded),
        ]
    );
    assert_eq!((report.sent[&pair.active.address], report.sent[&pair.passive.address]), (5, 7));
    assert_eq!((report.delivered[&pair.active.address], report.delivered[&pair.passive.address]), (7, 5));
    assert_eq!(report.connections[0].path_mtu_bytes, Some(1024));
}

#[test]
fn psn_wrap_is_marked_and_breaks_nothing() {
    let mut pair = Pair::new(5);
    pair.active.psn = roce::wire::Psn::new(0xff_fffe);
    let report = analyse(&forwarded(pair.write_then_read()));
    assert!(report.findings.is_empty());
    let trace = report.trace();
    assert!(trace.contains("client+2       1024   0  psn wraps\n"), "{trace}");
    assert_eq!(trace.replace("  psn wraps", ""), WRITE_THEN_READ);
}

#[test]
fn packets_without_their_cm_are_paired_by_psn() {
    let pair = Pair::new(6);
    let frames: Frames = forwarded(pair.write_then_read()).drain(3..10).collect();
    let report = analyse(&frames);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.connections.len(), 1);
    assert_eq!(report.messages[0].requester_qpn, Some(pair.active.qpn));
    assert_eq!(
        report.messages.iter().map(|m| m.outcome).collect::<Vec<_>>(),
        [MessageOutcome::Acknowledged, MessageOutcome::Responded]
    );
}

#[test]
fn requests_of_both_directions_without_cm_become_one_connection() {
    let pair = Pair::new(7);
    let back = Pair { active: pair.passive, passive: pair.active, ..pair };
    let frames = vec![
        pair.request(0x04, 0).ack_request().payload(b"to the server").build(),
        back.request(0x04, 0).ack_request().payload(b"to the client").build(),
        pair.response(0x11, 0).aeth(0x1f, 1).build(),
        back.response(0x11, 0).aeth(0x1f, 1).build(),
    ];
    let report = analyse(&forwarded(frames));
    assert_eq!((report.connections.len(), report.findings.len()), (1, 0));
    assert!(
        report
            .messages
            .iter()
            .all(|m| m.outcome == MessageOutcome::Acknowledged && m.requester_qpn.is_some())
    );
}

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
fn reused_queue_pair_begins_anew() {
    let (first, mut second) = (Pair::new(16), Pair::new(17));
    (second.active.qpn, second.passive.qpn) = (first.active.qpn, first.passive.qpn);
    let mut frames = first.write_then_read();
    frames.extend(second.write_then_read());
    let report = analyse(&forwarded(frames));
    assert_eq!((report.connections.len(), report.findings.len(), report.messages.len()), (2, 0, 4));
    assert!(report.trace().contains("client.qp2 > server.qp2"));
}

#[test]
fn rejected_connection_shows_its_reason_and_words() {
    let pair = Pair::new(18);
    let trace = analyse(&forwarded(vec![pair.req(7471, &[]), pair.rej(28, b"larger than 4096")])).trace();
    assert!(trace.contains("REJ   reason            consumer reject, of REQ\n"), "{trace}");
    assert!(trace.contains("private data      \"larger than 4096\"\n"), "{trace}");
    assert!(
        trace.contains("connection 1: client.qp1 > server.qp?\n")
            && trace.ends_with("messages: none\n\nfindings: none\n"),
        "{trace}"
    );
}

#[test]
fn ids_that_do_not_match_are_shown() {
    let pair = Pair::new(19);
    let mut stranger = pair;
    stranger.passive.comm_id ^= 1;
    stranger.salt ^= 2;
    let trace = analyse(&forwarded(vec![pair.req(1, &[]), pair.rep(&[]), stranger.rtu()])).trace();
    assert!(
        trace.contains("remote comm id    not the peer's\n")
            && trace.contains("transaction       not the request's\n"),
        "{trace}"
    );
}

#[test]
fn known_addresses_and_keys_in_longer_private_data_are_renamed() {
    let pair = Pair::new(20);
    let mut private_data = pair.advert().to_vec();
    private_data.extend([0xab, 0xcd, 0xef, 0x01, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0]);
    let mut frames = pair.write_then_read();
    frames[1] = pair.rep(&private_data);
    let trace = analyse(&forwarded(frames)).trace();
    assert!(
        trace.contains(
            "private data      <va server.mr1+0> <rkey server.mr1> abcdef01 01000000 00000000 00002000\n"
        ),
        "{trace}"
    );
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
fn where_disconnections_cross_each_reply_belongs_to_the_request_of_its_receiver() {
    let pair = Pair::new(22);
    let back = Pair { active: pair.passive, passive: pair.active, salt: pair.salt.wrapping_add(2) };
    let begin = [pair.req(7471, &[]), pair.rep(&[]), pair.rtu(), pair.dreq(), back.dreq()];
    let foreign = "transaction       not the request's\n";
    let crossed = analyse(&forwarded([&begin[..], &[back.drep(), pair.drep()]].concat())).trace();
    assert!(crossed.contains("client > server  DREP\n  server > client  DREP\n"), "{crossed}");
    // Of the other DREQ, and of none.
    let other = Pair { salt: pair.salt, ..back };
    let unknown = Pair { salt: 77, ..pair };
    let wrong = analyse(&forwarded([&begin[..], &[other.drep(), unknown.drep()]].concat())).trace();
    assert_eq!(wrong.matches(foreign).count(), 2, "{wrong}");
}

#[test]
fn after_a_write_with_immediate_it_is_one_trace_whichever_side_disconnects_first() {
    let pair = Pair::new(28);
    let back = Pair { active: pair.passive, passive: pair.active, salt: pair.salt.wrapping_add(2) };
    let (va, rkey) = (pair.passive.va, pair.passive.rkey);
    let write = |opcode| {
        let request = pair.request(opcode, 0).reth(va, rkey, 4);
        if opcode == 0x0b { request.header(&4_u32.to_be_bytes()) } else { request }
    };
    let trace = |opcode: u8, end: &[Vec<u8>]| {
        let ack = pair.response(0x11, 0).aeth(0x1f, 1).build();
        let write = write(opcode).ack_request().payload(b"four").build();
        let begin = [pair.req(7472, &[]), pair.rep(&pair.advert()), pair.rtu(), write, ack];
        analyse(&forwarded([&begin[..], end].concat())).trace()
    };
    // The reply belongs to the request of its receiver: the active side's is answered by `drep` of `pair`.
    let active_first = [pair.dreq(), pair.drep()];
    let passive_first = [back.dreq(), back.drep()];
    let crossed = [pair.dreq(), back.dreq(), back.drep(), pair.drep()];
    let crossed_and_answered_once = [back.dreq(), pair.dreq(), pair.drep()];
    let expected = trace(0x0b, &active_first);
    assert!(expected.starts_with("roce trace 1: 7 packets\n"), "{expected}");
    assert!(expected.contains("RTU\n  either side      DREQ, DREP\n\n"), "{expected}");
    for end in [&passive_first[..], &crossed, &crossed_and_answered_once] {
        assert_eq!(trace(0x0b, end), expected);
    }
    // Told as it was: an end that is not in order, and one after a message that its responder does not notice.
    for (opcode, end) in [
        (0x0b, &[pair.dreq()][..]),
        (0x0b, &[pair.dreq(), back.drep()]),
        (0x0b, &[pair.dreq(), pair.dreq(), pair.drep()]),
        (0x0a, &active_first),
    ] {
        let trace = trace(opcode, end);
        assert!(trace.contains("DREQ  queue pair        server.qp1\n"), "{trace}");
    }
}

#[test]
fn number_in_the_wrong_byte_order_is_in_hexadecimal_beside_the_decimal_one() {
    let pair = Pair::new(23);
    let peer = &pair.passive;
    let immediate =
        |n: u32, value: u32| pair.request(0x05, n).header(&value.to_be_bytes()).ack_request().build();
    let swapped = 1u64.swap_bytes();
    let frames = [
        pair.req(7471, &[]),
        pair.rep(&pair.advert()),
        pair.rtu(),
        immediate(0, 7),
        immediate(1, 7u32.swap_bytes()),
        pair.response(0x11, 1).aeth(0x1f, 2).build(),
        pair.request(0x14, 2).atomic_eth(peer.va, peer.rkey, swapped, 0).build(),
        pair.response(0x12, 2).aeth(0x1f, 3).header(&swapped.to_be_bytes()).build(),
        pair.request(0x0c, 3).reth(peer.va, peer.rkey, 16u32.swap_bytes()).build(),
    ];
    let report = analyse(&forwarded(frames.to_vec()));
    let trace = report.trace();
    assert_eq!(trace.matches("imm 7,").count(), 2, "{trace}");
    for (words, times) in [
        ("imm 117440512 (0x07000000)", 2),
        ("add 72057594037927936 (0x0100000000000000)", 1),
        ("original 72057594037927936 (0x0100000000000000)", 1),
        ("len 268435456 (0x10000000)", 1),
    ] {
        assert_eq!(trace.matches(words).count(), times, "{words}: {trace}");
    }
    assert!(report.summary().contains("imm 117440512 (0x07000000)"), "{}", report.summary());
    assert!(report.ladder(&Default::default()).to_svg().contains("imm 117440512 (0x07000000)"));
}

#[test]
fn queue_pair_that_nothing_explains_has_its_number_for_a_name() {
    let pair = Pair::new(24);
    let passive = pair.passive.address;
    let send = |qpn| pair.request(0x04, 0).destination_qpn(qpn).ack_request().payload(b"four").build();
    let datagram =
        |qpn| pair.request(0x64, 0).destination_qpn(qpn).deth(0x2222_2222, 0x55).payload(b"four").build();
    let back = FrameBuilder::new(passive, pair.active.address, Opcode(0x64))
        .destination_qpn(0x55)
        .deth(0x1111_1111, 0x56)
        .payload(b"four")
        .build();
    let said = |text: &[u8]| {
        let mut frame = Vec::new();
        let IpAddr::V4(source) = passive else { panic!("must be IPv4") };
        let udp =
            etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source.octets(), [198, 51, 100, 2], 64);
        udp.udp(7000, 7001).write(&mut frame, text).unwrap();
        frame
    };
    let has = |frames: &[Vec<u8>], words: &str| {
        let report = analyse(&forwarded(frames.to_vec()));
        for text in [report.trace(), report.summary()] {
            assert!(text.contains(words), "{words}: {text}");
        }
    };
    has(&[send(0x77), send(0x77)], "client.qp? > server.0x77");
    has(&[said(b"queue pair 000077, ready"), send(0x77), send(0x77)], "client.qp? > server.qp1");
    let ack = pair.response(0x11, 0).aeth(0x1f, 1).build();
    has(&[send(0x77), ack], "client.qp1 > server.qp1");
    has(&[datagram(0x77)], "client.ud1 > server.0x77");
    has(&[said(&[1, 0, 0, 0, 0x77, 0, 0, 0, 9, 9, 9, 9]), datagram(0x77)], "client.ud1 > server.ud1");
    has(&[datagram(0x56), back], "client.ud1 > server.ud1");
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

#[test]
fn two_addresses_of_one_node_share_the_numbers_of_its_queue_pairs() {
    let ipv4 = Pair::new(26);
    let mut local = Pair::new(27);
    (local.active.address, local.passive.address) = ("fe80::2".parse().unwrap(), "fe80::1".parse().unwrap());
    let names = [(ipv4, "client", "server"), (local, "client", "server")].into_iter().fold(
        Names::new(),
        |names, (pair, active, passive)| {
            names.with(pair.active.address, active).with(pair.passive.address, passive)
        },
    );
    let mut analysis = Analysis::new(names);
    for (at, frame) in [ipv4.write_then_read(), local.write_then_read()].concat().iter().enumerate() {
        analysis.push(&Record::ethernet(at as u64 + 1, 0, frame));
    }
    let trace = analysis.finish().trace();
    assert!(
        trace.contains("connection 2: client.qp2 > server.qp2\n") && trace.contains("server.mr2+0"),
        "{trace}"
    );
}

/// Every order of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Three connections that ask in one order and are answered in another; of each, the second request is lost and asked for again.
fn three_connections(has_cm: bool, asking: [usize; 3], answering: [usize; 3]) -> Vec<Vec<u8>> {
    let pairs = [1, 2, 3].map(Pair::new);
    let send = |pair: usize, n| pairs[pair].request(0x04, n).ack_request().payload(b"text").build();
    let answer = |pair: usize, n, syndrome| pairs[pair].response(0x11, n).aeth(syndrome, n + 1).build();
    let mut frames = Vec::new();
    if has_cm {
        frames.extend(asking.map(|pair| pairs[pair].req(7471, &[])));
        frames.extend(answering.map(|pair| pairs[pair].rep(&[])));
        frames.extend(asking.map(|pair| pairs[pair].rtu()));
    }
    frames.extend([0, 1, 2].map(|pair| send(pair, 0)));
    frames.extend(answering.map(|pair| answer(pair, 0, 0x1f)));
    frames.extend(asking.map(|pair| send(pair, 2)));
    for pair in answering {
        frames.push(pairs[pair].response(0x11, 1).aeth(0x60, 1).build());
        frames.extend([send(pair, 1), send(pair, 2), answer(pair, 2, 0x1f)]);
    }
    frames
}

#[test]
fn findings_and_messages_have_the_names_of_the_trace_in_every_order_of_answers() {
    for (has_cm, asking, answering) in [true, false].into_iter().flat_map(|has_cm| {
        ORDERS.into_iter().flat_map(move |asking| ORDERS.map(|answering| (has_cm, asking, answering)))
    }) {
        let frames = three_connections(has_cm, asking, answering);
        let names = || {
            let pair = Pair::new(1);
            Names::new().with(pair.passive.address, "server").with(pair.active.address, "client")
        };
        let mut whole = Analysis::new(names());
        let mut streaming = Analysis::streaming(names());
        // Of a packet: the names that a finding or a message told there.
        let mut told: Vec<(u64, String)> = Vec::new();
        let mut count = 0;
        for (number, frame) in (1..).zip(&frames) {
            let record = Record::ethernet(number, number * 1_000_000, frame);
            whole.push(&record);
            streaming.push(&record);
            for finding in streaming.take_findings() {
                let place = streaming.known().place(&finding);
                let mut parts = place.split(", ");
                told.push((finding.packet, parts.next().unwrap().to_owned()));
                count += 1;
            }
            for message in streaming.take_messages() {
                let names = streaming.known().message(&message);
                told.push((message.packet_first, names.queue_pairs.join(" > ")));
            }
        }
        let report = whole.finish();
        let rest = streaming.finish();
        told.extend(rest.findings.iter().map(|finding| {
            let place = rest.known().place(finding);
            (finding.packet, place.split(", ").next().unwrap().to_owned())
        }));
        assert!(count + rest.findings.len() >= 3, "a loss in each");
        let packets = report.packet_names();
        for (number, pair) in told {
            let packet = packets.iter().find(|packet| packet.number == number).unwrap();
            assert_eq!(
                pair,
                packet.queue_pairs.join(" > "),
                "packet {number}: {has_cm} {asking:?} {answering:?}"
            );
        }
        assert_eq!(report.connections.len(), 3);
    }
}

#[test]
fn finding_names_its_message_and_distances() {
    let report = roce::synth::sample(Rule::LengthMismatch);
    let finding = report.known().finding(&report.findings[0]);
    assert!(finding.contains("client.qp1 > server.qp1, client+0, message 1: "), "{finding}");
    let report = roce::synth::sample(Rule::RequestPsnGap);
    let finding = report.known().finding(&report.findings[0]);
    assert!(finding.ends_with("client+2: expected client+1, got client+2"), "{finding}");
}
