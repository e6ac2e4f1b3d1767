//! Faults of programs that the wire is innocent of, and ends of programs.

use roce::wire::{NakCode, Syndrome};
use roce::{MessageKind, Report, Rule, Severity};

use crate::base::role::Role;
use crate::run::evidence::FailedKind;
use crate::scenario::ready::Ready;

use super::facts::{Facts, shown};
use super::path::RETRIES;
use crate::judge::diagnosis::diagnosis::Diagnosis;
use crate::scenario::cause::Cause;

/// Last lines of a program that are shown.
const LINES: usize = 2;

/// Least silence of the wire at the end for a program to be waiting, in seconds.
const SILENCE_S: f64 = 2.0;

/// The causes in the programs themselves.
pub(super) fn causes(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    found.extend(never_ready(facts));
    for role in [Role::Client, Role::Server] {
        found.extend(protection(facts, role));
        found.extend(flushed(facts, role));
        found.extend(read_depth(facts, role));
    }
    found.extend(peer_ended(facts));
    found.extend(peer_hung_up(facts));
    found.extend(limit_too_short(facts));
    found.extend(hung(facts));
    found.extend(ended(facts));
    found
}

/// A server that was never ready, so that no client was started.
fn never_ready(facts: &Facts<'_>) -> Option<Diagnosis> {
    let failed = facts.evidence.failure.as_ref()?;
    let is_waiting = facts.node(Role::Server)?.is_stopped && !facts.node(Role::Client)?.is_started;
    if failed.kind != FailedKind::Timeout || !is_waiting {
        return None;
    }
    let command = facts.evidence.scenario.command(Role::Server);
    let sentence = match facts.evidence.scenario.ready {
        Ready::Port(port) => {
            format!("nobody listened on port {port} of server within the limit: `{command}`")
        }
        _ => format!("`{command}` listened by neither RDMA CM nor TCP within the limit"),
    };
    Some(Diagnosis::new(Cause::ServerNeverListened, sentence).shown_by(last_lines(facts, Role::Server)))
}

/// A work request with memory that the device may not use.
fn protection(facts: &Facts<'_>, role: Role) -> Option<Diagnosis> {
    let said = facts.said(role, &["local protection error", "LOC_PROT_ERR"])?;
    let address = facts.evidence.addresses.get(&role);
    // A RECV's memory is told with what its device answered to the peer.
    let is_of_receive = facts.wire.refusals.iter().any(|(responder, syndrome, _)| {
        Some(responder) == address && *syndrome == Syndrome::Nak(NakCode::RemoteOperationalError)
    });
    if !facts.is_in_trouble(role) || is_of_receive {
        return None;
    }
    let sentence = format!(
        "{role}'s own device refuses the memory of a work request: local protection error; the wire is innocent"
    );
    let logged = facts.logged(role, "non-flush error status = 4");
    Some(Diagnosis::new(Cause::LocalProtectionError, sentence).shown_by([said].into_iter().chain(logged)))
}

/// A work request that is flushed, though nothing of it was sent and nobody refused anything: rxe's word for memory that it may
/// not use.
fn flushed(facts: &Facts<'_>, role: Role) -> Option<Diagnosis> {
    let report = facts.report?;
    // RECVs are flushed at the end of every connection.
    let said = facts
        .said(role, &["flushed", "WR_FLUSH_ERR"])
        .filter(|line| !line.to_lowercase().contains("recv"))?;
    let address = *facts.evidence.addresses.get(&role)?;
    let is_told = !facts.wire.refusals.is_empty()
        || !facts.wire.lost.is_empty()
        || !facts.wire.unresolved.is_empty()
        || report.findings.iter().any(|finding| finding.rule == Rule::RequestNotAnswered)
        || Role::BOTH.into_iter().any(|role| facts.counter(role, "send_err") > 0);
    let is_open =
        report.messages.iter().any(|message| message.requester == address && !message.outcome.is_done());
    let others = facts.wire.management.iter().filter(|message| matches!(message.name, "DREQ" | "REJ"));
    let is_ended_by_peer = others.clone().next().is_some_and(|first| first.source != address);
    if is_told
        || is_open
        || is_ended_by_peer
        || !facts.has_failed(role)
        || signal_of(facts, role.peer()).is_some()
    {
        return None;
    }
    // One whose peer failed first is flushed by its own program.
    let peer = role.peer();
    let is_first = role == Role::Client || !facts.has_failed(peer);
    if !is_first || facts.said(peer, &["local protection error", "LOC_PROT_ERR"]).is_some() {
        return None;
    }
    let sentence = format!(
        "{role}'s work request is flushed, nothing of it was sent, and nobody refused anything: its sg_list names memory that {role}'s own device may not use"
    );
    let sent = facts.wire.connected.get(&address).copied().unwrap_or(0);
    let counted = match sent {
        0 => format!("no packet of a connection is from {role}, and its rxe has send_err = 0"),
        sent => {
            format!("all of {role}'s requests were answered ({sent} packets), and its rxe has send_err = 0")
        }
    };
    Some(Diagnosis::new(Cause::LocalProtectionError, sentence).shown_by([said, counted]))
}

/// A connection that allows no READ, and a program that waits for one.
fn read_depth(facts: &Facts<'_>, role: Role) -> Option<Diagnosis> {
    let report = facts.report?;
    let address = facts.evidence.addresses.get(&role)?;
    let management = &facts.wire.management;
    let req = management.iter().find(|message| message.name == "REQ" && message.source == *address);
    let rep = management.iter().find(|message| message.name == "REP" && message.destination == *address);
    let asked = req.and_then(|req| Some((req.packet, "REQ with initiator depth 0", req.depths?.0)));
    let granted = rep.and_then(|rep| Some((rep.packet, "REP with responder resources 0", rep.depths?.1)));
    let none = [asked, granted].into_iter().flatten().find(|(_, _, depth)| *depth == 0);
    let words = facts.evidence.scenario.command(role).to_lowercase();
    // Without connection management nothing tells the depth: a program that is about READs or atomics, and sends nothing.
    let is_unmanaged = management.is_empty()
        && report.packets == 0
        && ["read", "atomic", "fadd", "fetch", "cmp"].iter().any(|word| words.contains(word))
        && Role::BOTH.into_iter().all(|role| facts.counter(role, "send_err") == 0)
        && facts.wire.unresolved.is_empty();
    let has_read = report.messages.iter().any(|message| {
        message.requester == *address
            && matches!(message.kind, MessageKind::Read | MessageKind::CmpSwap | MessageKind::FetchAdd)
    });
    let is_waiting = facts.is_hung(role)
        || facts.has_failed(role) && facts.said(role, &["no completion", "timeout", "not within"]).is_some();
    // A program that goes on sending waits for no READ.
    let programs_s = facts.evidence.seconds.get("programs").copied().unwrap_or(0.0);
    let is_silent = programs_s - facts.wire.busy_ns as f64 / 1e9 > SILENCE_S;
    if has_read || !is_waiting || !is_silent {
        return None;
    }
    let (sentence, shown) = match none {
        Some((packet, what, _)) => (
            format!("{role} waits on a connection with READ depth 0: a READ or an atomic never leaves"),
            format!("packet {packet}: {what}; no READ and no atomic of {role} is in the capture"),
        ),
        None if is_unmanaged => (
            format!(
                "{role} waits for a completion and nothing of it was sent, which its device counts as no error: a READ or an atomic with max_rd_atomic 0 never leaves"
            ),
            format!("the capture has no RoCEv2 packet, and {role}'s rxe has send_err = 0"),
        ),
        None => return None,
    };
    let said = facts.said(role, &["no completion"]);
    Some(Diagnosis::new(Cause::ReadDepthNone, sentence).shown_by([shown].into_iter().chain(said)))
}

/// A program that ended first, and one that failed behind it.
fn peer_ended(facts: &Facts<'_>) -> Option<Diagnosis> {
    let report = facts.report.filter(|report| !report.connections.is_empty())?;
    Role::BOTH.into_iter().find_map(|role| {
        let code = facts.exit_code(role)?;
        let signal = signal_of(facts, role)?;
        let peer = role.peer();
        if !facts.has_failed(peer) && !facts.is_hung(peer) {
            return None;
        }
        let is_disconnected = report
            .connections
            .iter()
            .any(|connection| connection.management.iter().any(|(_, name)| *name == "DREQ"));
        let how = if is_disconnected { "its system disconnected for it" } else { "nothing told the peer" };
        let sentence =
            format!("{role}'s program died ({signal}, exit code {code}) while the connection stood; {how}");
        let said =
            facts.said(peer, &RETRIES).or_else(|| facts.said(peer, &["flush", "DISCONNECTED", "disconnect"]));
        Some(
            Diagnosis::new(Cause::PeerEnded, sentence)
                .shown_by(last_lines(facts, role).into_iter().chain(said)),
        )
    })
}

/// A TCP connection that one side closed before anything of RDMA was sent, and the other side's program that failed for it.
fn peer_hung_up(facts: &Facts<'_>) -> Option<Diagnosis> {
    let closed = facts.wire.closed?;
    let (peer, role) = (facts.evidence.owner(closed.source)?, facts.evidence.owner(closed.destination)?);
    if !facts.wire.connected.is_empty() || !facts.has_failed(role) || facts.has_failed(peer) {
        return None;
    }
    let how = if closed.is_reset { "resets" } else { "closes" };
    let sentence =
        format!("{peer}'s program {how} its TCP connection to {role} before any RDMA packet was sent");
    let flag = if closed.is_reset { "RST" } else { "FIN" };
    let packet = format!("packet {}: {flag} from {peer}", closed.packet);
    Some(
        Diagnosis::new(Cause::ExchangeCutShort, sentence)
            .shown_by([packet].into_iter().chain(last_lines(facts, role))),
    )
}

/// Programs that were stopped in the middle of what they do.
fn limit_too_short(facts: &Facts<'_>) -> Option<Diagnosis> {
    let role = Role::BOTH.into_iter().find(|role| facts.is_hung(*role))?;
    let programs_s = facts.evidence.seconds.get("programs").copied()?;
    let is_silent = programs_s - facts.wire.ended_ns as f64 / 1e9 > SILENCE_S;
    let packets = facts.wire.connected.values().sum::<u64>();
    if is_silent || packets == 0 || !facts.wire.lost.is_empty() {
        return None;
    }
    let limit = facts.evidence.scenario.timeout_s;
    let sentence = format!(
        "the programs still exchanged packets when their {limit} s were over: {packets} so far, the last {:.1} s before the end",
        (programs_s - facts.wire.ended_ns as f64 / 1e9).max(0.0)
    );
    Some(Diagnosis::new(Cause::LimitTooShort, sentence).shown_by([format!("{role} had not ended")]))
}

/// A program that waits for nothing that the wire could bring.
fn hung(facts: &Facts<'_>) -> Option<Diagnosis> {
    let role = [Role::Client, Role::Server].into_iter().find(|role| facts.is_hung(*role))?;
    let programs_s = facts.evidence.seconds.get("programs").copied()?;
    // Their end takes some seconds more.
    let silent_s =
        (programs_s - facts.wire.ended_ns as f64 / 1e9).min(facts.evidence.scenario.timeout_s as f64);
    let packets = facts.report?.packets;
    let has_failed = Role::BOTH.into_iter().any(|role| facts.has_failed(role));
    if has_failed || silent_s < SILENCE_S || !facts.wire.lost.is_empty() {
        return None;
    }
    let limit = facts.evidence.scenario.timeout_s;
    let (sentence, shown) = match packets {
        0 => (
            format!("{role} had not ended after {limit} s, and no RoCEv2 packet was sent"),
            "the capture has no RoCEv2 packet".to_owned(),
        ),
        packets => (
            format!(
                "{role} had not ended after {limit} s, though the wire had been silent for {silent_s:.0} s"
            ),
            format!("behind the last of {packets} packets nothing was sent until the programs were stopped"),
        ),
    };
    let peer = role.peer();
    let ended = facts.exit_code(peer).map(|code| {
        let sent = facts.evidence.addresses.get(&peer).and_then(|address| facts.report?.sent.get(address));
        let packets = match sent {
            Some(1) => "1 packet".to_owned(),
            sent => format!("{} packets", sent.copied().unwrap_or(0)),
        };
        format!("{peer} had ended with exit code {code}; it sent {packets}")
    });
    Some(
        Diagnosis::new(Cause::ProgramHung, sentence)
            .shown_by([shown].into_iter().chain(ended).chain(last_lines(facts, role))),
    )
}

/// The signal that ended a program by itself, as a shell tells it.
fn signal_of(facts: &Facts<'_>, role: Role) -> Option<&'static str> {
    Some(match facts.exit_code(role)? {
        132 => "SIGILL",
        134 => "SIGABRT",
        135 => "SIGBUS",
        136 => "SIGFPE",
        137 => "SIGKILL",
        139 => "SIGSEGV",
        143 => "SIGTERM",
        _ => return None,
    })
}

/// A program that failed, with nothing to say why but its own words.
fn ended(facts: &Facts<'_>) -> Option<Diagnosis> {
    // A server's failure mostly follows from its client's, unless it ended first.
    let hung_up = facts.wire.closed.and_then(|closed| facts.evidence.owner(closed.source));
    let first = hung_up.filter(|_| facts.wire.connected.is_empty());
    let order = first.into_iter().chain([Role::Client, Role::Server]);
    let role = order.into_iter().find(|role| facts.has_failed(*role))?;
    let expected = facts.evidence.scenario.expected(role).exit;
    let code = facts.exit_code(role).map_or("a signal".to_owned(), |code| format!("exit code {code}"));
    let signal = signal_of(facts, role).map_or(String::new(), |signal| format!(" ({signal})"));
    let packets = match facts.report {
        Some(report) if report.packets == 0 => "; no RoCEv2 packet was sent".to_owned(),
        Some(report) if is_innocent(report) => match report.messages.len() {
            1 => "; its one message on the wire was answered".to_owned(),
            count => format!("; all {count} messages on the wire were answered"),
        },
        _ => String::new(),
    };
    let which = facts.node(role).filter(|node| !node.each.is_empty()).and_then(|node| {
        let failed = node.each.iter().position(|output| output.code != Some(expected))?;
        Some(format!(" {} of {}", failed + 1, node.each.len()))
    });
    let which = which.unwrap_or_default();
    let sentence = format!("{role}{which} ended with {code}{signal}, expected {expected}{packets}");
    let cause = if role == Role::Client { Cause::ClientFailed } else { Cause::ServerFailed };
    Some(Diagnosis::new(cause, sentence).shown_by(last_lines(facts, role)))
}

/// True if messages are on the wire, and all were answered without a word against them.
fn is_innocent(report: &Report) -> bool {
    !report.messages.is_empty()
        && report.findings.iter().all(|finding| finding.severity == Severity::Note)
        && report.messages.iter().all(|message| message.outcome.is_done())
}

/// The last lines that a program wrote, its errors first; lines without a word are none.
fn last_lines(facts: &Facts<'_>, role: Role) -> Vec<String> {
    let Some(output) = facts.node(role).and_then(|node| node.output.as_ref()) else { return Vec::new() };
    let mut lines = Vec::new();
    let is_word =
        |line: &&str| line.contains(char::is_alphanumeric) && !matches!(line.trim(), "Terminated" | "Killed");
    for (what, text) in [("stderr", &output.stderr), ("stdout", &output.stdout)] {
        let all: Vec<&str> = text.lines().filter(is_word).collect();
        lines.extend(
            all[all.len().saturating_sub(LINES)..]
                .iter()
                .map(|line| format!("{role}'s {what}: {}", shown(line))),
        );
    }
    lines
}
