//! What goes into an image: the files of `lab/guest/`, read at compile time, and the key they give.

use sha2::{Digest as _, Sha256};

use crate::node::ENVIRONMENT;
use crate::packages::ARCHITECTURE;

/// The release that guests run, whatever the host runs: its code name in a Debian archive.
pub const RELEASE: &str = "bookworm";

/// The metapackage whose first dependency is the kernel.
pub const KERNEL: &str = "linux-image-amd64";

/// First process in the initramfs.
pub const INITRAMFS_INIT: &str = include_str!("../../guest/initramfs-init");

/// What a kind of guest is made of. The lab has one, [`LAB`]; tests may have others.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Packages, one a line, without those they depend on.
    pub packages: &'static str,
    /// Kernel modules, one a line: `early` ones are loaded in the initramfs, `ready` ones lie on the root disk,
    /// the others are loaded from there.
    pub modules: &'static str,
    /// Files put into the root tree: path, mode, content. `sbin/lab-init` is the root disk's first process.
    pub files: &'static [(&'static str, u32, &'static str)],
    /// Directories that the packages do not bring.
    pub directories: &'static [&'static str],
    /// Directories that the packages bring and this guest does not need, beside [`PRUNED`].
    pub pruned: &'static [&'static str],
    /// Whether busybox stands in for every program that the packages do not bring.
    pub has_applets: bool,
    /// Whether a node has its rxe device when it has booted, and its programs on the deployment disk.
    pub has_rxe: bool,
    /// Who comes in through SSH, and the home directory.
    pub user: (&'static str, &'static str),
}

/// The lab's own guest.
pub const LAB: Recipe = Recipe {
    packages: include_str!("../../guest/packages"),
    modules: include_str!("../../guest/modules"),
    files: &[
        ("sbin/lab-init", 0o755, include_str!("../../guest/lab-init")),
        ("sbin/lab-agent", 0o755, AGENT),
        ("etc/passwd", 0o644, include_str!("../../guest/etc/passwd")),
        ("etc/group", 0o644, include_str!("../../guest/etc/group")),
        ("etc/shells", 0o644, include_str!("../../guest/etc/shells")),
        ("root/.profile", 0o644, ENVIRONMENT),
        PROVIDER,
    ],
    directories: &["dev", "proc", "sys", "run", "tmp", "root", "var", "opt/lab/bin", "opt/lab/deployed"],
    pruned: &[],
    has_applets: true,
    has_rxe: true,
    user: ("root", "/root"),
};

/// What serves the host over a serial line.
pub const AGENT: &str = include_str!("../../guest/lab-agent");

/// What packages bring and neither a node nor a build needs: documentation and translations.
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

/// What packages bring and no node needs: conversions, Perl's library, and providers of RDMA devices that a node
/// has not (libibverbs would load each of them in every program).
pub const PRUNED: &[&str] =
    &["usr/lib/x86_64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/perl-base", "etc/libibverbs.d"];

/// The one provider of RDMA devices that a node needs, in place of the pruned ones.
pub const PROVIDER: (&str, u32, &str) = ("etc/libibverbs.d/rxe.driver", 0o644, "driver rxe\n");

const SYSROOT_PACKAGES: &str = include_str!("../../guest/sysroot-packages");

/// Counts changes of how an image is built that its files do not show.
const FORMAT: u32 = 1;

/// The names of a guest's kernel modules.
#[derive(Debug, Default)]
pub struct ModuleNames {
    /// Loaded in the initramfs.
    pub early: Vec<&'static str>,
    /// Loaded from the root disk.
    pub late: Vec<&'static str>,
    /// On the root disk, not loaded.
    pub ready: Vec<&'static str>,
}

impl Recipe {
    /// The packages of a node, without those they depend on.
    pub fn packages(&self) -> Vec<&'static str> {
        lines(self.packages).collect()
    }

    /// The kernel modules of a node, without those they need.
    pub fn modules(&self) -> ModuleNames {
        let mut names = ModuleNames::default();
        for line in lines(self.modules) {
            match line.split_once(' ') {
                Some(("early", name)) => names.early.push(name),
                Some(("ready", name)) => names.ready.push(name),
                _ => names.late.push(line),
            }
        }
        names
    }

    /// The name of the image that this recipe makes: 16 hexadecimal digits.
    pub fn image_key(&self) -> String {
        let traits = format!("{} {} {:?}", self.has_applets, self.has_rxe, self.user);
        let mut parts = vec![self.packages, self.modules, INITRAMFS_INIT, KERNEL, &traits];
        parts.extend(self.files.iter().flat_map(|(path, _, text)| [*path, *text]));
        parts.extend(self.directories);
        parts.extend([DOCUMENTATION, PRUNED, self.pruned].concat());
        key(&parts)
    }
}

/// The packages of the sysroot; dependencies are not followed.
pub fn sysroot_packages() -> Vec<&'static str> {
    lines(SYSROOT_PACKAGES).collect()
}

/// The name of the sysroot that this recipe makes: 16 hexadecimal digits.
pub fn sysroot_key() -> String {
    key(&[SYSROOT_PACKAGES])
}

fn key(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    digest.update(FORMAT.to_be_bytes());
    for part in [RELEASE, ARCHITECTURE].iter().chain(parts) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of a list, without comments and blank ones.
fn lines(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines()
        .map(|line| line.split_once('#').map_or(line, |(before, _)| before).trim())
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_without_comments() {
        assert!(LAB.packages().contains(&"rdmacm-utils"));
        assert!(LAB.packages().iter().all(|package| !package.contains([' ', '#'])));
        let modules = LAB.modules();
        assert!(modules.early.contains(&"virtio_blk") && !modules.late.contains(&"virtio_blk"));
        assert!(modules.late.contains(&"rdma_rxe") && modules.ready.is_empty());
    }

    #[test]
    fn key_tells_parts_apart() {
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_eq!(LAB.image_key().len(), 16);
    }
}
