//! One way to run a local process that talks to a machine, a daemon or a lock: with a limit.
//!
//! A process that reaches its limit is ended together with everything it started. What cannot block on
//! a peer (cargo, mkfs) may use xshell instead.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};

/// Number of an output's last lines that an error shows.
const TAIL_LINES: usize = 12;

/// Outputs of a process and its exit code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

impl Output {
    /// Words for the end: `exit code 3`, or that a signal made it.
    pub fn ending(&self) -> String {
        self.code.map_or_else(|| "ended by a signal".to_owned(), |code| format!("exit code {code}"))
    }
}

/// A command line, as pure data: build it, print it, test it, then run it.
#[derive(Debug, Clone, Default)]
pub struct Command {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    unset: Vec<OsString>,
    directory: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    stdout: Option<PathBuf>,
}

impl Command {
    /// A command whose first word is the program.
    pub fn new<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Command {
        Command { argv: argv.into_iter().map(Into::into).collect(), ..Command::default() }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Command {
        self.argv.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Command {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// The same, started by another program, whose words go before its own.
    #[must_use]
    pub fn behind(mut self, words: Vec<OsString>) -> Command {
        self.argv.splice(0..0, words);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Command {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Takes a variable of ours out of the process's environment.
    #[must_use]
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Command {
        self.unset.push(key.into());
        self
    }

    /// Runs in `directory`.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Command {
        self.directory = Some(directory.into());
        self
    }

    /// Feeds `bytes` to standard input, which is empty otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Command {
        self.stdin = Some(bytes.into());
        self
    }

    /// Writes standard output into the file `path`; [`Output::stdout`] is empty then.
    #[must_use]
    pub fn stdout_file(mut self, path: impl Into<PathBuf>) -> Command {
        self.stdout = Some(path.into());
        self
    }

    /// The words, for tests and messages.
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// Runs to the end, whatever the exit code.
    ///
    /// # Errors
    ///
    /// The program cannot be started; it did not end within `limit` (it and its process group are then
    /// killed).
    pub fn output(&self, limit: Duration) -> Result<Output> {
        let (program, args) = self.argv.split_first().ok_or_else(|| Error::setup("empty command"))?;
        let expression = duct::cmd(program, args);
        let expression = match &self.stdout {
            Some(path) => expression.stdout_path(path),
            None => expression.stdout_capture(),
        };
        let mut expression = expression.stderr_capture().unchecked().before_spawn(|command| {
            command.process_group(0);
            Ok(())
        });
        expression = match &self.stdin {
            Some(bytes) => expression.stdin_bytes(bytes.clone()),
            None => expression.stdin_null(),
        };
        for (key, value) in &self.env {
            expression = expression.env(key, value);
        }
        for key in &self.unset {
            expression = expression.env_remove(key);
        }
        if let Some(directory) = &self.directory {
            expression = expression.dir(directory);
        }
        let handle = expression
            .start()
            .map_err(|source| Error::setup(format!("failed to start `{self}`")).source(source))?;
        match handle.wait_timeout(limit) {
            Ok(Some(output)) => Ok(Output {
                code: output.status.code(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }),
            Ok(None) => {
                for pid in handle.pids() {
                    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                        let _ = kill_process_group(pid, Signal::KILL);
                    }
                }
                let _ = handle.kill();
                Err(Error::timeout(format_args!("`{self}`"), limit))
            }
            Err(source) => Err(Error::setup(format!("failed to wait for `{self}`")).source(source)),
        }
    }

    /// Runs to the end and demands exit code 0.
    ///
    /// # Errors
    ///
    /// As [`Command::output`], and any other exit: with the command, its code and its last lines.
    pub fn run(&self, limit: Duration) -> Result<Output> {
        let output = self.output(limit)?;
        if output.code == Some(0) {
            return Ok(output);
        }
        let ending = output.ending();
        let text = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
        Err(Error::setup(format!("`{self}`: {ending}")).detail(tail(text, TAIL_LINES)))
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, word) in self.argv.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{}", shell_word(&word.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// A text as one word of a shell's command: in quotes unless it plainly needs none.
pub fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The last `lines` lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn failure_shows_command_code_and_output() {
        let text = Command::new(["sh", "-c", "echo no such thing >&2; exit 3"])
            .run(Duration::from_secs(5))
            .unwrap_err()
            .to_string();
        assert_eq!(text, "`sh -c 'echo no such thing >&2; exit 3'`: exit code 3\n  | no such thing");
    }

    #[test]
    fn limit_ends_the_whole_process_group() {
        let started = Instant::now();
        let error =
            Command::new(["sh", "-c", "sleep 30 & wait"]).output(Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), crate::base::error::Kind::Timeout);
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn stdin_is_fed_or_empty() {
        let fed = Command::new(["cat"]).stdin("abc").run(Duration::from_secs(5)).unwrap();
        assert_eq!(fed.stdout, "abc");
        let empty = Command::new(["cat"]).run(Duration::from_secs(5)).unwrap();
        assert_eq!(empty.stdout, "");
    }

    #[test]
    fn output_goes_into_a_file_byte_by_byte() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let command = Command::new(["printf", r"a\377b"]).stdout_file(file.path());
        assert_eq!(command.run(Duration::from_secs(5)).unwrap().stdout, "");
        assert_eq!(std::fs::read(file.path()).unwrap(), b"a\xffb");
    }

    #[test]
    fn words_mean_themselves_to_a_shell() {
        for text in [
            "",
            "a b",
            "*",
            "$HOME",
            "~",
            "a;b",
            "(x)",
            "<in",
            "`id`",
            "back\\slash",
            "it's",
            "#no",
            "plain/x-1",
        ] {
            let command = format!("printf %s {}", shell_word(text));
            let output = Command::new(["sh", "-c", &command]).run(Duration::from_secs(5)).unwrap();
            assert_eq!(output.stdout, text);
        }
        assert_eq!(shell_word("/a,b/c=1"), "/a,b/c=1");
    }

    #[test]
    fn tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
