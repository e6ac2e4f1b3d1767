//! Deviations of SoftRoCE: told as what they are, and held against nobody.

use std::collections::BTreeMap;

use roce::wire::Syndrome;
use roce::{Evidence, Finding, Message, MessageOutcome, Report, Rule};

use crate::base::role::Role;
use crate::judge::completeness::Why;
use crate::run::evidence::RunEvidence;
use crate::scenario::counters::{Count, CountInWords};
use crate::scenario::fault::Action;

use super::facts::Facts;
use crate::judge::diagnosis::diagnosis::Diagnosis;
use crate::scenario::cause::Cause;

/// Counters that move when a request comes again for nothing, at its sender and at its receiver.
const MOVED: [&str; 2] = ["completer_retry_err", "duplicate_request"];

/// Deviations that the run shows.
pub fn deviations(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    found.extend(spurious_timer(facts));
    found.extend(receiver_late(facts));
    if let Some(finding) =
        facts.findings(Rule::RequestNotAnswered).find(|finding| ended_in_flight(facts.evidence, finding))
    {
        let requester = facts.name(finding.source);
        let sentence = format!(
            "{requester} ended its connection while one of its requests was on its way, and nobody missed the answer"
        );
        let packet = format!("packet {}: {}", finding.packet, finding.evidence);
        found.push(Diagnosis::new(Cause::EndedInFlight, sentence).shown_by([packet]));
    }
    if let Some(finding) = facts.findings(Rule::SequenceNakBehindRnrNak).next() {
        let responder = facts.name(finding.source);
        let sentence = format!("{responder}'s rxe asks by a sequence NAK for what it refused as not ready");
        let packet = format!("packet {}: NAK PSN sequence error behind the RNR NAK", finding.packet);
        found.push(Diagnosis::new(Cause::SequenceNakBehindRnrNak, sentence).shown_by([packet]));
    }
    if let Some(finding) =
        facts.report.and_then(|report| report.findings.iter().find(|finding| is_read_again(report, finding)))
    {
        let responder = facts.name(finding.source);
        let sentence =
            format!("{responder}'s rxe goes on with {} where a READ was asked again", got(finding));
        let packet = format!("packet {}: {}", finding.packet, finding.evidence);
        found.push(Diagnosis::new(Cause::ReadAgainWithoutFirst, sentence).shown_by([packet]));
    }
    found
}

/// True if a finding is of a READ response that goes on where the READ was asked again, which is rxe's way.
pub fn is_read_again(report: &Report, finding: &Finding) -> bool {
    let came_again = report.retransmissions.timeout + report.retransmissions.read_retry > 0;
    finding.rule == Rule::OpcodeOutOfSequence && came_again && got(finding).contains("READ response")
}

/// True if a finding is of a request that nobody waited for: its connection ended first, and both programs as they have to.
pub fn ended_in_flight(evidence: &RunEvidence, finding: &Finding) -> bool {
    finding.rule == Rule::RequestNotAnswered
        && matches!(finding.evidence, Evidence::Words { .. })
        && !evidence.scenario.expect.completions
        && evidence.scenario.faults.is_empty()
        && Role::BOTH.into_iter().all(|role| evidence.has_ended_well(role))
}

fn got(finding: &Finding) -> String {
    match finding.evidence {
        Evidence::Opcode { got, .. } => got.to_string(),
        _ => String::new(),
    }
}

/// Messages that were not taken at first, and all in the end.
fn receiver_late(facts: &Facts<'_>) -> Option<Diagnosis> {
    let report = facts.report?;
    let rnr = facts.wire.refusals.iter().find(|(_, syndrome, _)| matches!(syndrome, Syndrome::RnrNak { .. }));
    let (responder, _, packet) = rnr?;
    let is_taken = |message: &Message| {
        !matches!(
            message.outcome,
            MessageOutcome::Refused(_) | MessageOutcome::NotReady | MessageOutcome::Unanswered
        )
    };
    let exceeded = Role::BOTH.into_iter().any(|role| facts.counter(role, "retry_rnr_exceeded_err") > 0);
    let has_to_be_said =
        facts.evidence.scenario.expect.completions || !facts.evidence.scenario.faults.is_empty();
    let has_ended = Role::BOTH.into_iter().all(|role| facts.evidence.has_ended_well(role));
    if exceeded || has_to_be_said || !has_ended || !report.messages.iter().all(is_taken) {
        return None;
    }
    let (responder, count) = (facts.name(*responder), report.retransmissions.rnr_retry);
    let sentence = format!(
        "{responder} was not ready for messages at first: {count} packets came again for that, and all were acknowledged"
    );
    let shown = [format!("packet {packet}: RNR NAK from {responder}")];
    Some(Diagnosis::new(Cause::ReceiverLate, sentence).shown_by(shown))
}

/// Requests that rxe's timer repeated for nothing.
fn spurious_timer(facts: &Facts<'_>) -> Option<Diagnosis> {
    let report = facts.report?;
    let counted: u64 = Role::BOTH.into_iter().map(|role| facts.counter(role, MOVED[0])).sum();
    let repeats = facts.wire.repeats;
    // A copy that a fault made is none of them; and what an RNR NAK asked for is counted as well.
    let is_counted = counted > 0 && facts.wire.refusals.is_empty();
    if !is_counted && repeats.early + repeats.late == 0 || !is_all_answered(facts) {
        return None;
    }
    let again =
        report.retransmissions.timeout + report.retransmissions.spurious + report.retransmissions.duplicate;
    let ms = |ns: u64| format!("{:.1}", ns as f64 / 1e6);
    let on_wire = match again {
        0 => "nothing came again on the wire".to_owned(),
        1 => format!("1 request came again, {} ms after it was sent", ms(repeats.least_ns)),
        _ => format!(
            "{again} requests came again, {} to {} ms after they were sent",
            ms(repeats.least_ns),
            ms(repeats.most_ns)
        ),
    };
    let (cause, what) = match repeats.late {
        0 => {
            let times = if is_counted { counted.max(repeats.early) } else { repeats.early };
            (Cause::SpuriousTimer, format!("rxe's timer ran out {times} times before its time"))
        }
        late => {
            (Cause::MachineStoodStill, format!("a machine stood still: the ACK timeout ran out {late} times"))
        }
    };
    let sentence = format!("{what}; {on_wire}, and everything was answered");
    let counters = Role::BOTH.into_iter().flat_map(|role| {
        MOVED.into_iter().filter_map(move |name| {
            let moved = facts.counter(role, name);
            (moved > 0).then(|| format!("{role}'s rxe: {name} = {moved}"))
        })
    });
    let packet =
        (repeats.packet > 0).then(|| format!("packet {}: the first that came again", repeats.packet));
    Some(Diagnosis::new(cause, sentence).shown_by(packet.into_iter().chain(counters)))
}

/// True if nothing that was sent was refused for good, or left without an answer, and no fault of the run is a reason to send again.
fn is_all_answered(facts: &Facts<'_>) -> bool {
    let Some(report) = facts.report else { return false };
    let evidence = facts.evidence;
    let exceeded = ["retry_exceeded_err", "retry_rnr_exceeded_err", "send_err"];
    let delays = evidence
        .scenario
        .faults
        .iter()
        .any(|fault| !matches!(fault.action, Action::MarkEcn | Action::Duplicate));
    !delays
        && !evidence.scenario.expect.timeouts
        && Role::BOTH.into_iter().all(|role| exceeded.iter().all(|name| facts.counter(role, name) == 0))
        && facts.wire.lost.is_empty()
        && facts.wire.refusals.iter().all(|(_, syndrome, _)| matches!(syndrome, Syndrome::RnrNak { .. }))
        && facts.findings(Rule::RequestNotAnswered).next().is_none()
        && Role::BOTH
            .into_iter()
            .all(|role| facts.completeness.not_taken(role, |why| *why != Why::QueuePairGone) == 0)
        && report.messages.iter().all(|message| {
            !matches!(
                message.outcome,
                MessageOutcome::Refused(_) | MessageOutcome::NotReady | MessageOutcome::Unanswered
            )
        })
}

/// The counters of a scenario with those allowed for that a deviation moves on.
pub fn tolerated(deviation: Cause, expected: &BTreeMap<String, Count>) -> BTreeMap<String, Count> {
    let moved: &[&str] = match deviation {
        Cause::SpuriousTimer | Cause::MachineStoodStill => &MOVED,
        Cause::SequenceNakBehindRnrNak => &["out_of_seq_request", "rcvd_seq_err"],
        Cause::ReceiverLate => &["send_rnr_err", "rcvd_rnr_err", "completer_retry_err"],
        _ => &[],
    };
    let mut counters = expected.clone();
    for name in moved {
        counters.entry((*name).to_owned()).or_insert(Count::InWords(CountInWords::Any));
    }
    counters
}
