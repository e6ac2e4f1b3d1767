//! Names of queue pairs, the same in trace, findings and messages.

use std::net::IpAddr;

use roce::capture::Record;
use roce::synth::{FrameBuilder, Pair};
use roce::wire::Opcode;
use roce::{Analysis, Names, Rule};

use crate::{analyse, forwarded};

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
