//! The tests of the verbs library on a node, where a real device is: listed there, and each run as a process
//! of its own with a limit.
//!
//! Only those marked ignored, which are the ones that need a device: the others run wherever `cargo test` does.

use std::time::{Duration, Instant};

use crate::base::command::{Output, tail};
use crate::base::error::{Error, Kind, Result};
use crate::base::program::Program;
use crate::guest::contents::ENVIRONMENT;
use crate::node::Node;
use crate::run::kernel_log;

/// Longest time that one test may take.
pub const TEST_LIMIT: Duration = Duration::from_secs(60);

/// Longest time that a test binary may take to list its tests.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// Number of a failed test's last lines that are shown.
const TAIL_LINES: usize = 30;

/// A test in a deployed test binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestTest {
    /// The test binary, as it is called on a node.
    pub binary: String,
    /// The test's path in it.
    pub name: String,
}

/// End of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestEnd {
    /// Ran and passed, and the node's kernel had no objection.
    Passed,
    /// Failed: with the reason and its last lines.
    Failed(String),
}

/// Lists the tests of these binaries, which are deployed on `node`.
///
/// # Errors
///
/// A binary does not run there, or tells something else.
pub fn list(node: &dyn Node, binaries: &[Program]) -> Result<Vec<GuestTest>> {
    let mut tests = Vec::new();
    for binary in binaries {
        let command = format!("{ENVIRONMENT}; {} --list --format terse --ignored", binary.name);
        let output = node.run(&command, LIST_LIMIT)?;
        if output.code != Some(0) {
            return Err(Error::setup(format!("{} does not list its tests", binary.name))
                .detail(tail(&output.stderr, TAIL_LINES)));
        }
        tests.extend(parse_list(&binary.name, &output.stdout));
    }
    Ok(tests)
}

/// Runs one test to its end, or to `limit`; gives how it ended and how long it took.
///
/// # Errors
///
/// The node has gone.
pub fn run(node: &dyn Node, test: &GuestTest, limit: Duration) -> Result<(TestEnd, Duration)> {
    let GuestTest { binary, name } = test;
    let since = kernel_log::parse_now(&node.run(kernel_log::NOW, LIST_LIMIT)?.stdout)?;
    let command =
        format!("{ENVIRONMENT}; exec {binary} --exact {name} --ignored --nocapture --test-threads 1");
    let started = Instant::now();
    let mut running = node.start(&command)?;
    let mut expected = Vec::new();
    let ended = match running.wait(limit) {
        Ok(output) => {
            expected = expected_logs(&output.stdout);
            judge(&output)
        }
        Err(error) if error.kind() == Kind::Timeout => {
            let output = running.stop()?;
            let limit = limit.as_secs();
            TestEnd::Failed(format!("had not ended after {limit} s, and was stopped\n{}", said(&output)))
        }
        Err(error) => return Err(error),
    };
    let took = started.elapsed();
    let log = node.run(&kernel_log::print_since(since), LIST_LIMIT)?.stdout;
    let log = kernel_log::lines_since(&log, since);
    // Tests make work requests fail and look at the completion, which says the same.
    let failed = kernel_log::FAILED_REQUESTS.map(str::to_owned);
    let objections = kernel_log::objections(&log, &[&expected[..], &failed[..]].concat());
    let missing = kernel_log::missing(&log, &expected);
    let ended = match ended {
        TestEnd::Passed if !objections.is_empty() => {
            TestEnd::Failed(format!("the kernel logged:\n{}", objections.join("\n")))
        }
        TestEnd::Passed if !missing.is_empty() => {
            TestEnd::Failed(format!("the kernel did not log what the test expects: {}", missing.join(", ")))
        }
        ended => ended,
    };
    Ok((ended, took))
}

/// `module::name: test`, one a line.
fn parse_list(binary: &str, text: &str) -> Vec<GuestTest> {
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    names.map(|name| GuestTest { binary: binary.to_owned(), name: name.to_owned() }).collect()
}

/// Reads what a test says that it makes the kernel log: `kernel log: PART OF A LINE`, perhaps behind libtest's own words.
fn expected_logs(stdout: &str) -> Vec<String> {
    stdout.lines().filter_map(|line| Some(line.split_once("kernel log: ")?.1.to_owned())).collect()
}

/// A pass is exit code 0 and the word that one test ran: a binary that ran none exits with 0 as well.
fn judge(output: &Output) -> TestEnd {
    if output.code == Some(0) && output.stdout.contains("test result: ok. 1 passed; 0 failed; 0 ignored;") {
        return TestEnd::Passed;
    }
    let ending = match output.code {
        Some(0) => "did not run".to_owned(),
        _ => output.ending(),
    };
    TestEnd::Failed(format!("{ending}\n{}", said(output)))
}

fn said(output: &Output) -> String {
    tail(&format!("{}{}", output.stdout, output.stderr), TAIL_LINES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(code: i32, stdout: &str) -> Output {
        Output { code: Some(code), stdout: stdout.to_owned(), stderr: "thread panicked\n".to_owned() }
    }

    #[test]
    fn tests_are_listed_with_their_binary() {
        let tests = parse_list("verbs", "a::b: test\nc: test\n\nd: benchmark\n2 tests\n");
        let names: Vec<_> = tests.iter().map(|test| (test.binary.as_str(), test.name.as_str())).collect();
        assert_eq!(names, [("verbs", "a::b"), ("verbs", "c")]);
    }

    #[test]
    fn test_may_say_what_it_makes_the_kernel_log() {
        let said = "running 1 test\ntest x ... kernel log: Unable to pin\nkernel log: other\nok\n";
        assert_eq!(expected_logs(said), ["Unable to pin", "other"]);
    }

    #[test]
    fn only_a_test_that_ran_has_passed() {
        let ran =
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.1s\n";
        assert_eq!(judge(&output(0, ran)), TestEnd::Passed);
        let none = ran.replace("1 passed", "0 passed");
        assert!(
            matches!(judge(&output(0, &none)), TestEnd::Failed(text) if text.starts_with("did not run\n"))
        );
        let failed = judge(&output(101, "test result: FAILED. 0 passed; 1 failed;"));
        assert!(matches!(failed, TestEnd::Failed(text) if text.contains("101") && text.contains("panicked")));
    }
}
