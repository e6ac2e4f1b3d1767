//! The machines and the means that a command is about, as names: options of a command line, and one variable that tells other
//! processes of the lab the same.
//!
//! Without the variable the environment speaks for the user: `RDMA_LAB_PROVIDER`, `RDMA_LAB_GUEST`, `RDMA_LAB_TOOLS`,
//! `RDMA_LAB_OFFLINE`. What the names lead to is for the provider's stage to find out.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::own_parts::OwnParts;
use crate::base::role::Role;

/// The variable that has a whole selection, as JSON.
pub const VARIABLE: &str = "RDMA_LAB_SELECTION";

/// The user's variable that names a provider.
pub const PROVIDER: &str = "RDMA_LAB_PROVIDER";

/// The user's variable that names the release of a guest.
pub const GUEST: &str = "RDMA_LAB_GUEST";

/// The user's variable that says whose tools are used.
const TOOLS: &str = "RDMA_LAB_TOOLS";

/// The user's variable that forbids downloads.
const OFFLINE: &str = "RDMA_LAB_OFFLINE";

/// A source of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// QEMU on this computer, without root.
    Qemu,
    /// Two Multipass instances, rdma-server and rdma-client.
    Multipass,
    /// Two hosts that exist, over SSH: see --hosts.
    Ssh,
}

/// The accelerator that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AccelChoice {
    /// KVM where a machine really boots on it, else software emulation.
    #[default]
    Auto,
    /// KVM, or an error.
    Kvm,
    /// Software emulation.
    Tcg,
}

/// The computer that programs are built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BuildPlace {
    /// On this computer, against the lab's sysroot.
    Host,
    /// On the server, from sources that are sent there.
    Guest,
}

/// The owner of the tools that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ToolSource {
    /// The lab's own, of one Debian release, in the cache.
    #[default]
    Toolbox,
    /// The host's: QEMU 7.2 or later, mkfs.erofs, libclang 11 to 15 and so on.
    Host,
}

/// The machines that are asked for, and the means; unnamed is what is taken anyway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct Selection {
    /// Source of the machines [default: multipass where its daemon answers, else qemu].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderName>,
    /// Place where programs are built [default: on this computer if they run on the machines, else there] (SSH, Multipass).
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildPlace>,
    /// The image to launch, as `multipass find` names it [default: 24.04] (Multipass).
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Processors of each instance [default: 2] (Multipass).
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory of each instance [default: 2G] (Multipass).
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Disk of each instance [default: 10G] (Multipass).
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Longest time that an instance may take to launch, or to start, in seconds [default: 1200] (Multipass).
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_limit: Option<u64>,
    /// The file that names two hosts: `[server]` and `[client]`, each with `ssh` and `address` (SSH).
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<PathBuf>,
    /// Accelerator that runs the machines' instructions [default: auto] (QEMU).
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accel: Option<AccelChoice>,
    /// The release that QEMU's machines run.
    #[command(flatten)]
    #[serde(flatten)]
    pub release: ReleaseOption,
    /// The release that one of QEMU's machines runs.
    #[command(flatten)]
    #[serde(flatten)]
    pub each: EachGuest,
    /// Parts of the user's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub own: OwnParts,
    /// Let what the machines draw at random follow from this number (QEMU).
    ///
    /// Both kernels go on from the frozen machines' generator, moved on by the seed: the server's starting PSN
    /// and rkeys are the same again in most runs on Debian 12, the client's starting PSN in many; what the kernels
    /// draw meanwhile depends on time, and on Debian 13 there is so much of it that little repeats. Machines that are frozen anew, and ones
    /// that were reset, draw other numbers.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Whose tools are used, and whether anything is downloaded.
    #[command(flatten)]
    #[serde(flatten)]
    pub means: Means,
}

/// The release that QEMU's machines run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct ReleaseOption {
    /// The release that the machines run: debian-13-backports, debian-unstable, debian-13, debian-12
    /// [default: RDMA_LAB_GUEST, else debian-13] (QEMU).
    #[arg(long, value_name = "RELEASE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// Packages of that release which the machines have beside the usual ones, with all that they need: python3-pyverbs,qperf
    /// (QEMU).
    #[arg(long, value_name = "PACKAGE,…", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

/// The releases of a pair that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct EachGuest {
    /// The release that the server runs, where it is another than the client's (QEMU).
    #[arg(long, value_name = "RELEASE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_guest: Option<String>,
    /// The release that the client runs, where it is another than the server's (QEMU).
    #[arg(long, value_name = "RELEASE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_guest: Option<String>,
}

impl EachGuest {
    /// Returns the name of a node's release, if it has one of its own.
    pub fn of(&self, role: Role) -> Option<&str> {
        if role.is_client() { self.client_guest.as_deref() } else { self.server_guest.as_deref() }
    }
}

/// The means by which the lab works on this computer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct Means {
    /// Whose QEMU and other tools are used [default: RDMA_LAB_TOOLS, else toolbox].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<ToolSource>,
    /// Download nothing; an error says what would have been. RDMA_LAB_OFFLINE=1 does the same.
    #[arg(long)]
    pub offline: bool,
    /// Accepted as before: nothing needs to be installed any more.
    #[arg(long)]
    #[serde(skip)]
    pub install: bool,
}

impl Selection {
    /// Returns the selection that the environment of this process has.
    ///
    /// # Errors
    ///
    /// As [`Selection::from_env`].
    pub fn of_environment() -> Result<Selection> {
        Selection::from_env(|name| std::env::var(name).ok())
    }

    /// Reads what [`Selection::variable`] wrote, else the user's variables, by `variable`: the value of one. An empty one is as
    /// none.
    ///
    /// # Errors
    ///
    /// A value is none that there is.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Selection> {
        let variable = |name: &str| variable(name).filter(|text| !text.is_empty());
        if let Some(text) = variable(VARIABLE) {
            return serde_json::from_str(&text)
                .map_err(|source| Error::usage(format!("{VARIABLE} is no selection")).source(source));
        }
        let offline = match variable(OFFLINE).as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => return Err(no_such(OFFLINE, other, "1 or 0")),
        };
        let tools = variable(TOOLS).map(|text| read(TOOLS, &text)).transpose()?;
        Ok(Selection {
            provider: variable(PROVIDER).map(|text| read(PROVIDER, &text)).transpose()?,
            release: ReleaseOption { guest: variable(GUEST), packages: Vec::new() },
            means: Means { tools, offline, install: false },
            ..Selection::default()
        })
    }

    /// Returns this selection, with what it leaves unnamed from another.
    #[must_use]
    pub fn or(self, other: Selection) -> Selection {
        let (means, others) = (self.means, other.means);
        Selection {
            provider: self.provider.or(other.provider),
            build: self.build.or(other.build),
            image: self.image.or(other.image),
            cpus: self.cpus.or(other.cpus),
            memory: self.memory.or(other.memory),
            disk: self.disk.or(other.disk),
            launch_limit: self.launch_limit.or(other.launch_limit),
            hosts: self.hosts.or(other.hosts),
            accel: self.accel.or(other.accel),
            release: ReleaseOption {
                guest: self.release.guest.or(other.release.guest),
                packages: match self.release.packages.is_empty() {
                    true => other.release.packages,
                    false => self.release.packages,
                },
            },
            each: EachGuest {
                server_guest: self.each.server_guest.or(other.each.server_guest),
                client_guest: self.each.client_guest.or(other.each.client_guest),
            },
            own: self.own.or(other.own),
            seed: self.seed.or(other.seed),
            means: Means {
                tools: means.tools.or(others.tools),
                offline: means.offline || others.offline,
                install: means.install,
            },
        }
    }

    /// Returns the variable, with its value, that tells another process of the lab this selection.
    pub fn variable(&self) -> (&'static str, String) {
        (VARIABLE, serde_json::to_string(self).unwrap_or_default())
    }

    /// Returns the options that choose machines, in their order on the command line, without their dashes.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let mut options = vec![
            ("provider", self.provider.map(|name| name.to_string())),
            ("image", self.image.clone()),
            ("cpus", number(self.cpus.map(u64::from))),
            ("memory", self.memory.clone()),
            ("disk", self.disk.clone()),
            ("launch-limit", number(self.launch_limit)),
            ("hosts", self.hosts.as_ref().map(|file| file.display().to_string())),
            ("guest", self.release.guest.clone()),
            ("server-guest", self.each.server_guest.clone()),
            ("client-guest", self.each.client_guest.clone()),
            ("packages", Some(self.release.packages.join(",")).filter(|names| !names.is_empty())),
        ];
        options.extend(self.own.options());
        options.extend([
            ("accel", self.accel.map(|accel| accel.to_string())),
            ("seed", number(self.seed)),
            ("build", self.build.map(|place| place.to_string())),
        ]);
        options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// The value of a variable, by its name on the command line.
fn read<T: ValueEnum>(variable: &str, text: &str) -> Result<T> {
    T::from_str(text, true).map_err(|_| {
        let names: Vec<String> = T::value_variants().iter().map(name).collect();
        no_such(variable, text, &names.join(" or "))
    })
}

fn no_such(variable: &str, text: &str, write: &str) -> Error {
    Error::usage(format!("{variable}={text} is no such thing")).next(format!("write {write}"))
}

/// The name that a value has on the command line.
fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

macro_rules! told_as_options {
    ($($value:ty),+) => {$(
        impl fmt::Display for $value {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&name(self))
            }
        }
    )+};
}
told_as_options!(ProviderName, AccelChoice, BuildPlace, ToolSource);

#[cfg(test)]
mod tests {
    use super::*;

    fn from(env: &[(&str, &str)]) -> Result<Selection> {
        let value =
            |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Selection::from_env(value)
    }

    #[test]
    fn variable_tells_all_of_a_selection() {
        let all = Selection {
            provider: Some(ProviderName::Multipass),
            build: Some(BuildPlace::Guest),
            image: Some("22.04".to_owned()),
            cpus: Some(3),
            launch_limit: Some(7),
            hosts: Some("/h.toml".into()),
            accel: Some(AccelChoice::Kvm),
            release: ReleaseOption {
                guest: Some("debian-12".to_owned()),
                packages: vec!["qperf".to_owned(), "fio".to_owned()],
            },
            each: EachGuest { server_guest: Some("debian-12".to_owned()), client_guest: None },
            own: OwnParts {
                kernel: Some("/k".into()),
                module: vec!["/a.ko".into(), "/b.ko".into()],
                only_on: Some(Role::Client),
                ..OwnParts::default()
            },
            seed: Some(u64::MAX),
            means: Means { tools: Some(ToolSource::Host), offline: true, install: false },
            ..Selection::default()
        };
        assert_eq!(Selection::default().or(all.clone()), all);
        for selection in [Selection::default(), all] {
            let (name, text) = selection.variable();
            // The user's own are for who was told nothing.
            assert_eq!(from(&[(name, &text), (PROVIDER, "ssh"), (OFFLINE, "1")]).unwrap(), selection);
        }
    }

    #[test]
    fn users_variables_count_and_empty_ones_do_not() {
        let selection =
            from(&[(PROVIDER, "QEMU"), (GUEST, "debian-12"), (TOOLS, "host"), (OFFLINE, "1")]).unwrap();
        assert_eq!(selection.options(), [("provider", "qemu".to_owned()), ("guest", "debian-12".to_owned())]);
        assert_eq!(selection.means, Means { tools: Some(ToolSource::Host), offline: true, install: false });
        let empty = from(&[VARIABLE, PROVIDER, GUEST, TOOLS, OFFLINE].map(|name| (name, ""))).unwrap();
        assert_eq!(empty, Selection::default());
    }

    #[test]
    fn value_that_is_none_is_named() {
        for (name, value, next) in [
            (PROVIDER, "qmeu", "write qemu or multipass or ssh"),
            (TOOLS, "mine", "write toolbox or host"),
            (OFFLINE, "yes", "write 1 or 0"),
        ] {
            let text = from(&[(name, value)]).unwrap_err().to_string();
            assert!(text.contains(&format!("{name}={value}")) && text.ends_with(next), "{text}");
        }
        assert!(from(&[(VARIABLE, "{")]).unwrap_err().to_string().starts_with(VARIABLE));
    }
}
