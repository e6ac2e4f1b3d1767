//! Which machines were asked for: what a selection's names lead to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::cache::Cache;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;
use crate::base::selection::{AccelChoice, BuildPlace, ProviderName, ReleaseOption, Selection};
use crate::guest::contents::Contents;
use crate::guest::image::Release;
use crate::guest::image::recipe::Recipe;
use crate::guest::programs::samples::Samples;
use crate::host;
use crate::node::{NodePair, Plan, Provenance, Provider};
use crate::provider::multipass::instance::Shape;
use crate::provider::remote::make::Maker;
use crate::provider::ssh::hosts::{self, Hosts};
use crate::provider::{Multipass, Qemu, Ssh};
use crate::scenario::differences::Differences;
use crate::scenario::network::Wire;

/// The provider that is taken where none was named: Multipass where it answers, else QEMU.
pub fn usual() -> ProviderName {
    if host::multipass::version().is_some() { ProviderName::Multipass } else { ProviderName::Qemu }
}

/// Which machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// QEMU guests of our own.
    Qemu {
        /// Their accelerator.
        accel: AccelChoice,
        /// Their release.
        guest: &'static Release,
        /// Packages of that release which they have beside the usual ones.
        packages: Vec<String>,
        /// The number that their randomness follows from.
        seed: Option<u64>,
    },
    /// Two Multipass instances, launched in this shape where they are not there.
    Multipass {
        /// Image and sizes of each.
        shape: Shape,
        /// Where programs are built; by itself if nobody says.
        build: Option<BuildPlace>,
    },
    /// Two hosts that exist.
    Ssh {
        /// The file that names them.
        hosts: PathBuf,
        /// Where programs are built; by itself if nobody says.
        build: Option<BuildPlace>,
    },
}

/// A source of machines, whichever was chosen.
#[derive(Debug)]
pub enum MachineSource {
    /// See [`Choice::Qemu`].
    Qemu(Box<Qemu>),
    /// See [`Choice::Multipass`].
    Multipass(Box<Multipass>),
    /// See [`Choice::Ssh`].
    Ssh(Box<Ssh>),
}

impl Choice {
    /// Finds the machines that a selection names; of no provider, the usual one's.
    ///
    /// # Errors
    ///
    /// What goes with the provider is missing, or a name is none.
    pub fn of(selection: &Selection) -> Result<Choice> {
        let asked = selection.clone();
        Ok(match asked.provider.unwrap_or_else(usual) {
            ProviderName::Qemu => Choice::Qemu {
                accel: asked.accel.unwrap_or_default(),
                guest: asked.release.guest.map_or(Ok(Release::usual()), |name| Release::named(&name))?,
                packages: asked.release.packages,
                seed: asked.seed,
            },
            ProviderName::Multipass => {
                let usual = Shape::default();
                let shape = Shape {
                    image: asked.image.unwrap_or(usual.image),
                    cpus: asked.cpus.unwrap_or(usual.cpus),
                    memory: asked.memory.unwrap_or(usual.memory),
                    disk: asked.disk.unwrap_or(usual.disk),
                    launch_limit_s: asked.launch_limit.unwrap_or(usual.launch_limit_s),
                };
                Choice::Multipass { shape, build: asked.build }
            }
            ProviderName::Ssh => match asked.hosts {
                // Who reads it may run elsewhere.
                Some(hosts) => Choice::Ssh {
                    hosts: std::path::absolute(&hosts).at("failed to resolve", &hosts)?,
                    build: asked.build,
                },
                None => {
                    return Err(Error::usage("provider ssh needs to know its hosts")
                        .next(format!("name a file: --hosts FILE\n{}", hosts::EXAMPLE)));
                }
            },
        })
    }

    /// The same with more packages, of machines whose packages the lab chooses.
    #[must_use]
    pub fn with_packages(self, more: &[String]) -> Choice {
        match self {
            Choice::Qemu { accel, guest, mut packages, seed } => {
                packages.extend(more.iter().cloned());
                Choice::Qemu { accel, guest, packages, seed }
            }
            other => other,
        }
    }

    /// Returns the selection that leads to this choice, with all that goes with the provider.
    pub fn selection(&self) -> Selection {
        let named = Selection { provider: Some(self.name()), build: self.build(), ..Selection::default() };
        match self.clone() {
            Choice::Qemu { accel, guest, packages, seed } => {
                let release = ReleaseOption { guest: Some(guest.name.clone()), packages };
                Selection { accel: Some(accel), release, seed, ..named }
            }
            Choice::Multipass { shape: Shape { image, cpus, memory, disk, launch_limit_s }, .. } => {
                Selection {
                    image: Some(image),
                    cpus: Some(cpus),
                    memory: Some(memory),
                    disk: Some(disk),
                    launch_limit: Some(launch_limit_s),
                    ..named
                }
            }
            Choice::Ssh { hosts, .. } => Selection { hosts: Some(hosts), ..named },
        }
    }

    /// The options that say this choice, without those that say what is taken anyway once the provider is named.
    fn asked(&self) -> Vec<(&'static str, String)> {
        let usual = match self {
            Choice::Qemu { .. } => {
                let packages = Vec::new();
                Choice::Qemu { accel: AccelChoice::Auto, guest: Release::usual(), packages, seed: None }
                    .selection()
            }
            Choice::Multipass { .. } => {
                Choice::Multipass { shape: Shape::default(), build: None }.selection()
            }
            Choice::Ssh { .. } => Selection::default(),
        };
        let usual = Selection { provider: None, ..usual }.options();
        self.selection().options().into_iter().filter(|option| !usual.contains(option)).collect()
    }

    /// The words that say this choice on a command line; `usual` is the provider that is taken where none is named.
    pub fn options(&self, usual: ProviderName) -> Vec<String> {
        // Multipass may not answer where the words are said again.
        let goes_unsaid = |name| name == "provider" && usual == ProviderName::Qemu && self.name() == usual;
        let asked = self.asked().into_iter().filter(|(name, _)| !goes_unsaid(*name));
        asked.flat_map(|(name, value)| [format!("--{name}"), value]).collect()
    }

    /// The release whose sysroot programs for these machines are built against on this computer: theirs, or the
    /// oldest where they are machines of others.
    pub fn sysroot(&self) -> &'static Release {
        match self {
            Choice::Qemu { guest, .. } => guest,
            Choice::Multipass { .. } | Choice::Ssh { .. } => Release::oldest(),
        }
    }

    /// Tells what of this machines that were selected as `had` have not, each as options of the command line.
    pub fn differences(&self, had: &Selection) -> Vec<String> {
        let had: BTreeMap<&str, String> = had.options().into_iter().collect();
        self.asked()
            .into_iter()
            .filter(|(name, value)| had.get(name) != Some(value))
            .map(|(name, value)| match had.get(name) {
                Some(had) => format!("--{name} {value} was asked for, and it has --{name} {had}"),
                None => format!("--{name} {value} was asked for, and it has none"),
            })
            .collect()
    }

    /// Finds the part between these machines that can act on packets; none of them is asked.
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

    /// The provider's name.
    pub fn name(&self) -> ProviderName {
        match self {
            Choice::Qemu { .. } => ProviderName::Qemu,
            Choice::Multipass { .. } => ProviderName::Multipass,
            Choice::Ssh { .. } => ProviderName::Ssh,
        }
    }

    /// Where programs are built, if that was said.
    pub fn build(&self) -> Option<BuildPlace> {
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
    pub fn open(&self, cache: &Cache, samples: &Samples, guard_program: &Path) -> Result<MachineSource> {
        Ok(match self {
            Choice::Qemu { accel, guest, packages, seed } => {
                let recipe = Recipe::lab(guest).with(packages);
                MachineSource::Qemu(Box::new(Qemu::of(&recipe, cache.clone(), *accel, guard_program, *seed)?))
            }
            Choice::Multipass { shape, build } => {
                let maker = Maker::new(samples, *build);
                MachineSource::Multipass(Box::new(Multipass::new(cache.clone(), shape.clone(), maker)?))
            }
            Choice::Ssh { hosts, build } => {
                MachineSource::Ssh(Box::new(Ssh::new(cache.clone(), hosts, Maker::new(samples, *build))?))
            }
        })
    }
}

impl MachineSource {
    /// Description of the machines.
    pub fn description(&self) -> String {
        match self {
            MachineSource::Qemu(qemu) => format!("qemu, {}, {}", qemu.origin(), qemu.decision()),
            MachineSource::Multipass(multipass) => multipass.description(),
            MachineSource::Ssh(ssh) => ssh.description(),
        }
    }

    fn provider(&self) -> &dyn Provider {
        match self {
            MachineSource::Qemu(qemu) => qemu.as_ref(),
            MachineSource::Multipass(multipass) => multipass.as_ref(),
            MachineSource::Ssh(ssh) => ssh.as_ref(),
        }
    }
}

impl Provider for MachineSource {
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

    fn bring_up(&self, plan: &Plan<'_>) -> Result<Box<dyn NodePair>> {
        self.provider().bring_up(plan)
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;

    fn qemu(accel: AccelChoice, guest: &'static Release, seed: Option<u64>) -> Choice {
        Choice::Qemu { accel, guest, packages: Vec::new(), seed }
    }

    fn other() -> &'static Release {
        Release::all().iter().find(|release| *release != Release::usual()).unwrap()
    }

    #[test]
    fn options_and_selection_choose_the_same_again() {
        let shape = Shape { image: "22.04".to_owned(), cpus: 4, launch_limit_s: 3600, ..Shape::default() };
        let (usual, auto) = (Release::usual(), AccelChoice::Auto);
        for (choice, options) in [
            (qemu(auto, usual, None), ""),
            (qemu(AccelChoice::Tcg, other(), Some(7)), "--guest debian-12 --accel tcg --seed 7"),
            (
                Choice::Qemu {
                    accel: auto,
                    guest: usual,
                    packages: vec!["fio".into(), "qperf".into()],
                    seed: None,
                },
                "--packages fio,qperf",
            ),
            (Choice::Multipass { shape: Shape::default(), build: None }, "--provider multipass"),
            (
                Choice::Multipass { shape, build: Some(BuildPlace::Guest) },
                "--provider multipass --image 22.04 --cpus 4 --launch-limit 3600 --build guest",
            ),
            (Choice::Ssh { hosts: "/h.toml".into(), build: None }, "--provider ssh --hosts /h.toml"),
        ] {
            assert_eq!(choice.options(ProviderName::Qemu).join(" "), options);
            assert_eq!(Choice::of(&choice.selection()).unwrap(), choice);
            let words = ["lab".to_owned()].into_iter().chain(choice.options(ProviderName::Qemu));
            let matches = Selection::augment_args(Command::new("lab")).try_get_matches_from(words).unwrap();
            let read = <Selection as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
            let read = Selection { provider: read.provider.or(Some(ProviderName::Qemu)), ..read };
            assert_eq!(Choice::of(&read).unwrap(), choice);
        }
        assert_eq!(qemu(auto, usual, None).options(ProviderName::Multipass).join(" "), "--provider qemu");
    }

    #[test]
    fn help_names_what_is_taken_anyway_and_all_guests() {
        let help = Selection::augment_args(Command::new("lab")).render_long_help().to_string();
        let asked = Choice::Multipass { shape: Shape::default(), build: None }.selection().options();
        for (name, value) in asked.into_iter().filter(|(name, _)| *name != "provider") {
            assert!(help.contains(&format!("[default: {value}] (Multipass)")), "--{name} {value}: {help}");
        }
        let guests: Vec<&str> = Release::all().iter().map(|release| release.name.as_str()).collect();
        assert!(
            help.contains(&guests.join(" or ")) && help.contains(&format!("else {}]", Release::usual().name)),
            "{help}"
        );
    }

    #[test]
    fn programs_for_another_guest_are_built_against_its_own_sysroot() {
        assert_eq!(qemu(AccelChoice::Auto, other(), None).sysroot(), other());
    }

    #[test]
    fn what_was_asked_for_and_is_not_there_is_told_as_options() {
        let tcg = qemu(AccelChoice::Tcg, Release::usual(), None).selection();
        let differences = |accel, seed| qemu(accel, Release::usual(), seed).differences(&tcg);
        assert_eq!(differences(AccelChoice::Auto, None), Vec::<String>::new());
        assert_eq!(differences(AccelChoice::Tcg, None), Vec::<String>::new());
        assert_eq!(
            differences(AccelChoice::Kvm, Some(7)),
            ["--accel kvm was asked for, and it has --accel tcg", "--seed 7 was asked for, and it has none"]
        );
        let multipass = Choice::Multipass { shape: Shape { cpus: 7, ..Shape::default() }, build: None };
        assert_eq!(
            multipass.differences(&tcg),
            [
                "--provider multipass was asked for, and it has --provider qemu",
                "--cpus 7 was asked for, and it has none"
            ]
        );
        let usual = Choice::Multipass { shape: Shape::default(), build: None };
        assert_eq!(usual.differences(&multipass.selection()), Vec::<String>::new());
    }

    #[test]
    fn name_that_is_none_and_what_is_missing_are_named() {
        let guest = ReleaseOption { guest: Some("debian-31".to_owned()), packages: Vec::new() };
        let qemu = Selection { provider: Some(ProviderName::Qemu), release: guest, ..Selection::default() };
        let ssh = Selection { provider: Some(ProviderName::Ssh), ..Selection::default() };
        for (selection, part) in [(qemu, "debian-31"), (ssh, "--hosts FILE")] {
            let text = Choice::of(&selection).unwrap_err().to_string();
            assert!(text.contains(part) && text.contains("next: "), "{text}");
        }
    }
}
