//! `rdma-lab`: the lab for programs of any language, in any directory, as one file.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rdma_lab_cli::front::STANDALONE;
use rdma_lab_cli::{Front, Lab, SharedCommand, test};

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
    /// Fetches Debian packages without apt.
    #[cfg(feature = "fetcher")]
    #[command(name = rdma_lab_cli::front::FETCHER, hide = true)]
    Fetch {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    rdma_lab_cli::main(STANDALONE, Front::standalone, |cli: RdmaLab, front| match cli.command {
        RdmaLabCommand::Common(command) => command.run(front),
        RdmaLabCommand::Test(args) => test::run(&args, front),
        RdmaLabCommand::Lab(command) => rdma_lab_cli::lab::run(&command, front),
        #[cfg(feature = "fetcher")]
        RdmaLabCommand::Fetch { words } => Ok(debian_fetcher::main(&words)),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        RdmaLab::command().debug_assert();
    }
}
