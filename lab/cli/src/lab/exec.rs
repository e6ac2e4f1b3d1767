//! `ssh` and `exec`: a shell, or one command, on a node.
//!
//! Input, output and the exit code are those of the command itself, whatever carries them: 128 and the signal's number
//! where one ended it, 127 where the node has no such program and 126 where it is none; [`TROUBLE`] is the lab's own.
//!
//! [`TROUBLE`]: lab::provider::resident::TROUBLE

use std::process::ExitCode;

use lab::Result;
use lab::base::command::Command;
use lab::base::foreground::{Terminal, carry};
use lab::base::invocation;
use lab::base::role::Role;
use lab::provider::resident::{Resident, name_option};
use serde::Serialize;

use super::target::{LabName, json};
use crate::output;

/// The arguments of `lab ssh`.
#[derive(Debug, clap::Args)]
pub struct SshArgs {
    #[command(flatten)]
    name: LabName,
    /// The node.
    #[arg(ignore_case = true)]
    node: Role,
}

/// The arguments of `lab exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: LabName,
    /// Start the command in the background of the node, and say how to see its output and how to stop it.
    #[arg(short, long)]
    detach: bool,
    /// With --detach: say that as JSON, one object.
    #[arg(long, requires = "detach")]
    json: bool,
    /// The node.
    #[arg(ignore_case = true)]
    node: Role,
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
    /// Command that prints the output so far and all that follows.
    output: String,
    /// Command that ends it.
    stop: String,
}

/// Opens a shell.
pub(crate) fn ssh(args: &SshArgs) -> Result<ExitCode> {
    args.name.find_with(args.node)?.shell(args.node).map(ExitCode::from)
}

/// Runs one command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (lab, command) = (args.name.find_with(args.node)?, shell_command(&args.command));
    match args.detach {
        true => detach(args, lab.as_ref(), &command),
        false => lab.exec(args.node, &command, Terminal::of_process()).map(ExitCode::from),
    }
}

/// Starts a command in the background of a node.
fn detach(args: &Args, lab: &dyn Resident, command: &str) -> Result<ExitCode> {
    let node = args.node;
    let (pid, log) = lab.detach(node, command)?;
    let exec = format!("{}{} {node}", invocation::lab("exec"), name_option(lab.name()));
    let (output, stop) = (format!("{exec} tail -f -n +1 {log}"), format!("{exec} kill -- -{pid}"));
    let detached = Detached { node, command: command.to_owned(), pid, log, output, stop };
    if args.json {
        output::line(json(&detached)?)?;
    } else {
        let Detached { command, log, output, stop, .. } = detached;
        output::print(format_args!(
            "{node}: `{command}` runs as process {pid}, its output is in {log}\noutput   {output}\nstop it  {stop}\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The words of `__carry`.
#[derive(Debug, clap::Args)]
pub struct CarryArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<std::ffi::OsString>,
}

/// Becomes a program that ends when its parent does.
pub(crate) fn carried(args: &CarryArgs) -> Result<ExitCode> {
    Err(carry(&args.words))
}

/// The command as a shell takes it, words kept apart; a single word is one already.
fn shell_command(command: &[String]) -> String {
    match command {
        [one] => one.clone(),
        words => Command::new(words).to_string(),
    }
}

#[cfg(test)]
mod tests {
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
}
