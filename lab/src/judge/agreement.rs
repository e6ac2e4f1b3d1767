//! Agreement of the programs' completions with the wire.
//!
//! In: the programs' completions (one JSON object a line of standard output) and the messages of the
//! capture. Each successful completion must have its message, in order, with the same kind, length and
//! immediate; each completed message must have its completion; and the same of what a responder refused, by
//! its NAK and the requester's status. Only this tells a WRITE from a WRITE with immediate on the requester's
//! side: both complete as `RDMA_WRITE`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use roce::wire::NakCode;
use roce::{Message, MessageKind, MessageOutcome};
use serde::Deserialize;

use crate::base::role::Role;

/// A work completion as a program tells it.
#[derive(Debug, Clone, Deserialize)]
struct ReportedCompletion {
    side: WorkSide,
    opcode: String,
    posted: Option<String>,
    status: String,
    qp_num: u32,
    length_bytes: u64,
    imm: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WorkSide {
    Requester,
    Responder,
}

/// Properties that a completion and a message have in common.
#[derive(Debug)]
struct WorkFacts {
    kind: String,
    /// As the program is told: SUCCESS, or why the responder refused it; then it has no length.
    status: String,
    bytes: u64,
    imm: Option<u32>,
    /// The last packet, which decides whether there is an immediate, is not in the capture.
    is_cut_short: bool,
}

impl WorkFacts {
    /// True if the wire shows what a program was told.
    fn is_shown_by(&self, seen: &Self) -> bool {
        let is_same = self.kind == seen.kind || seen.is_cut_short && self.kind.starts_with(&seen.kind);
        is_same && (&self.status, self.bytes, self.imm) == (&seen.status, seen.bytes, seen.imm)
    }
}

impl fmt::Display for WorkFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.status != SUCCESS {
            return write!(f, "{} with {}", self.kind, self.status);
        }
        write!(f, "{} of {} bytes", self.kind, self.bytes)?;
        self.imm.map_or(Ok(()), |imm| write!(f, " with immediate {imm}"))
    }
}

const SUCCESS: &str = "SUCCESS";

/// The status of a work request that the responder refused with a NAK; of no other.
fn refused_with(code: NakCode) -> Option<&'static str> {
    match code {
        NakCode::InvalidRequest => Some("REM_INV_REQ_ERR"),
        NakCode::RemoteAccessError => Some("REM_ACCESS_ERR"),
        NakCode::RemoteOperationalError => Some("REM_OP_ERR"),
        _ => None,
    }
}

/// True if a completion with this status has a message that ended on the wire; what was flushed or given up has none.
fn has_ended_on_the_wire(status: &str) -> bool {
    matches!(status, SUCCESS | "REM_INV_REQ_ERR" | "REM_ACCESS_ERR" | "REM_OP_ERR")
}

/// True of an operation that its own device does, without a message.
fn is_local(posted: &str) -> bool {
    matches!(posted, "BIND_MW" | "LOCAL_INV")
}

/// Compares both programs' completions with the messages; each disagreement is one line. `owner` tells whose an address is.
pub fn disagreements(
    stdout: &BTreeMap<Role, &str>,
    messages: &[Message],
    owner: &dyn Fn(IpAddr) -> Option<Role>,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut total = 0;
    for (&role, text) in stdout {
        let completions = completions(text);
        total += completions.len();
        for side in [WorkSide::Requester, WorkSide::Responder] {
            found.extend(compare(role, side, &completions, messages, owner));
        }
    }
    let is_silent = stdout.values().any(|text| !text.lines().any(is_result));
    if total == 0 && (is_silent || !messages.is_empty()) {
        found.push("neither program told a completion".to_owned());
    }
    found
}

/// True if a line is a result: a program that says one would have told its completions.
fn is_result(line: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line.get("result").is_some())
}

/// The completions in a program's standard output.
fn completions(stdout: &str) -> Vec<ReportedCompletion> {
    #[derive(Deserialize)]
    struct Line {
        completion: ReportedCompletion,
    }
    stdout.lines().filter_map(|line| Some(serde_json::from_str::<Line>(line).ok()?.completion)).collect()
}

fn compare(
    role: Role,
    side: WorkSide,
    completions: &[ReportedCompletion],
    messages: &[Message],
    owner: &dyn Fn(IpAddr) -> Option<Role>,
) -> Vec<String> {
    let mut pairs: BTreeMap<Option<u32>, (Vec<WorkFacts>, Vec<WorkFacts>)> = BTreeMap::new();
    for completion in
        completions.iter().filter(|done| done.side == side && has_ended_on_the_wire(&done.status))
    {
        if completion.posted.as_deref().is_some_and(is_local) {
            continue;
        }
        pairs.entry(Some(completion.qp_num)).or_default().0.push(told(completion));
    }
    for message in messages {
        let Some(status) = status_of(message, side) else { continue };
        let (node, qpn) = match side {
            WorkSide::Requester => (message.requester, message.requester_qpn),
            WorkSide::Responder if consumes_a_receive(message.kind) => {
                (message.responder, Some(message.responder_qpn))
            }
            WorkSide::Responder => continue,
        };
        if owner(node) == Some(role) {
            pairs.entry(qpn).or_default().1.push(seen(message, side, status));
        }
    }
    let mut found = Vec::new();
    for (qpn, (told, seen)) in pairs {
        let qp = qpn.map_or("an unknown queue pair".to_owned(), |qpn| format!("qp {qpn}"));
        for index in 0..told.len().max(seen.len()) {
            let (told, seen) = (told.get(index), seen.get(index));
            if !told.zip(seen).is_some_and(|(told, seen)| told.is_shown_by(seen)) {
                let text = |work: Option<&WorkFacts>| work.map_or("nothing".to_owned(), WorkFacts::to_string);
                found.push(format!(
                    "{role}, {qp}, completion {}: the program was told {}, the wire shows {}",
                    index + 1,
                    text(told),
                    text(seen)
                ));
            }
        }
    }
    found
}

fn told(completion: &ReportedCompletion) -> WorkFacts {
    // The requester's completion does not tell a WRITE with immediate from a WRITE; what was posted does.
    let kind = completion.posted.as_ref().unwrap_or(&completion.opcode);
    WorkFacts {
        kind: kind.clone(),
        status: completion.status.clone(),
        bytes: completion.length_bytes,
        imm: completion.imm,
        is_cut_short: false,
    }
}

fn seen(message: &Message, side: WorkSide, status: &str) -> WorkFacts {
    let kind = match (side, message.kind) {
        (WorkSide::Responder, MessageKind::WriteWithImmediate) => "RECV_RDMA_WITH_IMM",
        (WorkSide::Responder, _) => "RECV",
        (WorkSide::Requester, MessageKind::Write) => "RDMA_WRITE",
        (WorkSide::Requester, MessageKind::WriteWithImmediate) => "RDMA_WRITE_WITH_IMM",
        (WorkSide::Requester, MessageKind::Read) => "RDMA_READ",
        (WorkSide::Requester, MessageKind::Send) => "SEND",
        (WorkSide::Requester, MessageKind::SendWithImmediate) => "SEND_WITH_IMM",
        (WorkSide::Requester, MessageKind::SendWithInvalidate) => "SEND_WITH_INV",
        (WorkSide::Requester, MessageKind::Flush) => "FLUSH",
        (WorkSide::Requester, MessageKind::AtomicWrite) => "ATOMIC_WRITE",
        (WorkSide::Requester, MessageKind::CmpSwap) => "ATOMIC_CMP_AND_SWP",
        (WorkSide::Requester, MessageKind::FetchAdd) => "ATOMIC_FETCH_AND_ADD",
        (WorkSide::Requester, other) => &other.to_string(),
    };
    let (bytes, imm) = if status == SUCCESS { (message.bytes, message.immediate) } else { (0, None) };
    WorkFacts {
        kind: kind.to_owned(),
        status: status.to_owned(),
        bytes,
        imm,
        is_cut_short: !message.is_whole,
    }
}

/// Status with which the message ended for one side; `None` if it did not, or if that side is not told.
fn status_of(message: &Message, side: WorkSide) -> Option<&'static str> {
    match message.outcome {
        MessageOutcome::Acknowledged | MessageOutcome::Responded => Some(SUCCESS),
        MessageOutcome::Refused(code) if side == WorkSide::Requester => refused_with(code),
        MessageOutcome::Refused(_) | MessageOutcome::Sent | MessageOutcome::Incomplete => None,
        MessageOutcome::NotReady | MessageOutcome::Unanswered => None,
    }
}

fn consumes_a_receive(kind: MessageKind) -> bool {
    matches!(
        kind,
        MessageKind::WriteWithImmediate
            | MessageKind::Send
            | MessageKind::SendWithImmediate
            | MessageKind::SendWithInvalidate
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = r#"{"completion":{"side":"requester","opcode":"RDMA_WRITE","status":"SUCCESS","wr_id":1,"qp_num":18,"peer_qp_num":19,"posted":"RDMA_WRITE_WITH_IMM","length_bytes":22,"imm":22,"vendor_err":0}}
{"result":{"program":"rdma_client_imm","ok":true}}"#;
    const SERVER: &str = r#"{"completion":{"side":"responder","opcode":"RECV_RDMA_WITH_IMM","status":"SUCCESS","wr_id":1,"qp_num":19,"peer_qp_num":18,"posted":null,"length_bytes":22,"imm":22,"vendor_err":0}}"#;

    fn addresses() -> impl Fn(IpAddr) -> Option<Role> {
        |address| match address {
            IpAddr::V4(v4) if v4.octets() == [198, 51, 100, 1] => Some(Role::Server),
            IpAddr::V4(v4) if v4.octets() == [198, 51, 100, 2] => Some(Role::Client),
            _ => None,
        }
    }

    fn message(kind: MessageKind, immediate: Option<u32>) -> Message {
        let psn = roce::wire::Psn::new(7);
        Message {
            kind,
            requester: [198, 51, 100, 2].into(),
            requester_qpn: Some(18),
            responder: [198, 51, 100, 1].into(),
            responder_qpn: 19,
            connection: None,
            bytes: 22,
            immediate,
            va: None,
            rkey: None,
            psn_first: psn,
            psn_last: psn,
            packet_first: 4,
            packet_last: 4,
            is_whole: true,
            sent_ns: 0,
            ended_ns: None,
            outcome: MessageOutcome::Acknowledged,
        }
    }

    fn judge(messages: &[Message]) -> Vec<String> {
        let stdout = [(Role::Server, SERVER), (Role::Client, CLIENT)].into();
        disagreements(&stdout, messages, &addresses())
    }

    #[test]
    fn write_with_immediate_agrees_on_both_sides() {
        assert_eq!(judge(&[message(MessageKind::WriteWithImmediate, Some(22))]), Vec::<String>::new());
    }

    #[test]
    fn plain_write_under_the_same_completion_disagrees() {
        assert_eq!(
            judge(&[message(MessageKind::Write, None)]),
            [
                "server, qp 19, completion 1: the program was told RECV_RDMA_WITH_IMM of 22 bytes with immediate 22, \
                 the wire shows nothing",
                "client, qp 18, completion 1: the program was told RDMA_WRITE_WITH_IMM of 22 bytes with immediate 22, \
                 the wire shows RDMA_WRITE of 22 bytes"
            ]
        );
    }

    #[test]
    fn message_that_nobody_was_told_of_disagrees() {
        let one = message(MessageKind::WriteWithImmediate, Some(22));
        let found = judge(&[one.clone(), one]);
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("completion 2: the program was told nothing"), "{found:?}");
    }

    #[test]
    fn refused_message_is_told_with_its_status() {
        let client = r#"{"completion":{"side":"requester","opcode":"RDMA_WRITE","status":"REM_ACCESS_ERR","wr_id":1,"qp_num":18,"peer_qp_num":19,"posted":"RDMA_WRITE","length_bytes":0,"imm":null,"vendor_err":0}}"#;
        let stdout = [(Role::Server, ""), (Role::Client, client)].into();
        let mut message = message(MessageKind::Write, None);
        let judge = |message: &Message| disagreements(&stdout, std::slice::from_ref(message), &addresses());
        message.outcome = MessageOutcome::Refused(NakCode::RemoteAccessError);
        assert_eq!(judge(&message), Vec::<String>::new());
        message.outcome = MessageOutcome::Refused(NakCode::InvalidRequest);
        assert_eq!(
            judge(&message),
            ["client, qp 18, completion 1: the program was told RDMA_WRITE with REM_ACCESS_ERR, \
              the wire shows RDMA_WRITE with REM_INV_REQ_ERR"]
        );
        message.outcome = MessageOutcome::Sent;
        assert_eq!(judge(&message).len(), 1);
    }

    #[test]
    fn message_that_is_refused_before_its_last_packet_may_have_been_one_with_immediate() {
        let client = r#"{"completion":{"side":"requester","opcode":"RDMA_WRITE","status":"REM_ACCESS_ERR","wr_id":1,"qp_num":18,"peer_qp_num":19,"posted":"RDMA_WRITE_WITH_IMM","length_bytes":0,"imm":null,"vendor_err":0}}"#;
        let stdout = [(Role::Server, ""), (Role::Client, client)].into();
        let found = |kind, is_whole| {
            let outcome = MessageOutcome::Refused(NakCode::RemoteAccessError);
            disagreements(&stdout, &[Message { outcome, is_whole, ..message(kind, None) }], &addresses())
                .len()
        };
        assert_eq!([found(MessageKind::Write, false), found(MessageKind::Write, true)], [0, 1]);
        assert_eq!(found(MessageKind::Send, false), 1);
    }

    #[test]
    fn atomics_are_told_by_what_was_posted() {
        for (posted, opcode, kind) in [
            ("ATOMIC_CMP_AND_SWP", "COMP_SWAP", MessageKind::CmpSwap),
            ("ATOMIC_FETCH_AND_ADD", "FETCH_ADD", MessageKind::FetchAdd),
            ("ATOMIC_WRITE", "ATOMIC_WRITE", MessageKind::AtomicWrite),
        ] {
            let client = format!(
                r#"{{"completion":{{"side":"requester","opcode":"{opcode}","status":"SUCCESS","wr_id":1,"qp_num":18,"peer_qp_num":19,"posted":"{posted}","length_bytes":8,"imm":null,"vendor_err":0}}}}"#
            );
            let stdout = [(Role::Server, ""), (Role::Client, client.as_str())].into();
            let message = Message { bytes: 8, outcome: MessageOutcome::Responded, ..message(kind, None) };
            assert_eq!(disagreements(&stdout, &[message], &addresses()), Vec::<String>::new());
        }
    }

    #[test]
    fn local_operations_have_no_message() {
        let client = r#"{"completion":{"side":"requester","opcode":"BIND_MW","status":"SUCCESS","wr_id":1,"qp_num":18,"peer_qp_num":19,"posted":"BIND_MW","length_bytes":0,"imm":null,"vendor_err":0}}"#;
        let stdout = [(Role::Server, ""), (Role::Client, client)].into();
        assert_eq!(disagreements(&stdout, &[], &addresses()), Vec::<String>::new());
        assert_eq!(disagreements(&stdout, &[message(MessageKind::Write, None)], &addresses()).len(), 1);
    }

    #[test]
    fn programs_that_never_sent_anything_have_nothing_to_tell() {
        let result = r#"{"result":{"program":"rdma_client","ok":false}}"#;
        let stdout = [(Role::Server, result), (Role::Client, result)].into();
        assert_eq!(disagreements(&stdout, &[], &addresses()), Vec::<String>::new());
        let found = disagreements(&stdout, &[message(MessageKind::Write, None)], &addresses());
        assert_eq!(found.last().map(String::as_str), Some("neither program told a completion"));
    }

    #[test]
    fn silence_is_not_agreement() {
        let stdout = [(Role::Server, ""), (Role::Client, "text")].into();
        assert_eq!(disagreements(&stdout, &[], &addresses()), ["neither program told a completion"]);
    }
}
