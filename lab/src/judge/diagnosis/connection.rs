//! Connections that were not made, and sides that do not agree on how they begin.

use roce::cm::RejReason;
use roce::{Evidence, Rule};

use crate::base::role::Role;

use super::facts::Facts;
use super::wire::Management;
use crate::judge::diagnosis::diagnosis::Diagnosis;
use crate::scenario::cause::Cause;

/// What programs say of a connection that was rejected.
const REJECTED: [&str; 3] = ["RDMA_CM_EVENT_REJECTED", "rejected", "connection refused"];

/// The causes of connections that were not made.
pub(super) fn causes(facts: &Facts<'_>) -> Vec<Diagnosis> {
    rejections(facts).into_iter().chain(unanswered(facts)).chain(first_psns(facts)).collect()
}

/// Connections to which a peer said no. One that was tried again and made is none.
fn rejections(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let management = &facts.wire.management;
    let is_made_after = |packet: u64| management.iter().any(|m| m.name == "RTU" && m.packet > packet);
    let mut found: Vec<Diagnosis> = Vec::new();
    for rej in management.iter().filter(|message| message.name == "REJ") {
        let Some(reason) = rej.reason.filter(|_| !is_made_after(rej.packet)) else { continue };
        let (server, client) = (facts.name(rej.source), facts.name(rej.destination));
        let req = management.iter().rfind(|req| {
            req.name == "REQ"
                && req.packet < rej.packet
                && (req.source, req.destination) == (rej.destination, rej.source)
        });
        let service =
            req.and_then(|req| req.service).map_or("its service".to_owned(), |service| service.to_string());
        let (cause, sentence) = match reason {
            RejReason::INVALID_SERVICE_ID => (
                Cause::NobodyListens,
                format!("nobody listens on {service} of {server}, where {client} connects to"),
            ),
            RejReason::CONSUMER => (
                Cause::RejectedByProgram,
                format!("{server}'s program rejects {client}'s connection to {service}"),
            ),
            _ => (Cause::Rejected, format!("{server} rejects {client}'s connection to {service}: {reason}")),
        };
        if found.iter().any(|known| known.cause == cause) {
            continue;
        }
        let packet = format!("packet {}: REJ \"{reason}\" from {server}", rej.packet);
        let said = Role::BOTH.into_iter().filter_map(|role| facts.said(role, &REJECTED));
        found.push(Diagnosis::new(cause, sentence).shown_by([packet].into_iter().chain(said)));
    }
    found
}

/// A REQ to which nobody said anything.
fn unanswered(facts: &Facts<'_>) -> Option<Diagnosis> {
    let management = &facts.wire.management;
    let reqs: Vec<&Management> = management.iter().filter(|message| message.name == "REQ").collect();
    let first = reqs.iter().find(|req| {
        !management.iter().any(|answer| {
            matches!(answer.name, "REP" | "REJ")
                && answer.packet > req.packet
                && (answer.source, answer.destination) == (req.destination, req.source)
        })
    })?;
    let of_it = reqs.iter().filter(|req| (req.source, req.destination) == (first.source, first.destination));
    let (sent, delivered) = (of_it.clone().count(), of_it.filter(|req| req.is_delivered).count());
    let (client, server) = (facts.name(first.source), facts.name(first.destination));
    let service = first.service.map_or("a service".to_owned(), |service| service.to_string());
    let times = if sent == 1 { "once".to_owned() } else { format!("{sent} times") };
    let sentence = format!(
        "{client} asked {times} for a connection to {service} of {server}, which never answered ({delivered} of {sent} were delivered)"
    );
    let packet = format!("packet {}: the first REQ", first.packet);
    let said = Role::BOTH.into_iter().filter_map(|role| facts.said(role, &["UNREACHABLE", "unreachable"]));
    Some(Diagnosis::new(Cause::ConnectRequestUnanswered, sentence).shown_by([packet].into_iter().chain(said)))
}

/// Two sides that count from different PSNs, which only programs without connection management can bring about.
fn first_psns(facts: &Facts<'_>) -> Option<Diagnosis> {
    let report = facts.report?;
    let rules = [Rule::NakWithoutGap, Rule::AckForUnsentPsn, Rule::RequestPsnGap];
    let finding = report.findings.iter().find(|finding| {
        let is_by_cm = finding
            .requester
            .and_then(|(connection, _)| report.connections.get(connection))
            .is_none_or(|connection| connection.port_space.is_some());
        rules.contains(&finding.rule) && !is_by_cm
    })?;
    let Evidence::Psn { expected, got } = finding.evidence else { return None };
    let (connection, side) = finding.requester?;
    let connection = report.connections.get(connection)?;
    let requester = connection.endpoint(side);
    // Where an answer was taken before, they had agreed.
    let is_first = requester
        .psn_first
        .is_some_and(|first| expected.distance(first).abs() <= 1 || got.distance(first) <= 0);
    let has_succeeded = report.messages.iter().any(|message| {
        message.requester == requester.address
            && message.requester_qpn == requester.qpn
            && matches!(message.outcome, roce::Outcome::Acknowledged | roce::Outcome::Responded)
    });
    if !is_first || has_succeeded || !facts.evidence.scenario.faults.is_empty() {
        return None;
    }
    let (requester_name, responder) =
        (facts.name(requester.address), facts.name(connection.endpoint(side.other()).address));
    let first = requester.psn_first.map_or("another".to_owned(), |psn| psn.to_string());
    let sentence = format!(
        "{requester_name}'s requests begin at PSN {first}, and {responder} expects others: it answers PSN {got}"
    );
    let packet = format!("packet {}: {}", finding.packet, finding);
    Some(Diagnosis::new(Cause::PsnsNotAgreed, sentence).shown_by([packet]))
}
