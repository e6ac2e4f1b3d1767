//! `cargo xtask lab ssh` and `lab exec`: a shell, or one command, on a node.
//!
//! Input, output and the exit code are those of the command itself, whatever carries them.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use lab::node::ENVIRONMENT;
use lab::provider::remote::attended;
use lab::{Error, Result};

use super::{Found, Name, Node, ssh_key};

/// Ends a command whose session has gone; its own end is left alone, and so is what it leaves behind on purpose.
const ENDS_WITH_ITS_SESSION: &str =
    "(while kill -0 $PPID; do sleep 1; done; kill -0 $$ && kill -HUP 0) </dev/null >/dev/null 2>&1 &";

/// The arguments of `lab ssh`.
#[derive(Debug, clap::Args)]
pub(crate) struct SshArgs {
    #[command(flatten)]
    name: Name,
    /// Which node.
    node: Node,
}

/// The arguments of `lab exec`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
    /// Which node.
    node: Node,
    /// The command; a single word may be a whole shell command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Opens a shell.
pub(crate) fn ssh(args: &SshArgs) -> Result<ExitCode> {
    let role = args.node.into();
    match args.name.find()? {
        Found::Own(lab) => become_it(&lab.ssh(&ssh_key()?, role)?),
        Found::Shared(lab) => execute(&lab.open()?.machine(role).host().shell(None, true)),
    }
}

/// Runs one command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // A command that a person started ends with the terminal's Ctrl-C.
    let is_interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let (role, command) = (args.node.into(), remote(&args.command));
    match args.name.find()? {
        Found::Own(lab) => {
            let ssh = lab.ssh(&ssh_key()?, role)?;
            become_it(&match is_interactive {
                true => ssh.arg("-t").arg(command),
                false => ssh.arg(format!("{ENDS_WITH_ITS_SESSION} {command}")),
            })
        }
        Found::Shared(lab) => {
            let open = lab.open()?;
            let (words, ending) = open.person(role, &command, is_interactive);
            match attended::run(&words, false)? {
                None => open.exit_code(role, &ending).map(ExitCode::from),
                Some(signal) => {
                    open.end(role, &ending)?;
                    Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(255)))
                }
            }
        }
    }
}

/// Runs what reaches the node in the place of this process, so that what ends one ends the other.
fn become_it(words: &lab::command::Command) -> Result<ExitCode> {
    let mut process = process(words)?;
    let source = process.exec();
    Err(failed(&process, source))
}

fn execute(words: &lab::command::Command) -> Result<ExitCode> {
    let mut process = process(words)?;
    let status = process.status().map_err(|source| failed(&process, source))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255)))
}

fn process(words: &lab::command::Command) -> Result<Command> {
    let (program, arguments) =
        words.argv().split_first().ok_or_else(|| Error::setup("there is no command to reach the node"))?;
    let mut process = Command::new(program);
    process.args(arguments).stdin(Stdio::inherit());
    Ok(process)
}

fn failed(process: &Command, source: std::io::Error) -> Error {
    Error::setup(format!("failed to run {}", process.get_program().display())).source(source)
}

/// The command as the node's shell takes it: the deployed programs first on PATH, words kept apart.
fn remote(command: &[String]) -> String {
    let command = match command {
        [one] => one.clone(),
        words => lab::command::Command::new(words).to_string(),
    };
    format!("{ENVIRONMENT}; {command}")
}

#[cfg(test)]
mod tests {

    #[test]
    fn words_stay_apart_and_one_word_is_a_shell_command() {
        let remote = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            super::remote(&words).rsplit_once("; ").unwrap().1.to_owned()
        };
        assert_eq!(remote(&["echo", "a b"]), "echo 'a b'");
        assert_eq!(remote(&["cd /tmp && ls"]), "cd /tmp && ls");
    }
}
