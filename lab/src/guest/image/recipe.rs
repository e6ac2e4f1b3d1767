//! Recipe of an image: a release, and the files of `lab/guest/`, read at compile time; the key they give.

use sha2::{Digest as _, Sha256};

use crate::guest::contents::ENVIRONMENT;
use crate::guest::image::own::{self, Own};
use crate::guest::image::release::Release;
use crate::host::packages::ARCHITECTURE;

/// First process in the initramfs.
pub const INITRAMFS_INIT: &str = include_str!("../../../guest/initramfs-init");

/// Parts of a kind of guest. The lab has one, [`Recipe::lab`]; tests may have others.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Release of the guest and of its kernel.
    pub release: &'static Release,
    /// Packages, without those they depend on.
    pub packages: Vec<&'static str>,
    /// Packages that somebody asks for beside those.
    pub asked: Vec<String>,
    /// Parts of the user's own in place of the release's.
    pub own: Own,
    /// Modules that somebody asks for beside those which a node loads: there, and loaded by a run that wants them.
    pub asked_modules: Vec<String>,
    /// Kernel modules.
    pub modules: ModuleNames,
    /// Files put into the root tree: path, mode, content. `sbin/lab-init` is the root disk's first process.
    pub files: &'static [(&'static str, u32, &'static str)],
    /// Directories that the packages do not bring.
    pub directories: &'static [&'static str],
    /// Directories that the packages bring and this guest does not need, beside [`PRUNED`].
    pub pruned: &'static [&'static str],
    /// True if busybox stands in for every program that the packages do not bring.
    pub has_applets: bool,
    /// True if a node has its rxe device when it has booted, and its programs on the deployment disk.
    pub has_rxe: bool,
    /// User who comes in through SSH, and the home directory.
    pub user: (&'static str, &'static str),
}

/// User who comes into the lab's own guest through SSH, and the home directory.
pub const USER: (&str, &str) = ("root", "/root");

/// Agent that serves the host over a serial line.
pub const AGENT: &str = include_str!("../../../guest/lab-agent");

/// Files of packages that neither a node nor a build needs: documentation and translations.
pub const DOCUMENTATION: &[&str] = &[
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/i18n",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/perl5",
    "usr/share/debconf",
];

/// Files of packages that no node needs: conversions, Perl's library, and providers of RDMA devices that a node
/// has not (libibverbs would load each of them in every program).
pub const PRUNED: &[&str] =
    &["usr/lib/x86_64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/perl-base", "etc/libibverbs.d"];

/// The one provider of RDMA devices that a node needs, in place of the pruned ones.
pub const PROVIDER: (&str, u32, &str) = ("etc/libibverbs.d/rxe.driver", 0o644, "driver rxe\n");

/// Counts changes of how an image is built that its files do not show.
const FORMAT: u32 = 2;

/// The names of a guest's kernel modules, without those they need; alternatives are as in `a | b`.
#[derive(Debug, Clone, Default)]
pub struct ModuleNames {
    /// Loaded in the initramfs.
    pub early: Vec<&'static str>,
    /// Loaded from the root disk.
    pub late: Vec<&'static str>,
    /// On the root disk, not loaded.
    pub ready: Vec<&'static str>,
}

impl ModuleNames {
    /// Reads a list, one a line; `early` and `ready` may precede a name.
    pub fn parse(list: &'static str) -> ModuleNames {
        let mut names = ModuleNames::default();
        for line in lines(list) {
            match line.split_once(' ') {
                Some(("early", name)) => names.early.push(name),
                Some(("ready", name)) => names.ready.push(name),
                _ => names.late.push(line),
            }
        }
        names
    }
}

impl Recipe {
    /// The lab's own guest.
    pub fn lab(release: &'static Release) -> Recipe {
        Recipe {
            release,
            packages: strs(&release.packages),
            asked: Vec::new(),
            own: Own::default(),
            asked_modules: Vec::new(),
            modules: ModuleNames {
                early: strs(&release.kernel.early),
                late: strs(&release.kernel.late),
                ready: Vec::new(),
            },
            files: &[
                ("sbin/lab-init", 0o755, include_str!("../../../guest/lab-init")),
                ("sbin/lab-agent", 0o755, AGENT),
                ("etc/passwd", 0o644, include_str!("../../../guest/etc/passwd")),
                ("etc/group", 0o644, include_str!("../../../guest/etc/group")),
                ("etc/shells", 0o644, include_str!("../../../guest/etc/shells")),
                ("root/.profile", 0o644, ENVIRONMENT),
                PROVIDER,
            ],
            directories: &[
                "dev",
                "proc",
                "sys",
                "run",
                "tmp",
                "root",
                "var",
                "opt/lab/bin",
                "opt/lab/deployed",
            ],
            pruned: &[],
            has_applets: true,
            has_rxe: true,
            user: USER,
        }
    }

    /// The same with more packages and kernel modules, in whatever order they are asked for.
    #[must_use]
    pub fn with(self, packages: &[String], modules: &[String]) -> Recipe {
        let once = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names.dedup();
            names
        };
        Recipe { asked: once(packages), asked_modules: once(modules), ..self }
    }

    /// The same with parts of the user's own; a kernel has the modules of any kernel that a node is.
    #[must_use]
    pub fn with_own(self, own: Own) -> Recipe {
        let modules = match own.kernel {
            Some(_) => ModuleNames {
                early: own::EARLY.to_vec(),
                late: own::LATE.to_vec(),
                ready: self.modules.ready,
            },
            None => self.modules,
        };
        Recipe { own, modules, ..self }
    }

    /// All packages, without those they depend on.
    pub fn all_packages(&self) -> Vec<&str> {
        self.packages.iter().copied().chain(self.asked.iter().map(String::as_str)).collect()
    }

    /// The name of the image that this recipe makes: 16 hexadecimal digits.
    pub fn image_key(&self) -> String {
        let traits = format!("{} {} {:?}", self.has_applets, self.has_rxe, self.user);
        let modules = format!("{:?}", self.modules);
        let mut parts = vec![INITRAMFS_INIT, self.release.kernel.package.as_str(), &modules, &traits];
        parts.extend(self.release.kernel.suite.as_deref());
        parts.extend(&self.packages);
        parts.extend(self.files.iter().flat_map(|(path, _, text)| [*path, *text]));
        parts.extend(self.directories);
        parts.extend([DOCUMENTATION, PRUNED, self.pruned].concat());
        parts.extend(self.asked.iter().map(String::as_str));
        parts.extend(Some(self.own.digest.as_str()).filter(|digest| !digest.is_empty()));
        if !self.asked_modules.is_empty() {
            parts.push("modules");
            parts.extend(self.asked_modules.iter().map(String::as_str));
        }
        key(self.release, &parts)
    }
}

/// The name of a release's sysroot: 16 hexadecimal digits.
pub fn sysroot_key(release: &'static Release) -> String {
    let release = release.of_sysroot();
    key(release, &strs(&release.sysroot))
}

fn strs(texts: &'static [String]) -> Vec<&'static str> {
    texts.iter().map(String::as_str).collect()
}

fn key(release: &Release, parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    digest.update(FORMAT.to_be_bytes());
    for part in [release.codename.as_str(), ARCHITECTURE].iter().chain(parts) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(&digest.finalize()[..8])
}

/// The lines of a list, without comments and blank ones.
pub fn lines(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines()
        .map(|line| line.split_once('#').map_or(line, |(before, _)| before).trim())
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_without_comments() {
        let modules =
            ModuleNames::parse("# Modules.\nearly virtio_blk  # the disk\n\nrdma_rxe\nready sch_tbf\n");
        assert_eq!(modules.early, ["virtio_blk"]);
        assert_eq!((modules.late, modules.ready), (vec!["rdma_rxe"], vec!["sch_tbf"]));
    }

    #[test]
    fn key_tells_parts_and_releases_apart() {
        let release = Release::usual();
        assert_ne!(key(release, &["ab", "c"]), key(release, &["a", "bc"]));
        assert_eq!(Recipe::lab(release).image_key().len(), 16);
        let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let with = |packages: &[&str]| Recipe::lab(release).with(&owned(packages), &[]).image_key();
        let modules = |modules: &[&str]| Recipe::lab(release).with(&[], &owned(modules)).image_key();
        assert_eq!(modules(&["nvmet", "nvme"]), modules(&["nvme", "nvmet"]));
        assert_ne!(modules(&["nvme"]), with(&["nvme"]));
        assert_eq!(with(&[]), Recipe::lab(release).image_key());
        assert_eq!(with(&["qperf", "fio"]), with(&["fio", "qperf", "fio"]));
        assert_ne!(with(&["qperf"]), with(&["fio"]));
        for (count, one) in Release::all().iter().enumerate() {
            for other in &Release::all()[..count] {
                assert_ne!(Recipe::lab(one).image_key(), Recipe::lab(other).image_key());
                let is_shared = one.of_sysroot() == other.of_sysroot();
                assert_eq!(sysroot_key(one) == sysroot_key(other), is_shared);
            }
        }
    }
}
