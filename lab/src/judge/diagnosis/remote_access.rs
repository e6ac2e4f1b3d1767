//! Requests that were refused for their key, their address or what they ask for.

use roce::wire::NakCode;
use roce::{Difference, Evidence, Finding, MessageKind, MessageOutcome, Refusal, Rule};

use super::facts::Facts;
use crate::judge::diagnosis::diagnosis::Diagnosis;
use crate::scenario::cause::Cause;

/// Words of the completion of a refused request, in rdma-core's words and this project's.
const REFUSED: [&str; 6] = [
    "remote access error",
    "remote invalid request error",
    "remote operation error",
    "REM_ACCESS_ERR",
    "REM_INV_REQ_ERR",
    "REM_OP_ERR",
];

/// Words of the completion of a RECV that could not take the message, likewise.
const RECEIVE_FAILED: [&str; 6] = [
    "local length error",
    "local protection error",
    "local QP operation error",
    "LOC_LEN_ERR",
    "LOC_PROT_ERR",
    "LOC_QP_OP_ERR",
];

/// Words for a RECV that was too small.
const LENGTH: [&str; 2] = ["local length error", "LOC_LEN_ERR"];

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
            } else if let Some(depth) = read_depth(facts, finding, &request, &responder, refusal) {
                depth
            } else if let Some(sentence) = other_path_mtu(facts, finding, &request, &responder, refusal) {
                (Cause::PathMtusDiffer, sentence)
            } else if takes_a_receive(refusal.kind) {
                (Cause::ReceiveTooSmall, format!("{request} does not fit {responder}'s RECV"))
            } else {
                let request = format!("{request} is refused by {responder}'s queue pair as invalid");
                let or = undecided(facts, finding, refusal);
                (
                    Cause::OperationNotPermitted,
                    format!("{request}, whatever its key: it does not permit that{or}"),
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

/// Of a READ or an atomic that the responder serves none of, or no more of.
fn read_depth(
    facts: &Facts<'_>,
    finding: &Finding,
    request: &str,
    responder: &str,
    refusal: Refusal,
) -> Option<(Cause, String)> {
    let kind = refusal.kind.filter(|kind| is_read_or_atomic(*kind))?;
    let told = facts.wire.management.iter().rfind(|message| {
        message.name == "REP"
            && (message.source, message.destination) == (finding.source, finding.destination)
    });
    let exceeded = facts.findings(Rule::InitiatorDepthExceeded).find_map(|finding| match finding.evidence {
        Evidence::Most { most, got, .. } => Some((most, got)),
        _ => None,
    });
    let resources = told.and_then(|rep| rep.depths).map(|(_, resources)| u64::from(resources));
    match (resources.or(exceeded.map(|(most, _)| most)), exceeded) {
        (_, Some((0, _))) | (Some(0), _) => Some((
            Cause::ReadDepthNone,
            format!("{request} is refused by {responder}, whose connection allows none at a time"),
        )),
        (_, Some((most, got))) => Some((
            Cause::ReadDepthExceeded,
            format!(
                "{request} is refused by {responder}: {got} READs and atomics are under way, and the connection allows {most}"
            ),
        )),
        // Without connection management nothing says how many the responder serves; one that served such a request serves some.
        _ if told.is_none() && has_taken(facts, finding, kind) => {
            let under_way = facts
                .report?
                .messages
                .iter()
                .filter(|message| {
                    message.requester == finding.destination
                        && is_read_or_atomic(message.kind)
                        && !matches!(message.outcome, MessageOutcome::Responded)
                })
                .count();
            (under_way > 1).then(|| {
                (
                    Cause::ReadDepthExceeded,
                    format!(
                        "{request} is refused by {responder}, which served others: {under_way} READs and atomics were under way"
                    ),
                )
            })
        }
        _ => None,
    }
}

/// Other reasons of a refusal as invalid, where no connection management tells what the sides agreed on.
fn undecided(facts: &Facts<'_>, finding: &Finding, refusal: Refusal) -> &'static str {
    let is_agreed = facts.wire.management.iter().any(|message| {
        message.name == "REP"
            && (message.source, message.destination) == (finding.source, finding.destination)
    });
    match refusal.kind {
        _ if is_agreed => "",
        Some(kind) if is_read_or_atomic(kind) => ", or its max_dest_rd_atomic is 0",
        _ if facts.wire.pieces.contains_key(&finding.destination) => ", or its path MTU is another",
        _ => "",
    }
}

/// True if the responder took a request of that kind before.
fn has_taken(facts: &Facts<'_>, finding: &Finding, kind: MessageKind) -> bool {
    facts.report.is_some_and(|report| {
        report.messages.iter().any(|message| {
            (message.requester, message.kind) == (finding.destination, kind) && message.outcome.is_done()
        })
    })
}

/// Of a message in several packets, or in a large one, where the two sides have not agreed on a path MTU: which the other has.
fn other_path_mtu(
    facts: &Facts<'_>,
    finding: &Finding,
    request: &str,
    responder: &str,
    refusal: Refusal,
) -> Option<String> {
    /// Every path MTU carries so much in one packet.
    const LEAST: u64 = 256;
    let report = facts.report?;
    if report.connection(finding.stream?.connection)?.port_space.is_some() || refusal.bytes <= LEAST {
        return None;
    }
    let kind = refusal.kind.filter(|kind| !is_read_or_atomic(*kind))?;
    let of = |address| facts.wire.pieces.get(&address).into_iter().flatten().copied();
    let own: Vec<usize> = of(finding.destination).collect();
    let carried = own.iter().max().copied();
    let others: Vec<usize> = of(finding.source).filter(|size| !own.contains(size)).collect();
    let small = report.messages.iter().any(|message| {
        (message.requester, message.kind) == (finding.destination, kind)
            && message.bytes < refusal.bytes
            && message.outcome.is_done()
    });
    // A SEND needs no permission; one that does not fit its RECV is told there.
    let is_free = takes_a_receive(Some(kind)) && kind != MessageKind::WriteWithImmediate;
    let role = facts.evidence.owner(finding.source);
    // rxe refuses a SEND that its RECV is too small for as an operational error, and as invalid one that its path MTU is.
    let is_rxe =
        role.and_then(|role| facts.node(role)).is_some_and(|node| node.counters.contains_key("send_err"));
    let is_short = role.is_some_and(|role| facts.said(role, &LENGTH).is_some());
    if is_short
        || !(small || is_free && (carried.is_some() || is_rxe) || carried.is_some() && !others.is_empty())
    {
        return None;
    }
    let packets = match carried {
        Some(carried) => format!("its packets carry {carried} bytes"),
        None => format!("its one packet carries {} bytes", refusal.bytes),
    };
    let other = match others.first() {
        Some(other) => format!(", and {responder}'s own carry {other}"),
        None => ", and that is not its path MTU".to_owned(),
    };
    Some(format!("{request} is refused by {responder} as invalid: {packets}{other}"))
}

fn is_read_or_atomic(kind: MessageKind) -> bool {
    matches!(
        kind,
        MessageKind::Read | MessageKind::CmpSwap | MessageKind::FetchAdd | MessageKind::AtomicWrite
    )
}

/// Of a refusal for key, address, length or permission.
fn access(facts: &Facts<'_>, request: &str, responder: &str, refusal: Refusal) -> Option<(Cause, String)> {
    let (va, rkey) = (refusal.va?, refusal.rkey?);
    let messages = facts.report.map_or(&[][..], |report| &report.messages);
    let taken: Vec<u32> = messages
        .iter()
        .filter(|message| message.rkey == Some(rkey) && Some(message.kind) == refusal.kind)
        .filter(|message| message.outcome.is_done())
        .filter(|message| {
            message.va.is_some_and(|taken| taken <= va && va + refusal.bytes <= taken + message.bytes)
        })
        .map(|message| message.responder_qpn)
        .collect();
    let refused = messages.iter().find(|message| {
        matches!(message.outcome, MessageOutcome::Refused(_))
            && (message.rkey, message.va) == (Some(rkey), Some(va))
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

/// Permission that a region needs for such a request.
fn permission(kind: Option<MessageKind>) -> &'static str {
    match kind {
        Some(MessageKind::Read) => "remote reads",
        Some(MessageKind::CmpSwap | MessageKind::FetchAdd) => "remote atomics",
        _ => "remote writes",
    }
}
