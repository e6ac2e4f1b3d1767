//! Each cause from synthesised evidence, beside a near neighbour that has none of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use roce::capture::Writer;
use roce::synth::Pair;

use super::{Diagnosis, diagnose};
use crate::base::command::Output;
use crate::base::role::Role;
use crate::judge::completeness;
use crate::judge::snapshot::Accepted;
use crate::run::evidence::{Failed, FailedKind, RunEvidence};
use crate::scenario::Scenario;
use crate::scenario::cause::Cause;
use crate::wire::capture::CAPTURE;

/// A millisecond in nanoseconds.
const MS: u64 = 1_000_000;

/// The evidence of a run with these frames, at these times in milliseconds; all of them were counted that were delivered.
pub(super) struct StagedRun {
    frames: Vec<(u64, Vec<u8>)>,
    /// Fates of frames by their index; all others were delivered.
    fates: BTreeMap<usize, &'static str>,
    /// Packets that reached the server and that its device did not take.
    not_taken: u64,
    pub(super) evidence: RunEvidence,
}

impl StagedRun {
    pub(super) fn new(frames: Vec<Vec<u8>>) -> StagedRun {
        StagedRun::timed(frames.into_iter().enumerate().map(|(ms, frame)| (ms as u64, frame)).collect())
    }

    pub(super) fn timed(frames: Vec<(u64, Vec<u8>)>) -> StagedRun {
        let mut evidence = RunEvidence::new(&Scenario::new("x", "srv".to_owned(), "cli".to_owned()));
        let pair = Pair::new(1);
        evidence.addresses =
            [(Role::Server, pair.passive.address), (Role::Client, pair.active.address)].into();
        let mut run = StagedRun { frames, fates: BTreeMap::new(), not_taken: 0, evidence };
        for role in Role::BOTH {
            run.ended(role, 0, "", "");
        }
        run
    }

    /// Says how a program ended.
    pub(super) fn ended(&mut self, role: Role, code: i32, stdout: &str, stderr: &str) -> &mut StagedRun {
        let output = Output { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() };
        self.evidence.node(role).has_ended(output, false);
        self
    }

    pub(super) fn client_failed(mut self, stderr: &str) -> StagedRun {
        self.ended(Role::Client, 3, "", stderr);
        self
    }

    pub(super) fn server_failed(mut self, stderr: &str) -> StagedRun {
        self.ended(Role::Server, 3, "", stderr);
        self
    }

    /// Adds a message that is answered so many milliseconds after the first frame.
    pub(super) fn frames_until(&mut self, ms: u64) {
        let pair = Pair::new(1);
        self.frames.push((ms, pair.request(0x04, 1).ack_request().payload(&[0; 4]).build()));
        self.frames.push((ms, pair.response(0x11, 1).aeth(0x1f, 2).build()));
    }

    /// Loses the frames with these indices.
    pub(super) fn without(mut self, lost: &[usize]) -> StagedRun {
        self.fates.extend(lost.iter().map(|index| (*index, "fate=dropped")));
        self
    }

    /// So many of the packets that reached the server were not taken.
    pub(super) fn not_taken(mut self, count: u64) -> StagedRun {
        self.not_taken = count;
        self
    }

    /// Sets a counter of a node's device.
    pub(super) fn counted(mut self, role: Role, name: &str, count: u64) -> StagedRun {
        self.evidence.node(role).counters.insert(name.to_owned(), count);
        self
    }

    /// Diagnoses where a server's device did not take so many of the packets that reached it.
    fn diagnosed_without(&mut self, not_taken: u64) -> Vec<Diagnosis> {
        self.not_taken = not_taken;
        self.diagnosed()
    }

    /// The diagnoses.
    pub(super) fn diagnosed(&mut self) -> Vec<Diagnosis> {
        let artifacts = tempfile::tempdir().unwrap();
        let report = self.counted_all(artifacts.path());
        let completeness = completeness::check(&self.evidence, &report, artifacts.path()).unwrap();
        assert_eq!(completeness.differences, [""; 0]);
        diagnose(&self.evidence, Some(&report), &completeness, artifacts.path()).unwrap()
    }

    /// Writes the capture into `artifacts`, and lets the devices have counted what is in it.
    fn counted_all(&mut self, artifacts: &Path) -> roce::Report {
        let not_taken = self.not_taken;
        write(artifacts, &self.frames, &self.fates);
        let report = self.evidence.decode(artifacts).unwrap();
        for role in Role::BOTH {
            let of = |counts: &BTreeMap<IpAddr, u64>| {
                counts.get(&self.evidence.addresses[&role]).copied().unwrap_or(0)
            };
            let received = of(&report.delivered) - if role == Role::Server { not_taken } else { 0 };
            let sent = of(&report.sent);
            let node = self.evidence.node(role);
            (node.sent, node.received) = (Some(sent), Some(received));
        }
        report
    }

    pub(super) fn causes(&mut self) -> Vec<Cause> {
        self.diagnosed().into_iter().map(|diagnosis| diagnosis.cause).collect()
    }
}

fn write(artifacts: &Path, frames: &[(u64, Vec<u8>)], fates: &BTreeMap<usize, &str>) {
    let mut writer = Writer::new(Vec::new(), &["server", "client"]).unwrap();
    for (index, (ms, frame)) in frames.iter().enumerate() {
        let fate = fates.get(&index).copied().unwrap_or("fate=forwarded");
        writer.write(0, ms * MS, frame, fate).unwrap();
    }
    std::fs::write(artifacts.join(CAPTURE), writer.finish().unwrap()).unwrap();
}

/// A connection over which the server advertised its region.
pub(super) fn connected(pair: &Pair) -> Vec<Vec<u8>> {
    vec![pair.req(7471, &[]), pair.rep(&pair.advert()), pair.rtu()]
}

/// A WRITE of 16 bytes that is refused with `syndrome`.
pub(super) fn refused(va: u64, rkey: u32, syndrome: u8) -> StagedRun {
    let pair = Pair::new(1);
    let mut frames = connected(&pair);
    frames.push(pair.request(0x0a, 0).ack_request().reth(va, rkey, 16).payload(&[0; 16]).build());
    frames.push(pair.response(0x11, 0).aeth(syndrome, 0).build());
    StagedRun::new(frames).client_failed("remote access error")
}

#[test]
fn refusals_name_what_is_wrong_with_key_and_address() {
    let pair = Pair::new(1);
    let (va, rkey) = (pair.passive.va, pair.passive.rkey);
    for (va, rkey, expected) in [
        (va, rkey.swap_bytes(), Cause::KeyByteSwapped),
        (va.swap_bytes(), rkey.swap_bytes(), Cause::AddressByteSwapped),
        (va & 0xffff_ffff, rkey, Cause::AddressTruncated),
        (va + 65_500, rkey, Cause::OutOfBounds),
        (va, rkey, Cause::AccessNotGranted),
        (va, rkey ^ 0x1234_5678, Cause::KeyNeverAdvertised),
        (0x7f00_0000_0000, rkey, Cause::KeyOfAnotherRegion),
    ] {
        let found = refused(va, rkey, 0x62).diagnosed_without(0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].cause, expected, "{found:?}");
        assert!(found[0].evidence[0].starts_with("packet 5: server refuses it"), "{found:?}");
        assert_eq!(found[0].evidence[1], "client's stderr: remote access error");
    }
    assert_eq!(refused(va, rkey, 0x61).causes(), [Cause::OperationNotPermitted]);
    // The near neighbour: acknowledged.
    let mut answered = connected(&pair);
    answered.push(pair.request(0x0a, 0).ack_request().reth(va, rkey, 16).payload(&[0; 16]).build());
    answered.push(pair.response(0x11, 0).aeth(0x1f, 1).build());
    assert_eq!(StagedRun::new(answered).causes(), []);
}

#[test]
fn memory_limit_is_read_off_the_kernel_log_where_a_program_does_not_say_it() {
    let of = |number: i32| {
        let mut run = StagedRun::new(Vec::new()).client_failed("Failed to create MR");
        run.evidence.node(Role::Client).kernel_log =
            format!("<3>[   12.660775] rxe0: pd#4 rxe_reg_user_mr: returned err = {number}");
        run.causes()
    };
    assert_eq!(of(-12), [Cause::LockedMemoryLimit]);
    assert_eq!(of(-14), [Cause::ClientFailed]);
}

#[test]
fn queue_that_the_device_does_not_make_is_named_by_its_call() {
    let of = |log: &str, said: &str| {
        let mut run = StagedRun::new(Vec::new()).client_failed(said);
        run.evidence.node(Role::Client).kernel_log = log.to_owned();
        run.diagnosed_without(0)
    };
    let found = of(
        "<3>[   12.660775] rdma_rxe: rxe0: rxe_create_cq: returned err = -22",
        "fi_enable(): 22 (Invalid argument)",
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].cause, Cause::ResourceRefused);
    assert!(found[0].sentence.contains("ibv_create_cq (error -22)"), "{found:?}");
    assert_eq!(of("", "ibv_create_qp: Invalid argument")[0].cause, Cause::ResourceRefused);
    let found = of("", "Couldn't Open the XRC Domain 95");
    assert_eq!(found[0].cause, Cause::ResourceRefused);
    assert_eq!(found[0].sentence, "client's device has no extended reliable connections (XRC)");
    // Near neighbours: another call, and a right end of the same words.
    assert_eq!(of("", "ibv_reg_mr: Cannot allocate memory")[0].cause, Cause::LockedMemoryLimit);
    assert_eq!(of("", "created QP")[0].cause, Cause::ClientFailed);
}

#[test]
fn key_that_was_taken_before_is_revoked() {
    let pair = Pair::new(1);
    let (va, rkey) = (pair.passive.va, pair.passive.rkey);
    let mut frames = connected(&pair);
    for (n, syndrome) in [(0, 0x1f), (1, 0x62)] {
        frames.push(pair.request(0x0a, n).ack_request().reth(va, rkey, 16).payload(&[0; 16]).build());
        frames.push(pair.response(0x11, n).aeth(syndrome, 1).build());
    }
    assert_eq!(StagedRun::new(frames).client_failed("").causes(), [Cause::KeyRevoked]);
}

#[test]
fn atomic_at_an_odd_address_is_unaligned() {
    let pair = Pair::new(1);
    let atomic = |offset: u64| {
        let mut frames = connected(&pair);
        let va = pair.passive.va + offset;
        frames.push(pair.request(0x14, 0).ack_request().atomic_eth(va, pair.passive.rkey, 1, 0).build());
        frames.push(pair.response(0x11, 0).aeth(0x62, 0).build());
        StagedRun::new(frames).client_failed("").causes()
    };
    assert_eq!(atomic(4), [Cause::AtomicUnaligned]);
    assert_eq!(atomic(0), [Cause::AccessNotGranted]);
}

/// A SEND, or what else takes a RECV, that is answered with these syndromes, one a try.
pub(super) fn send(opcode: u8, syndromes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let pair = Pair::new(1);
    let mut frames: Vec<(u64, Vec<u8>)> = connected(&pair).into_iter().map(|frame| (0, frame)).collect();
    for (index, syndrome) in syndromes.iter().enumerate() {
        let request = pair.request(opcode, 0).ack_request();
        let request = match opcode {
            0x0b => request.reth(pair.passive.va, pair.passive.rkey, 16).header(&[0, 0, 0, 7]),
            _ => request,
        };
        let ms = 700 * index as u64;
        frames.push((ms, request.payload(&[0; 16]).build()));
        frames.push((ms + 1, pair.response(0x11, 0).aeth(*syndrome, 0).build()));
    }
    frames.push((9_000, pair.dreq()));
    frames.push((9_001, pair.drep()));
    frames
}

#[test]
fn message_without_a_receive_is_told_from_one_that_is_late() {
    let rnr = 0x20;
    let of = |opcode, syndromes: &[u8]| StagedRun::timed(send(opcode, syndromes)).client_failed("").causes();
    assert_eq!(of(0x04, &[rnr, rnr]), [Cause::ReceiveNotPosted]);
    assert_eq!(of(0x0b, &[rnr, rnr]), [Cause::ImmediateWithoutReceive]);
    assert_eq!(of(0x04, &[0x61]), [Cause::ReceiveTooSmall]);
    // Received at last: whatever the client failed for, it is not that.
    assert_eq!(of(0x04, &[rnr, 0x1f]), [Cause::ClientFailed]);
}

#[test]
fn receive_of_bad_memory_is_told_from_a_small_one() {
    let of = |said: &str| {
        let mut run = StagedRun::timed(send(0x04, &[0x63])).client_failed("remote operation error");
        run.ended(Role::Server, 3, said, "");
        run.causes()
    };
    assert_eq!(of("local length error"), [Cause::ReceiveTooSmall]);
    assert_eq!(of("local protection error of the RECV"), [Cause::ReceiveBufferInvalid]);
}

#[test]
fn rejections_say_who_said_no() {
    let pair = Pair::new(1);
    let of = |reason| {
        StagedRun::new(vec![pair.req(7001, &[]), pair.rej(reason, &[])])
            .client_failed("RDMA_CM_EVENT_REJECTED status")
            .diagnosed_without(0)
    };
    let found = of(8);
    assert_eq!(found[0].cause, Cause::NobodyListens);
    assert_eq!(
        found[0].sentence,
        "nobody listens on RDMA_PS_TCP port 7001 of server, where client connects to"
    );
    assert_eq!(of(28)[0].cause, Cause::RejectedByProgram);
    assert_eq!(of(10)[0].cause, Cause::Rejected);
    // Accepted once, and the program listened no longer.
    let mut accepted = connected(&pair);
    accepted.extend([pair.req(7471, &[]), pair.rej(8, &[]), pair.req(7471, &[]), pair.rej(8, &[])]);
    let found = StagedRun::new(accepted).client_failed("").diagnosed_without(0);
    assert_eq!(
        found[0].sentence,
        "nobody listens any longer, or not yet again, on RDMA_PS_TCP port 7471 of server, where client's connection of packet 2 was accepted"
    );
    assert_eq!(
        found[0].evidence,
        ["packet 5: REJ \"invalid service id\" from server, the first of 2 in 0.0 s"]
    );
    // Rejected once, then made.
    let mut again = vec![pair.req(7001, &[]), pair.rej(10, &[])];
    again.extend(connected(&pair));
    assert_eq!(StagedRun::new(again).causes(), []);
}

#[test]
fn connection_request_that_nothing_answers_is_told() {
    let pair = Pair::new(1);
    let mut run =
        StagedRun::timed(vec![(0, pair.req(7001, &[])), (4_000, pair.req(7001, &[]))]).client_failed("");
    assert_eq!(run.causes(), [Cause::ConnectRequestUnanswered]);
}

#[test]
fn failed_program_is_told_with_its_errors_first_and_whether_its_messages_were_answered() {
    let pair = Pair::new(1);
    let (va, rkey) = (pair.passive.va, pair.passive.rkey);
    let of = |is_answered: bool| {
        let mut frames = connected(&pair);
        frames.push(pair.request(0x0a, 0).ack_request().reth(va, rkey, 16).payload(&[0; 16]).build());
        if is_answered {
            frames.push(pair.response(0x11, 0).aeth(0x1f, 1).build());
        }
        let mut run = StagedRun::new(frames);
        run.ended(Role::Client, 1, "a table\n-----\n", "no report\n");
        run.diagnosed_without(0)
    };
    let found = of(true);
    assert_eq!(
        found[0].sentence,
        "client ended with exit code 1, expected 0; its one message on the wire was answered"
    );
    assert_eq!(found[0].evidence, ["client's stderr: no report", "client's stdout: a table"]);
    assert!(!of(false)[0].sentence.contains("answered"), "{:?}", of(false));
}

#[test]
fn hung_program_is_told_with_how_its_peer_ended() {
    let mut run = StagedRun::timed(send(0x04, &[0x1f]));
    run.evidence.node(Role::Server).is_timed_out = true;
    run.evidence.seconds.insert("programs".to_owned(), 60.0);
    let found = run.diagnosed_without(0);
    assert_eq!(found[0].cause, Cause::ProgramHung, "{found:?}");
    let ended = "client had ended with exit code 0; it sent 4 packets";
    assert!(found[0].evidence.contains(&ended.to_owned()), "{found:?}");
}

/// A datagram to a queue pair of the server.
pub(super) fn datagram(qpn: u32, q_key: u32) -> Vec<u8> {
    let pair = Pair::new(1);
    let (active, passive) = (&pair.active, &pair.passive);
    roce::synth::FrameBuilder::new(active.address, passive.address, roce::wire::Opcode(0x64))
        .destination_qpn(qpn)
        .deth(q_key, active.qpn)
        .payload(&[0; 64])
        .build()
}

#[test]
fn packets_that_a_device_does_not_take_have_their_reason() {
    let pair = Pair::new(1);
    let mut frames = connected(&pair);
    let lost = pair.request(0x04, 0).destination_qpn(0x77).ack_request().payload(&[0; 16]).build();
    frames.extend([lost.clone(), lost]);
    let mut run = StagedRun::new(frames).client_failed("transport retry counter exceeded");
    let found = run.diagnosed_without(2);
    assert_eq!(found[0].cause, Cause::NoSuchQueuePair, "{found:?}");
    assert!(found[0].sentence.contains("queue pair 0x77 of server, which does not exist"), "{found:?}");
    assert!(found[0].evidence.contains(&"client's stderr: transport retry counter exceeded".to_owned()));
}

#[test]
fn datagram_that_finds_no_room_is_told_from_one_that_was_not_taken() {
    let server_waits = |not_taken| {
        // The server sends one of its own, so its queue pair is known.
        let pair = Pair::new(1);
        let own = roce::synth::FrameBuilder::new(
            pair.passive.address,
            pair.active.address,
            roce::wire::Opcode(0x64),
        );
        let own = own.destination_qpn(pair.active.qpn).deth(0x1111_1111, pair.passive.qpn).payload(&[0; 8]);
        let mut run = StagedRun::new(vec![own.build(), datagram(pair.passive.qpn, 0x2222_2222)]);
        run.ended(Role::Server, 6, "no completion in 3 s", "");
        run.diagnosed_without(not_taken).into_iter().map(|diagnosis| diagnosis.cause).collect::<Vec<_>>()
    };
    assert_eq!(server_waits(1), [Cause::QKeyMismatch]);
    assert_eq!(server_waits(0), [Cause::DatagramWithoutRoom]);
}

#[test]
fn what_never_left_is_told_with_the_mtu() {
    let mut run = StagedRun::new(Vec::new()).client_failed("Work Request Flushed Error");
    assert_eq!(run.causes(), [Cause::LocalProtectionError]);
    run.evidence.node(Role::Client).counters = [("send_err".to_owned(), 1)].into();
    let found = run.diagnosed_without(0);
    assert_eq!(found[0].cause, Cause::PathMtuBeyondInterface, "{found:?}");
    assert!(found[0].sentence.contains("whose 1500 bytes carry a path MTU of at most 1024"), "{found:?}");
}

#[test]
fn what_the_system_refused_comes_first() {
    let of = |code, stderr: &str| {
        let mut run = StagedRun::new(Vec::new());
        run.ended(Role::Client, code, "", stderr);
        run.causes()
    };
    for (stderr, expected) in [
        ("ibv_reg_mr of 1000 bytes: errno 12 Cannot allocate memory", Cause::LockedMemoryLimit),
        ("ibv_post_send: Cannot allocate memory", Cause::SendQueueFull),
        ("resolve_route: errno 19 No such device", Cause::NoRdmaDevice),
        ("modify_qp INIT to RTR: errno 22 Invalid argument", Cause::GidUnusable),
        ("completion wr_id 1: local protection error", Cause::LocalProtectionError),
        ("something else", Cause::ClientFailed),
    ] {
        assert_eq!(of(1, stderr), [expected], "{stderr}");
    }
    assert_eq!(of(127, "sh: x: not found"), [Cause::ProgramMissing]);
    assert_eq!(of(0, "modify_qp INIT to RTR: errno 22 Invalid argument"), []);
}

#[test]
fn program_that_died_is_named_before_the_one_that_failed_behind_it() {
    let pair = Pair::new(1);
    let mut frames = connected(&pair);
    frames.extend([pair.dreq(), pair.drep()]);
    let mut run = StagedRun::new(frames).client_failed("RECV: Work Request Flushed Error");
    run.ended(Role::Server, 139, "", "Segmentation fault");
    let found = run.diagnosed_without(0);
    assert_eq!(found[0].cause, Cause::PeerEnded);
    assert!(found[0].sentence.starts_with("server's program died (SIGSEGV, exit code 139)"), "{found:?}");
    // One that the lab stopped did not die.
    run.evidence.node(Role::Server).is_stopped = true;
    assert_eq!(run.causes(), [Cause::ClientFailed]);
}

#[test]
fn server_that_is_never_ready_is_told() {
    let mut run = StagedRun::new(Vec::new());
    for role in Role::BOTH {
        *run.evidence.node(role) = Default::default();
    }
    run.ended(Role::Server, 143, "", "");
    run.evidence.node(Role::Server).is_stopped = true;
    run.evidence.failure = Some(Failed { kind: FailedKind::Timeout, text: "a server".to_owned() });
    assert_eq!(run.causes(), [Cause::ServerNeverListened]);
}

/// A WRITE that comes again after so many milliseconds, then is answered.
pub(super) fn repeated(ms: u64) -> StagedRun {
    let pair = Pair::new(1);
    let write = |n| {
        let request = pair.request(0x0a, n).ack_request();
        request.reth(pair.passive.va, pair.passive.rkey, 16).payload(&[0; 16]).build()
    };
    let mut frames: Vec<(u64, Vec<u8>)> = connected(&pair).into_iter().map(|frame| (0, frame)).collect();
    frames.push((10, write(0)));
    frames.push((10 + ms, write(0)));
    frames.push((20 + ms, pair.response(0x11, 0).aeth(0x1f, 1).build()));
    frames.push((21 + ms, pair.response(0x11, 0).aeth(0x1f, 1).build()));
    let mut run = StagedRun::timed(frames);
    run.evidence.node(Role::Client).counters = [("completer_retry_err".to_owned(), 1)].into();
    run
}

#[test]
fn repetition_before_the_ack_timeout_is_a_deviation_and_later_a_stall() {
    // The REQ's ACK timeout is 19: 2.15 s.
    assert_eq!(repeated(30).causes(), [Cause::SpuriousTimer]);
    assert_eq!(repeated(2_500).causes(), [Cause::MachineStoodStill]);
    // A program that fails all the same has its cause beside it.
    assert_eq!(repeated(30).client_failed("").causes(), [Cause::ClientFailed, Cause::SpuriousTimer]);
    // With an error of the device it is neither.
    let mut run = repeated(30);
    run.evidence.node(Role::Client).counters.insert("retry_exceeded_err".to_owned(), 1);
    assert_eq!(run.causes(), []);
}

#[test]
fn repetition_behind_an_rnr_retry_is_the_timers_and_the_retry_is_not() {
    let pair = Pair::new(1);
    let send = || pair.request(0x04, 0).payload(&[0; 16]).ack_request().build();
    let ack = || pair.response(0x11, 0).aeth(0x1f, 1).build();
    let of = |is_repeated: bool| {
        let mut frames: Vec<(u64, Vec<u8>)> = connected(&pair).into_iter().map(|frame| (0, frame)).collect();
        frames.push((10, send()));
        frames.push((12, pair.response(0x11, 0).aeth(0x20, 0).build()));
        frames.push((700, send()));
        frames.push((702, ack()));
        if is_repeated {
            frames.push((703, send()));
            frames.push((704, ack()));
        }
        let mut run = StagedRun::timed(frames);
        run.evidence.scenario.expect.completions = true;
        run.evidence.node(Role::Client).counters = [("completer_retry_err".to_owned(), 1)].into();
        run.evidence.node(Role::Server).counters = [("send_rnr_err".to_owned(), 1)].into();
        run.causes()
    };
    assert_eq!((of(false), of(true)), (vec![], vec![Cause::SpuriousTimer]));
}

#[test]
fn request_that_ends_with_its_connection_is_held_against_nobody_where_completions_are_not_compared() {
    let pair = Pair::new(1);
    let of = |evidence| roce::Finding {
        rule: roce::Rule::RequestNotAnswered,
        severity: roce::Severity::Warning,
        packet: 7,
        source: pair.active.address,
        destination: pair.passive.address,
        stream: None,
        psn: None,
        message: None,
        evidence,
    };
    let in_flight = of(roce::Evidence::Words { expected: "an answer", got: "none" });
    let repeated = of(roce::Evidence::Unanswered { times: 4, qpn: 0x12 });
    let mut run = StagedRun::new(Vec::new());
    assert!(!super::rxe::ended_in_flight(&run.evidence, &in_flight), "completions are compared");
    run.evidence.scenario.expect.completions = false;
    assert!(super::rxe::ended_in_flight(&run.evidence, &in_flight));
    assert!(!super::rxe::ended_in_flight(&run.evidence, &repeated));
    run.ended(Role::Client, 3, "", "");
    assert!(!super::rxe::ended_in_flight(&run.evidence, &in_flight), "a program failed");
}

/// A message of connection management with another byte at `at`, which is counted behind the MAD's head.
pub(super) fn with_byte(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    // Before it are Ethernet, IPv4, UDP, BTH, DETH and the MAD's head.
    let at = 14 + 20 + 8 + 12 + 8 + 24 + at;
    assert_ne!(frame[at], value);
    frame[at] = value;
    sealed(frame)
}

/// A frame with the ICRC that fits it.
pub(super) fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let without_icrc = frame.len() - 4;
    let icrc = roce::wire::icrc(&frame[14..34], &frame[34..without_icrc]).unwrap().to_le_bytes();
    frame[without_icrc..].copy_from_slice(&icrc);
    frame
}

#[test]
fn read_that_never_leaves_is_told_from_a_program_that_goes_on_sending() {
    let pair = Pair::new(1);
    // The initiator depth is at 39 of the REQ.
    let req = with_byte(pair.req(7471, &[]), 39, 0);
    let mut frames = vec![(0, req), (1, pair.rep(&pair.advert())), (2, pair.rtu())];
    let run = |frames: &[(u64, Vec<u8>)]| {
        let mut run = StagedRun::timed(frames.to_vec()).client_failed("");
        run.evidence.node(Role::Client).is_timed_out = true;
        run.evidence.seconds.insert("programs".to_owned(), 10.0);
        run.causes()
    };
    assert_eq!(run(&frames), [Cause::ReadDepthNone]);
    frames.push((9_900, pair.request(0x04, 0).ack_request().payload(&[0; 4]).build()));
    frames.push((9_901, pair.response(0x11, 0).aeth(0x1f, 1).build()));
    assert_eq!(run(&frames), [Cause::LimitTooShort]);
}

#[test]
fn immediate_in_the_other_byte_order_is_told_where_a_program_failed() {
    let pair = Pair::new(1);
    let of = |imm: u32| {
        let mut frames = connected(&pair);
        let request = pair.request(0x0b, 0).ack_request().reth(pair.passive.va, pair.passive.rkey, 16);
        frames.push(request.header(&imm.to_be_bytes()).payload(&[0; 16]).build());
        frames.push(pair.response(0x11, 0).aeth(0x1f, 1).build());
        StagedRun::new(frames)
    };
    assert_eq!(of(7_u32.swap_bytes()).client_failed("").causes(), [Cause::ImmediateByteSwapped]);
    assert_eq!(of(7).client_failed("").causes(), [Cause::ClientFailed]);
    assert_eq!(of(7_u32.swap_bytes()).causes(), []);
}

#[test]
fn run_that_is_meant_as_it_was_is_told_what_to_expect() {
    let pair = Pair::new(1);
    let mut run = refused(pair.passive.va, pair.passive.rkey ^ 1, 0x62).counted(Role::Client, "send_err", 2);
    run.evidence.scenario.expect.completions = false;
    let artifacts = tempfile::tempdir().unwrap();
    run.counted_all(artifacts.path());
    let of = |evidence: &RunEvidence| {
        crate::judge::meant::meant(evidence, artifacts.path(), &Accepted::NotDemanded)
    };
    let meant = of(&run.evidence).unwrap();
    assert_eq!(meant.options, ["--client-exit 3", "--finding RequestRefused", "--counter client.send_err=2"]);
    let expected = [
        "[expect.client] exit = 3",
        "[expect] findings = [\"RequestRefused\"]",
        "[expect.client] counters = { send_err = 2 }",
    ];
    assert_eq!(meant.lines, expected);
    // What no expectation accepts is not offered.
    run.evidence.node(Role::Client).kernel_log = "<3>[    1.0] something broke\n".to_owned();
    assert_eq!(of(&run.evidence), None);
    run.evidence.node(Role::Client).kernel_log.clear();
    run.evidence.node(Role::Server).is_timed_out = true;
    assert_eq!(of(&run.evidence), None);
}
