//! Requests that were refused for their key, their address or what they ask for.

use roce::wire::NakCode;
use roce::{Difference, Evidence, Finding, MessageKind, Outcome, Refusal, Rule};

use super::facts::Facts;
use crate::judge::diagnosis::diagnosis::Diagnosis;
use crate::scenario::cause::Cause;

/// What the completion of a refused request says, in rdma-core's words and this project's.
const REFUSED: [&str; 6] = [
    "remote access error",
    "remote invalid request error",
    "remote operation error",
    "REM_ACCESS_ERR",
    "REM_INV_REQ_ERR",
    "REM_OP_ERR",
];

/// What the completion of a RECV says that could not take what came, likewise.
const RECEIVE_FAILED: [&str; 6] = [
    "local length error",
    "local protection error",
    "local QP operation error",
    "LOC_LEN_ERR",
    "LOC_PROT_ERR",
    "LOC_QP_OP_ERR",
];

/// The causes of refusals for good.
pub(super) fn causes(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let refused = facts.findings(Rule::RequestRefused).filter_map(|finding| match finding.evidence {
        Evidence::Refusal(refusal) => Some((finding, refusal)),
        _ => None,
    });
    refused.filter_map(|(finding, refusal)| cause(facts, finding, refusal)).collect()
}

fn cause(facts: &Facts<'_>, finding: &Finding, refusal: Refusal) -> Option<Diagnosis> {
    let (responder, requester) = (facts.name(finding.source), facts.name(finding.destination));
    let what = refusal.kind.map_or("request".to_owned(), |kind| format!("{kind} of {} bytes", refusal.bytes));
    let request = format!("{requester}'s {what}");
    let hex = |value: u64| format!("{value:#x}");
    let (va, rkey) = (refusal.va.unwrap_or(0), refusal.rkey.unwrap_or(0));
    let (cause, sentence) = match refusal.code {
        NakCode::RemoteAccessError => access(facts, &request, &responder, refusal)?,
        NakCode::InvalidRequest => {
            let is_atomic = matches!(refusal.kind, Some(MessageKind::CmpSwap | MessageKind::FetchAdd));
            if is_atomic && va % 8 != 0 {
                (Cause::AtomicUnaligned, format!("{request} is for address {}, no multiple of 8", hex(va)))
            } else if takes_a_receive(refusal.kind) {
                (Cause::ReceiveTooSmall, format!("{request} does not fit {responder}'s RECV"))
            } else {
                let request = format!("{request} is refused by {responder}'s queue pair as invalid");
                (
                    Cause::OperationNotPermitted,
                    format!("{request}, whatever its key: it does not permit that"),
                )
            }
        }
        NakCode::RemoteOperationalError if takes_a_receive(refusal.kind) => {
            receive(facts, finding, &request, &responder)
        }
        _ => return None,
    };
    let raw = match (refusal.va, refusal.rkey) {
        (Some(_), Some(_)) => format!(" (va {}, rkey {})", hex(va), hex(u64::from(rkey))),
        _ => String::new(),
    };
    let nak = format!("packet {}: {responder} refuses it with NAK {}{raw}", finding.packet, refusal.code);
    let said = facts.evidence.owner(finding.destination).and_then(|role| facts.said(role, &REFUSED));
    let of_receive = facts.evidence.owner(finding.source).and_then(|role| facts.said(role, &RECEIVE_FAILED));
    Some(Diagnosis::new(cause, sentence).shown_by(std::iter::once(nak).chain(said).chain(of_receive)))
}

/// Of a refusal for key, address, length or permission.
fn access(facts: &Facts<'_>, request: &str, responder: &str, refusal: Refusal) -> Option<(Cause, String)> {
    let (va, rkey) = (refusal.va?, refusal.rkey?);
    let messages = facts.report.map_or(&[][..], |report| &report.messages);
    let taken: Vec<u32> = messages
        .iter()
        .filter(|message| message.rkey == Some(rkey) && Some(message.kind) == refusal.kind)
        .filter(|message| matches!(message.outcome, Outcome::Acknowledged | Outcome::Responded))
        .filter(|message| {
            message.va.is_some_and(|taken| taken <= va && va + refusal.bytes <= taken + message.bytes)
        })
        .map(|message| message.responder_qpn)
        .collect();
    let refused = messages.iter().find(|message| {
        matches!(message.outcome, Outcome::Refused(_)) && (message.rkey, message.va) == (Some(rkey), Some(va))
    });
    let was_taken = !taken.is_empty();
    if let (Some(other), Some(refused)) = (taken.first(), refused)
        && !taken.contains(&refused.responder_qpn)
    {
        let sentence = format!(
            "{request} names rkey {rkey:#x}, which {responder} takes on queue pair {other:#x} and refuses on {:#x}: the region is of another protection domain",
            refused.responder_qpn
        );
        return Some((Cause::KeyOfAnotherRegion, sentence));
    }
    let is_atomic = matches!(refusal.kind, Some(MessageKind::CmpSwap | MessageKind::FetchAdd));
    if is_atomic && va % 8 != 0 {
        return Some((Cause::AtomicUnaligned, format!("{request} is for address {va:#x}, no multiple of 8")));
    }
    Some(match refusal.difference {
        Some(Difference::AddressSwapped(known)) => (
            Cause::AddressByteSwapped,
            format!(
                "{request} is for address {va:#x}, which is {responder}'s {known:#x} in the other byte order"
            ),
        ),
        Some(Difference::AddressCut(known)) => (
            Cause::AddressTruncated,
            format!("{request} is for address {va:#x}, the low 32 bits of {responder}'s {known:#x}"),
        ),
        Some(Difference::KeySwapped(known)) => (
            Cause::KeyByteSwapped,
            format!(
                "{request} names rkey {rkey:#x}, which is {responder}'s {known:#x} in the other byte order"
            ),
        ),
        Some(Difference::KeyFlipped(known)) => (
            Cause::KeyNeverAdvertised,
            format!(
                "{request} names rkey {rkey:#x}, which {responder} never advertised; it advertised {known:#x}"
            ),
        ),
        Some(Difference::Behind(bytes)) if !was_taken => (
            Cause::OutOfBounds,
            format!(
                "{request} is for {bytes} bytes behind the address that {responder} advertised: it ends {} bytes behind it, beyond the region",
                bytes + refusal.bytes
            ),
        ),
        Some(Difference::AddressUnknown) => (
            Cause::KeyOfAnotherRegion,
            format!(
                "{request} names rkey {rkey:#x} with address {va:#x}, which {responder} never advertised with it"
            ),
        ),
        Some(Difference::Advertised | Difference::Behind(_)) if was_taken => (
            Cause::KeyRevoked,
            format!("{request} names rkey {rkey:#x}, which {responder} took before and takes no more"),
        ),
        Some(Difference::Advertised) => (
            Cause::AccessNotGranted,
            format!(
                "{request} names address and rkey as {responder} advertised them: its region does not permit {}, or is shorter",
                permission(refusal.kind)
            ),
        ),
        _ => (
            Cause::KeyNeverAdvertised,
            format!(
                "{request} names rkey {rkey:#x} and address {va:#x}; {responder} never advertised that key"
            ),
        ),
    })
}

/// Of a SEND that the responder could not put into its RECV.
fn receive(facts: &Facts<'_>, finding: &Finding, request: &str, responder: &str) -> (Cause, String) {
    const LENGTH: [&str; 2] = ["local length error", "LOC_LEN_ERR"];
    const PROTECTION: [&str; 2] = ["local protection error", "LOC_PROT_ERR"];
    let role = facts.evidence.owner(finding.source);
    let says = |parts: &[&str]| role.is_some_and(|role| facts.said(role, parts).is_some());
    let logged = |part: &str| role.is_some_and(|role| facts.logged(role, part).is_some());
    // Linux 6.12 and later log the status of a RECV that failed: 1 is the length, 4 the protection.
    if says(&LENGTH) || logged("do_complete: non-flush error status = 1") {
        return (Cause::ReceiveTooSmall, format!("{request} does not fit {responder}'s RECV"));
    }
    if says(&PROTECTION) || logged("do_complete: non-flush error status = 4") {
        let sentence = format!("{request} meets a RECV of {responder} whose memory its device may not write");
        return (Cause::ReceiveBufferInvalid, sentence);
    }
    (
        Cause::ReceiveTooSmall,
        format!(
            "{request} does not fit {responder}'s RECV, or that names memory which its device may not write"
        ),
    )
}

fn takes_a_receive(kind: Option<MessageKind>) -> bool {
    matches!(
        kind,
        Some(
            MessageKind::Send
                | MessageKind::SendWithImmediate
                | MessageKind::SendWithInvalidate
                | MessageKind::WriteWithImmediate
        )
    )
}

/// What a region has to permit for such a request.
fn permission(kind: Option<MessageKind>) -> &'static str {
    match kind {
        Some(MessageKind::Read) => "remote reads",
        Some(MessageKind::CmpSwap | MessageKind::FetchAdd) => "remote atomics",
        _ => "remote writes",
    }
}
