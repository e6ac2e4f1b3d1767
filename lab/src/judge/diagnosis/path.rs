//! Packets that never left, never arrived, arrived changed, or were not taken.

use std::net::IpAddr;

use roce::{Evidence, Rule};

use crate::base::role::Role;
use crate::judge::completeness::Why;
use crate::scenario::fault::Action;

use super::facts::Facts;
use crate::judge::diagnosis::diagnosis::Diagnosis;
use crate::scenario::cause::Cause;

/// Words of the completion of a request that nothing answered.
pub(super) const RETRIES: [&str; 2] = ["transport retry counter exceeded", "RETRY_EXC_ERR"];

/// Bytes of headers beside the path MTU that an interface has to carry.
const HEADERS: u32 = 80;

/// Tries after which a retry count of 7 is taken for endless.
const ENDLESS: u64 = 8;

/// The causes on the way between the two devices.
pub(super) fn causes(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    for role in Role::BOTH {
        found.extend(never_left(facts, role));
        found.extend(not_taken(facts, role));
    }
    found.extend(unresolved(facts));
    found.extend(changed(facts));
    found.extend(unanswered(facts));
    found
}

/// Packets that a device could not send.
fn never_left(facts: &Facts<'_>, role: Role) -> Option<Diagnosis> {
    let failed = facts.counter(role, "send_err");
    // One that only answers need not notice: its peer waits in vain.
    if failed == 0 || !Role::BOTH.into_iter().any(|role| facts.is_in_trouble(role)) {
        return None;
    }
    let counted = format!("{role}'s rxe: send_err = {failed}");
    let network = facts.evidence.scenario.network;
    let mtu = u32::from(network.mtu_of(role));
    let active = [4096, 2048, 1024, 512, 256].into_iter().find(|path| path + HEADERS <= mtu).unwrap_or(256);
    let address = facts.evidence.addresses.get(&role)?;
    let report = facts.report?;
    // A device that sent other packets there reaches its peer: these were too large.
    let has_sent_requests = report
        .messages
        .iter()
        .any(|message| message.requester == *address && message.bytes > u64::from(active));
    let reaches = report.packets > 0 || facts.wire.unresolved.is_empty();
    let is_flushed = facts.said(role, &["flush"]);
    let is_smaller = network.mtu_of(role) < network.mtu_of(role.peer());
    if reaches && (is_smaller || !has_sent_requests) && mtu < 4096 + HEADERS {
        let sentence = format!(
            "{role}'s rxe could not send {failed} packets: its path MTU does not fit the interface, whose {mtu} bytes carry a path MTU of at most {active} (4096 needs {})",
            4096 + HEADERS
        );
        return Some(
            Diagnosis::new(Cause::PathMtuBeyondInterface, sentence)
                .shown_by([counted].into_iter().chain(is_flushed)),
        );
    }
    let sentence = format!("{role}'s rxe could not send {failed} packets");
    Some(Diagnosis::new(Cause::SendFailed, sentence).shown_by([counted].into_iter().chain(is_flushed)))
}

/// Packets that reached a node and were not taken by its device.
fn not_taken(facts: &Facts<'_>, role: Role) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    let peer = role.peer();
    for discarded in facts.completeness.discarded.iter().filter(|discarded| discarded.role == role) {
        let (count, packet) = (discarded.count, discarded.packet);
        let packets = if count == 1 { "a packet".to_owned() } else { format!("{count} packets") };
        let shown = [format!(
            "packet {packet}: delivered to {role}, whose rxe did not count {}",
            if count == 1 { "it" } else { "them" }
        )];
        let said = facts.said(peer, &RETRIES);
        let diagnosis = match discarded.why {
            Why::NoQueuePair(qpn) => {
                let known = facts.completeness.queue_pairs(role);
                let known = match &known[..] {
                    [] => String::new(),
                    known => format!(
                        " (it has {})",
                        known.iter().map(|qpn| format!("{qpn:#x}")).collect::<Vec<_>>().join(", ")
                    ),
                };
                let sentence = format!(
                    "{peer} sends {packets} to queue pair {qpn:#x} of {role}, which does not exist{known}"
                );
                Diagnosis::new(Cause::NoSuchQueuePair, sentence)
            }
            Why::QKey { qpn, q_key } => {
                let sentence = format!(
                    "{peer} sends {packets} with Q_Key {q_key:#x} to queue pair {qpn:#x} of {role}, which has another Q_Key"
                );
                Diagnosis::new(Cause::QKeyMismatch, sentence)
            }
            Why::PKey { qpn, p_key } => {
                let sentence = format!(
                    "{peer} sends {packets} with P_Key {p_key:#06x} to queue pair {qpn:#x} of {role}, whose own packets have another"
                );
                Diagnosis::new(Cause::PKeyMismatch, sentence)
            }
            Why::QueuePairGone => continue,
            Why::Unknown => {
                let delivered = facts.delivered(role);
                let all = if count >= delivered { "none of them" } else { "not all of them" };
                let sentence = format!(
                    "{delivered} packets reached {role}, and its device took {all}: {count} are missing, and no queue pair explains that; a filter on {role} may"
                );
                found.push(
                    Diagnosis::new(Cause::PacketsDiscarded, sentence).shown_by(
                        [format!("{role}'s rxe: rcvd_pkts = {}", delivered.saturating_sub(count))]
                            .into_iter()
                            .chain(said),
                    ),
                );
                continue;
            }
        };
        found.push(diagnosis.shown_by(shown.into_iter().chain(said)));
    }
    found
}

/// Addresses that nobody answers to.
fn unresolved(facts: &Facts<'_>) -> Option<Diagnosis> {
    let ((address, vlan), (count, packet)) =
        facts.wire.unresolved.iter().max_by_key(|(_, (count, _))| *count)?;
    let place = vlan.map_or(String::new(), |id| format!(" in VLAN {id}"));
    let sentence =
        format!("nobody has the address {address}{place}: {count} ARP requests for it, and no answer");
    let network = facts.evidence.scenario.network;
    let nodes = facts.evidence.addresses.iter().map(|(role, address)| match network.is_on_ports() {
        true => format!("{role} is {address}"),
        false => format!("{role} is {address} on {}", network.interface_of(*role)),
    });
    let nodes: Vec<String> = nodes.collect();
    let shown = [format!("packet {packet}: the first ARP request"), nodes.join(", ")];
    Some(Diagnosis::new(Cause::NeighbourUnresolved, sentence).shown_by(shown))
}

/// Packets with a wrong ICRC, where no fault of the run makes them.
fn changed(facts: &Facts<'_>) -> Option<Diagnosis> {
    let (receiver, (count, packet)) = facts.wire.changed.iter().next()?;
    let receiver = facts.name(*receiver);
    let packets = if *count == 1 { "a packet arrives".to_owned() } else { format!("{count} packets arrive") };
    let by = facts
        .evidence
        .scenario
        .faults
        .iter()
        .find(|fault| matches!(fault.action, Action::Corrupt { .. } | Action::Truncate { .. }));
    let by = by.map_or(String::new(), |fault| format!(", by the fault `{fault}`"));
    let sentence = format!("{packets} at {receiver} with other bytes than they were sent with{by}");
    let shown = [format!("packet {packet}: its ICRC is wrong, so {receiver} drops it")];
    Some(Diagnosis::new(Cause::PacketsChanged, sentence).shown_by(shown))
}

/// Requests that were repeated, and nothing answered.
fn unanswered(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    for finding in facts.findings(Rule::RequestNotAnswered) {
        let Evidence::Unanswered { times, qpn } = finding.evidence else { continue };
        if facts.is_discarded(finding.destination) {
            continue;
        }
        let Some(report) = facts.report else { continue };
        let (requester, responder) = (facts.name(finding.source), facts.name(finding.destination));
        let role = facts.evidence.owner(finding.source);
        let retries = finding
            .stream
            .and_then(|stream| report.connection(stream.connection))
            .and_then(|connection| connection.retry_count);
        let why = lost(facts, finding.source, finding.destination);
        let shown =
            [format!("packet {}: {}", finding.packet, finding.evidence)].into_iter().chain(why.clone());
        let said = role.and_then(|role| facts.said(role, &RETRIES));
        if retries == Some(7) && times > ENDLESS && said.is_none() {
            let sentence = format!(
                "{requester} repeats a request to {responder} without end ({times} times in this run), as retry count 7 is on rxe"
            );
            found.push(Diagnosis::new(Cause::RetriesWithoutEnd, sentence).shown_by(shown));
            continue;
        }
        let by_size = large(facts, finding.source).or_else(|| large(facts, finding.destination));
        let (cause, sentence) = match &why {
            Some(_) if by_size.is_some() => (Cause::LargePacketsLost, by_size.unwrap_or_default()),
            Some(lost) => (
                Cause::PacketsLost,
                format!(
                    "{requester} sent a request {times} times to {responder}, and nothing answered: {lost}"
                ),
            ),
            None => (
                Cause::RequestUnanswered,
                format!(
                    "{requester} sent a request {times} times to queue pair {qpn:#x} of {responder}, and nothing answered"
                ),
            ),
        };
        found.push(Diagnosis::new(cause, sentence).shown_by(shown.chain(said)));
    }
    found
}

/// Packets that did not arrive for their size alone: more than one was lost, and every one that arrived is smaller.
fn large(facts: &Facts<'_>, sender: IpAddr) -> Option<String> {
    let sizes = facts.wire.sizes.get(&sender)?;
    let (count, _, _) = facts.wire.lost.get(&sender)?;
    let least = sizes.lost_least.filter(|least| *least > sizes.arrived_most && sizes.arrived_most > 0)?;
    (*count > 1).then(|| {
        format!(
            "{count} of {}'s packets never arrived, all of {least} bytes or more on the wire, and all of up to {} bytes did: an MTU on the way is too small for its path MTU",
            facts.name(sender),
            sizes.arrived_most
        )
    })
}

/// Packets that were lost of those that the two sent, if any were.
fn lost(facts: &Facts<'_>, a: IpAddr, b: IpAddr) -> Option<String> {
    let lost: Vec<String> = [a, b]
        .into_iter()
        .filter_map(|address| Some((address, facts.wire.lost.get(&address)?)))
        .map(|(address, (count, packet, fate))| {
            format!("{count} of {}'s packets never arrived (packet {packet}: {fate})", facts.name(address))
        })
        .collect();
    (!lost.is_empty()).then(|| lost.join(", "))
}
