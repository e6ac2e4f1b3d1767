//! What a program did wrong that the wire is innocent of, and how programs ended.

use roce::MessageKind;

use crate::base::role::Role;
use crate::run::evidence::FailedKind;
use crate::scenario::ready::Ready;

use super::facts::{Facts, shown};
use super::path::RETRIES;
use crate::judge::diagnosis::diagnosis::Diagnosis;
use crate::scenario::cause::Cause;

/// Last lines of a program that are shown.
const LINES: usize = 2;

/// How long the wire has to be silent at the end for a program to be waiting, in seconds.
const SILENCE_S: f64 = 2.0;

/// The causes in the programs themselves.
pub(super) fn causes(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    found.extend(never_ready(facts));
    for role in [Role::Client, Role::Server] {
        found.extend(protection(facts, role));
        found.extend(read_depth(facts, role));
    }
    found.extend(peer_ended(facts));
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
    if !facts.is_in_trouble(role) {
        return None;
    }
    let sentence = format!(
        "{role}'s own device refuses the memory of a work request: local protection error; the wire is innocent"
    );
    let logged = facts.logged(role, "non-flush error status = 4");
    Some(Diagnosis::new(Cause::LocalProtectionError, sentence).shown_by([said].into_iter().chain(logged)))
}

/// A connection that allows no READ, and a program that waits for one.
fn read_depth(facts: &Facts<'_>, role: Role) -> Option<Diagnosis> {
    let report = facts.report?;
    let address = facts.evidence.addresses.get(&role)?;
    let req =
        facts.wire.management.iter().find(|message| message.name == "REQ" && message.source == *address)?;
    let (depth, _) = req.depths?;
    let has_read = report.messages.iter().any(|message| {
        message.requester == *address
            && matches!(message.kind, MessageKind::Read | MessageKind::CmpSwap | MessageKind::FetchAdd)
    });
    let is_waiting = facts.is_hung(role)
        || facts.has_failed(role) && facts.said(role, &["no completion", "timeout", "not within"]).is_some();
    let is_flushed = facts.said(role, &[" error", "refused"]).is_some() && !is_waiting;
    // A program that goes on sending waits for no READ.
    let programs_s = facts.evidence.seconds.get("programs").copied().unwrap_or(0.0);
    let is_silent = programs_s - facts.wire.busy_ns as f64 / 1e9 > SILENCE_S;
    if depth > 0 || has_read || !is_waiting || is_flushed || !is_silent {
        return None;
    }
    let sentence =
        format!("{role} connects with initiator depth 0, and waits: a READ or an atomic never leaves");
    let packet = format!(
        "packet {}: REQ with initiator depth 0; no READ and no atomic of {role} is in the capture",
        req.packet
    );
    Some(Diagnosis::new(Cause::ReadDepthNone, sentence).shown_by([packet]))
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
    let order = [Role::Client, Role::Server];
    let role = order.into_iter().find(|role| facts.has_failed(*role))?;
    let expected = facts.evidence.scenario.expected(role).exit;
    let code = facts.exit_code(role).map_or("a signal".to_owned(), |code| format!("exit code {code}"));
    let signal = signal_of(facts, role).map_or(String::new(), |signal| format!(" ({signal})"));
    let nothing = facts.report.is_some_and(|report| report.packets == 0);
    let packets = if nothing { "; no RoCEv2 packet was sent" } else { "" };
    let sentence = format!("{role} ended with {code}{signal}, expected {expected}{packets}");
    let cause = if role == Role::Client { Cause::ClientFailed } else { Cause::ServerFailed };
    Some(Diagnosis::new(cause, sentence).shown_by(last_lines(facts, role)))
}

/// The last lines that a program wrote.
fn last_lines(facts: &Facts<'_>, role: Role) -> Vec<String> {
    let Some(output) = facts.node(role).and_then(|node| node.output.as_ref()) else { return Vec::new() };
    let mut lines = Vec::new();
    for (what, text) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let all: Vec<&str> =
            text.lines().filter(|line| !matches!(line.trim(), "" | "Terminated" | "Killed")).collect();
        lines.extend(
            all[all.len().saturating_sub(LINES)..]
                .iter()
                .map(|line| format!("{role}'s {what}: {}", shown(line))),
        );
    }
    lines
}
