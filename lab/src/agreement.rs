//! Whether what the programs were told agrees with what was on the wire.
//!
//! In: the programs' completions (one JSON object a line of standard output) and the messages of the
//! capture. Each successful completion must have its message, in order, with the same kind, length and
//! immediate; each completed message must have its completion. Only this tells a WRITE from a WRITE with
//! immediate on the requester's side: both complete as `RDMA_WRITE`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use roce::{Message, MessageKind, Outcome};
use serde::Deserialize;

use crate::node::Role;

/// A work completion as a program tells it.
#[derive(Debug, Clone, Deserialize)]
struct Completion {
    side: Side,
    opcode: String,
    posted: Option<String>,
    status: String,
    qp_num: u32,
    length_bytes: u64,
    imm: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Requester,
    Responder,
}

/// What a completion and a message have in common.
#[derive(Debug, PartialEq, Eq)]
struct Work {
    kind: String,
    bytes: u64,
    imm: Option<u32>,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.kind, self.bytes)?;
        self.imm.map_or(Ok(()), |imm| write!(f, " with immediate {imm}"))
    }
}

/// Compares both programs' completions with the messages; each disagreement is one line.
pub fn disagreements(
    stdout: &BTreeMap<Role, &str>,
    messages: &[Message],
    addresses: &BTreeMap<Role, IpAddr>,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut total = 0;
    for (&role, text) in stdout {
        let completions = completions(text);
        total += completions.len();
        for side in [Side::Requester, Side::Responder] {
            found.extend(compare(role, side, &completions, messages, addresses.get(&role).copied()));
        }
    }
    if total == 0 {
        found.push("neither program told a completion".to_owned());
    }
    found
}

/// The completions in a program's standard output.
fn completions(stdout: &str) -> Vec<Completion> {
    #[derive(Deserialize)]
    struct Line {
        completion: Completion,
    }
    stdout.lines().filter_map(|line| Some(serde_json::from_str::<Line>(line).ok()?.completion)).collect()
}

fn compare(
    role: Role,
    side: Side,
    completions: &[Completion],
    messages: &[Message],
    address: Option<IpAddr>,
) -> Vec<String> {
    let mut pairs: BTreeMap<Option<u32>, (Vec<Work>, Vec<Work>)> = BTreeMap::new();
    for completion in completions.iter().filter(|done| done.side == side && done.status == "SUCCESS") {
        pairs.entry(Some(completion.qp_num)).or_default().0.push(told(completion));
    }
    for message in messages.iter().filter(|message| is_completed(message)) {
        let (node, qpn) = match side {
            Side::Requester => (message.requester, message.requester_qpn),
            Side::Responder if consumes_a_receive(message.kind) => {
                (message.responder, Some(message.responder_qpn))
            }
            Side::Responder => continue,
        };
        if Some(node) == address {
            pairs.entry(qpn).or_default().1.push(seen(message, side));
        }
    }
    let mut found = Vec::new();
    for (qpn, (told, seen)) in pairs {
        let qp = qpn.map_or("an unknown queue pair".to_owned(), |qpn| format!("qp {qpn}"));
        for index in 0..told.len().max(seen.len()) {
            let (told, seen) = (told.get(index), seen.get(index));
            if told != seen {
                let text = |work: Option<&Work>| work.map_or("nothing".to_owned(), Work::to_string);
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

fn told(completion: &Completion) -> Work {
    // The requester's completion does not tell a WRITE with immediate from a WRITE; what was posted does.
    let kind = completion.posted.as_ref().unwrap_or(&completion.opcode);
    Work { kind: kind.clone(), bytes: completion.length_bytes, imm: completion.imm }
}

fn seen(message: &Message, side: Side) -> Work {
    let kind = match (side, message.kind) {
        (Side::Responder, MessageKind::WriteWithImmediate) => "RECV_RDMA_WITH_IMM",
        (Side::Responder, _) => "RECV",
        (Side::Requester, MessageKind::Write) => "RDMA_WRITE",
        (Side::Requester, MessageKind::WriteWithImmediate) => "RDMA_WRITE_WITH_IMM",
        (Side::Requester, MessageKind::Read) => "RDMA_READ",
        (Side::Requester, MessageKind::Send) => "SEND",
        (Side::Requester, MessageKind::SendWithImmediate) => "SEND_WITH_IMM",
        (Side::Requester, MessageKind::CmpSwap) => "COMP_SWAP",
        (Side::Requester, MessageKind::FetchAdd) => "FETCH_ADD",
        (Side::Requester, other) => {
            return Work { kind: other.to_string(), bytes: message.bytes, imm: message.immediate };
        }
    };
    Work { kind: kind.to_owned(), bytes: message.bytes, imm: message.immediate }
}

fn is_completed(message: &Message) -> bool {
    matches!(message.outcome, Outcome::Acknowledged | Outcome::Responded)
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

    fn addresses() -> BTreeMap<Role, IpAddr> {
        [(Role::Server, [198, 51, 100, 1].into()), (Role::Client, [198, 51, 100, 2].into())].into()
    }

    fn message(kind: MessageKind, immediate: Option<u32>) -> Message {
        let psn = roce::wire::Psn::new(7);
        Message {
            kind,
            requester: addresses()[&Role::Client],
            requester_qpn: Some(18),
            responder: addresses()[&Role::Server],
            responder_qpn: 19,
            connection: Some(0),
            bytes: 22,
            immediate,
            va: None,
            rkey: None,
            psn_first: psn,
            psn_last: psn,
            packet_first: 4,
            packet_last: 4,
            sent_ns: 0,
            ended_ns: None,
            outcome: Outcome::Acknowledged,
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
    fn silence_is_not_agreement() {
        let stdout = [(Role::Server, ""), (Role::Client, "text")].into();
        assert_eq!(disagreements(&stdout, &[], &addresses()), ["neither program told a completion"]);
    }
}
