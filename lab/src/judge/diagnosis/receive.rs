//! Messages that found no RECV, or none that they fit into.

use roce::wire::Syndrome;
use roce::{MessageKind, Rule};

use crate::base::role::Role;
use crate::judge::completeness::Why;

use super::facts::Facts;
use crate::judge::diagnosis::diagnosis::Diagnosis;
use crate::scenario::cause::Cause;

/// Words of the completion of a request that was given up for want of a RECV.
const NOT_READY: [&str; 2] = ["RNR retry counter exceeded", "RNR_RETRY_EXC_ERR"];

/// Words of a program whose RECV nothing took until its queue pair ended.
const FLUSHED: [&str; 2] = ["RECV WR_FLUSH_ERR", "waited for the completion of RECV"];

/// Words of a program that waits for a completion in vain.
const IN_VAIN: [&str; 3] = ["no completion", "timeout", "timed out"];

/// The causes of messages without a RECV.
pub(super) fn causes(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let silent = datagrams(facts).into_iter().chain(swapped_immediate(facts)).chain(without_immediate(facts));
    not_ready(facts).into_iter().chain(silent).collect()
}

/// A responder that was not ready until the end, and said so.
fn not_ready(facts: &Facts<'_>) -> Option<Diagnosis> {
    let report = facts.report?;
    let rnr =
        facts.wire.refusals.iter().filter(|(_, syndrome, _)| matches!(syndrome, Syndrome::RnrNak { .. }));
    let (responder, _, last) = rnr.max_by_key(|(_, _, packet)| *packet)?;
    let given_up = facts.findings(Rule::RnrRetriesEnded).find(|finding| finding.source == *responder);
    // One that got its RECV in the end was answered.
    let is_open = report.messages.iter().any(|message| {
        message.responder == *responder && takes_a_receive(message.kind) && !message.outcome.is_done()
    });
    if given_up.is_none() && !is_open {
        return None;
    }
    let packet = given_up.map_or(*last, |finding| finding.packet);
    let message = report.messages.iter().rfind(|message| {
        message.responder == *responder && takes_a_receive(message.kind) && !message.outcome.is_done()
    });
    let (responder, what) =
        (facts.name(*responder), message.map_or("SEND".to_owned(), |m| m.kind.to_string()));
    let requester = message.map_or("the peer".to_owned(), |message| facts.name(message.requester));
    let (cause, sentence) = match message.map(|message| message.kind) {
        Some(MessageKind::WriteWithImmediate) => (
            Cause::ImmediateWithoutReceive,
            format!("{requester}'s {what} finds no RECV: {responder} posted none for its immediate"),
        ),
        _ => (
            Cause::ReceiveNotPosted,
            format!("{requester}'s {what} finds no RECV: {responder} posted none for it"),
        ),
    };
    let nak = match given_up {
        Some(finding) => format!("packet {packet}: {responder} is not ready: {}", finding.evidence),
        None => format!("packet {packet}: {responder} is still not ready (RNR NAK)"),
    };
    let counted = report
        .messages
        .iter()
        .rfind(|message| takes_a_receive(message.kind) && message.outcome.is_done())
        .map(|_| {
            let taken =
                report.messages.iter().filter(|m| takes_a_receive(m.kind) && m.outcome.is_done()).count();
            format!("{taken} such messages before it were taken")
        });
    let said = Role::BOTH.into_iter().filter_map(|role| facts.said(role, &NOT_READY));
    Some(Diagnosis::new(cause, sentence).shown_by([nak].into_iter().chain(counted).chain(said)))
}

/// Datagrams that a device took and its program never heard of.
fn datagrams(facts: &Facts<'_>) -> Option<Diagnosis> {
    let ((destination, qpn, _), count) = facts.wire.datagrams.iter().next()?;
    let role = facts.evidence.owner(*destination)?;
    if !facts.is_in_trouble(role) {
        return None;
    }
    let is_refused = facts.completeness.not_taken(role, |why| !matches!(why, Why::QueuePairGone)) > 0;
    let heard = ["success", "SUCCESS"].iter().any(|word| facts.said(role, &[word]).is_some());
    let said = facts.said(role, &IN_VAIN);
    if is_refused || heard || said.is_none() && !facts.is_hung(role) {
        return None;
    }
    let bytes = facts.wire.datagram_bytes;
    let sentence = format!(
        "{count} datagrams of up to {bytes} bytes reached {role}'s queue pair {qpn:#x}, and no RECV took them: none was posted, or none of {} bytes",
        bytes + 40
    );
    let taken = format!("{role}'s rxe counted each of them as received");
    Some(Diagnosis::new(Cause::DatagramWithoutRoom, sentence).shown_by([taken].into_iter().chain(said)))
}

/// An immediate that was taken, where a program failed all the same.
fn swapped_immediate(facts: &Facts<'_>) -> Option<Diagnosis> {
    /// A number that a program means is mostly smaller: a length, a count, an index.
    const SMALL: u32 = 1 << 16;
    let report = facts.report?;
    // One that hangs has said nothing of what it took.
    if !Role::BOTH.into_iter().any(|role| facts.is_in_trouble(role) && !facts.is_hung(role)) {
        return None;
    }
    let is_swapped = |imm: u32| imm.swap_bytes() < SMALL && imm >= SMALL;
    let (message, imm) = report
        .messages
        .iter()
        .filter(|message| message.outcome.is_done())
        .find_map(|message| Some((message, message.immediate.filter(|imm| is_swapped(*imm))?)))?;
    let (requester, responder) = (facts.name(message.requester), facts.name(message.responder));
    let meant = imm.swap_bytes();
    let sentence = format!(
        "{requester}'s immediate is {imm:#x} ({imm}) in network order, which is {meant} in the other byte order; {responder} took it"
    );
    let packet = format!("packet {}: {} with immediate {imm:#x}", message.packet_last, message.kind);
    Some(Diagnosis::new(Cause::ImmediateByteSwapped, sentence).shown_by([packet]))
}

/// A program that waited for a RECV, and WRITEs that take none.
fn without_immediate(facts: &Facts<'_>) -> Option<Diagnosis> {
    let report = facts.report?;
    let troubled: Vec<Role> = Role::BOTH.into_iter().filter(|role| facts.is_in_trouble(*role)).collect();
    // A peer that failed itself may have meant to send more.
    let [waiting] = troubled[..] else { return None };
    let said = facts.said(waiting, &FLUSHED)?;
    let is_its = |address| facts.evidence.owner(address) == Some(waiting);
    let came = || report.messages.iter().filter(|message| is_its(message.responder));
    let write = came().next()?;
    if !came().all(|message| message.kind == MessageKind::Write && message.outcome.is_done()) {
        return None;
    }
    let (requester, count) = (facts.name(write.requester), came().count());
    let what = if count == 1 { "WRITE has".to_owned() } else { format!("{count} WRITEs have") };
    let sentence = format!(
        "{waiting} waits for a RECV, and {requester}'s {what} no immediate: a WRITE like that takes no RECV"
    );
    let packet = format!("packet {}: RDMA WRITE of {} bytes, acknowledged", write.packet_last, write.bytes);
    Some(Diagnosis::new(Cause::WriteWithoutImmediate, sentence).shown_by([packet, said]))
}

fn takes_a_receive(kind: MessageKind) -> bool {
    matches!(
        kind,
        MessageKind::Send
            | MessageKind::SendWithImmediate
            | MessageKind::SendWithInvalidate
            | MessageKind::WriteWithImmediate
    )
}
