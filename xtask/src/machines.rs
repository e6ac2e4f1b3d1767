//! The arguments that say which machines to use, shared by every subcommand that brings some up.

use clap::ValueEnum;
use lab::Result;
use lab::host::{Host, requirement};

/// Where the machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// QEMU on this computer, without root.
    Qemu,
    /// Multipass instances.
    Multipass,
    /// Hosts that exist.
    Ssh,
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

/// Which machines, and whether to install what they need.
#[derive(Debug, clap::Args)]
pub(crate) struct Machines {
    /// Where the machines come from [default: multipass where it answers, else qemu].
    #[arg(long)]
    pub(crate) provider: Option<Provider>,
    /// What runs the machines' instructions (QEMU).
    #[arg(long, default_value = "auto")]
    pub(crate) accel: Accel,
    /// Install missing system packages first, through apt.
    #[arg(long)]
    pub(crate) install: bool,
}

impl Machines {
    /// Demands what this computer needs for QEMU machines; installs it first if asked to.
    ///
    /// # Errors
    ///
    /// As [`requirement::demand`].
    pub(crate) fn prepare(&self) -> Result<()> {
        match self.provider {
            None | Some(Provider::Qemu) => {
                requirement::demand(&Host::this(), &[requirement::RUN], self.install)
            }
            Some(Provider::Multipass | Provider::Ssh) => Ok(()),
        }
    }
}
