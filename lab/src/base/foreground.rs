//! Processes with this one's input, outputs and terminal: in its place, or until they end.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command as Process, Stdio};

use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

use crate::base::command::Command;
use crate::base::error::{Error, Result};

/// The hidden subcommand of a front end that is [`carry`].
pub const CARRY: &str = "__carry";

/// Rights of a command to the terminal of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// A person sits at all of it: the command gets it, and ends with its Ctrl-C.
    pub is_interactive: bool,
    /// Input is not to be touched, as in the background of a shell: who reads it, or changes its settings, is stopped.
    pub without_input: bool,
}

impl Terminal {
    /// Looks at the standard streams of this process.
    pub fn of_process() -> Terminal {
        let stdin = std::io::stdin();
        let is_ours = tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == getpgrp());
        Terminal {
            is_interactive: stdin.is_terminal() && is_ours && std::io::stdout().is_terminal(),
            without_input: stdin.is_terminal() && !is_ours,
        }
    }
}

/// Becomes a program, so that what ends one ends the other; returns only if that fails.
pub fn become_it(command: &Command) -> Error {
    match process(command) {
        Err(error) => error,
        Ok(mut process) => {
            let source = process.exec();
            failed(&process, source)
        }
    }
}

/// Runs a program to its end; returns its exit code, `None` if a signal ended it.
///
/// # Errors
///
/// It cannot be started.
pub fn execute(command: &Command, without_input: bool) -> Result<Option<i32>> {
    let mut process = process(command)?;
    if without_input {
        process.stdin(Stdio::null());
    }
    let status = process.status().map_err(|source| failed(&process, source))?;
    Ok(status.code())
}

/// The same command, run by a process that ends with this one: see [`carry`].
///
/// # Errors
///
/// The system does not tell where this program is.
pub fn carried(command: &Command) -> Result<Command> {
    let this = std::env::current_exe()
        .map_err(|source| Error::setup("failed to find this program").source(source))?;
    Ok(Command::new([this.into_os_string(), CARRY.into()]).args(command.argv()))
}

/// Becomes a program that ends when its parent does, however that ends; returns only if that fails.
pub fn carry(words: &[OsString]) -> Error {
    #[cfg(target_os = "linux")]
    {
        let parent = rustix::process::getppid();
        if let Err(errno) =
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        {
            return Error::setup("failed to end with the parent process").source(std::io::Error::from(errno));
        }
        if rustix::process::getppid() != parent {
            return Error::setup("the parent process has ended");
        }
    }
    become_it(&Command::new(words.iter().cloned()))
}

fn process(command: &Command) -> Result<Process> {
    let (program, arguments) =
        command.argv().split_first().ok_or_else(|| Error::setup("there is no command to reach the node"))?;
    let mut process = Process::new(program);
    process.args(arguments).stdin(Stdio::inherit());
    Ok(process)
}

fn failed(process: &Process, source: std::io::Error) -> Error {
    Error::setup(format!("failed to run {}", process.get_program().display())).source(source)
}
