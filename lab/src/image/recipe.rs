//! What goes into an image: the files of `lab/guest/`, read at compile time, and the key they give.

use sha2::{Digest as _, Sha256};

/// The release that guests run, whatever the host runs: its code name in a Debian archive.
pub const RELEASE: &str = "bookworm";

/// The architecture of guests, in Debian's word for it.
pub const ARCHITECTURE: &str = "amd64";

/// The multiarch triplet of that architecture: the name of its library directories.
pub const TRIPLET: &str = "x86_64-linux-gnu";

/// The metapackage whose first dependency is the kernel.
pub const KERNEL: &str = "linux-image-amd64";

/// First process in the initramfs.
pub const INITRAMFS_INIT: &str = include_str!("../../guest/initramfs-init");

/// Files put into the root tree: path, mode, content.
pub const FILES: &[(&str, u32, &str)] = &[
    ("sbin/lab-init", 0o755, include_str!("../../guest/lab-init")),
    ("sbin/lab-agent", 0o755, include_str!("../../guest/lab-agent")),
    ("etc/passwd", 0o644, include_str!("../../guest/etc/passwd")),
    ("etc/group", 0o644, include_str!("../../guest/etc/group")),
    ("etc/shells", 0o644, include_str!("../../guest/etc/shells")),
];

/// Directories that the packages do not bring.
pub const DIRECTORIES: &[&str] =
    &["dev", "proc", "sys", "run", "tmp", "root", "var", "opt/lab/bin", "opt/lab/deployed"];

/// What the packages bring and no node needs: documentation, translations, and providers of RDMA devices
/// that a node has not (libibverbs would load each of them in every program).
pub const PRUNED: &[&str] = &[
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/i18n",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/perl5",
    "usr/share/debconf",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "etc/libibverbs.d",
];

/// The one provider that a node needs, in place of the pruned ones.
pub const PROVIDER: (&str, &str) = ("etc/libibverbs.d/rxe.driver", "driver rxe\n");

const PACKAGES: &str = include_str!("../../guest/packages");
const SYSROOT_PACKAGES: &str = include_str!("../../guest/sysroot-packages");
const MODULES: &str = include_str!("../../guest/modules");

/// Counts changes of how an image is built that its files do not show.
const FORMAT: u32 = 1;

/// The packages of a node, without those they depend on.
pub fn packages() -> Vec<&'static str> {
    lines(PACKAGES).collect()
}

/// The packages of the sysroot; dependencies are not followed.
pub fn sysroot_packages() -> Vec<&'static str> {
    lines(SYSROOT_PACKAGES).collect()
}

/// The modules of the initramfs, then those of the root disk.
pub fn modules() -> (Vec<&'static str>, Vec<&'static str>) {
    let (early, late): (Vec<_>, Vec<_>) = lines(MODULES).partition(|line| line.starts_with("early "));
    (early.into_iter().map(|line| line.trim_start_matches("early ")).collect(), late)
}

/// The name of the image that this recipe makes: 16 hexadecimal digits.
pub fn image_key() -> String {
    let mut parts = vec![PACKAGES, MODULES, INITRAMFS_INIT, KERNEL, PROVIDER.0, PROVIDER.1];
    parts.extend(FILES.iter().flat_map(|(path, _, text)| [*path, *text]));
    parts.extend(DIRECTORIES);
    parts.extend(PRUNED);
    key(&parts)
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
        assert!(packages().contains(&"rdmacm-utils"));
        assert!(packages().iter().all(|package| !package.contains([' ', '#'])));
        let (early, late) = modules();
        assert!(early.contains(&"virtio_blk") && !late.contains(&"virtio_blk"));
        assert!(late.contains(&"rdma_rxe"));
    }

    #[test]
    fn key_tells_parts_apart() {
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_eq!(image_key().len(), 16);
    }
}
