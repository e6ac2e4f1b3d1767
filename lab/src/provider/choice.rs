//! Which machines were asked for: what the command line says, and the environment in which it starts other
//! processes of the lab.

use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::contents::Contents;
use crate::error::{Error, Result};
use crate::node::{Pair, Plan, Provider};
use crate::provider::multipass::client;
use crate::provider::multipass::instance::Shape;
use crate::provider::qemu::accel::Choice as Accel;
use crate::provider::{Multipass, Qemu, Ssh};

/// The provider that is taken where none was named: Multipass where it answers, else QEMU.
pub fn usual() -> &'static str {
    if client::version().is_some() { "multipass" } else { "qemu" }
}

/// Which machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// QEMU guests of our own.
    Qemu {
        /// What runs their instructions.
        accel: Accel,
        /// What their randomness follows from.
        seed: Option<u64>,
    },
    /// Two Multipass instances, launched in this shape where they are not there.
    Multipass(Shape),
    /// Two hosts that exist.
    Ssh {
        /// The file that names them.
        hosts: PathBuf,
    },
}

/// A source of machines, whichever was chosen.
#[derive(Debug)]
pub enum Source {
    /// See [`Choice::Qemu`].
    Qemu(Qemu),
    /// See [`Choice::Multipass`].
    Multipass(Multipass),
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
        match variable("RDMA_LAB_PROVIDER").unwrap_or_else(|| usual().to_owned()).as_str() {
            "qemu" => {
                let accel = match variable("RDMA_LAB_ACCEL").as_deref() {
                    None | Some("auto") => Accel::Auto,
                    Some("kvm") => Accel::Kvm,
                    Some("tcg") => Accel::Tcg,
                    Some(other) => return Err(none("RDMA_LAB_ACCEL", other).next("write auto, kvm or tcg")),
                };
                Ok(Choice::Qemu { accel, seed: number("RDMA_LAB_SEED")? })
            }
            "multipass" => {
                let usual = Shape::default();
                let cpus = number("RDMA_LAB_CPUS")?.and_then(|cpus| u32::try_from(cpus).ok());
                Ok(Choice::Multipass(Shape {
                    image: variable("RDMA_LAB_IMAGE").unwrap_or(usual.image),
                    cpus: cpus.unwrap_or(usual.cpus),
                    memory: variable("RDMA_LAB_MEMORY").unwrap_or(usual.memory),
                    disk: variable("RDMA_LAB_DISK").unwrap_or(usual.disk),
                    launch_limit_s: number("RDMA_LAB_LAUNCH_LIMIT")?.unwrap_or(usual.launch_limit_s),
                }))
            }
            "ssh" => match variable("RDMA_LAB_HOSTS") {
                Some(hosts) => Ok(Choice::Ssh { hosts: hosts.into() }),
                None => Err(Error::usage("provider ssh needs to know its hosts")
                    .next("name a file: --hosts FILE, or RDMA_LAB_HOSTS; docs/providers.md has an example")),
            },
            other => Err(none("RDMA_LAB_PROVIDER", other).next("write qemu, multipass or ssh")),
        }
    }

    /// The environment variables that say the same to another process.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        match self {
            Choice::Qemu { accel, seed } => {
                let accel = match accel {
                    Accel::Auto => "auto",
                    Accel::Kvm => "kvm",
                    Accel::Tcg => "tcg",
                };
                let mut env =
                    vec![("RDMA_LAB_PROVIDER", "qemu".to_owned()), ("RDMA_LAB_ACCEL", accel.to_owned())];
                env.extend(seed.map(|seed| ("RDMA_LAB_SEED", seed.to_string())));
                env
            }
            Choice::Multipass(Shape { image, cpus, memory, disk, launch_limit_s }) => vec![
                ("RDMA_LAB_PROVIDER", "multipass".to_owned()),
                ("RDMA_LAB_IMAGE", image.clone()),
                ("RDMA_LAB_CPUS", cpus.to_string()),
                ("RDMA_LAB_MEMORY", memory.clone()),
                ("RDMA_LAB_DISK", disk.clone()),
                ("RDMA_LAB_LAUNCH_LIMIT", launch_limit_s.to_string()),
            ],
            Choice::Ssh { hosts } => {
                vec![("RDMA_LAB_PROVIDER", "ssh".to_owned()), ("RDMA_LAB_HOSTS", hosts.display().to_string())]
            }
        }
    }

    /// Prepares the source of these machines; `guard_program` is for [`Qemu::new`].
    ///
    /// # Errors
    ///
    /// As [`Qemu::new`] and [`Ssh::new`].
    pub fn open(&self, cache: &Cache, guard_program: &Path) -> Result<Source> {
        Ok(match self {
            Choice::Qemu { accel, seed } => {
                Source::Qemu(Qemu::new(cache.clone(), *accel, guard_program, *seed)?)
            }
            Choice::Multipass(shape) => Source::Multipass(Multipass::new(cache.clone(), shape.clone())?),
            Choice::Ssh { hosts } => Source::Ssh(Box::new(Ssh::new(cache.clone(), hosts)?)),
        })
    }
}

impl Source {
    /// What the machines are, for people.
    pub fn description(&self) -> String {
        match self {
            Source::Qemu(qemu) => format!("qemu, {}", qemu.decision()),
            Source::Multipass(multipass) => multipass.description(),
            Source::Ssh(ssh) => ssh.description(),
        }
    }

    /// Whether the machines run already, as far as that is asked without reaching them.
    ///
    /// # Errors
    ///
    /// As [`Multipass::is_running`].
    pub fn is_running(&self) -> Result<bool> {
        match self {
            Source::Multipass(multipass) => multipass.is_running(),
            Source::Qemu(_) | Source::Ssh(_) => Ok(true),
        }
    }

    fn provider(&self) -> &dyn Provider {
        match self {
            Source::Qemu(qemu) => qemu,
            Source::Multipass(multipass) => multipass,
            Source::Ssh(ssh) => ssh.as_ref(),
        }
    }
}

impl Provider for Source {
    fn name(&self) -> &'static str {
        self.provider().name()
    }

    fn has_switch(&self) -> bool {
        self.provider().has_switch()
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
            Choice::Qemu { accel: Accel::Tcg, seed: Some(7) },
            Choice::Qemu { accel: Accel::Auto, seed: None },
            Choice::Multipass(Shape { cpus: 3, image: "22.04".to_owned(), ..Shape::default() }),
            Choice::Ssh { hosts: "/h.toml".into() },
        ] {
            assert_eq!(read(&choice.env()).unwrap(), choice);
        }
        let qemu = [("RDMA_LAB_PROVIDER", "qemu".to_owned()), ("RDMA_LAB_SEED", String::new())];
        assert_eq!(read(&qemu).unwrap(), Choice::Qemu { accel: Accel::Auto, seed: None });
    }

    #[test]
    fn value_that_is_none_is_named() {
        for (name, value) in [
            ("RDMA_LAB_PROVIDER", "qmeu"),
            ("RDMA_LAB_PROVIDER", "ssh"),
            ("RDMA_LAB_ACCEL", "hvf"),
            ("RDMA_LAB_SEED", "x"),
        ] {
            let provider = if name == "RDMA_LAB_PROVIDER" { value } else { "qemu" };
            let env = [("RDMA_LAB_PROVIDER", provider.to_owned()), (name, value.to_owned())];
            let text = read(&env).unwrap_err().to_string();
            assert!(text.contains(value) && text.contains("next: "), "{text}");
        }
    }
}
