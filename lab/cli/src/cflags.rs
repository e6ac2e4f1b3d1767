//! `cflags`: the options with which a C compiler of this computer builds programs for the machines.
//!
//! Headers and libraries are those of the guest's release, from its packages, in the cache: neither libibverbs-dev nor root is
//! needed here, and the program asks for no newer C library than the machines have.

use std::process::ExitCode;

use lab::base::cache::Cache;
use lab::base::selection::{Means, ReleaseOption};
use lab::guest::image::Sysroot;
use lab::host::packages::TRIPLET;
use lab::{Error, Result};

use crate::{machines, output};

/// The arguments of `cflags`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    release: ReleaseOption,
    #[command(flatten)]
    means: Means,
}

/// Prints the options, in one line.
pub fn run(args: &Args) -> Result<ExitCode> {
    machines::apply(&args.means)?;
    let guest = machines::guest(&args.release)?;
    let sysroot = Sysroot::ensure(&Cache::open()?, guest)?;
    let root = sysroot.directory().display().to_string();
    if root.contains(char::is_whitespace) {
        return Err(Error::setup(format!("the path of the cache has a blank, which `$(…)` splits: {root}"))
            .next("name another directory: RDMA_LAB_CACHE=/some/directory"));
    }
    // Compilers of other distributions than Debian do not look into directories of its architecture by themselves.
    let libraries = format!("{root}/usr/lib/{TRIPLET}");
    output::line(format_args!(
        "--sysroot={root} -isystem {root}/usr/include/{TRIPLET} -B{libraries} -L{libraries} \
         -Wl,-rpath-link={libraries} -lrdmacm -libverbs"
    ))?;
    Ok(ExitCode::SUCCESS)
}
