//! The lab's command line, for two front ends: `cargo xtask` in this workspace, and `rdma-lab`, one file that needs neither
//! cargo nor a checkout.
//!
//! Parse, match, one file a subcommand. Exit code 0: done, 1: failed, 2: asked for something that cannot be; those of
//! `exec` are its command's, and 125 is the lab's trouble. Results go to standard output, progress and errors to standard
//! error.
//!
//! [`Front`] holds all that differs: where results go, where scenarios and sample programs come from, how a printed command
//! is spelled. The commands themselves are defined once: [`SharedCommand`], [`Lab`] and [`test::Args`].

#![forbid(unsafe_code)]

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use ::lab::Result;
use ::lab::base::error::Kind;
use ::lab::base::invocation::Invocation;
use ::lab::provider::resident::TROUBLE;
use clap::{Parser, Subcommand};
use examples::with_examples;

mod above;
mod catalogue;
pub mod cflags;
pub mod decode;
pub mod doctor;
pub mod examples;
pub mod explain;
pub mod explore;
mod filterset;
pub mod front;
pub mod fuzz;
pub mod lab;
pub mod machines;
pub mod matrix;
mod node_args;
pub mod open;
pub mod output;
pub mod programs;
pub mod results;
pub mod review;
pub mod run;
mod run_args;
pub mod shell;
pub mod standalone;
pub mod test;
pub mod trials;

pub use front::Front;
pub use lab::Lab;

/// The commands of both front ends, beside those of [`Lab`] and [`mod@test`].
#[derive(Subcommand)]
pub enum SharedCommand {
    /// Runs any two programs between the machines and judges their wire.
    Run(Box<run::Args>),
    /// Tells what this computer has, what it lacks and how to get it.
    Doctor(doctor::Args),
    /// Tells what came of the scenarios of an invocation.
    Results(results::Args),
    /// Tells what a cause or a rule of a verdict means, and what to do.
    Explain(explain::Args),
    /// Tries every fault on every packet of a scenario, and tells what the protocol does not explain.
    Explore(Box<explore::Args>),
    /// Runs the scenarios on several guests, and tells what each does otherwise.
    Matrix(matrix::Args),
    /// Sends what no peer should to a program's queue pairs, and looks whether the kernel below it is none the worse.
    Fuzz(Box<fuzz::Args>),
    /// Opens the pages of an invocation, or of one run, in a browser.
    Open(open::Args),
    /// Prints the RoCEv2 trace of a capture.
    Decode(roce_cli::TraceArgs),
    /// Checks a capture against every rule; exits 1 when one is broken.
    Check(roce_cli::CheckArgs),
    /// Compares two captures by what they mean; exits 1 when they differ.
    Diff(roce_cli::DiffArgs),
    /// Prints options for a C compiler: headers and libraries of the machines' release, `cc srv.c $(… cflags) -o srv`.
    Cflags(cflags::Args),
    /// Keeps machines from outliving their owner.
    #[command(name = "__guard", hide = true)]
    Guard,
    /// Runs a program that ends with its parent.
    #[command(name = "__carry", hide = true)]
    Carry(lab::CarryArgs),
    /// Runs the scenarios that the environment names.
    #[command(name = trials::SUBCOMMAND, hide = true)]
    Trials(trials::Args),
}

impl SharedCommand {
    /// Runs one of them.
    ///
    /// # Errors
    ///
    /// It could not be done, with what to do next.
    pub fn run(self, front: &Front) -> Result<ExitCode> {
        match self {
            SharedCommand::Run(args) => run::run(&args, front),
            SharedCommand::Doctor(args) => doctor::run(&args, front),
            SharedCommand::Results(args) => results::run(&args, front),
            SharedCommand::Explain(args) => explain::run(&args),
            SharedCommand::Explore(args) => explore::run(&args, front),
            SharedCommand::Matrix(args) => matrix::run(&args, front),
            SharedCommand::Fuzz(args) => fuzz::run(&args, front),
            SharedCommand::Open(args) => open::run(&args, front),
            SharedCommand::Decode(args) => decode::told(args.run(decode::names())),
            SharedCommand::Check(args) => decode::told(args.run(decode::names())),
            SharedCommand::Diff(args) => decode::told(args.run(decode::names())),
            SharedCommand::Cflags(args) => cflags::run(&args),
            SharedCommand::Guard => ::lab::provider::qemu::guard::main().map(|()| ExitCode::SUCCESS),
            SharedCommand::Carry(args) => lab::carried(&args),
            SharedCommand::Trials(args) => Ok(trials::main(front, args.words)),
        }
    }
}

/// Runs the command line of this process as a front end that is called `invocation`; returns the exit code. That of `exec` is
/// its command's: whatever else ends it has a code of its own.
pub fn main<Cli: Parser>(
    invocation: Invocation,
    front: impl FnOnce() -> Result<Front>,
    run: impl FnOnce(Cli, &Front) -> Result<ExitCode>,
) -> ExitCode {
    invocation.set();
    let lab = invocation.lab.strip_prefix(invocation.program).unwrap_or_default().split_whitespace();
    let exec: Vec<&str> = lab.chain(["exec"]).collect();
    let is_exec = std::env::args().skip(1).take(exec.len()).eq(exec);
    let failed = |code| ExitCode::from(if is_exec { TROUBLE } else { code });
    let command = with_examples(Cli::command(), invocation);
    // In a pipe a line stays a line.
    let command = if std::io::stdout().is_terminal() { command } else { command.term_width(0) };
    let parsed = command.try_get_matches().and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return match error.exit_code() {
                0 => ExitCode::SUCCESS,
                code => failed(u8::try_from(code).unwrap_or(2)),
            };
        }
    };
    front().and_then(|front| run(cli, &front)).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error}");
        failed(if error.kind() == Kind::Usage { 2 } else { 1 })
    })
}
