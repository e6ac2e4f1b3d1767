//! The kernel log of a node: what was logged while a scenario ran, and what of it a healthy node logs.

use crate::error::{Error, Result};

/// Lines that a healthy node logs, each with its reason.
const ALLOWED: &str = include_str!("../guest/kernel-log.allow");

/// What kernels later than 6.1 log of a work request that failed: of a requester, and of a responder's RECV.
pub const FAILED_REQUESTS: [&str; 2] =
    ["make_send_cqe: non-flush error status = ", "do_complete: non-flush error status = "];

/// Level `warning`; lower numbers are worse.
const WARNING: u8 = 4;

/// The shell command that prints a moment on a node's own clock.
pub const NOW: &str = "cat /proc/uptime";

/// The shell command that prints a node's kernel log.
pub const PRINT: &str = "dmesg -r";

/// Reads what [`NOW`] printed: seconds since the node's boot.
///
/// # Errors
///
/// It is no uptime.
pub fn parse_now(output: &str) -> Result<f64> {
    let seconds = output.split_whitespace().next().and_then(|word| word.parse().ok());
    seconds.ok_or_else(|| Error::setup(format!("no uptime in `{}`", output.trim())))
}

/// The lines of level warning and worse that are neither allowed nor have one of the `expected` parts.
pub fn objections<'a>(log: &'a str, expected: &[String]) -> Vec<&'a str> {
    let allowed: Vec<&str> = ALLOWED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once(" # ")?.0.trim()))
        .collect();
    log.lines()
        .filter(|line| level(line).is_some_and(|level| level <= WARNING))
        .filter(|line| !allowed.iter().any(|part| line.contains(part)))
        .filter(|line| !expected.iter().any(|part| has(line, part)))
        .collect()
}

/// The expected parts of lines that no line has.
pub fn missing<'a>(log: &str, expected: &'a [String]) -> Vec<&'a str> {
    expected.iter().map(String::as_str).filter(|part| !has(log, part)).collect()
}

/// True if the text has the part, or one of its alternatives `a | b`, which are one kernel's words and another's.
fn has(text: &str, part: &str) -> bool {
    part.split(" | ").any(|part| text.contains(part))
}

/// The lines of [`PRINT`]'s output from a moment on (see [`parse_now`]), as `<level>[seconds] text`.
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
    fn expected_line_is_no_objection_and_has_to_be_there() {
        let expected = ["something bad".to_owned(), "something else".to_owned()];
        assert_eq!(objections(LOG, &expected), ["<28>[    3.600000] daemon: a warning of another facility"]);
        assert_eq!(missing(LOG, &expected), ["something else"]);
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
        for line in ALLOWED.lines().filter(|line| !line.starts_with('#')) {
            assert!(
                line.split_once(" # ").is_some_and(|(part, reason)| part.len() > 8 && reason.len() > 8),
                "{line}"
            );
        }
    }
}
