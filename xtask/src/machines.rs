//! The arguments that say which machines to use, shared by every subcommand that brings some up.

use std::path::PathBuf;

use clap::ValueEnum;
use lab::cache::Cache;
use lab::host::{Host, requirement};
use lab::provider::Choice;
use lab::provider::qemu::accel;
use lab::{Error, Result};

/// Where the machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// QEMU on this computer, without root.
    Qemu,
    /// Two hosts that exist, over SSH: see --hosts.
    Ssh,
}

impl Provider {
    /// Whether the wire between its machines is the lab's own switch.
    pub(crate) fn has_switch(self) -> bool {
        match self {
            Provider::Qemu => true,
            Provider::Ssh => false,
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

impl From<Accel> for accel::Choice {
    fn from(accel: Accel) -> accel::Choice {
        match accel {
            Accel::Auto => accel::Choice::Auto,
            Accel::Kvm => accel::Choice::Kvm,
            Accel::Tcg => accel::Choice::Tcg,
        }
    }
}

/// Which machines, and whether to install what they need.
#[derive(Debug, clap::Args)]
pub(crate) struct Machines {
    /// Where the machines come from.
    #[arg(long, default_value = "qemu")]
    pub(crate) provider: Provider,
    /// The file that names two hosts (SSH); docs/providers.md has an example.
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
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
    /// What was asked for, for other processes of the lab.
    ///
    /// # Errors
    ///
    /// What goes with the provider is missing.
    pub(crate) fn choice(&self) -> Result<Choice> {
        match (self.provider, &self.hosts) {
            (Provider::Qemu, _) => Ok(Choice::Qemu { accel: self.accel.into(), seed: self.seed }),
            (Provider::Ssh, Some(hosts)) => {
                // Who reads it may run elsewhere.
                let hosts = std::path::absolute(hosts)
                    .map_err(|source| Error::setup("failed to resolve the hosts file").source(source))?;
                Ok(Choice::Ssh { hosts })
            }
            (Provider::Ssh, None) => Err(Error::usage("provider ssh needs to know its hosts")
                .next("name a file: --hosts FILE; docs/providers.md has an example")),
        }
    }

    /// Demands what this computer needs for the machines; installs it first if asked to.
    ///
    /// # Errors
    ///
    /// As [`requirement::demand`]; the cache directory cannot be used.
    pub(crate) fn prepare(&self) -> Result<()> {
        // What nothing works without, before anything takes time.
        Cache::open()?;
        match self.provider {
            Provider::Qemu => requirement::demand(&Host::this(), requirement::RUN, self.install),
            Provider::Ssh => requirement::demand(&Host::this(), &[requirement::REACH], self.install),
        }
    }
}
