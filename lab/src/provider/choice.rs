//! Choice of machines: what a selection's names lead to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::cache::Cache;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::own_parts::OwnParts;
use crate::base::role::Role;
use crate::base::selection::{AccelChoice, BuildPlace, EachGuest, ProviderName, ReleaseOption, Selection};
use crate::guest::contents::Contents;
use crate::guest::image::own::Own;
use crate::guest::image::recipe::Recipe;
use crate::guest::image::{Release, ReleasePair};
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

/// Chosen machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// QEMU guests of our own.
    Qemu {
        /// Their accelerator.
        accel: AccelChoice,
        /// The release of each.
        guests: ReleasePair,
        /// Packages of that release which they have beside the usual ones.
        packages: Vec<String>,
        /// Parts of the user's own in place of the release's.
        own: OwnParts,
        /// Kernel modules that they have beside the usual ones.
        modules: Vec<String>,
        /// The number that their randomness follows from.
        seed: Option<u64>,
    },
    /// Two Multipass instances, launched in this shape where they are not there.
    Multipass {
        /// Image and sizes of each.
        shape: Shape,
        /// Place where programs are built; by itself if nobody says.
        build: Option<BuildPlace>,
    },
    /// Two hosts that exist.
    Ssh {
        /// The file that names them.
        hosts: PathBuf,
        /// Place where programs are built; by itself if nobody says.
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
    /// Chooses QEMU's machines of a release, as it is.
    pub fn qemu(accel: AccelChoice, guest: &'static Release) -> Choice {
        let (guests, own) = (ReleasePair::both(guest), OwnParts::default());
        Choice::Qemu { accel, guests, packages: Vec::new(), modules: Vec::new(), own, seed: None }
    }

    /// Finds the machines that a selection names; of no provider, the usual one's.
    ///
    /// # Errors
    ///
    /// What goes with the provider is missing, or a name is none.
    pub fn of(selection: &Selection) -> Result<Choice> {
        let asked = selection.clone();
        Ok(match asked.provider.unwrap_or_else(usual) {
            ProviderName::Qemu => {
                let of = |role| {
                    let name = asked.each.of(role).or(asked.release.guest.as_deref());
                    name.map_or(Ok(Release::usual()), Release::named)
                };
                Choice::Qemu {
                    accel: asked.accel.unwrap_or_default(),
                    guests: ReleasePair { server: of(Role::Server)?, client: of(Role::Client)? },
                    own: asked.own.absolute()?,
                    packages: asked.release.packages,
                    modules: Vec::new(),
                    seed: asked.seed,
                }
            }
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

    /// The same with more packages and kernel modules, of machines of which the lab chooses those.
    #[must_use]
    pub fn with_more(self, more_packages: &[String], more_modules: &[String]) -> Choice {
        match self {
            Choice::Qemu { accel, guests, mut packages, mut modules, own, seed } => {
                packages.extend(more_packages.iter().cloned());
                modules.extend(more_modules.iter().cloned());
                Choice::Qemu { accel, guests, packages, modules, own, seed }
            }
            other => other,
        }
    }

    /// Returns the selection that leads to this choice, with all that goes with the provider.
    pub fn selection(&self) -> Selection {
        let named = Selection { provider: Some(self.name()), build: self.build(), ..Selection::default() };
        match self.clone() {
            Choice::Qemu { accel, guests: ReleasePair { server, client }, packages, own, seed, .. } => {
                let name = |release: &Release| Some(release.name.clone());
                let (guest, each) = match server == client {
                    true => (name(server), EachGuest::default()),
                    false => (None, EachGuest { server_guest: name(server), client_guest: name(client) }),
                };
                let release = ReleaseOption { guest, packages };
                Selection { accel: Some(accel), release, each, own, seed, ..named }
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
            Choice::Qemu { .. } => Choice::qemu(AccelChoice::Auto, Release::usual()).selection(),
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
            Choice::Qemu { guests, .. } => guests.of_sysroot(),
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

    /// Refuses more nodes than these machines are.
    ///
    /// # Errors
    ///
    /// They are two, and there is to be more.
    pub fn demand_nodes(&self, nodes: usize) -> Result<()> {
        let why = match self {
            Choice::Qemu { .. } => return Ok(()),
            _ if nodes <= Role::BOTH.len() => return Ok(()),
            Choice::Multipass { .. } => {
                "Multipass has two instances for the lab, rdma-server and rdma-client".to_owned()
            }
            Choice::Ssh { hosts, .. } => {
                format!("{} names two hosts, [server] and [client]", hosts.display())
            }
        };
        Err(Error::usage(format!("{nodes} nodes were asked for, and {why}"))
            .next("the lab's own machines are up to eight nodes: --provider qemu"))
    }

    /// The provider's name.
    pub fn name(&self) -> ProviderName {
        match self {
            Choice::Qemu { .. } => ProviderName::Qemu,
            Choice::Multipass { .. } => ProviderName::Multipass,
            Choice::Ssh { .. } => ProviderName::Ssh,
        }
    }

    /// Place where programs are built, if that was said.
    pub fn build(&self) -> Option<BuildPlace> {
        match self {
            Choice::Qemu { .. } => None,
            Choice::Multipass { build, .. } | Choice::Ssh { build, .. } => *build,
        }
    }

    /// Demands of parts of the user's own what their files alone can tell.
    ///
    /// # Errors
    ///
    /// As [`Own::read`].
    pub fn check_own(&self) -> Result<()> {
        let Choice::Qemu { own, .. } = self else { return Ok(()) };
        Own::read(&own.of(own.only_on.unwrap_or(Role::Server))).map(drop)
    }

    /// Prepares the source of QEMU's machines; `None` if these are others.
    ///
    /// # Errors
    ///
    /// As [`Qemu::new`]; a part of the user's own is not there, or does not fit.
    pub fn open_qemu(&self, cache: &Cache, guard_program: &Path) -> Result<Option<Qemu>> {
        let Choice::Qemu { accel, guests, packages, modules, own, seed } = self else { return Ok(None) };
        let [server, client] = Role::BOTH.map(|role| Own::read(&own.of(role)));
        let own = BTreeMap::from([(Role::Server, server?), (Role::Client, client?)]);
        let recipe = |role| Recipe::lab(guests.of(role)).with(packages, modules).with_own(own[&role].clone());
        Qemu::of_each(&recipe, cache.clone(), *accel, guard_program, *seed).map(Some)
    }

    /// Prepares the source of these machines, which deploys `samples`; `guard_program` is for [`Qemu::new`].
    ///
    /// # Errors
    ///
    /// As [`Qemu::new`] and [`Ssh::new`].
    pub fn open(&self, cache: &Cache, samples: &Samples, guard_program: &Path) -> Result<MachineSource> {
        Ok(match self {
            Choice::Qemu { .. } => match self.open_qemu(cache, guard_program)? {
                Some(qemu) => MachineSource::Qemu(Box::new(qemu)),
                None => return Err(Error::setup("QEMU's machines were chosen, and are not QEMU's")),
            },
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
            MachineSource::Qemu(qemu) => {
                format!("qemu, {}, {}", Provenance::of_both(qemu.origin()), qemu.decision())
            }
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
        match Choice::qemu(accel, guest) {
            Choice::Qemu { accel, guests, packages, modules, own, .. } => {
                Choice::Qemu { accel, guests, packages, modules, own, seed }
            }
            other => other,
        }
    }

    fn other() -> &'static Release {
        Release::oldest()
    }

    #[test]
    fn options_and_selection_choose_the_same_again() {
        let shape = Shape { image: "22.04".to_owned(), cpus: 4, launch_limit_s: 3600, ..Shape::default() };
        let (usual, auto) = (Release::usual(), AccelChoice::Auto);
        for (choice, options) in [
            (qemu(auto, usual, None), ""),
            (qemu(AccelChoice::Tcg, other(), Some(7)), "--guest debian-12 --accel tcg --seed 7"),
            (qemu(auto, usual, None).with_more(&["fio".into(), "qperf".into()], &[]), "--packages fio,qperf"),
            (
                Choice::Qemu {
                    accel: auto,
                    guests: ReleasePair { server: other(), client: usual },
                    packages: Vec::new(),
                    modules: Vec::new(),
                    own: OwnParts {
                        module: vec!["/m/rdma_rxe.ko".into(), "/m/ib_core.ko".into()],
                        only_on: Some(Role::Client),
                        ..OwnParts::default()
                    },
                    seed: None,
                },
                "--server-guest debian-12 --client-guest debian-13 --module /m/rdma_rxe.ko,/m/ib_core.ko --only-on client",
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
        let command = Command::new("lab").term_width(0);
        let help = Selection::augment_args(command).render_long_help().to_string();
        let asked = Choice::Multipass { shape: Shape::default(), build: None }.selection().options();
        for (name, value) in asked.into_iter().filter(|(name, _)| *name != "provider") {
            assert!(help.contains(&format!("[default: {value}] (Multipass)")), "--{name} {value}: {help}");
        }
        let guests: Vec<&str> = Release::all().iter().map(|release| release.name.as_str()).collect();
        assert!(
            help.contains(&guests.join(", ")) && help.contains(&format!("else {}]", Release::usual().name)),
            "{help}"
        );
    }

    #[test]
    fn parts_of_ones_own_that_cannot_be_are_refused_by_their_files() {
        let of = |only_on| {
            let own = OwnParts { kernel: Some("/no/kernel".into()), only_on, ..OwnParts::default() };
            let provider = Some(ProviderName::Qemu);
            Choice::of(&Selection { provider, own, ..Selection::default() }).unwrap().check_own()
        };
        for only_on in [None, Some(Role::Client)] {
            assert!(of(only_on).unwrap_err().to_string().contains("no kernel is at /no/kernel"));
        }
        qemu(AccelChoice::Auto, other(), None).check_own().unwrap();
    }

    #[test]
    fn programs_for_another_guest_are_built_against_its_own_sysroot() {
        assert_eq!(qemu(AccelChoice::Auto, other(), None).sysroot(), other());
        let newest = &Release::all()[0];
        assert_eq!(qemu(AccelChoice::Auto, newest, None).sysroot(), Release::usual(), "as its file says");
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
