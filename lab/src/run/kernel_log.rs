//! The kernel log of a node: what was logged while a scenario ran, what of it a healthy node logs, and what a node logs
//! that the host did not let run.

use std::collections::BTreeSet;

use crate::base::error::{Error, Result};

/// Lines that a healthy node logs, each with its reason.
const ALLOWED: &str = include_str!("../../guest/kernel-log.allow");

/// Lines that kernels later than 6.1 log of a work request that failed (of a requester, and of a responder's RECV) and of memory that
/// was not registered.
pub const FAILED_REQUESTS: [&str; 3] = [
    "make_send_cqe: non-flush error status = ",
    "do_complete: non-flush error status = ",
    "rxe_reg_user_mr: returned err = ",
];

/// Lines of a node that stood still, each with its reason.
const STALLED: &str = include_str!("../../guest/kernel-log.stalled");

/// Longest time, in seconds, after which a kernel that said that a processor stalled prints what that did.
const DUMP_S: f64 = 1.0;

/// Level `warning`; lower numbers are worse.
const WARNING: u8 = 4;

/// The shell command that prints a moment on a node's own clock.
pub const NOW: &str = "cat /proc/uptime";

/// The shell command that prints a node's kernel log from a moment on (see [`parse_now`]): most of it is of the boot, and would
/// only make its way over a slow line.
pub fn print_since(since: f64) -> String {
    format!("dmesg -r | awk -F'[][]' '$2 + 0 >= {since}'")
}

/// Reads what [`NOW`] printed: seconds since the node's boot.
///
/// # Errors
///
/// It is no uptime.
pub fn parse_now(output: &str) -> Result<f64> {
    let seconds = output.split_whitespace().next().and_then(|word| word.parse().ok());
    seconds.ok_or_else(|| Error::setup(format!("no uptime in `{}`", output.trim())))
}

/// The lines of level warning and worse that are neither allowed, nor those of a node that stood still, nor have one of
/// the `expected` parts.
pub fn objections<'a>(log: &'a str, expected: &[String]) -> Vec<&'a str> {
    let allowed: Vec<&str> = entries(ALLOWED).collect();
    let stalls = stalls(log);
    let dumps: Vec<f64> =
        stalls.iter().filter(|line| line.contains("rcu:")).filter_map(|line| seconds(line)).collect();
    let is_dumped = |line: &str| {
        let is_its_own = ["BUG:", "WARNING:", "Oops"].iter().any(|word| line.contains(word));
        let at = seconds(line).unwrap_or(f64::MIN);
        !is_its_own && dumps.iter().any(|stall| (*stall..stall + DUMP_S).contains(&at))
    };
    warnings(log)
        .filter(|line| !stalls.contains(line) && !is_dumped(line))
        .filter(|line| !allowed.iter().any(|part| line.contains(part)))
        .filter(|line| !expected.iter().any(|part| has(line, part)))
        .collect()
}

/// The texts of what a kernel warns of, without time and with `N` for each number; what tells of a machine that stood still is
/// left out.
pub fn texts(log: &str) -> BTreeSet<String> {
    let stalls = stalls(log);
    let lines = warnings(log).filter(|line| !stalls.contains(line));
    lines.map(|line| without_numbers(line.split_once("] ").map_or(line, |(_, text)| text))).collect()
}

fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character.is_ascii_digit() {
            true if out.ends_with('N') => {}
            true => out.push('N'),
            false => out.push(character),
        }
    }
    out
}

/// The lines by which the kernel says that its machine stood still.
pub fn stalls(log: &str) -> Vec<&str> {
    let is_stall = |line: &str| entries(STALLED).any(|entry| has_parts(line, entry));
    warnings(log).filter(|line| is_stall(line)).collect()
}

fn warnings(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| level(line).is_some_and(|level| level <= WARNING))
}

/// The entries of a list, without their reasons.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.split_once(" # ")?.0.trim()))
}

/// True if a line has all parts of an entry, in their order.
fn has_parts(line: &str, entry: &str) -> bool {
    let mut rest = line;
    entry.split(" … ").all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

/// The expected parts of lines that no line has.
pub fn missing<'a>(log: &str, expected: &'a [String]) -> Vec<&'a str> {
    expected.iter().map(String::as_str).filter(|part| !has(log, part)).collect()
}

/// True if the text has the part, or one of its alternatives `a | b`, which are one kernel's words and another's.
fn has(text: &str, part: &str) -> bool {
    part.split(" | ").any(|part| text.contains(part))
}

/// The lines of [`print_since`]'s output from a moment on (see [`parse_now`]), as `<level>[seconds] text`.
pub fn lines_since(log: &str, since: f64) -> String {
    log.lines()
        .filter(|line| seconds(line).is_some_and(|seconds| seconds >= since))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The level in `<4>[    3.338359] text`; facilities are above its three bits.
fn level(line: &str) -> Option<u8> {
    let number: u32 = line.strip_prefix('<')?.split_once('>')?.0.parse().ok()?;
    Some((number & 7) as u8)
}

fn seconds(line: &str) -> Option<f64> {
    line.split_once('[')?.1.split_once(']')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_warnings_are_the_same_in_every_run() {
        let log = "<3>[    7.338359] rdma_rxe: rxe0: qp#18 make_send_cqe: non-flush error status = 10\n\
            <6>[    8.1] info\n<4>[    9.1] clocksource: Long readout interval, skipping watchdog check\n";
        let texts: Vec<String> = texts(log).into_iter().collect();
        assert_eq!(texts, ["rdma_rxe: rxeN: qp#N make_send_cqe: non-flush error status = N"]);
    }

    const LOG: &str = "<6>[    1.000000] before\n\
        <4>[    3.338359] eth0 speed is unknown, defaulting to 1000\n\
        <6>[    3.400000] rdma_rxe: loaded\n\
        <3>[    3.500000] rxe0: something bad\n\
        <28>[    3.600000] daemon: a warning of another facility\n";

    #[test]
    fn only_lines_of_the_scenario_count() {
        assert_eq!(lines_since(LOG, 3.0).lines().count(), 4);
        assert_eq!(lines_since(LOG, 9.0), "");
    }

    #[test]
    fn warnings_count_unless_a_healthy_node_logs_them() {
        assert_eq!(
            objections(LOG, &[]),
            [
                "<3>[    3.500000] rxe0: something bad",
                "<28>[    3.600000] daemon: a warning of another facility"
            ]
        );
    }

    #[test]
    fn counted_rest_of_lines_that_were_judged_is_no_objection() {
        let line = "<4>[   18.750579] make_send_cqe: non-flush error status = 12";
        let rest = "<4>[   18.750579] make_send_cqe: 3 callbacks suppressed";
        assert_eq!(objections(&format!("{line}\n{rest}\n"), &[]), [line]);
    }

    #[test]
    fn expected_line_is_no_objection_and_has_to_be_there() {
        let expected = ["something bad".to_owned(), "something else".to_owned()];
        assert_eq!(objections(LOG, &expected), ["<28>[    3.600000] daemon: a warning of another facility"]);
        assert_eq!(missing(LOG, &expected), ["something else"]);
    }

    /// As Linux 6.1 and 6.12 log them.
    const STALLS: &str = "<4>[   10.1] hrtimer: interrupt took 12345678 ns\n\
        <4>[   11.0] workqueue: rxe_wq do_work [rdma_rxe] hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND\n\
        <4>[   12.0] clocksource: Long readout interval, skipping watchdog check: cs_nsec: 1\n\
        <4>[   12.1] clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable because the skew is too large:\n\
        <4>[   12.1] clocksource:                       'kvm-clock' wd_nsec: 5\n\
        <4>[   12.2] tsc: Marking TSC unstable due to clocksource watchdog\n\
        <3>[   20.0] rcu: INFO: rcu_preempt self-detected stall on CPU\n";

    #[test]
    fn stalls_are_no_objections_and_are_told() {
        assert_eq!(stalls(STALLS), STALLS.lines().collect::<Vec<_>>());
        assert_eq!(objections(STALLS, &[]), [""; 0]);
        assert_eq!(stalls(LOG), [""; 0]);
        // What the kernel prints with a stall is of that moment; what comes later, or names itself, is not.
        let dump = "<3>[   20.1] \t0-....: (2100 ticks this GP)\n<4>[   20.1]  ? rxe_do_task+0x1/0x2\n";
        let other =
            "<4>[   20.2] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1\n<3>[   30.0] rxe0: something bad\n";
        assert_eq!(objections(&format!("{STALLS}{dump}{other}"), &[]), other.lines().collect::<Vec<_>>());
        assert_eq!(objections(dump, &[]).len(), 2);
        for near in ["<4>[   1.0] workqueue: something else", "<4>[   1.0] rcu: something else"] {
            assert_eq!(objections(near, &[]), [near]);
        }
    }

    #[test]
    fn one_of_the_alternatives_is_expected() {
        let either = ["unable to pin | something bad".to_owned()];
        assert_eq!(objections(LOG, &either).len(), 1);
        assert_eq!(missing(LOG, &either), [""; 0]);
        assert_eq!(missing(LOG, &["neither | nor".to_owned()]), ["neither | nor"]);
    }

    #[test]
    fn every_allowed_line_has_a_reason() {
        let lists = [ALLOWED, STALLED].concat();
        for line in lists.lines().filter(|line| !line.starts_with('#')) {
            assert!(
                line.split_once(" # ").is_some_and(|(part, reason)| part.len() > 8 && reason.len() > 8),
                "{line}"
            );
        }
    }
}
