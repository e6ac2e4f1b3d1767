//! The command line of `rdma-lab`: the lab for programs of any language, in any directory, as one file.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::front::STANDALONE;
use crate::{Front, Lab, SharedCommand, shell, test};

/// Two machines with SoftRoCE: run RDMA programs of any language between them, see and judge their wire.
#[derive(Parser)]
#[command(name = "rdma-lab", version)]
struct RdmaLab {
    #[command(subcommand)]
    command: RdmaLabCommand,
}

#[derive(Subcommand)]
enum RdmaLabCommand {
    #[command(flatten)]
    Common(SharedCommand),
    /// Runs scenarios, files that name two programs and what is expected, and compares each trace with its snapshot.
    Test(test::Args),
    #[command(flatten)]
    Lab(Lab),
    /// Prints the completions for a shell.
    Completions(shell::Args),
    /// Prints the man pages.
    Man,
    /// Fetches Debian packages without apt.
    #[cfg(feature = "fetcher")]
    #[command(name = crate::front::FETCHER, hide = true)]
    Fetch {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// The command line, to be asked what it takes.
pub fn command() -> clap::Command {
    RdmaLab::command()
}

/// The whole command: parses the process's arguments, runs, prints an error.
pub fn main() -> ExitCode {
    crate::main(STANDALONE, Front::standalone, |cli: RdmaLab, front| match cli.command {
        RdmaLabCommand::Common(command) => command.run(front),
        RdmaLabCommand::Test(args) => test::run(&args, front),
        RdmaLabCommand::Lab(command) => crate::lab::run(&command, front),
        RdmaLabCommand::Completions(args) => shell::completions(&args, RdmaLab::command(), "rdma-lab"),
        RdmaLabCommand::Man => shell::man(RdmaLab::command()),
        #[cfg(feature = "fetcher")]
        RdmaLabCommand::Fetch { words } => Ok(debian_fetcher::main(&words)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        RdmaLab::command().debug_assert();
    }
}
