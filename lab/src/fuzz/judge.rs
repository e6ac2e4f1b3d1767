//! Judgement on how a kernel took what a peer sent.
//!
//! A connection's moves and their answers, the kernel log of the program's machine and the capture in; surprises out. A refused request is none.

use std::fmt;
use std::time::Duration;

use roce::{Report, Rule, Severity};

use crate::base::error::Error;
use crate::base::role::Role;
use crate::explore::outcome::{known_complaints, known_panic};
use crate::fuzz::answer::{AnswerDue, GivenAnswer};
use crate::fuzz::grammar::{MoveDue, PeerMove};
use crate::fuzz::peer::PeerAnswer;
use crate::run::kernel_log;

/// Lines by which the kernel tells of what a peer sent: to its queue pair of connection management, and a syndrome that means nothing
/// (`check_ack` of rxe 6.1).
const OF_A_PEER: [&str; 2] = ["MAD received with unsupported base version", "rdma_rxe: unexpected nak "];

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

/// Silence of a requester with a request that nothing acknowledged, after which it has forgotten that: beyond its ACK timeout, and beyond
/// the 4.2 s of connection management.
const FORGOTTEN: Duration = Duration::from_secs(6);

/// Parts of an objection and of the words of an answer that is not due, which together are a deviation that docs/findings.md knows, and its
/// name there.
const KNOWN_ENDINGS: [(&str, &str, &str); 1] = [("forgot the request", "RC RDMA READ", "ReadForgotten")];

/// Ending of a client's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FuzzEnd {
    /// It ended with this exit code.
    Code(i32),
    /// A signal ended it.
    Signal,
    /// It had to be stopped.
    Stopped,
}

impl FuzzEnd {
    /// Returns the ending of a command with this exit code, `None` for a signal.
    pub fn of(code: Option<i32>) -> FuzzEnd {
        match code {
            // A shell's word for a signal.
            Some(code) if code < 128 => FuzzEnd::Code(code),
            _ => FuzzEnd::Signal,
        }
    }
}

/// As in "the client ended with exit code 3".
impl fmt::Display for FuzzEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FuzzEnd::Code(code) => write!(f, "ended with exit code {code}"),
            FuzzEnd::Signal => f.write_str("ended by a signal"),
            FuzzEnd::Stopped => f.write_str("did not end and was stopped"),
        }
    }
}

/// Objections to how a client's program ended, and usually ends, behind answers with the weakest demand `due`; `pending` are the distances
/// of requests that nothing acknowledged, `silence` the requester's longest with one of them.
pub fn of_end(
    (end, usual): (FuzzEnd, FuzzEnd),
    due: AnswerDue,
    pending: &[i32],
    silence: Duration,
) -> Vec<String> {
    let mut objections = Vec::new();
    let unanswered = pending.first().map(|n| format!("the request at +{n}"));
    match (end, unanswered) {
        (FuzzEnd::Signal, _) => objections.push("the client's program ended by a signal".to_owned()),
        (FuzzEnd::Code(0), _) if due == AnswerDue::Fails => {
            objections.push("the client ended well, though a request was refused for good".to_owned());
        }
        (FuzzEnd::Code(0), Some(request)) => {
            objections.push(format!("the client ended well, though nothing acknowledged {request}"));
        }
        (_, Some(request)) if silence > FORGOTTEN && usual != FuzzEnd::Stopped => objections.push(format!(
            "the requester forgot {request}: {:.0} s without a word, nothing acknowledged it, and it did not fail",
            silence.as_secs_f64()
        )),
        _ if due <= AnswerDue::Recovers && end != usual => {
            objections.push(format!("the client {end}, though a requester makes good for all that came"));
        }
        (FuzzEnd::Stopped, _) if usual != FuzzEnd::Stopped => {
            objections.push("the client did not end and was stopped".to_owned());
        }
        _ => {}
    }
    objections
}

/// Name of the known deviation that an objection is, behind these answers.
pub fn known_ending(objection: &str, given: &[GivenAnswer]) -> Option<&'static str> {
    let is_it = |(of, answer, _): &&(&str, &str, &str)| {
        let is_of_it = |given: &GivenAnswer| given.due == AnswerDue::Anything && given.words.contains(answer);
        objection.contains(of) && given.iter().any(is_of_it)
    };
    KNOWN_ENDINGS.iter().find(is_it).map(|(_, _, name)| *name)
}

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

/// Objection to what the kernel of a node logged, by its most telling line; what is known is none.
pub fn of_kernel_log(log: &str, role: Role) -> Option<String> {
    let mut expected: Vec<String> = OF_A_PEER.map(str::to_owned).into();
    expected.extend(kernel_log::FAILED_REQUESTS.map(str::to_owned));
    let lines = kernel_log::objections(log, &expected);
    if known_complaints(log).next().is_some() {
        return None;
    }
    let is_telling = |line: &&&str| ["BUG:", "WARNING:", "Oops"].iter().any(|word| line.contains(word));
    let line = lines.iter().find(is_telling).or(lines.first())?;
    Some(format!("the {role}'s kernel logs: {line}"))
}

/// Objection to a machine that does not answer any more: however well known its kernel's fault is, it is one.
pub fn of_machine(role: Role, error: &Error) -> String {
    let error = error.to_string();
    match known_panic(&error) {
        Some(name) => format!("{name} (docs/findings.md): the {role}'s machine does not answer: {error}"),
        None => format!("the {role}'s machine does not answer: {error}"),
    }
}

/// Known deviations that a kernel logged, by name.
pub fn known(log: &str) -> Vec<String> {
    known_complaints(log).map(str::to_owned).collect()
}

/// Objections to the packets of a node's kernel: all rules where its peer kept to them, those about one packet else.
pub fn of_wire(report: &Report, role: Role, is_legal: bool) -> Vec<String> {
    let counts = |finding: &&roce::Finding| {
        finding.severity == Severity::Error
            && report.names.get(finding.source) == role.name()
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
    fn client_has_to_end_as_its_answers_demand() {
        use AnswerDue::{Anything, Fails, Recovers, Right};
        let usual = FuzzEnd::Code(0);
        let count = |end, due, pending: &[i32], seconds| {
            of_end((end, usual), due, pending, Duration::from_secs(seconds)).len()
        };
        for due in [Right, Recovers, Anything] {
            assert_eq!(count(usual, due, &[], 1), 0);
        }
        assert_eq!(
            (count(FuzzEnd::Code(3), Recovers, &[], 1), count(FuzzEnd::Code(3), Anything, &[], 1)),
            (1, 0)
        );
        assert_eq!((count(usual, Fails, &[], 1), count(FuzzEnd::Code(3), Fails, &[2], 1)), (1, 0));
        // A success that nothing acknowledged, and a request that was forgotten.
        assert_eq!((count(usual, Anything, &[2], 1), count(FuzzEnd::Code(6), Anything, &[2], 10)), (1, 1));
        assert_eq!(
            (count(FuzzEnd::Signal, Anything, &[], 1), count(FuzzEnd::Stopped, Anything, &[], 1)),
            (1, 1)
        );
        // One that never ends of itself may go on for ever.
        let endless = (FuzzEnd::Stopped, FuzzEnd::Stopped);
        assert_eq!(of_end(endless, Recovers, &[2], Duration::from_secs(10)), [""; 0]);
    }

    #[test]
    fn request_that_was_forgotten_is_known_behind_a_read_response_that_was_not_due() {
        let usual = FuzzEnd::Code(0);
        let silence = Duration::from_secs(8);
        let objections = of_end((FuzzEnd::Code(6), usual), AnswerDue::Anything, &[1], silence);
        let known = |words: &str, due| {
            let given = GivenAnswer { words: words.to_owned(), frames: Vec::new(), due, is_answered: false };
            known_ending(&objections[0], &[given])
        };
        for answer in ["1 READ responses too many", "an answer with pad count 3"] {
            let words = format!("RC RDMA READ Request at +1: {answer}");
            assert_eq!(known(&words, AnswerDue::Anything), Some("ReadForgotten"));
            assert_eq!(known(&words, AnswerDue::Recovers), None);
        }
        assert_eq!(known("RC RDMA WRITE Only at +0: no answer", AnswerDue::Anything), None);
    }

    #[test]
    fn kernel_may_say_what_a_peer_sent_and_nothing_of_a_bug() {
        let known = "<3>[ 5.1] infiniband rxe0: MAD received with unsupported base version 7\n\
            <4>[ 5.2] rdma_rxe: unexpected nak 7f";
        assert_eq!(of_kernel_log(known, Role::Server), None);
        let oops = "<4>[ 5.1] ---[ cut here ]---\n<1>[ 5.1] BUG: kernel NULL pointer dereference, address: 0000000000000008";
        assert!(
            of_kernel_log(&format!("{known}\n{oops}"), Role::Server).unwrap().contains("BUG: kernel NULL")
        );
    }

    #[test]
    fn machine_that_a_known_fault_ends_is_an_objection_with_its_name() {
        let of = |function: &str| {
            let text =
                format!("node server ended: its kernel panicked: Fatal exception: NULL, in {function}");
            of_machine(Role::Server, &Error::boot(text))
        };
        assert!(
            of("rxe_mr_copy+0x49/0x1a0").starts_with("CopyWithoutMemoryWarns (docs/findings.md): the server")
        );
        assert!(of("rxe_sender+0x1/0x2").starts_with("the server's machine does not answer: "));
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
        let objections = of_wire(&analysis.finish(), Role::Server, false);
        assert!(objections.len() == 1 && objections[0].contains("ReservedSyndrome"), "{objections:?}");
    }
}
