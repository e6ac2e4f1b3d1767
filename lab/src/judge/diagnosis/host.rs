//! Refusals of a node's system to a program, before anything of it was on the wire.

use crate::base::role::Role;

use super::facts::{Facts, shown};
use crate::judge::diagnosis::diagnosis::Diagnosis;
use crate::scenario::cause::Cause;

/// Words of programs that want a terminal; the second is the system's for ENOTTY.
const TERMINAL: [&str; 5] = [
    "not a tty",
    "Inappropriate ioctl for device",
    "not a terminal",
    "no tty",
    "TERM environment variable not set",
];

/// The causes on one of the nodes.
pub(super) fn causes(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let halted = Role::BOTH.into_iter().filter_map(|role| halted(facts, role));
    let in_trouble = Role::BOTH.into_iter().filter(|role| facts.is_in_trouble(*role));
    halted.chain(in_trouble.flat_map(|role| of_node(facts, role))).collect()
}

/// A program that stood still when the lab ended it.
fn halted(facts: &Facts<'_>, role: Role) -> Option<Diagnosis> {
    let node = facts.node(role).filter(|node| !node.halted.is_empty())?;
    let names = node.halted.join(", ");
    let sentence = format!("a program on {role} stands still: a signal stopped it ({names})");
    let shown =
        format!("{role}: /proc says of {names} \"State: T (stopped)\" when it was waited for no longer");
    Some(Diagnosis::new(Cause::ProgramHalted, sentence).shown_by([shown]))
}

fn of_node(facts: &Facts<'_>, role: Role) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    let command = facts.evidence.scenario.command(role);
    if let Some(code @ (126 | 127)) = facts.exit_code(role) {
        let said = facts
            .node(role)
            .and_then(|node| node.output.as_ref())
            .and_then(|output| output.stderr.lines().last());
        let sentence = match code {
            126 => format!("`{command}` is not a program that {role} can run"),
            _ => format!("`{command}`, or a library that it needs, is not on {role}"),
        };
        let said = said.map(|line| format!("{role}'s stderr: {}", shown(line)));
        found.push(Diagnosis::new(Cause::ProgramMissing, sentence).shown_by(said));
        return found;
    }
    if let Some(line) = facts.said(role, &TERMINAL).filter(|_| facts.has_failed(role)) {
        let sentence = format!("`{command}` wants a terminal, and on {role} it has none");
        found.push(Diagnosis::new(Cause::TerminalNeeded, sentence).shown_by([line]));
    }
    if let Some(line) = says_both(
        facts,
        role,
        &["reg_mr", "register", "memory region", "couldn't allocate mr"],
        &["Cannot allocate memory", "errno 12", "ENOMEM"],
    )
    .or_else(|| facts.said(role, &["RLIMIT_MEMLOCK", "memlock", "locked memory"]))
    // perftest says only that it failed; the number is ENOMEM.
    .or_else(|| facts.logged(role, "rxe_reg_user_mr: returned err = -12"))
    {
        let sentence = format!("{role} cannot register its memory: it would lock more than its limit allows");
        found.push(Diagnosis::new(Cause::LockedMemoryLimit, sentence).shown_by([line]));
    }
    if let Some(line) =
        says_both(facts, role, &["post_send"], &["Cannot allocate memory", "errno 12", "ENOMEM", ": 12 "])
    {
        let sentence = format!("{role}'s send queue is full: ibv_post_send failed with ENOMEM");
        found.push(Diagnosis::new(Cause::SendQueueFull, sentence).shown_by([line]));
    }
    if let Some(line) = says_both(
        facts,
        role,
        &["post_send", "post_recv", "post_srq_recv"],
        &["Invalid argument", "errno 22", "EINVAL", ": 22 "],
    ) {
        let of = [line.as_str(), facts.evidence.scenario.command(role)].join(" ").to_lowercase();
        let is_atomic =
            ["atomic", "fadd", "fetch", "cmp_swap", "cmpswap"].iter().any(|word| of.contains(word));
        let (cause, sentence) = match is_atomic {
            true => (
                Cause::AtomicUnaligned,
                format!(
                    "{role}'s device refuses an atomic before it is queued (EINVAL): its address is no multiple of 8, or its length not 8 bytes"
                ),
            ),
            false => (
                Cause::WorkRequestInvalid,
                format!("{role}'s device refuses a work request before it is queued (EINVAL)"),
            ),
        };
        found.push(Diagnosis::new(cause, sentence).shown_by([line]));
    }
    found.extend(resource_refused(facts, role));
    if let Some(line) = facts.said(role, &["Correlation coefficient r^2"]).filter(|_| facts.has_failed(role))
    {
        let sentence =
            format!("{role} cannot measure its processor's clock: the host does not let it run evenly");
        found.push(Diagnosis::new(Cause::ClockNotMeasured, sentence).shown_by([line]));
    }
    if let Some(line) = says_both(
        facts,
        role,
        &["no device", "resolve_addr", "resolve_route", "device", "rdma_", "IB device"],
        &["No such device", "errno 19", "ENODEV", "no device", "No IB devices", "no RDMA device", "errno 38"],
    ) {
        let sentence = format!("{role} finds no RDMA device for the address that it uses");
        found.push(Diagnosis::new(Cause::NoRdmaDevice, sentence).shown_by([line]));
    }
    let nothing_sent = facts.report.is_some_and(|report| report.packets == 0);
    if let Some(line) = says_both(facts, role, &["rconnect", "rsendto"], &["No such file or directory"])
        .filter(|_| nothing_sent)
    {
        let sentence = format!(
            "{role}'s address handle is refused: an rsocket of datagrams makes it without a GRH, which RoCE cannot do without"
        );
        found.push(Diagnosis::new(Cause::AddressWithoutGrh, sentence).shown_by([line]));
    }
    if let Some(line) = says_both(
        facts,
        role,
        &["RTR", "modify", "create_ah", "gid", "AH"],
        &[
            "Invalid argument",
            "Network is unreachable",
            "No route to host",
            "Connection timed out",
            "errno 22",
            "errno 101",
            "errno 113",
            "errno 110",
            "errno 61",
            "No data available",
            "could not get local gid",
            "query_gid",
        ],
    )
    .filter(|_| facts.said(role, &["RTR", "create_ah", "gid", "Failed to modify QP"]).is_some())
    {
        let sentence = format!(
            "{role} cannot bring its queue pair to the peer's address: the GID at its index is none that reaches it"
        );
        found.push(Diagnosis::new(Cause::GidUnusable, sentence).shown_by([line]));
    }
    found
}

/// A queue that the device does not make, as rxe logs it or the program says.
fn resource_refused(facts: &Facts<'_>, role: Role) -> Option<Diagnosis> {
    let calls = ["create_cq", "create_qp", "create_srq"];
    let logged = calls
        .iter()
        .find_map(|call| Some((*call, facts.logged(role, &format!("rxe_{call}: returned err = "))?)));
    let said = says_both(
        facts,
        role,
        &[
            "create_cq",
            "create_qp",
            "create_srq",
            "create CQ",
            "create QP",
            "create SRQ",
            "completion queue",
            "rdma_create_qp",
            "XRC Domain",
            "open_xrcd",
        ],
        &[
            "Invalid argument",
            "not supported",
            "Cannot allocate memory",
            "errno 22",
            "errno 95",
            "errno 12",
            "failed",
            "couldn't",
        ],
    );
    let is_lacking = said.as_ref().is_some_and(|line| line.to_lowercase().contains("xrc"));
    let sentence = match &logged {
        Some((call, line)) => {
            let number = line.rsplit("err = ").next().unwrap_or_default().trim();
            format!(
                "{role}'s device refuses ibv_{call} (error {number}): the program asks for what it has not"
            )
        }
        None if is_lacking => format!("{role}'s device has no extended reliable connections (XRC)"),
        None => format!("{role}'s device refuses to make a queue that the program asks for"),
    };
    let evidence: Vec<String> = logged.map(|(_, line)| line).into_iter().chain(said).collect();
    (!evidence.is_empty()).then(|| Diagnosis::new(Cause::ResourceRefused, sentence).shown_by(evidence))
}

/// The last line in which a program said one of each.
fn says_both(facts: &Facts<'_>, role: Role, some: &[&str], others: &[&str]) -> Option<String> {
    let output = facts.node(role)?.output.as_ref()?;
    let has = |line: &str, parts: &[&str]| {
        parts.iter().any(|part| line.to_lowercase().contains(&part.to_lowercase()))
    };
    for (what, text) in [("stderr", &output.stderr), ("stdout", &output.stdout)] {
        let plain = text.lines().filter(|line| !line.starts_with('{'));
        if let Some(line) = plain.rev().find(|line| has(line, some) && has(line, others)) {
            return Some(format!("{role}'s {what}: {}", shown(line)));
        }
    }
    None
}
