//! One stage of `cargo xtask ci`: a command whose output streams through while its tests are counted.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The longest that one stage may take, a cold build and downloads included.
const STAGE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Interval between two looks at a running stage.
const POLL: Duration = Duration::from_millis(50);

/// Longest time that the rest of an output is waited for after its process has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Numbers of tests that passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TestCounts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// Demand of a stage for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StageExpect {
    /// Has none: counts as one.
    NoTests,
    /// Runs at least one.
    Tests,
}

/// End of a stage.
#[derive(Debug)]
pub(crate) struct StageEnd {
    pub(crate) name: String,
    pub(crate) took: Duration,
    pub(crate) counts: TestCounts,
    /// Reason that it is red; empty where it is green.
    pub(crate) why: String,
}

/// Runs `command` as the stage `name`; `echo` gets each line of its output, without the line's end.
pub(crate) fn run(
    name: &str,
    command: &mut Command,
    expect: StageExpect,
    echo: impl Fn(&str) + Send + 'static,
) -> StageEnd {
    echo(&heading(name));
    let started = Instant::now();
    let (counts, ending) = execute(command, echo);
    judge(name, started.elapsed(), counts, ending, expect)
}

/// A stage that is one question: `Err` holds why it is red.
pub(crate) fn check(name: &str, question: impl FnOnce() -> lab::Result<()>, echo: impl Fn(&str)) -> StageEnd {
    echo(&heading(name));
    let started = Instant::now();
    let answer = question().map_err(|error| error.to_string());
    if let Err(why) = &answer {
        echo(&format!("error: {why}"));
    }
    let ending = answer.map_err(|why| why.lines().next().unwrap_or_default().to_owned());
    judge(name, started.elapsed(), None, ending, StageExpect::NoTests)
}

fn heading(name: &str) -> String {
    format!("\n== {name}")
}

/// Turns what was seen into a stage's end.
fn judge(
    name: &str,
    took: Duration,
    counts: Option<TestCounts>,
    ending: Result<(), String>,
    expect: StageExpect,
) -> StageEnd {
    let mut sum = counts.unwrap_or_default();
    let why = match ending {
        Err(why) => why,
        Ok(()) if sum.failed > 0 => "a failed test, and exit code 0".to_owned(),
        Ok(()) if expect == StageExpect::Tests && sum.passed == 0 => "ran no test".to_owned(),
        Ok(()) => String::new(),
    };
    if !why.is_empty() && sum.failed == 0 {
        sum.failed = 1;
    } else if why.is_empty() && sum.passed == 0 {
        sum.passed = 1;
    }
    StageEnd { name: name.to_owned(), took, counts: sum, why }
}

/// Runs a command to its end, passing its standard output on; gives the counts of its `test result:` lines.
fn execute(
    command: &mut Command,
    echo: impl Fn(&str) + Send + 'static,
) -> (Option<TestCounts>, Result<(), String>) {
    let mut child = match command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = command.get_program().to_string_lossy();
            return (None, Err(format!("failed to start `{program}`: {error}")));
        }
    };
    let (sender, counted) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                echo(&line);
                if let Some(counts) = test_result(&line) {
                    let _ = sender.send(counts);
                }
            }
        });
    }
    let started = Instant::now();
    let ending = loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break Ok(()),
            Ok(Some(status)) => break Err(status.to_string()),
            Ok(None) if started.elapsed() > STAGE_LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                break Err(format!("not within {} s", STAGE_LIMIT.as_secs()));
            }
            Ok(None) => thread::sleep(POLL),
            Err(error) => break Err(format!("failed to wait for it: {error}")),
        }
    };
    let mut sum = None;
    let drained = Instant::now();
    while let Ok(counts) = counted.recv_timeout(DRAIN_LIMIT.saturating_sub(drained.elapsed())) {
        let sum = sum.get_or_insert_with(TestCounts::default);
        sum.passed += counts.passed;
        sum.failed += counts.failed;
    }
    (sum, ending)
}

/// Reads "test result: ok. 12 passed; 0 failed; …", with or without colours.
fn test_result(line: &str) -> Option<TestCounts> {
    let (_, rest) = line.trim_start().strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = TestCounts::default();
    for part in rest.split(';') {
        let mut words = part.split_whitespace();
        let (number, what) = (words.next(), words.next());
        match (number.and_then(|number| number.parse().ok()), what) {
            (Some(number), Some("passed")) => counts.passed = number,
            (Some(number), Some("failed")) => counts.failed = number,
            _ => {}
        }
    }
    Some(counts)
}

/// The last lines of a run: every stage with its time, then `N passed, N failed`.
pub(crate) struct StageTable<'a>(pub(crate) &'a [StageEnd]);

impl StageTable<'_> {
    /// Passed and failed over all stages.
    pub(crate) fn total(&self) -> TestCounts {
        self.0.iter().fold(TestCounts::default(), |sum, ended| TestCounts {
            passed: sum.passed + ended.counts.passed,
            failed: sum.failed + ended.counts.failed,
        })
    }
}

impl fmt::Display for StageTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|ended| ended.name.len()).max().unwrap_or(0);
        writeln!(f, "\n{:<width$}  {:>8}  {:>6}  {:>6}", "stage", "seconds", "passed", "failed")?;
        for StageEnd { name, took, counts, why } in self.0 {
            let TestCounts { passed, failed } = counts;
            let row = format!("{name:<width$}  {:>8.1}  {passed:>6}  {failed:>6}  {why}", took.as_secs_f64());
            writeln!(f, "{}", row.trim_end())?;
        }
        let TestCounts { passed, failed } = self.total();
        writeln!(f, "\n{passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn test_result_line_is_counted() {
        let line = "test result: FAILED. 22 passed; 1 failed; 3 ignored; 0 measured; 2 filtered out; finished in 0.09s";
        assert_eq!(test_result(line), Some(TestCounts { passed: 22, failed: 1 }));
        assert_eq!(
            test_result("test result: \x1b[32mok\x1b[m. 1 passed; 0 failed; "),
            Some(TestCounts { passed: 1, failed: 0 })
        );
        assert_eq!(test_result("test wire::test result ... ok"), None);
    }

    #[test]
    fn counts_of_all_result_lines_are_summed() {
        let ended = run(
            "test",
            &mut shell(
                "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; echo 'test result: ok. 3 passed; 0 failed;'",
            ),
            StageExpect::Tests,
            |_| {},
        );
        assert_eq!((ended.counts, ended.why.as_str()), (TestCounts { passed: 5, failed: 0 }, ""));
    }

    #[test]
    fn test_stage_without_a_test_is_red() {
        let silent = run("test", &mut shell("true"), StageExpect::Tests, |_| {});
        assert_eq!(
            (silent.counts, silent.why.as_str()),
            (TestCounts { passed: 0, failed: 1 }, "ran no test")
        );
        let none = run(
            "test",
            &mut shell("echo 'test result: ok. 0 passed; 0 failed;'"),
            StageExpect::Tests,
            |_| {},
        );
        assert_eq!(none.why, "ran no test");
    }

    #[test]
    fn stage_that_ends_badly_counts_at_least_one_failure() {
        let build = run(
            "test",
            &mut shell("echo 'test result: ok. 4 passed; 0 failed;'; exit 101"),
            StageExpect::Tests,
            |_| {},
        );
        assert_eq!(build.counts, TestCounts { passed: 4, failed: 1 });
        let tests = run(
            "test",
            &mut shell("echo 'test result: FAILED. 4 passed; 2 failed;'; exit 101"),
            StageExpect::Tests,
            |_| {},
        );
        assert_eq!(tests.counts, TestCounts { passed: 4, failed: 2 });
        let absent = run("x", &mut Command::new("/nonexistent/program"), StageExpect::NoTests, |_| {});
        assert!(absent.why.contains("/nonexistent/program"), "{}", absent.why);
    }

    #[test]
    fn stage_without_tests_counts_as_one() {
        assert_eq!(
            run("fmt", &mut shell("true"), StageExpect::NoTests, |_| {}).counts,
            TestCounts { passed: 1, failed: 0 }
        );
        let red = check("requirements", || Err(lab::Error::setup("no tshark").next("install it")), |_| {});
        assert_eq!((red.counts, red.why.as_str()), (TestCounts { passed: 0, failed: 1 }, "no tshark"));
    }

    #[test]
    fn last_line_is_the_sum() {
        let ended = |name: &str, passed, failed, why: &str| StageEnd {
            name: name.to_owned(),
            took: Duration::from_millis(1500),
            counts: TestCounts { passed, failed },
            why: why.to_owned(),
        };
        let text =
            StageTable(&[ended("fmt", 1, 0, ""), ended("test", 40, 2, "exit status: 101")]).to_string();
        assert_eq!(text.lines().last(), Some("41 passed, 2 failed"));
        assert!(text.contains("fmt        1.5       1       0\n"), "{text}");
    }
}
