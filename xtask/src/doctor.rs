//! `cargo xtask doctor`: what this computer has, what it lacks, and the command that brings it.

use std::process::ExitCode;

use lab::Result;
use lab::host::{Host, apt, doctor, requirement};

use crate::output;

/// The arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Boot a machine on KVM to see whether it works, instead of reading the remembered answer.
    #[arg(long)]
    probe: bool,
    /// Install what is missing, for scenarios and for `ci`, then report.
    #[arg(long)]
    install: bool,
}

/// Prints the report; exit code 1 where scenarios cannot run on this computer.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let host = Host::this();
    if args.install {
        let unmet = requirement::unmet(&host, &[requirement::RUN, requirement::CI]);
        let cures: Vec<_> = unmet
            .iter()
            .map(|(requirement, _)| requirement.cure())
            .collect();
        apt::install(&host, &cures)?;
    }
    let mut report = doctor::report(&host);
    if args.probe {
        // The lead's place: `report.push(Row::info("accelerator", …))` after booting a machine on KVM.
        report.push(doctor::Row::info("accelerator", "not probed yet"));
    }
    output::print(&report)?;
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
