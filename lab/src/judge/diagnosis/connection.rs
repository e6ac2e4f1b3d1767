//! Connections that were not made, and sides that do not agree on how they begin.

use roce::cm::RejReason;
use roce::{Evidence, Rule, StreamId};

use crate::base::role::Role;

use super::facts::Facts;
use super::wire::Management;
use crate::judge::diagnosis::diagnosis::Diagnosis;
use crate::scenario::cause::Cause;

/// Words of programs about a connection that was rejected.
const REJECTED: [&str; 3] = ["RDMA_CM_EVENT_REJECTED", "rejected", "connection refused"];

/// Longest time that a program takes to reject a connection, in seconds; later its end did.
const REJECTION_S: f64 = 2.0;

/// The causes of connections that were not made.
pub(super) fn causes(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let made = [unanswered(facts), first_psns(facts), first_psns_of_answers(facts), rtu_lost(facts)];
    rejections(facts).into_iter().chain(made.into_iter().flatten()).collect()
}

/// Connections to which a peer said no. One that was tried again and made is none.
fn rejections(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let management = &facts.wire.management;
    let is_made_after = |packet: u64| management.iter().any(|m| m.name == "RTU" && m.packet > packet);
    let mut found: Vec<Diagnosis> = Vec::new();
    for rej in management.iter().filter(|message| message.name == "REJ") {
        let Some(reason) = rej.reason.filter(|_| !is_made_after(rej.packet)) else { continue };
        let (server, client) = (facts.name(rej.source), facts.name(rej.destination));
        let is_asked = |req: &&Management| {
            req.name == "REQ"
                && req.packet < rej.packet
                && (req.source, req.destination) == (rej.destination, rej.source)
        };
        let (first, req) = (management.iter().find(is_asked), management.iter().rfind(is_asked));
        let waited_s = first.map_or(0.0, |first| rej.at_ns.saturating_sub(first.at_ns) as f64 / 1e9);
        let others = management.iter().any(|answer| {
            matches!(answer.name, "REP" | "REJ")
                && answer.packet < rej.packet
                && (answer.source, answer.destination) == (rej.source, rej.destination)
        });
        let service =
            req.and_then(|req| req.service).map_or("its service".to_owned(), |service| service.to_string());
        let (cause, sentence) = match reason {
            RejReason::INVALID_SERVICE_ID => (
                Cause::NobodyListens,
                match accepted_before(management, rej) {
                    Some(rep) => format!(
                        "nobody listens any longer, or not yet again, on {service} of {server}, where {client}'s connection of packet {} was accepted",
                        rep.packet
                    ),
                    None => format!("nobody listens on {service} of {server}, where {client} connects to"),
                },
            ),
            RejReason::CONSUMER if waited_s > REJECTION_S && !others => (
                Cause::ConnectRequestNotTaken,
                format!(
                    "{server}'s program left {client}'s connection request to {service} where it was for {waited_s:.1} s, until its connection manager rejected it"
                ),
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
        let packet =
            format!("packet {}: REJ \"{reason}\" from {server}{}", rej.packet, times(management, rej));
        let said = Role::BOTH.into_iter().filter_map(|role| facts.said(role, &REJECTED));
        found.push(Diagnosis::new(cause, sentence).shown_by([packet].into_iter().chain(said)));
    }
    found
}

/// The REP by which the service that a REJ refuses was granted before.
fn accepted_before<'a>(management: &'a [Management], rej: &Management) -> Option<&'a Management> {
    let asked_before = |packet: u64| {
        let req = management.iter().rfind(|req| {
            req.name == "REQ"
                && req.packet < packet
                && (req.source, req.destination) == (rej.destination, rej.source)
        });
        req.and_then(|req| req.service)
    };
    management.iter().rfind(|rep| {
        rep.name == "REP"
            && rep.packet < rej.packet
            && (rep.source, rep.destination) == (rej.source, rej.destination)
            && asked_before(rep.packet) == asked_before(rej.packet)
    })
}

/// Number of REJs like the first, and the time until the last; empty where there is one.
fn times(management: &[Management], first: &Management) -> String {
    let alike = management.iter().filter(|other| {
        other.reason == first.reason && (other.source, other.destination) == (first.source, first.destination)
    });
    let last = alike.clone().next_back().map_or(first.at_ns, |last| last.at_ns);
    match alike.count() {
        1 => String::new(),
        count => {
            let seconds = last.saturating_sub(first.at_ns) as f64 / 1e9;
            format!(", the first of {count} in {seconds:.1} s")
        }
    }
}

/// A REQ to which nobody said anything.
fn unanswered(facts: &Facts<'_>) -> Option<Diagnosis> {
    let management = &facts.wire.management;
    let reqs: Vec<&Management> = management.iter().filter(|message| message.name == "REQ").collect();
    let first = reqs.iter().filter(|req| !facts.is_discarded(req.destination)).find(|req| {
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
            .stream
            .and_then(|stream| report.connection(stream.connection))
            .is_none_or(|connection| connection.port_space.is_some());
        rules.contains(&finding.rule) && !is_by_cm
    })?;
    let Evidence::Psn { expected, got } = finding.evidence else { return None };
    let StreamId { connection, requester: side } = finding.stream?;
    let connection = report.connection(connection)?;
    let requester = connection.endpoint(side);
    // Where an answer was taken before, they had agreed.
    let is_first = requester
        .psn_first
        .is_some_and(|first| expected.distance(first).abs() <= 1 || got.distance(first) <= 0);
    let has_succeeded = report.messages.iter().any(|message| {
        message.requester == requester.address
            && message.requester_qpn == requester.qpn
            && message.outcome.is_done()
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

/// Two sides that count from different PSNs, where the responder took the requests for old ones: its answers are to others.
fn first_psns_of_answers(facts: &Facts<'_>) -> Option<Diagnosis> {
    let report = facts.report?;
    facts.findings(Rule::RequestNotAnswered).find_map(|finding| {
        let Evidence::Unanswered { times, qpn } = finding.evidence else { return None };
        let StreamId { connection, requester: side } = finding.stream?;
        let connection = report.connection(connection)?;
        let answers = facts.wire.answers.get(&(finding.destination, finding.source))?;
        let is_between = |message: &&roce::Message| {
            (message.requester, message.responder) == (finding.source, finding.destination)
        };
        let has_succeeded = report.messages.iter().filter(is_between).any(|message| {
            message.outcome.is_done()
        });
        if connection.port_space.is_some() || has_succeeded {
            return None;
        }
        let first = connection.endpoint(side).psn_first.or(finding.psn)?;
        let (requester, responder) = (facts.name(finding.source), facts.name(finding.destination));
        let sentence = format!(
            "{requester}'s requests to queue pair {qpn:#x} of {responder} begin at PSN {first}, and {responder} takes them for old ones: it answers PSN {}",
            answers.psn
        );
        let duplicates = facts
            .evidence
            .owner(finding.destination)
            .map(|role| (role, facts.counter(role, "duplicate_request")))
            .filter(|(_, count)| *count > 0)
            .map(|(role, count)| format!("{role}'s rxe: duplicate_request = {count}"));
        let shown = [
            format!("packet {}: {requester}'s request, sent {times} times", finding.packet),
            format!("packet {}: the first of {} answers of {responder}", answers.packet, answers.count),
        ];
        Some(Diagnosis::new(Cause::PsnsNotAgreed, sentence).shown_by(shown.into_iter().chain(duplicates)))
    })
}

/// A server that was never told that its connection stands.
fn rtu_lost(facts: &Facts<'_>) -> Option<Diagnosis> {
    let management = &facts.wire.management;
    let rtu = management.iter().find(|message| message.name == "RTU" && !message.is_delivered)?;
    let is_of_it = |message: &&Management| {
        message.name == "RTU" && (message.source, message.destination) == (rtu.source, rtu.destination)
    };
    let role = facts.evidence.owner(rtu.destination)?;
    if management.iter().filter(is_of_it).any(|message| message.is_delivered) || !facts.is_in_trouble(role) {
        return None;
    }
    let count = management.iter().filter(is_of_it).count();
    let reps = management
        .iter()
        .filter(|rep| rep.name == "REP" && (rep.source, rep.destination) == (rtu.destination, rtu.source))
        .count();
    let (client, server) = (facts.name(rtu.source), facts.name(rtu.destination));
    let rtus = if count == 1 { "RTU".to_owned() } else { format!("{count} RTUs") };
    let sentence = format!(
        "{client}'s {rtus} never reached {server}, whose program was not told that the connection stands"
    );
    let shown = [format!("packet {}: an RTU that never arrived; {server} sent {reps} REPs", rtu.packet)];
    Some(Diagnosis::new(Cause::RtuLost, sentence).shown_by(shown))
}
