//! What every run needs before its machines: the guest programs, built, and a provider, ready.

use std::path::Path;

use crate::cache::Cache;
use crate::error::Result;
use crate::host::Host;
use crate::host::libclang::Libclang;
use crate::image::Sysroot;
use crate::node::Provider;
use crate::programs::{self, Program};
use crate::provider::Qemu;
use crate::provider::qemu::accel::Choice;

/// The programs to deploy and the machines to deploy them on.
pub struct Setup {
    /// Where machines come from.
    pub provider: Box<dyn Provider>,
    /// What is deployed on them.
    pub programs: Vec<Program>,
}

impl Setup {
    /// Builds the programs of the workspace and prepares QEMU machines. `guard_program` is an executable that
    /// calls [`crate::provider::qemu::guard::main`] for its argument `__guard`.
    ///
    /// # Errors
    ///
    /// A requirement is missing, or a build failed.
    pub fn prepare(workspace: &Path, accel: Choice, guard_program: &Path) -> Result<Setup> {
        let cache = Cache::open()?;
        let sysroot = Sysroot::ensure(&cache)?;
        let libclang = Libclang::find(&Host::this())?;
        let programs = programs::build(workspace, &sysroot, &libclang)?;
        let provider = Box::new(Qemu::new(cache, accel, guard_program)?);
        Ok(Setup { provider, programs })
    }
}
