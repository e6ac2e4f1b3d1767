//! Which machines were asked for: what the command line says, and the environment in which it starts other
//! processes of the lab.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::cache::Cache;
use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::guest::contents::Contents;
use crate::guest::image::Release;
use crate::guest::programs::samples::Samples;
use crate::host;
use crate::node::{Pair, Plan, Provenance, Provider};
use crate::provider::multipass::instance::Shape;
use crate::provider::qemu::accel::Choice as Accel;
use crate::provider::remote::make::Maker;
use crate::provider::remote::place::Place;
use crate::provider::ssh::hosts::{self, Hosts};
use crate::provider::{Multipass, Qemu, Ssh};
use crate::scenario::differences::Differences;
use crate::scenario::network::Wire;

/// The variable that names the release of a guest.
pub const GUEST: &str = "RDMA_LAB_GUEST";
/// The environment variable that names the provider.
pub const PROVIDER: &str = "RDMA_LAB_PROVIDER";

/// The provider that is taken where none was named: Multipass where it answers, else QEMU.
pub fn usual() -> &'static str {
    if host::multipass::version().is_some() { "multipass" } else { "qemu" }
}

/// Which machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// QEMU guests of our own.
    Qemu {
        /// What runs their instructions.
        accel: Accel,
        /// What they are.
        guest: &'static Release,
        /// What their randomness follows from.
        seed: Option<u64>,
    },
    /// Two Multipass instances, launched in this shape where they are not there.
    Multipass {
        /// What is launched.
        shape: Shape,
        /// Where programs are built; by itself if nobody says.
        build: Option<Place>,
    },
    /// Two hosts that exist.
    Ssh {
        /// The file that names them.
        hosts: PathBuf,
        /// Where programs are built; by itself if nobody says.
        build: Option<Place>,
    },
}

/// A source of machines, whichever was chosen.
#[derive(Debug)]
pub enum Source {
    /// See [`Choice::Qemu`].
    Qemu(Box<Qemu>),
    /// See [`Choice::Multipass`].
    Multipass(Box<Multipass>),
    /// See [`Choice::Ssh`].
    Ssh(Box<Ssh>),
}

impl Choice {
    /// Reads what [`Choice::env`] wrote, from `variable`: the value of an environment variable.
    ///
    /// # Errors
    ///
    /// A value is none.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Choice> {
        let variable = |name: &str| variable(name).filter(|text| !text.is_empty());
        let none = |name: &str, value: &str| Error::usage(format!("{name}={value} is no such thing"));
        let number = |name: &str| match variable(name) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| none(name, &text).next("write a number")),
        };
        let build = || match variable("RDMA_LAB_BUILD").as_deref() {
            None => Ok(None),
            Some("host") => Ok(Some(Place::Host)),
            Some("guest") => Ok(Some(Place::Guest)),
            Some(other) => Err(none("RDMA_LAB_BUILD", other).next("write host or guest")),
        };
        match variable(PROVIDER).unwrap_or_else(|| usual().to_owned()).as_str() {
            "qemu" => {
                let accel = match variable("RDMA_LAB_ACCEL").as_deref() {
                    None | Some("auto") => Accel::Auto,
                    Some("kvm") => Accel::Kvm,
                    Some("tcg") => Accel::Tcg,
                    Some(other) => return Err(none("RDMA_LAB_ACCEL", other).next("write auto, kvm or tcg")),
                };
                let guest = variable(GUEST).map_or(Ok(Release::usual()), |name| Release::named(&name))?;
                Ok(Choice::Qemu { accel, guest, seed: number("RDMA_LAB_SEED")? })
            }
            "multipass" => {
                let usual = Shape::default();
                let cpus = number("RDMA_LAB_CPUS")?.and_then(|cpus| u32::try_from(cpus).ok());
                let shape = Shape {
                    image: variable("RDMA_LAB_IMAGE").unwrap_or(usual.image),
                    cpus: cpus.unwrap_or(usual.cpus),
                    memory: variable("RDMA_LAB_MEMORY").unwrap_or(usual.memory),
                    disk: variable("RDMA_LAB_DISK").unwrap_or(usual.disk),
                    launch_limit_s: number("RDMA_LAB_LAUNCH_LIMIT")?.unwrap_or(usual.launch_limit_s),
                };
                Ok(Choice::Multipass { shape, build: build()? })
            }
            "ssh" => match variable("RDMA_LAB_HOSTS") {
                Some(hosts) => Ok(Choice::Ssh { hosts: hosts.into(), build: build()? }),
                None => Err(Error::usage("provider ssh needs to know its hosts")
                    .next(format!("name a file: --hosts FILE\n{}", hosts::EXAMPLE))),
            },
            other => Err(none(PROVIDER, other).next("write qemu, multipass or ssh")),
        }
    }

    /// The environment variables that say the same to another process.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let (provider, mut env) = match self {
            Choice::Qemu { accel, guest, seed } => {
                let accel = match accel {
                    Accel::Auto => "auto",
                    Accel::Kvm => "kvm",
                    Accel::Tcg => "tcg",
                };
                let mut env = vec![("RDMA_LAB_ACCEL", accel.to_owned()), (GUEST, guest.name.clone())];
                env.extend(seed.map(|seed| ("RDMA_LAB_SEED", seed.to_string())));
                ("qemu", env)
            }
            Choice::Multipass { shape: Shape { image, cpus, memory, disk, launch_limit_s }, .. } => {
                let env = vec![
                    ("RDMA_LAB_IMAGE", image.clone()),
                    ("RDMA_LAB_CPUS", cpus.to_string()),
                    ("RDMA_LAB_MEMORY", memory.clone()),
                    ("RDMA_LAB_DISK", disk.clone()),
                    ("RDMA_LAB_LAUNCH_LIMIT", launch_limit_s.to_string()),
                ];
                ("multipass", env)
            }
            Choice::Ssh { hosts, .. } => ("ssh", vec![("RDMA_LAB_HOSTS", hosts.display().to_string())]),
        };
        env.push((PROVIDER, provider.to_owned()));
        env.extend(self.build().map(|place| ("RDMA_LAB_BUILD", place.to_string())));
        env
    }

    /// The release whose sysroot programs for these machines are built against on this computer: theirs, or the
    /// oldest where they are machines of others.
    pub fn sysroot(&self) -> &'static Release {
        match self {
            Choice::Qemu { guest, .. } => guest,
            Choice::Multipass { .. } | Choice::Ssh { .. } => Release::oldest(),
        }
    }

    /// What of this machines that were chosen as `had` (as [`Choice::env`] says it) have not, each as options of the
    /// command line. What is as it is where nobody says anything was not asked for.
    pub fn differences(&self, had: &BTreeMap<String, String>) -> Vec<String> {
        let usual = match self {
            Choice::Qemu { .. } => {
                Choice::Qemu { accel: Accel::Auto, guest: Release::usual(), seed: None }.env()
            }
            Choice::Multipass { .. } => Choice::Multipass { shape: Shape::default(), build: None }.env(),
            Choice::Ssh { .. } => Vec::new(),
        };
        let option = |key: &str, value: &str| {
            let name = key.trim_start_matches("RDMA_LAB_").to_ascii_lowercase().replace('_', "-");
            format!("--{name} {value}")
        };
        let is_asked = |asked: &(&str, String)| asked.0 == PROVIDER || !usual.contains(asked);
        let asked = self.env().into_iter().filter(is_asked);
        asked
            .filter(|(key, value)| had.get(*key) != Some(value))
            .map(|(key, value)| match had.get(key) {
                Some(had) => {
                    format!("{} was asked for, and it has {}", option(key, &value), option(key, had))
                }
                None => format!("{} was asked for, and it has none", option(key, &value)),
            })
            .collect()
    }

    /// What can act on packets between these machines; none of them is asked.
    ///
    /// # Errors
    ///
    /// The hosts file, which says it of hosts, cannot be read.
    pub fn wire(&self) -> Result<Wire> {
        Ok(match self {
            Choice::Qemu { .. } => Wire::Switch,
            Choice::Multipass { .. } => Wire::Netem { on: Role::BOTH.into() },
            Choice::Ssh { hosts, .. } => Hosts::read(hosts)?.wire(),
        })
    }

    /// What the provider is called on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Choice::Qemu { .. } => "qemu",
            Choice::Multipass { .. } => "multipass",
            Choice::Ssh { .. } => "ssh",
        }
    }

    /// Where programs are built, if that was said.
    pub fn build(&self) -> Option<Place> {
        match self {
            Choice::Qemu { .. } => None,
            Choice::Multipass { build, .. } | Choice::Ssh { build, .. } => *build,
        }
    }

    /// Prepares the source of these machines, which deploys `samples`; `guard_program` is for [`Qemu::new`].
    ///
    /// # Errors
    ///
    /// As [`Qemu::new`] and [`Ssh::new`].
    pub fn open(&self, cache: &Cache, samples: &Samples, guard_program: &Path) -> Result<Source> {
        Ok(match self {
            Choice::Qemu { accel, guest, seed } => {
                Source::Qemu(Box::new(Qemu::new(guest, cache.clone(), *accel, guard_program, *seed)?))
            }
            Choice::Multipass { shape, build } => {
                let maker = Maker::new(samples, *build);
                Source::Multipass(Box::new(Multipass::new(cache.clone(), shape.clone(), maker)?))
            }
            Choice::Ssh { hosts, build } => {
                Source::Ssh(Box::new(Ssh::new(cache.clone(), hosts, Maker::new(samples, *build))?))
            }
        })
    }
}

impl Source {
    /// What the machines are, for people.
    pub fn description(&self) -> String {
        match self {
            Source::Qemu(qemu) => format!("qemu, {}, {}", qemu.origin(), qemu.decision()),
            Source::Multipass(multipass) => multipass.description(),
            Source::Ssh(ssh) => ssh.description(),
        }
    }

    fn provider(&self) -> &dyn Provider {
        match self {
            Source::Qemu(qemu) => qemu.as_ref(),
            Source::Multipass(multipass) => multipass.as_ref(),
            Source::Ssh(ssh) => ssh.as_ref(),
        }
    }
}

impl Provider for Source {
    fn name(&self) -> &'static str {
        self.provider().name()
    }

    fn wire(&self) -> Wire {
        self.provider().wire()
    }

    fn differences(&self) -> Differences {
        self.provider().differences()
    }

    fn provenance(&self) -> BTreeMap<Role, Provenance> {
        self.provider().provenance()
    }

    fn contents(&self) -> Result<Option<Contents>> {
        self.provider().contents()
    }

    fn bring_up(&self, plan: &Plan<'_>) -> Result<Box<dyn Pair>> {
        self.provider().bring_up(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&'static str, String)]) -> Result<Choice> {
        Choice::from_env(|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()))
    }

    #[test]
    fn environment_says_what_was_chosen() {
        for choice in [
            Choice::Qemu { accel: Accel::Tcg, guest: Release::oldest(), seed: Some(7) },
            Choice::Qemu { accel: Accel::Auto, guest: Release::usual(), seed: None },
            Choice::Multipass {
                shape: Shape { cpus: 3, image: "22.04".to_owned(), ..Shape::default() },
                build: Some(Place::Guest),
            },
            Choice::Ssh { hosts: "/h.toml".into(), build: None },
        ] {
            assert_eq!(read(&choice.env()).unwrap(), choice);
        }
        let qemu = [(PROVIDER, "qemu".to_owned()), ("RDMA_LAB_SEED", String::new())];
        assert_eq!(
            read(&qemu).unwrap(),
            Choice::Qemu { accel: Accel::Auto, guest: Release::usual(), seed: None }
        );
    }

    #[test]
    fn programs_for_another_guest_are_built_against_its_own_sysroot() {
        let choice = |guest| Choice::Qemu { accel: Accel::Auto, guest, seed: None };
        let other = Release::all().iter().find(|release| *release != Release::usual()).unwrap();
        assert_eq!(choice(other).sysroot(), other);
    }

    #[test]
    fn what_was_asked_for_and_is_not_there_is_told_as_options() {
        let had = |choice: Choice| {
            choice.env().into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>()
        };
        let tcg = had(Choice::Qemu { accel: Accel::Tcg, guest: Release::usual(), seed: None });
        let differences =
            |accel, seed| Choice::Qemu { accel, guest: Release::usual(), seed }.differences(&tcg);
        assert_eq!(differences(Accel::Auto, None), Vec::<String>::new());
        assert_eq!(differences(Accel::Tcg, None), Vec::<String>::new());
        assert_eq!(
            differences(Accel::Kvm, Some(7)),
            ["--accel kvm was asked for, and it has --accel tcg", "--seed 7 was asked for, and it has none"]
        );
        let multipass = Choice::Multipass { shape: Shape { cpus: 7, ..Shape::default() }, build: None };
        assert_eq!(
            multipass.differences(&tcg),
            [
                "--cpus 7 was asked for, and it has none",
                "--provider multipass was asked for, and it has --provider qemu"
            ]
        );
        let usual = Choice::Multipass { shape: Shape::default(), build: None };
        assert_eq!(usual.differences(&had(multipass)), Vec::<String>::new());
    }

    #[test]
    fn value_that_is_none_is_named() {
        for (name, value) in [
            (PROVIDER, "qmeu"),
            (PROVIDER, "ssh"),
            ("RDMA_LAB_ACCEL", "hvf"),
            (GUEST, "debian-31"),
            ("RDMA_LAB_SEED", "x"),
            ("RDMA_LAB_BUILD", "cloud"),
        ] {
            let provider = match name {
                PROVIDER => value,
                "RDMA_LAB_BUILD" => "multipass",
                _ => "qemu",
            };
            let env = [(PROVIDER, provider.to_owned()), (name, value.to_owned())];
            let text = read(&env).unwrap_err().to_string();
            assert!(text.contains(value) && text.contains("next: "), "{text}");
        }
    }
}
