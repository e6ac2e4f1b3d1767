//! `cargo xtask samples`: the sample programs, built for every guest and put beside a released `rdma-lab`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use lab::Result;
use lab::base::cache::Cache;
use lab::base::error::IoContext as _;
use lab::base::selection::Means;
use lab::guest::image::{Release, Sysroot};
use lab::guest::programs::{self, Build};
use lab::host::Host;
use lab::host::bindgen;
use rdma_lab_cli::{machines, output};

use crate::workspace;

/// The arguments of `samples`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory to put them into; it is made.
    #[arg(value_name = "DIR")]
    into: PathBuf,
    #[command(flatten)]
    means: Means,
}

/// Builds them against the oldest guest's libraries, so that they run on every guest.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    machines::apply(&args.means)?;
    let cache = Cache::open()?;
    let sysroot = Sysroot::ensure(&cache, Release::oldest())?;
    let libclang = bindgen::libclang(&Host::this(), &cache)?;
    let programs = programs::build(Build::Programs, workspace::root(), &sysroot, &libclang)?;
    fs::create_dir_all(&args.into).at("failed to create", &args.into)?;
    for program in programs {
        let to = args.into.join(&program.name);
        fs::copy(&program.path, &to).at("failed to write", &to)?;
        output::line(to.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
