//! The trace and the rules over synthetic captures, the way a caller runs them: frames through writer, reader and analysis.
#![cfg(feature = "synth")]

mod findings;
mod management;
mod names;
#[path = "../support/mod.rs"]
mod support;

use roce::synth::Pair;
use roce::{MessageKind, MessageOutcome, Report, Rule};

pub(crate) type Frames = Vec<(Vec<u8>, &'static str)>;

pub(crate) fn analyse(frames: &[(Vec<u8>, &'static str)]) -> Report {
    let timed = frames.iter().enumerate();
    support::analyse(timed.map(|(at, (frame, comment))| (1_000_000 * at as u64, &frame[..], *comment)))
}

pub(crate) fn forwarded(frames: Vec<Vec<u8>>) -> Frames {
    frames.into_iter().map(|frame| (frame, "fate=forwarded")).collect()
}

pub(crate) fn rules(frames: &Frames) -> Vec<(Rule, u64)> {
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
