//! The arguments that say which machines to use, shared by every subcommand that brings some up.

use std::path::PathBuf;
use std::sync::OnceLock;

use clap::ValueEnum;
use lab::base::cache::Cache;
use lab::guest::image::Release;
use lab::host::toolbox::Toolbox;
use lab::host::{Host, requirement};
use lab::provider::choice::{self, Choice};
use lab::provider::multipass::instance::Shape;
use lab::provider::qemu::accel;
use lab::provider::remote::place::Place;
use lab::provider::ssh::hosts;

use crate::means::Means;
use crate::output;
use lab::{Error, Result};

/// Where the machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// QEMU on this computer, without root.
    Qemu,
    /// Two Multipass instances, rdma-server and rdma-client.
    Multipass,
    /// Two hosts that exist, over SSH: see --hosts.
    Ssh,
}

/// What runs the machines' instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// KVM where a machine really boots on it, else software emulation.
    Auto,
    /// KVM, or an error.
    Kvm,
    /// Software emulation.
    Tcg,
}

impl Accel {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
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

/// Where programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BuildPlace {
    /// On this computer, against the lab's sysroot.
    Host,
    /// On the server, from sources that are sent there.
    Guest,
}

impl From<BuildPlace> for Place {
    fn from(place: BuildPlace) -> Place {
        match place {
            BuildPlace::Host => Place::Host,
            BuildPlace::Guest => Place::Guest,
        }
    }
}

/// The release of this name; where none was given, that of `RDMA_LAB_GUEST`, else the usual one.
///
/// # Errors
///
/// None is called so: with the nearest that is.
pub fn guest(name: Option<&str>) -> Result<&'static Release> {
    let variable = std::env::var(choice::GUEST).ok().filter(|name| !name.is_empty());
    match (name, variable) {
        (Some(name), _) => Release::named(name),
        (None, Some(name)) => Release::named(&name)
            .map_err(|error| Error::usage(format!("{}={name} names no guest", choice::GUEST)).source(error)),
        (None, None) => Ok(Release::usual()),
    }
}

/// Which machines, and by which means they are made.
#[derive(Debug, clap::Args)]
pub struct Machines {
    /// Where the machines come from [default: multipass where its daemon answers, else qemu].
    #[arg(long)]
    provider: Option<Provider>,
    #[arg(skip)]
    found: OnceLock<Provider>,
    /// Where programs are built [default: on this computer if they run on the machines, else there] (SSH, Multipass).
    #[arg(long)]
    build: Option<BuildPlace>,
    /// The image to launch, as `multipass find` names it (Multipass).
    #[arg(long, default_value_t = Shape::default().image)]
    image: String,
    /// Processors of each instance (Multipass).
    #[arg(long, default_value_t = Shape::default().cpus)]
    cpus: u32,
    /// Memory of each instance (Multipass).
    #[arg(long, default_value_t = Shape::default().memory)]
    memory: String,
    /// Disk of each instance (Multipass).
    #[arg(long, default_value_t = Shape::default().disk)]
    disk: String,
    /// How long an instance may take to launch, or to start, in seconds (Multipass).
    #[arg(long, value_name = "SECONDS", default_value_t = Shape::default().launch_limit_s)]
    launch_limit: u64,
    /// The file that names two hosts: [server] and [client], each with `ssh` and `address` (SSH).
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// What runs the machines' instructions (QEMU).
    #[arg(long, default_value = "auto")]
    pub accel: Accel,
    /// The release that the machines run: debian-13 or debian-12 [default: RDMA_LAB_GUEST, else debian-13] (QEMU).
    #[arg(long, value_name = "RELEASE")]
    guest: Option<String>,
    /// Let what the machines draw at random follow from this number (QEMU).
    ///
    /// Both kernels go on from the frozen machines' generator, moved on by the seed: the server's starting PSN
    /// and rkeys are the same again in most runs on Debian 12, the client's starting PSN in many; what the kernels
    /// draw meanwhile depends on time, and on Debian 13 there is so much of it that little repeats. Machines that are frozen anew, and ones
    /// that were reset, draw other numbers.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Whose tools are used, and whether anything is downloaded.
    #[command(flatten)]
    pub means: Means,
}

impl Machines {
    /// Whether a provider was named here or in `RDMA_LAB_PROVIDER`.
    fn names_provider(&self) -> bool {
        self.provider.is_some() || std::env::var(choice::PROVIDER).is_ok_and(|name| !name.is_empty())
    }

    /// Takes the provider of a lab that is there where none was named.
    pub fn prefer(&self, provider: &str) {
        if let (false, Ok(provider)) = (self.names_provider(), Provider::from_str(provider, false)) {
            let _ = self.found.set(provider);
        }
    }

    /// The provider that was named here or in `RDMA_LAB_PROVIDER`; else the usual one, which is said if it is not
    /// this computer's own QEMU.
    ///
    /// # Errors
    ///
    /// None of that name exists.
    pub fn provider(&self) -> Result<Provider> {
        if let Some(provider) = self.provider.or(self.found.get().copied()) {
            return Ok(provider);
        }
        let named = std::env::var("RDMA_LAB_PROVIDER").ok().filter(|name| !name.is_empty());
        let name = named.clone().unwrap_or_else(|| choice::usual().to_owned());
        if named.is_none() && name != "qemu" {
            output::note(&format!("provider {name}, since its daemon answers; another: --provider qemu"));
        }
        let found = Provider::from_str(&name, false).map_err(|_| {
            Error::usage(format!("RDMA_LAB_PROVIDER={name} is no provider"))
                .next("write qemu, multipass or ssh")
        })?;
        Ok(*self.found.get_or_init(|| found))
    }

    /// The release that QEMU's machines run.
    ///
    /// # Errors
    ///
    /// As [`guest()`].
    pub fn guest(&self) -> Result<&'static Release> {
        guest(self.guest.as_deref())
    }

    /// What was asked for, for other processes of the lab.
    ///
    /// # Errors
    ///
    /// What goes with the provider is missing.
    pub fn choice(&self) -> Result<Choice> {
        if let (Some(guest), Provider::Multipass | Provider::Ssh) = (&self.guest, self.provider()?) {
            return Err(Error::usage(format!("--guest {guest} is for QEMU's machines"))
                .next("run it with --provider qemu; what an instance runs is chosen by --image"));
        }
        match (self.provider()?, &self.hosts) {
            (Provider::Multipass, _) => {
                let shape = Shape {
                    image: self.image.clone(),
                    cpus: self.cpus,
                    memory: self.memory.clone(),
                    disk: self.disk.clone(),
                    launch_limit_s: self.launch_limit,
                };
                Ok(Choice::Multipass { shape, build: self.build.map(Place::from) })
            }
            (Provider::Qemu, _) => {
                Ok(Choice::Qemu { accel: self.accel.into(), guest: self.guest()?, seed: self.seed })
            }
            (Provider::Ssh, Some(hosts)) => {
                // Who reads it may run elsewhere.
                let hosts = std::path::absolute(hosts)
                    .map_err(|source| Error::setup("failed to resolve the hosts file").source(source))?;
                Ok(Choice::Ssh { hosts, build: self.build.map(Place::from) })
            }
            (Provider::Ssh, None) => Err(Error::usage("provider ssh needs to know its hosts")
                .next(format!("name a file: --hosts FILE\n{}", hosts::EXAMPLE))),
        }
    }

    /// Demands what this computer needs for the machines, and for programs if they are `built`; makes [`Means`] the policy of this process.
    ///
    /// # Errors
    ///
    /// As [`requirement::demand_platform`] and [`requirement::demand`]; the cache directory cannot be used.
    pub fn prepare(&self, built: bool) -> Result<()> {
        self.means.apply()?;
        // What cannot be, and what nothing works without, before anything takes time.
        self.choice()?;
        let cache = Cache::open()?;
        match self.provider()? {
            Provider::Qemu => {
                requirement::demand_platform()?;
                Toolbox::of(&cache).demand_exec()?;
                requirement::demand(&Host::this(), &requirement::run(built))
            }
            Provider::Multipass | Provider::Ssh => Ok(()),
        }
    }
}
