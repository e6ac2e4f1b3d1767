//! Of every cause a run that has it, which is diagnosed with it first and alone, and a near neighbour that has it not.
//!
//! A cause without a pair does not compile.

use roce::synth::{FrameBuilder, Pair};
use roce::wire::{Opcode, Psn};

use super::tests::{StagedRun, connected, datagram, refused, repeated, send, with_byte};
use crate::base::role::Role;
use crate::run::evidence::{Failed, FailedKind};
use crate::scenario::cause::Cause;

const ACK: u8 = 0x1f;
const RNR: u8 = 0x20;
const PSN_SEQUENCE_ERROR: u8 = 0x60;
const INVALID: u8 = 0x61;
const REMOTE_ACCESS: u8 = 0x62;
const REMOTE_OPERATION: u8 = 0x63;

/// A time that is longer than the ACK timeout of the synthesised REQ, 2.15 s.
const LATE_MS: u64 = 2_500;

#[test]
fn every_cause_is_diagnosed_first_and_alone_and_its_neighbour_is_not() {
    let mut wrong = Vec::new();
    for cause in Cause::ALL {
        let (mut with, mut without) = pair(cause);
        let found = with.diagnosed();
        let is_alone = found.len() == 1 && found[0].cause == cause;
        if !is_alone || found[0].sentence.is_empty() || found[0].evidence.is_empty() {
            wrong.push(format!("{cause}: {found:#?}"));
        }
        let near = without.diagnosed();
        if near.iter().any(|near| near.cause == cause) {
            wrong.push(format!("{cause}'s neighbour: {near:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A run with the cause, and its neighbour.
fn pair(cause: Cause) -> (StagedRun, StagedRun) {
    let pair = Pair::new(1);
    let (va, rkey) = (pair.passive.va, pair.passive.rkey);
    let refused = |va, rkey| refused(va, rkey, REMOTE_ACCESS);
    let said = |stderr: &str| StagedRun::new(Vec::new()).client_failed(stderr);
    match cause {
        Cause::KeyByteSwapped => (refused(va, rkey.swap_bytes()), refused(va, rkey)),
        Cause::AddressByteSwapped => {
            (refused(va.swap_bytes(), rkey.swap_bytes()), refused(va, rkey.swap_bytes()))
        }
        Cause::AddressTruncated => (refused(va & 0xffff_ffff, rkey), refused(va & 0xffff_ffff_ffff, rkey)),
        Cause::OutOfBounds => (refused(va + 65_500, rkey), refused(va, rkey)),
        Cause::AccessNotGranted => (refused(va, rkey), refused(va + 65_500, rkey)),
        Cause::KeyRevoked => (written(&[(va, ACK), (va, REMOTE_ACCESS)]), written(&[(va, REMOTE_ACCESS)])),
        Cause::KeyOfAnotherRegion => (refused(0x7f00_0000_0000, rkey), refused(va + 65_500, rkey)),
        Cause::KeyNeverAdvertised => (refused(va, rkey ^ 0x1234_5678), refused(va, rkey.swap_bytes())),
        Cause::AtomicUnaligned => (atomic(4), atomic(8)),
        Cause::OperationNotPermitted => {
            (super::tests::refused(va, rkey, INVALID), super::tests::refused(va, rkey, REMOTE_ACCESS))
        }
        Cause::ReceiveTooSmall => (sent(&[INVALID]), sent(&[RNR, RNR])),
        Cause::ReceiveBufferInvalid => {
            let of = |status| {
                let log = format!("rxe0: qp#18 do_complete: non-flush error status = {status}");
                let mut run = StagedRun::timed(send(0x04, &[REMOTE_OPERATION])).client_failed("");
                run.evidence.node(Role::Server).kernel_log = log;
                run
            };
            (of(4), of(1))
        }
        Cause::ImmediateWithoutReceive => (immediate_sent(&[RNR, RNR]), immediate_sent(&[RNR, ACK])),
        Cause::ImmediateByteSwapped => (immediate(7_u32.swap_bytes()), immediate(7)),
        Cause::WriteWithoutImmediate => {
            let of = |stderr| {
                let mut run = written(&[(va, ACK)]);
                run.ended(Role::Client, 0, "", "").ended(Role::Server, 4, "", stderr);
                run
            };
            (of("completion wr_id 1: RECV WR_FLUSH_ERR, 0 bytes, qp 18"), of("lost"))
        }
        Cause::ReceiveNotPosted => (sent(&[RNR, RNR]), sent(&[RNR, ACK])),
        Cause::NobodyListens => (rejected(8, 1), rejected(28, 1)),
        Cause::RejectedByProgram => (rejected(28, 1), rejected(28, 9_000)),
        Cause::ConnectRequestNotTaken => (rejected(28, 9_000), rejected(28, 1)),
        Cause::Rejected => (
            rejected(10, 1),
            StagedRun::new([vec![pair.req(7471, &[]), pair.rej(10, &[])], connected(&pair)].concat()),
        ),
        Cause::PsnsNotAgreed => (unanswered_with(&[0x99_9998]), unanswered_with(&[])),
        Cause::NoSuchQueuePair => {
            let of = |qpn| {
                let lost = pair.request(0x04, 0).destination_qpn(qpn).ack_request().payload(&[0; 16]).build();
                StagedRun::new([connected(&pair), vec![lost.clone(), lost]].concat())
                    .client_failed("")
                    .not_taken(2)
            };
            (of(0x77), of(pair.passive.qpn))
        }
        Cause::PKeyMismatch => {
            let of = |p_key| {
                let request = pair.request(0x04, 0).ack_request().bth(|bth| bth.p_key = p_key);
                let request = request.payload(&[0; 16]).build();
                StagedRun::new([connected(&pair), vec![request.clone(), request]].concat())
                    .client_failed("")
                    .not_taken(2)
            };
            (of(0x1234), of(0x7fff))
        }
        Cause::QKeyMismatch => (datagrams(1), datagrams(0)),
        Cause::DatagramWithoutRoom => (datagrams(0), datagrams(1)),
        Cause::PathMtusDiffer => (first_refused(false), first_refused(true)),
        Cause::PathMtuBeyondInterface => {
            (said("flushed").counted(Role::Client, "send_err", 1), said("flushed"))
        }
        Cause::SendFailed => {
            let of = |mtu| {
                let mut run = said("flushed").counted(Role::Client, "send_err", 1);
                run.evidence.scenario.network.mtu = mtu;
                run
            };
            (of(4_200), of(1_500))
        }
        Cause::NeighbourUnresolved => (asked_for_address(false), asked_for_address(true)),
        Cause::PacketsChanged => (changed(true), changed(false)),
        Cause::LockedMemoryLimit => {
            (said("ibv_reg_mr: Cannot allocate memory"), said("ibv_reg_mr: Bad address"))
        }
        Cause::ProgramHalted => {
            let of = |halted: &[&str]| {
                let mut run = StagedRun::new(Vec::new());
                let node = run.evidence.node(Role::Server);
                node.halted = halted.iter().map(|name| (*name).to_owned()).collect();
                node.is_timed_out = true;
                run
            };
            (of(&["srv"]), of(&[]))
        }
        Cause::TerminalNeeded => (said("top: failed tty get: not a tty"), said("top: no such file")),
        Cause::WorkRequestInvalid => {
            (said("ibv_post_send: Invalid argument"), said("ibv_post_send: Cannot allocate memory"))
        }
        Cause::ResourceRefused => (said("ibv_create_qp: Invalid argument"), said("ibv_create_qp: made")),
        Cause::NoRdmaDevice => (said("rdma_resolve_addr: No such device"), said("open: No such file")),
        Cause::ClockNotMeasured => {
            (said("Correlation coefficient r^2: 0.828799 < 0.9"), said("Can't produce a report"))
        }
        Cause::GidUnusable => {
            (said("ibv_modify_qp to RTR: Invalid argument"), said("ibv_modify_qp to RTR: Bad address"))
        }
        Cause::AddressWithoutGrh => {
            (said("rconnect: No such file or directory"), said("rconnect: Connection refused"))
        }
        Cause::LocalProtectionError => {
            let flushed = "Work Request Flushed Error";
            (said(flushed), said(flushed).counted(Role::Client, "send_err", 1))
        }
        Cause::SendQueueFull => {
            (said("ibv_post_send: Cannot allocate memory"), said("ibv_post_send: Invalid argument"))
        }
        Cause::ReadDepthNone => (waiting_for_read(0), waiting_for_read(2)),
        Cause::ReadDepthExceeded => (reads_refused(3), reads_refused(1)),
        Cause::ConnectRequestUnanswered => {
            let req = || pair.req(7001, &[]);
            (
                StagedRun::timed(vec![(0, req()), (4_000, req())]).client_failed(""),
                StagedRun::timed(vec![(0, req()), (4_000, req()), (4_001, pair.rej(8, &[]))])
                    .client_failed(""),
            )
        }
        Cause::RetriesWithoutEnd => (unanswered(7, 12), unanswered(3, 4)),
        Cause::PacketsDiscarded => {
            // The server's queue pair sends something itself afterwards, so that it is there.
            let of = |count| {
                let mut frames = connected(&pair);
                let request = || pair.request(0x04, 0).ack_request().payload(&[0; 16]).build();
                frames.extend([request(), request()]);
                frames.push(pair.response(0x11, 0).aeth(ACK, 1).build());
                StagedRun::new(frames).client_failed("").not_taken(count)
            };
            (of(2), of(0))
        }
        Cause::LargePacketsLost => (lost_by_size(1024), lost_by_size(64)),
        Cause::RtuLost => {
            let frames = || [connected(&pair), vec![pair.rep(&pair.advert()), pair.rtu()]].concat();
            let of =
                |lost: &[usize]| StagedRun::new(frames()).without(lost).server_failed("wanted ESTABLISHED");
            (of(&[2, 4]), of(&[2]))
        }
        Cause::PacketsLost => (unanswered(3, 4).without(&[3, 4, 5, 6]), unanswered(3, 4)),
        Cause::RequestUnanswered => (unanswered(3, 4), unanswered(3, 4).without(&[3, 4, 5, 6])),
        Cause::PeerEnded => {
            let of = |code| {
                let mut run = StagedRun::new([connected(&pair), vec![pair.dreq(), pair.drep()]].concat())
                    .client_failed("");
                run.ended(Role::Server, code, "", "Segmentation fault");
                run
            };
            (of(139), of(1))
        }
        Cause::ExchangeCutShort => {
            let of = |flags| StagedRun::new(vec![tcp(flags)]).server_failed("the peer disconnected");
            (of(0x14), of(0x10))
        }
        Cause::ServerNeverListened => {
            let of = |kind| {
                let mut run = StagedRun::new(Vec::new());
                for role in Role::BOTH {
                    *run.evidence.node(role) = Default::default();
                }
                run.ended(Role::Server, 143, "", "Terminated by its peer");
                run.evidence.node(Role::Server).is_stopped = true;
                run.evidence.failure = Some(Failed { kind, text: "a server".to_owned() });
                run
            };
            (of(FailedKind::Timeout), of(FailedKind::Boot))
        }
        Cause::LimitTooShort => (silent_until(10.0), silent_until(30.0)),
        Cause::ProgramHung => (silent_until(30.0), silent_until(10.0)),
        Cause::ProgramMissing => {
            let of = |code| {
                let mut run = StagedRun::new(Vec::new());
                run.ended(Role::Client, code, "", "sh: 1: x: not found");
                run
            };
            (of(127), of(1))
        }
        Cause::ClientFailed => {
            (said("something else"), StagedRun::new(Vec::new()).server_failed("something else"))
        }
        Cause::ServerFailed => {
            (StagedRun::new(Vec::new()).server_failed("something else"), said("something else"))
        }
        Cause::SpuriousTimer => (repeated(30), repeated(LATE_MS)),
        Cause::MachineStoodStill => (repeated(LATE_MS), repeated(30)),
        Cause::ReceiverLate => {
            let of = |syndromes: &[u8]| {
                let mut run = StagedRun::timed(send(0x04, syndromes));
                run.evidence.scenario.expect.completions = false;
                run
            };
            (of(&[RNR, ACK]), of(&[ACK]))
        }
        Cause::EndedInFlight => {
            let of = |completions| {
                let mut frames = connected(&pair);
                frames.push(write(va).build());
                frames.extend([pair.dreq(), pair.drep()]);
                let mut run = StagedRun::new(frames);
                run.evidence.scenario.expect.completions = completions;
                run
            };
            (of(false), of(true))
        }
        Cause::SequenceNakBehindRnrNak => (nak_behind_rnr_nak(RNR), nak_behind_rnr_nak(ACK)),
        Cause::ReadAgainWithoutFirst => (read_again(0x0e), read_again(0x0d)),
    }
}

/// A WRITE of 16 bytes to `va`, the first request.
fn write(va: u64) -> FrameBuilder {
    let pair = Pair::new(1);
    pair.request(0x0a, 0).ack_request().reth(va, pair.passive.rkey, 16).payload(&[0; 16])
}

/// WRITEs that are answered with these syndromes.
fn written(writes: &[(u64, u8)]) -> StagedRun {
    let pair = Pair::new(1);
    let mut frames = connected(&pair);
    for (n, (va, syndrome)) in (0..).zip(writes) {
        let request = pair.request(0x0a, n).ack_request().reth(*va, pair.passive.rkey, 16);
        frames.push(request.payload(&[0; 16]).build());
        frames.push(pair.response(0x11, n).aeth(*syndrome, 1).build());
    }
    StagedRun::new(frames).client_failed("")
}

fn sent(syndromes: &[u8]) -> StagedRun {
    StagedRun::timed(send(0x04, syndromes)).client_failed("")
}

fn immediate_sent(syndromes: &[u8]) -> StagedRun {
    StagedRun::timed(send(0x0b, syndromes)).client_failed("")
}

fn immediate(imm: u32) -> StagedRun {
    let pair = Pair::new(1);
    let mut frames = connected(&pair);
    let request = pair.request(0x0b, 0).ack_request().reth(pair.passive.va, pair.passive.rkey, 16);
    frames.push(request.header(&imm.to_be_bytes()).payload(&[0; 16]).build());
    frames.push(pair.response(0x11, 0).aeth(ACK, 1).build());
    StagedRun::new(frames).client_failed("")
}

fn atomic(offset: u64) -> StagedRun {
    let pair = Pair::new(1);
    let request = pair.request(0x14, 0).ack_request();
    let request = request.atomic_eth(pair.passive.va + offset, pair.passive.rkey, 1, 0).build();
    let refusal = pair.response(0x11, 0).aeth(REMOTE_ACCESS, 0).build();
    StagedRun::new([connected(&pair), vec![request, refusal]].concat()).client_failed("")
}

/// A connection request that is rejected so many milliseconds later.
fn rejected(reason: u16, ms: u64) -> StagedRun {
    let pair = Pair::new(1);
    StagedRun::timed(vec![(0, pair.req(7001, &[])), (ms, pair.rej(reason, &[]))]).client_failed("")
}

/// A SEND that is repeated `times` times over a connection with this retry count, and never answered.
fn unanswered(retry_count: u8, times: u64) -> StagedRun {
    let pair = Pair::new(1);
    let mut frames: Vec<(u64, Vec<u8>)> = connected(&pair).into_iter().map(|frame| (0, frame)).collect();
    if retry_count != 7 {
        // The retry count is the low bits of byte 47 of the REQ.
        frames[0].1 = with_byte(pair.req(7471, &[]), 47, retry_count);
    }
    for n in 0..times {
        frames.push((10 + n * LATE_MS, pair.request(0x04, 0).ack_request().payload(&[0; 16]).build()));
    }
    StagedRun::timed(frames).client_failed("")
}

/// A SEND without connection management that is repeated, beside answers to these PSNs.
fn unanswered_with(answers: &[u32]) -> StagedRun {
    let pair = Pair::new(1);
    let mut frames = Vec::new();
    for n in 0..4 {
        frames.push((n * 600, pair.request(0x04, 0).ack_request().payload(&[0; 16]).build()));
        for psn in answers {
            frames.push((n * 600 + 1, pair.response(0x11, 0).psn(Psn::new(*psn)).aeth(ACK, 0).build()));
        }
    }
    StagedRun::timed(frames).client_failed("transport retry counter exceeded")
}

/// Datagrams with another Q_Key than the server's own, of which so many were not taken.
fn datagrams(not_taken: u64) -> StagedRun {
    let pair = Pair::new(1);
    let own = FrameBuilder::new(pair.passive.address, pair.active.address, Opcode(0x64));
    let own = own.destination_qpn(pair.active.qpn).deth(0x1111_1111, pair.passive.qpn).payload(&[0; 8]);
    let mut run =
        StagedRun::new(vec![own.build(), datagram(pair.passive.qpn, 0x2222_2222)]).not_taken(not_taken);
    run.ended(Role::Server, 6, "no completion in 3 s", "");
    run
}

/// A SEND in two packets of 256 bytes whose first is refused as invalid, without connection management or with it.
fn first_refused(is_managed: bool) -> StagedRun {
    let pair = Pair::new(1);
    let mut frames = if is_managed { connected(&pair) } else { Vec::new() };
    frames.push(pair.request(0x00, 0).payload(&[0; 256]).build());
    frames.push(pair.request(0x02, 1).ack_request().payload(&[0; 100]).build());
    frames.push(pair.response(0x11, 0).aeth(INVALID, 0).build());
    StagedRun::new(frames).client_failed("remote invalid request error")
}

/// An ARP request of the client, and its answer.
fn asked_for_address(is_answered: bool) -> StagedRun {
    let arp = |operation: u8, sender: u8, target: u8| {
        let mut frame = vec![0xff; 12];
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 1, 198, 51, 100, sender]);
        frame.extend([0, 0, 0, 0, 0, 0, 198, 51, 100, target]);
        frame
    };
    let mut frames = vec![arp(1, 2, 9)];
    if is_answered {
        frames.push(arp(2, 9, 2));
    }
    StagedRun::new(frames).client_failed("")
}

/// A WRITE whose payload does not fit its ICRC, and the same again as it has to be.
fn changed(is_changed: bool) -> StagedRun {
    let pair = Pair::new(1);
    let mut first = write(pair.passive.va).build();
    if is_changed {
        let at = first.len() - 8;
        first[at] ^= 1;
    }
    let mut frames: Vec<(u64, Vec<u8>)> = connected(&pair).into_iter().map(|frame| (0, frame)).collect();
    frames.push((10, first));
    frames.push((LATE_MS, write(pair.passive.va).build()));
    frames.push((LATE_MS + 1, pair.response(0x11, 0).aeth(ACK, 1).build()));
    let mut run = StagedRun::timed(frames);
    run.evidence.scenario.expect.timeouts = true;
    run.evidence.scenario.expect.completions = true;
    run
}

/// A client that waits on a connection with this initiator depth.
fn waiting_for_read(depth: u8) -> StagedRun {
    let pair = Pair::new(1);
    let req = with_byte(pair.req(7471, &[]), 39, depth);
    let mut run = StagedRun::new(vec![req, pair.rep(&pair.advert()), pair.rtu()]).client_failed("");
    run.evidence.node(Role::Client).is_timed_out = true;
    run.evidence.seconds.insert("programs".to_owned(), 10.0);
    run
}

/// So many READs at once, of which the last is refused as invalid; the REP allows one.
fn reads_refused(count: u32) -> StagedRun {
    let pair = Pair::new(1);
    let mut frames = connected(&pair);
    for n in 0..count {
        let request = pair.request(0x0c, n).ack_request();
        frames.push(request.reth(pair.passive.va, pair.passive.rkey, 16).build());
    }
    for n in 0..count - 1 {
        frames.push(pair.response(0x10, n).aeth(ACK, n + 1).payload(&[0; 16]).build());
    }
    frames.push(pair.response(0x11, count - 1).aeth(INVALID, count - 1).build());
    StagedRun::new(frames).client_failed("")
}

/// Four tries of a WRITE that never arrive, behind one of so many bytes that did.
fn lost_by_size(bytes: usize) -> StagedRun {
    let pair = Pair::new(1);
    let of = |n, bytes: usize| {
        let request = pair.request(0x0a, n).ack_request();
        request.reth(pair.passive.va, pair.passive.rkey, bytes as u32).payload(&vec![0; bytes]).build()
    };
    let mut frames: Vec<(u64, Vec<u8>)> = connected(&pair).into_iter().map(|frame| (0, frame)).collect();
    frames.push((1, of(0, 512)));
    frames.push((2, pair.response(0x11, 0).aeth(ACK, 1).build()));
    for n in 0..4 {
        frames.push((10 + n * LATE_MS, of(1, bytes)));
    }
    StagedRun::timed(frames).without(&[5, 6, 7, 8]).client_failed("")
}

/// A client that has not ended after so many seconds; its last message is answered at 9.5 s.
fn silent_until(programs_s: f64) -> StagedRun {
    let mut run = StagedRun::timed(send(0x04, &[ACK]));
    run.frames_until(9_500);
    run.evidence.node(Role::Client).is_timed_out = true;
    run.evidence.seconds.insert("programs".to_owned(), programs_s);
    run
}

#[test]
fn side_that_hung_up_first_is_the_one_that_failed() {
    let of = |is_of_server: bool| {
        let mut frame = tcp(0x11);
        if is_of_server {
            let (source, destination) = (frame[29], frame[33]);
            (frame[29], frame[33]) = (destination, source);
        }
        let mut run = StagedRun::new(vec![frame]).client_failed("no data").server_failed("fi_enable: -22");
        run.causes()
    };
    assert_eq!((of(true), of(false)), (vec![Cause::ServerFailed], vec![Cause::ClientFailed]));
}

/// A TCP segment of the client with these flags.
fn tcp(flags: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 51, 100, 2, 198, 51, 100, 1]);
    frame.extend([0; 12]);
    frame.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    frame
}

/// Two SENDs at once: the first is answered with this syndrome, and the responder asks for the first again.
fn nak_behind_rnr_nak(syndrome: u8) -> StagedRun {
    let pair = Pair::new(1);
    let of = |n| pair.request(0x04, n).ack_request().payload(&[0; 16]).build();
    let mut frames = connected(&pair);
    frames.extend([of(0), of(1)]);
    frames.push(pair.response(0x11, 0).aeth(syndrome, 0).build());
    if syndrome == RNR {
        frames.push(pair.response(0x11, 0).aeth(PSN_SEQUENCE_ERROR, 0).build());
        frames.extend([of(0), of(1)]);
    }
    frames.push(pair.response(0x11, 1).aeth(ACK, 2).build());
    StagedRun::new(frames)
}

/// A READ of two responses whose second is lost, asked for again, and answered with this opcode.
fn read_again(opcode: u8) -> StagedRun {
    let pair = Pair::new(1);
    let (va, rkey) = (pair.passive.va, pair.passive.rkey);
    let mut frames: Vec<(u64, Vec<u8>)> = connected(&pair).into_iter().map(|frame| (0, frame)).collect();
    frames.push((1, pair.request(0x0c, 0).ack_request().reth(va, rkey, 3_072).build()));
    frames.push((2, pair.response(0x0d, 0).aeth(ACK, 1).payload(&[0; 1024]).build()));
    frames.push((3, pair.response(0x0e, 1).payload(&[0; 1024]).build()));
    frames.push((4, pair.response(0x0f, 2).aeth(ACK, 1).payload(&[0; 1024]).build()));
    frames.push((LATE_MS, pair.request(0x0c, 1).ack_request().reth(va + 1024, rkey, 2_048).build()));
    let again = pair.response(opcode, 1).payload(&[0; 1024]);
    let again = if opcode == 0x0d { again.aeth(ACK, 1) } else { again };
    frames.push((LATE_MS + 1, again.build()));
    frames.push((LATE_MS + 2, pair.response(0x0f, 2).aeth(ACK, 1).payload(&[0; 1024]).build()));
    let mut run = StagedRun::timed(frames).without(&[5, 6]);
    run.evidence.scenario.faults = vec!["action=\"drop\",probability=0.5".parse().unwrap()];
    run
}
