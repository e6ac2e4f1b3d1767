//! Judgement on how a kernel took what a peer sent.
//!
//! A connection's moves and their answers, the server's kernel log and the capture in; surprises out. A refused request is none.

use roce::{Report, Rule, Severity};

use crate::base::role::Role;
use crate::explore::outcome::known_complaints;
use crate::fuzz::grammar::{MoveDue, PeerMove};
use crate::fuzz::peer::PeerAnswer;
use crate::run::kernel_log;

/// Lines that the kernel logs of what a peer sends to its queue pair of connection management.
const OF_DATAGRAMS: [&str; 1] = ["MAD received with unsupported base version"];

/// Rules about one packet of a sender's, whatever its peer did before.
const OF_ONE_PACKET: [Rule; 11] = [
    Rule::IcrcMismatch,
    Rule::MalformedPacket,
    Rule::PadCountMismatch,
    Rule::PadNotZero,
    Rule::PathMtuViolated,
    Rule::PayloadUnexpected,
    Rule::PayloadTooLarge,
    Rule::QueuePairZero,
    Rule::ReservedOpcode,
    Rule::ReservedSyndrome,
    Rule::TransportVersionUnknown,
];

/// Objections to the answers that came behind one move; `is_whole` as long as nothing before it may have ended the connection.
pub fn of_move(peer_move: &PeerMove, answers: &[PeerAnswer], is_whole: bool) -> Vec<String> {
    let acknowledges = |psn: i32| answers.iter().any(|answer| answer.psn == psn && answer.is_positive());
    match peer_move.due {
        MoveDue::Acknowledged(psn) if is_whole && !acknowledges(psn) => {
            vec![format!("{}: not acknowledged, though it is as it should be", peer_move.words)]
        }
        MoveDue::Refused(psn) | MoveDue::Dropped(psn) if is_whole && acknowledges(psn) => {
            vec![format!("{}: acknowledged", peer_move.words)]
        }
        _ => Vec::new(),
    }
}

/// Returns true if a connection goes on behind a move.
pub fn goes_on(peer_move: &PeerMove) -> bool {
    matches!(peer_move.due, MoveDue::Acknowledged(_) | MoveDue::Dropped(_))
}

/// Objection to what the server's kernel logged, by its most telling line; what is known is none.
pub fn of_kernel_log(log: &str) -> Option<String> {
    let mut expected: Vec<String> = OF_DATAGRAMS.map(str::to_owned).into();
    expected.extend(kernel_log::FAILED_REQUESTS.map(str::to_owned));
    let lines = kernel_log::objections(log, &expected);
    if known_complaints(log).next().is_some() {
        return None;
    }
    let is_telling = |line: &&&str| ["BUG:", "WARNING:", "Oops"].iter().any(|word| line.contains(word));
    let line = lines.iter().find(is_telling).or(lines.first())?;
    Some(format!("the server's kernel logs: {line}"))
}

/// Known deviations that the server's kernel logged, by name.
pub fn known(log: &str) -> Vec<String> {
    known_complaints(log).map(str::to_owned).collect()
}

/// Objections to the packets of the server's kernel: all rules where its peer kept to them, those about one packet else.
pub fn of_wire(report: &Report, is_legal: bool) -> Vec<String> {
    let counts = |finding: &&roce::Finding| {
        finding.severity == Severity::Error
            && report.names.get(finding.source) == Role::Server.name()
            && (is_legal || OF_ONE_PACKET.contains(&finding.rule))
    };
    report.findings.iter().filter(counts).map(|finding| report.known().finding(finding)).collect()
}

#[cfg(test)]
mod tests {
    use roce::wire::Syndrome;

    use super::*;

    fn peer_move(due: MoveDue) -> PeerMove {
        PeerMove { words: "WRITE".to_owned(), frames: Vec::new(), due }
    }

    fn answer(psn: i32, syndrome: u8) -> PeerAnswer {
        PeerAnswer { psn, syndrome: Some(Syndrome::from_byte(syndrome)), payload: Vec::new() }
    }

    #[test]
    fn request_has_to_be_acknowledged_exactly_if_it_is_as_it_should_be() {
        let count = |due, answers: &[PeerAnswer]| of_move(&peer_move(due), answers, true).len();
        let (ack, nak) = ([answer(3, 0x1f)], [answer(3, 0x62)]);
        assert_eq!((count(MoveDue::Acknowledged(3), &ack), count(MoveDue::Acknowledged(3), &nak)), (0, 1));
        assert_eq!((count(MoveDue::Refused(3), &ack), count(MoveDue::Refused(3), &nak)), (1, 0));
        assert_eq!((count(MoveDue::Dropped(3), &ack), count(MoveDue::Dropped(3), &[])), (1, 0));
        assert_eq!(count(MoveDue::Anything, &ack), 0);
        assert_eq!(of_move(&peer_move(MoveDue::Acknowledged(3)), &nak, false), [""; 0]);
    }

    #[test]
    fn kernel_may_say_that_a_datagram_is_none_and_nothing_of_a_bug() {
        let known = "<3>[ 5.1] infiniband rxe0: MAD received with unsupported base version 7";
        assert_eq!(of_kernel_log(known), None);
        let oops = "<4>[ 5.1] ---[ cut here ]---\n<1>[ 5.1] BUG: kernel NULL pointer dereference, address: 0000000000000008";
        assert!(of_kernel_log(&format!("{known}\n{oops}")).unwrap().contains("BUG: kernel NULL"));
    }

    #[test]
    fn rules_are_held_against_the_server_alone() {
        let pair = roce::synth::Pair::new(1);
        let names =
            roce::Names::new().with(pair.passive.address, "server").with(pair.active.address, "client");
        let mut analysis = roce::Analysis::new(names);
        let bad = |mut frame: Vec<u8>| {
            *frame.last_mut().unwrap() ^= 1;
            frame
        };
        let frames = [
            bad(pair.request(0x04, 0).ack_request().payload(b"four").build()),
            pair.response(0x11, 0).aeth(0x7f, 0).build(),
        ];
        for (number, frame) in (1..).zip(&frames) {
            analysis.push(&roce::capture::Record::ethernet(number, number * 1_000, frame));
        }
        let objections = of_wire(&analysis.finish(), false);
        assert!(objections.len() == 1 && objections[0].contains("ReservedSyndrome"), "{objections:?}");
    }
}
