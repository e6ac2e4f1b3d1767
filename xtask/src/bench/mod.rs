//! `cargo xtask bench`: measurements, printed as tables. Ratios and medians matter: machines are shared.

use std::process::ExitCode;

use clap::Subcommand;
use lab::Result;
use rdma_lab_cli::Front;

mod data;
mod decode;
mod lab_speed;
mod programs;

/// The subcommands of `bench`.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Measures how fast RDMA goes by this project's bench, beside perftest between the same machines.
    Data(data::Args),
    /// Measures how fast a capture of 300,000 packets is read and checked, beside other tools.
    Decode(decode::Args),
    /// Measures how fast a lab comes up, is reset and runs scenarios, and what it takes.
    Lab(lab_speed::Args),
    /// Measures the verdicts on RDMA programs that nobody here wrote; writes docs/programs-of-others.md.
    Programs(programs::Args),
}

/// Runs one of them.
pub(crate) fn run(command: &Bench, front: &Front) -> Result<ExitCode> {
    match command {
        Bench::Data(args) => data::run(args, front),
        Bench::Decode(args) => decode::run(args),
        Bench::Lab(args) => lab_speed::run(args, front),
        Bench::Programs(args) => programs::run(args),
    }
}
