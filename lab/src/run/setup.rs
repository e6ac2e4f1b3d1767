//! Needs of every run before its machines: the guest programs, built if need be, and a provider, ready.

use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use crate::base::cache::{Cache, Lock};
use crate::base::error::Result;
use crate::base::program::Program;
use crate::base::selection::BuildPlace;
use crate::guest::image::Sysroot;
use crate::guest::programs::samples::Samples;
use crate::guest::programs::{self, Build};
use crate::host::Host;
use crate::host::{bindgen, builder};
use crate::provider::{Choice, MachineSource};

/// The programs to deploy and the machines to deploy them on.
#[derive(Debug)]
pub struct Setup {
    cache: Cache,
    /// Source of machines.
    pub provider: MachineSource,
    /// Programs that are deployed on them.
    pub programs: Vec<Program>,
}

impl Setup {
    /// Builds the sample programs, if they are built, and prepares the source of the machines that were chosen;
    /// `guard_program` is the executable that runs [`crate::provider::qemu::guard::main`] when called with
    /// `__guard`.
    ///
    /// # Errors
    ///
    /// A requirement is missing, or a build failed.
    pub fn prepare(samples: &Samples, choice: &Choice, guard_program: &Path) -> Result<Setup> {
        Setup::with(Build::Programs, samples, choice, guard_program)
    }

    /// The same with something else than the usual programs, if they are built.
    ///
    /// # Errors
    ///
    /// As [`Setup::prepare`].
    pub fn with(build: Build, samples: &Samples, choice: &Choice, guard_program: &Path) -> Result<Setup> {
        let cache = Cache::open()?;
        let open = || choice.open(&cache, samples, guard_program);
        let workspace = match samples {
            Samples::Workspace(workspace) => workspace,
            Samples::Prebuilt(programs) => {
                return Ok(Setup { provider: open()?, programs: programs.clone(), cache });
            }
        };
        // Where these do not run, the machines make their own when they are reached.
        let can_build = builder::is_builder() || matches!(choice, Choice::Qemu { .. });
        if choice.build() == Some(BuildPlace::Guest) || choice.build().is_none() && !can_build {
            return Ok(Setup { provider: open()?, programs: Vec::new(), cache });
        }
        // Nobody waits for a build to learn that a kernel is not one.
        choice.check_own()?;
        // Side by side: the first run downloads for one while it compiles for the other.
        let (provider, programs) = thread::scope(|scope| {
            let programs = scope.spawn(|| {
                let sysroot = Sysroot::ensure(&cache, choice.sysroot())?;
                let libclang = bindgen::libclang(&Host::this(), &cache)?;
                programs::build(build, workspace, &sysroot, &libclang)
            });
            (open(), programs.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        // First what refuses more: an accelerator that was asked for and does not work.
        Ok(Setup { provider: provider?, programs: programs?, cache })
    }

    /// A slot for one pair of machines, of as many as this computer has processors; waits until one is free,
    /// whoever holds them. Given back when dropped.
    ///
    /// # Errors
    ///
    /// The lock files cannot be created, or no slot gets free within the limit.
    pub fn slot(&self) -> Result<Lock> {
        let slots = std::thread::available_parallelism().map_or(1, usize::from);
        self.cache.slot(slots)
    }
}
