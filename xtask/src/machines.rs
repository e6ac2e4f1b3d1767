//! The arguments that say which machines to use, shared by every subcommand that brings some up.

use clap::ValueEnum;
use lab::Result;
use lab::cache::Cache;
use lab::host::{Host, requirement};
use lab::provider::qemu::accel::Choice;

/// Where the machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// QEMU on this computer, without root.
    Qemu,
}

impl Provider {
    /// Whether the wire between its machines is the lab's own switch.
    pub(crate) fn has_switch(self) -> bool {
        match self {
            Provider::Qemu => true,
        }
    }
}

/// What runs the machines' instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accel {
    /// KVM where a machine really boots on it, else software emulation.
    Auto,
    /// KVM, or an error.
    Kvm,
    /// Software emulation.
    Tcg,
}

impl Accel {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Accel::Auto => "auto",
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }
}

impl From<Accel> for Choice {
    fn from(accel: Accel) -> Choice {
        match accel {
            Accel::Auto => Choice::Auto,
            Accel::Kvm => Choice::Kvm,
            Accel::Tcg => Choice::Tcg,
        }
    }
}

/// Which machines, and whether to install what they need.
#[derive(Debug, clap::Args)]
pub(crate) struct Machines {
    /// Where the machines come from.
    #[arg(long, default_value = "qemu")]
    pub(crate) provider: Provider,
    /// What runs the machines' instructions (QEMU).
    #[arg(long, default_value = "auto")]
    pub(crate) accel: Accel,
    /// Let what the machines draw at random follow from this number (QEMU).
    ///
    /// Both kernels go on from the frozen machines' generator, moved on by the seed: the server's starting PSN
    /// and rkeys are the same again. The client's starting PSN mostly is; it is drawn after a wait for the
    /// network, and what the kernel draws meanwhile depends on time. Machines that are frozen anew, and ones
    /// that were reset, draw other numbers.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Install missing system packages first, through apt.
    #[arg(long)]
    pub(crate) install: bool,
}

impl Machines {
    /// Demands what this computer needs for the machines; installs it first if asked to.
    ///
    /// # Errors
    ///
    /// As [`requirement::demand`]; the cache directory cannot be used.
    pub(crate) fn prepare(&self) -> Result<()> {
        // What nothing works without, before anything takes time.
        Cache::open()?;
        match self.provider {
            Provider::Qemu => requirement::demand(&Host::this(), &[requirement::RUN], self.install),
        }
    }
}
