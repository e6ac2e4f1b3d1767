//! The releases that a guest can be: a TOML file each in `lab/guest/`, read at compile time.
//!
//! A file says all that differs between releases: code name, kernel, modules, packages, and what such a guest does
//! otherwise than the snapshots have it. Unknown keys are errors.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::base::error::{Error, Result};
use crate::base::role::Role;
use crate::host::glibc::parse as parse_version;
use crate::scenario::differences::Differences;

/// The files, by the name that `--guest` takes; the newest kernel first.
const FILES: [(&str, &str); 4] = [
    ("debian-13-backports", include_str!("../../../guest/debian-13-backports.toml")),
    ("debian-unstable", include_str!("../../../guest/debian-unstable.toml")),
    ("debian-13", include_str!("../../../guest/debian-13.toml")),
    ("debian-12", include_str!("../../../guest/debian-12.toml")),
];

/// The release that is taken where none was named.
const DEFAULT: &str = "debian-13";

static ALL: LazyLock<Vec<Release>> = LazyLock::new(|| {
    let read = |(name, text): (&str, &str)| parse(name, text).expect("a test has read these files");
    FILES.into_iter().map(read).collect()
});

/// A release that a guest can be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its name on the command line: its file's.
    #[serde(skip)]
    pub name: String,
    /// As people call it.
    pub title: String,
    /// Its code name in a Debian archive.
    pub codename: String,
    /// Packages of a node, without those they depend on.
    pub packages: Vec<String>,
    /// Packages that guest programs are compiled and linked against; dependencies are not followed.
    #[serde(default)]
    pub sysroot: Vec<String>,
    /// The release whose sysroot takes the place of an own one.
    pub sysroot_of: Option<String>,
    /// Kernel that it boots.
    pub kernel: Kernel,
    /// Declared differences of its kernel from the snapshots and scenarios, which are those of the usual release.
    #[serde(default)]
    pub differences: Differences,
}

/// The releases of both machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleasePair {
    /// The server's.
    pub server: &'static Release,
    /// The client's.
    pub client: &'static Release,
}

impl ReleasePair {
    /// Makes the pair whose machines run the same release.
    pub fn both(release: &'static Release) -> ReleasePair {
        ReleasePair { server: release, client: release }
    }

    /// The release of a node.
    pub fn of(&self, role: Role) -> &'static Release {
        if role.is_client() { self.client } else { self.server }
    }

    /// The release whose sysroot programs for both are built against: the older one's.
    pub fn of_sysroot(&self) -> &'static Release {
        let [server, client] = [self.server.of_sysroot(), self.client.of_sysroot()];
        if server.is_older_than(client) { server } else { client }
    }
}

/// The kernel of a release, and the modules that a node loads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Its version, as far as it decides what differs: as in `6.1`.
    pub version: String,
    /// The suite of the archive that has it, if that is not the release itself.
    pub suite: Option<String>,
    /// The package that leads to the kernel and its modules.
    pub package: String,
    /// Modules loaded in the initramfs, in this order: names, alternatives as in `a | b`, or as in `a?` what a kernel may
    /// not have.
    pub early: Vec<String>,
    /// Modules loaded from the root disk, likewise.
    pub late: Vec<String>,
}

impl Release {
    /// Every release, that with the newest kernel first.
    pub fn all() -> &'static [Release] {
        &ALL
    }

    /// The release of this name, whatever its case.
    ///
    /// # Errors
    ///
    /// Nothing has that name; the error tells the nearest.
    pub fn named(name: &str) -> Result<&'static Release> {
        if let Some(release) = ALL.iter().find(|release| release.name.eq_ignore_ascii_case(name)) {
            return Ok(release);
        }
        let similarity = |release: &&Release| strsim::jaro_winkler(&release.name, name);
        let nearest = ALL.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
        let names: Vec<&str> = ALL.iter().map(|release| release.name.as_str()).collect();
        Err(Error::usage(format!("no guest is called `{name}`")).next(format!(
            "the nearest is `{}`; there are: {}",
            nearest.map_or(DEFAULT, |release| &release.name),
            names.join(", ")
        )))
    }

    /// The release that is taken where none was named.
    pub fn usual() -> &'static Release {
        ALL.iter().find(|release| release.name == DEFAULT).unwrap_or(&ALL[0])
    }

    /// The release whose sysroot guest programs are built against: itself, or the one that it names.
    pub fn of_sysroot(&'static self) -> &'static Release {
        let named =
            self.sysroot_of.as_ref().and_then(|name| ALL.iter().find(|release| release.name == *name));
        named.unwrap_or(self)
    }

    /// True if this release's kernel is older than another's.
    pub fn is_older_than(&self, other: &Release) -> bool {
        parse_version(&self.kernel.version) < parse_version(&other.kernel.version)
    }

    /// The release whose kernel is nearest to this one (as `uname -r` prints it) and not newer, else the oldest; `None`
    /// if it is no version.
    pub fn like(kernel: &str) -> Option<&'static Release> {
        let version = parse_version(kernel)?;
        let is_older =
            |release: &&Release| parse_version(&release.kernel.version).is_some_and(|of| of <= version);
        Some(ALL.iter().find(is_older).unwrap_or(Release::oldest()))
    }

    /// Adds to what is declared of machines what is declared of the kernels that they run.
    pub fn differences_of<'a>(own: Differences, kernels: impl Iterator<Item = &'a str>) -> Differences {
        kernels.filter_map(Release::like).fold(own, |all, release| all.and(&release.differences))
    }

    /// The oldest release: what is built against it runs on every other, and on most machines of others.
    pub fn oldest() -> &'static Release {
        ALL.last().unwrap_or(&ALL[0])
    }
}

fn parse(name: &str, text: &str) -> Result<Release> {
    let release: Release = toml::from_str(text)
        .map_err(|error| Error::setup(format!("lab/guest/{name}.toml")).detail(error.to_string()))?;
    Ok(Release { name: name.to_owned(), ..release })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_file_is_read_and_has_what_a_node_needs() {
        for (name, text) in FILES {
            let release = parse(name, text).unwrap();
            assert!(release.packages.contains(&"rdmacm-utils".to_owned()), "{name}");
            assert!(release.kernel.early.contains(&"erofs".to_owned()), "{name}");
            assert!(release.kernel.late.contains(&"rdma_rxe".to_owned()), "{name}");
            let (own, of) = (!release.sysroot.is_empty(), release.sysroot_of.as_deref());
            assert!(own != of.is_some(), "{name}: a sysroot of its own, or another's");
            let has_reason = |key: &&str| *key == "kernel" || release.differences.why.contains_key(*key);
            let declared = release.differences.declared();
            assert!(declared.split(", ").filter(|key| !key.is_empty()).all(|key| has_reason(&key)), "{name}");
            assert!(of.is_none_or(|of| !Release::named(of).unwrap().sysroot.is_empty()), "{name}");
        }
        assert_eq!(Release::usual().name, DEFAULT);
        assert_eq!(Release::usual().differences, Differences::default(), "the snapshots are its own");
        let versions = Release::all().iter().map(|release| parse_version(&release.kernel.version));
        assert!(versions.is_sorted_by(|newer, older| newer > older && older.is_some()));
    }

    #[test]
    fn programs_of_a_pair_are_built_against_the_older_userland() {
        let [newest, oldest] = [&Release::all()[0], Release::oldest()];
        assert_eq!(newest.of_sysroot(), Release::usual());
        for (server, client) in [(newest, oldest), (oldest, newest)] {
            let pair = ReleasePair { server, client };
            assert_eq!((pair.of_sysroot(), pair.of(Role::Server)), (oldest, server));
        }
        assert_eq!(ReleasePair::both(newest).of_sysroot(), Release::usual());
    }

    #[test]
    fn kernel_is_like_that_of_the_newest_release_before_it() {
        let of = |kernel| Release::differences_of(Differences::default(), [kernel, kernel].into_iter());
        for older in ["6.1.0-50-amd64", "5.15.0-130-generic", "6.8.0-60-generic"] {
            assert_eq!(of(older).ack_timeout, Some(19), "{older}");
        }
        for newer in ["6.12.117+deb13-amd64", "7.3.4", ""] {
            assert_eq!(of(newer), Differences::default(), "{newer}");
        }
        // What the owner of hosts has declared is not overruled.
        let own = Differences { ack_timeout: Some(14), ..Differences::default() };
        assert_eq!(Release::differences_of(own, ["6.1.0"].into_iter()).ack_timeout, Some(14));
    }

    #[test]
    fn unknown_key_of_a_release_is_an_error() {
        let (name, text) = FILES[0];
        let error = parse(name, &format!("pakages = []\n{text}")).unwrap_err().to_string();
        assert!(error.contains("unknown field `pakages`"), "{error}");
        let error = parse(name, &format!("{text}\nmodules = []\n")).unwrap_err().to_string();
        assert!(error.contains("unknown field `modules`"), "{error}");
    }

    #[test]
    fn wrong_name_is_told_the_nearest() {
        assert_eq!(Release::named("Debian-12").unwrap().codename, "bookworm");
        let error = Release::named("debian12").unwrap_err().to_string();
        assert!(error.contains("no guest is called `debian12`"), "{error}");
        assert!(error.contains("the nearest is `debian-12`"), "{error}");
    }
}
