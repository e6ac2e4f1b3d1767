//! `ssh` and `exec`: a shell, or one command, on a node.
//!
//! Input, output and the exit code are those of the command itself, whatever carries them: 128 and the signal's number
//! where one ended it, 127 where the node has no such program and 126 where it is none; [`TROUBLE`] is the lab's own.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use lab::base::command::shell_word;
use lab::base::invocation;
use lab::base::role::Role;
use lab::guest::contents::ENVIRONMENT;
use lab::provider::qemu::ssh::ENDS_WITH_ITS_SESSION;
use lab::provider::remote::attended;
use lab::provider::resident::qemu::Resident;
use lab::{Error, Result};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use serde::Serialize;

use super::{Found, Name, Node, id, json, name_option, ssh_key};
use crate::front::this_program;
use crate::output;

/// The exit code of `lab exec` where the lab did not run the command to its end.
pub(crate) const TROUBLE: u8 = 125;

/// ssh's own failure, and an exit code that a command can have.
const SSH_FAILED: i32 = 255;

/// The arguments of `lab ssh`.
#[derive(Debug, clap::Args)]
pub struct SshArgs {
    #[command(flatten)]
    name: Name,
    /// Which node.
    #[arg(ignore_case = true)]
    node: Node,
}

/// The arguments of `lab exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: Name,
    /// Start the command in the background of the node, and say how to see its output and how to stop it.
    #[arg(short, long)]
    detach: bool,
    /// With --detach: say that as JSON, one object.
    #[arg(long, requires = "detach")]
    json: bool,
    /// Which node.
    #[arg(ignore_case = true)]
    node: Node,
    /// The command with its arguments; a single word may be a whole shell command.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A command in the background of a node.
#[derive(Serialize)]
struct Detached {
    node: Role,
    command: String,
    /// Process id on the node, of the command and of its process group.
    pid: u32,
    /// The file on the node that has both outputs.
    log: String,
    /// What prints the output so far and all that follows.
    output: String,
    /// What ends it.
    stop: String,
}

/// Opens a shell.
pub(crate) fn ssh(args: &SshArgs) -> Result<ExitCode> {
    let role = args.node.into();
    match args.name.find()? {
        Found::Own(lab) => become_it(&lab.ssh(&ssh_key()?, role)?),
        Found::Shared(lab) => execute(&lab.open()?.machine(role).host().shell(None, true), false).map(exit),
    }
}

/// Runs one command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (role, command) = (args.node.into(), shell_command(&args.command));
    let lab = args.name.find()?;
    if args.detach {
        return detach(args, &lab, role, &command);
    }
    let (is_terminal, is_ours) = terminal();
    // A command that a person started ends with the terminal's Ctrl-C. In the background of a shell the terminal is not
    // to be touched: who reads it, or changes its settings, is stopped.
    let is_interactive = is_terminal && is_ours && std::io::stdout().is_terminal();
    let without_input = is_terminal && !is_ours;
    match lab {
        Found::Own(lab) => run_own(&lab, role, &command, is_interactive, without_input),
        Found::Shared(lab) => {
            let open = lab.open()?;
            let (words, ending) = open.person(role, &format!("{ENVIRONMENT}; {command}"), is_interactive);
            match attended::run(&words, without_input)? {
                None => open.exit_code(role, &ending).map(ExitCode::from),
                Some(signal) => {
                    open.end(role, &ending)?;
                    Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(TROUBLE)))
                }
            }
        }
    }
}

/// Whether standard input is a terminal, and whether this process is in its foreground.
fn terminal() -> (bool, bool) {
    let stdin = std::io::stdin();
    (stdin.is_terminal(), tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == getpgrp()))
}

/// Runs a command on a QEMU machine over SSH.
fn run_own(
    lab: &Resident,
    role: Role,
    command: &str,
    is_interactive: bool,
    without_input: bool,
) -> Result<ExitCode> {
    let mark = format!("/tmp/.lab-exec-{}", id());
    let ssh = lab.ssh(&ssh_key()?, role)?;
    let line = session(command, &mark, is_interactive);
    let words = if is_interactive { ssh.clone().arg("-t").arg(line) } else { ssh.clone().arg(line) };
    match execute(&carried(&words)?, without_input)? {
        Some(SSH_FAILED) => {}
        code => return Ok(exit(code)),
    }
    // Rarely: the command's own, or ssh's.
    match lab.run(&ssh_key()?, role, &format!("rm {mark}"), b"") {
        Ok(_) => Ok(exit(Some(SSH_FAILED))),
        Err(error) => {
            Err(Error::boot(format!("the command on {role} was cut off")).source(error).next(format!(
                "look whether the lab is up: {}\nwhat the command started may run on: {} ends it",
                invocation::lab("status"),
                invocation::lab("reset")
            )))
        }
    }
}

/// The line that a session on a node runs: the command as a child, whose end it tells as a shell does, and by the file
/// `mark` if that is what ssh's own failure is.
fn session(command: &str, mark: &str, is_interactive: bool) -> String {
    let ends = if is_interactive { "" } else { ENDS_WITH_ITS_SESSION };
    // The terminal's Ctrl-C is the command's alone: trapped here, and as ever there.
    format!(
        "trap : INT QUIT; {ends} {ENVIRONMENT}; sh -c {}; code=$?; [ $code != {SSH_FAILED} ] || : >{mark}; exit $code",
        shell_word(command)
    )
}

/// Starts a command in the background of a node.
fn detach(args: &Args, lab: &Found, role: Role, command: &str) -> Result<ExitCode> {
    let script = format!("{ENVIRONMENT}; {command}");
    let (pid, log) = match lab {
        Found::Own(lab) => lab.detach(&ssh_key()?, role, &script, &id())?,
        Found::Shared(lab) => lab.open()?.machine(role).detach(&script, &id())?,
    };
    let exec = format!("{}{} {role}", invocation::lab("exec"), name_option(&args.name.name));
    let (output, stop) = (format!("{exec} tail -f -n +1 {log}"), format!("{exec} kill -- -{pid}"));
    let detached = Detached { node: role, command: command.to_owned(), pid, log, output, stop };
    if args.json {
        output::line(json(&detached)?)?;
    } else {
        let Detached { node, command, pid, log, output, stop } = detached;
        output::print(format_args!(
            "{node}: `{command}` runs as process {pid}, its output is in {log}\noutput   {output}\nstop it  {stop}\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs what reaches the node in the place of this process, so that what ends one ends the other.
fn become_it(words: &lab::base::command::Command) -> Result<ExitCode> {
    let mut process = process(words)?;
    let source = process.exec();
    Err(failed(&process, source))
}

/// The same words, run by a process that ends with this one: see [`carry`].
fn carried(words: &lab::base::command::Command) -> Result<lab::base::command::Command> {
    let this = this_program()?;
    Ok(lab::base::command::Command::new([this.into_os_string(), "__carry".into()]).args(words.argv()))
}

/// The words of `__carry`.
#[derive(Debug, clap::Args)]
pub struct CarryArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<std::ffi::OsString>,
}

/// Becomes a program that ends when its parent does, however that ends.
pub(crate) fn carry(args: &CarryArgs) -> Result<ExitCode> {
    #[cfg(target_os = "linux")]
    {
        let failed = |source| Error::setup("failed to end with the parent process").source(source);
        let parent = rustix::process::getppid();
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .map_err(|errno| failed(std::io::Error::from(errno)))?;
        if rustix::process::getppid() != parent {
            return Err(Error::setup("the parent process has ended"));
        }
    }
    become_it(&lab::base::command::Command::new(args.words.clone()))
}

/// Runs what reaches the node to its end; gives its exit code.
fn execute(words: &lab::base::command::Command, without_input: bool) -> Result<Option<i32>> {
    let mut process = process(words)?;
    if without_input {
        process.stdin(Stdio::null());
    }
    let status = process.status().map_err(|source| failed(&process, source))?;
    Ok(status.code())
}

/// An exit code of a process as this one's; that of one that a signal ended is ssh's own failure.
fn exit(code: Option<i32>) -> ExitCode {
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(TROUBLE))
}

fn process(words: &lab::base::command::Command) -> Result<Command> {
    let (program, arguments) =
        words.argv().split_first().ok_or_else(|| Error::setup("there is no command to reach the node"))?;
    let mut process = Command::new(program);
    process.args(arguments).stdin(Stdio::inherit());
    Ok(process)
}

fn failed(process: &Command, source: std::io::Error) -> Error {
    Error::setup(format!("failed to run {}", process.get_program().display())).source(source)
}

/// The command as a shell takes it, words kept apart; a single word is one already.
fn shell_command(command: &[String]) -> String {
    match command {
        [one] => one.clone(),
        words => lab::base::command::Command::new(words).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn words_stay_apart_and_one_word_is_a_shell_command() {
        let command = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            shell_command(&words)
        };
        assert_eq!(command(&["echo", "a b"]), "echo 'a b'");
        assert_eq!(command(&["cd /tmp && ls"]), "cd /tmp && ls");
    }

    #[test]
    fn session_tells_every_end_as_a_shell_does() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        for (command, code) in [
            ("true", 0),
            ("exit 7 # and a comment", 7),
            ("kill -9 $$", 137),
            ("kill -TERM $$", 143),
            ("/nonexistent/program", 127),
            ("/etc/passwd", 126),
            ("exit 255", 255),
        ] {
            for is_interactive in [false, true] {
                let line = session(command, &mark.display().to_string(), is_interactive);
                let limit = Duration::from_secs(20);
                let output = lab::base::command::Command::new(["sh", "-c", &line]).output(limit).unwrap();
                assert_eq!(output.code, Some(code), "{command}: {output:?}");
                assert_eq!(mark.exists(), code == 255, "{command}");
            }
        }
    }

    #[test]
    fn program_has_no_child_that_it_did_not_start() {
        let line = session("cat /proc/$$/task/$$/children; exit 0", "/dev/null", false);
        let output =
            lab::base::command::Command::new(["sh", "-c", &line]).output(Duration::from_secs(20)).unwrap();
        // `cat` itself, which the shell started.
        assert_eq!(output.stdout.split_whitespace().count(), 1, "{output:?}");
    }
}
