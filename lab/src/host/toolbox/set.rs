//! The sets of tools: what is in each, from which release, and the key that follows from it.

use crate::base::cache::{TOOLS, sha256};
use crate::host::packages::ARCHITECTURE;

/// The release that tools come from, whatever the host and the guests run: its code name in a Debian archive.
pub const RELEASE: &str = "trixie";

/// Counts changes of how a set is unpacked that its description does not show.
const FORMAT: u32 = 2;

/// Tools that are fetched together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// Its name in the cache.
    pub name: &'static str,
    /// Title, for people.
    pub title: &'static str,
    /// The release of its packages.
    pub release: &'static str,
    /// Packages, without those they depend on.
    pub packages: &'static [&'static str],
    /// Programs that are kept, by name; all others go.
    pub programs: &'static [&'static str],
    /// Libraries for processes of the host's, with all that they need but the C library.
    pub libraries: &'static [&'static str],
    /// Directories that are kept beside programs and libraries.
    pub data: &'static [&'static str],
    /// Files of these that stay, by the beginning of their paths in them; all if none is named.
    pub kept: &'static [&'static str],
    /// True if the host's own programs are preferred where it has them.
    pub prefers_host: bool,
    /// Size of its downloads, in MB, as measured: for who forbids downloads.
    pub about_mb: u32,
}

/// A set without anything, for others to be written from.
pub const WITHOUT: Set = Set {
    name: "",
    title: "",
    release: RELEASE,
    packages: &[],
    programs: &[],
    libraries: &[],
    data: &[],
    kept: &[],
    prefers_host: false,
    about_mb: 0,
};

/// QEMU's program for the guest's architecture.
pub const QEMU: &str = "qemu-system-x86_64";

/// Tools of every lab of QEMU machines.
pub const RUN: Set = Set {
    name: "run",
    title: "tools: QEMU, mkfs.erofs, pkgconf",
    packages: &["erofs-utils", "pkgconf-bin", "qemu-system-x86", "util-linux"],
    programs: &["mkfs.erofs", "pkgconf", "qemu-system-x86_64", "setpriv"],
    data: &["usr/share/qemu", "usr/share/seabios"],
    kept: &["QEMU,VGA.bin", "bios", "kvmvapic.bin", "linuxboot", "multiboot", "pvh.bin", "vgabios"],
    about_mb: 41,
    ..WITHOUT
};

/// OpenSSH, for computers without a client of their own: the user's knows the user, whose name another C library may
/// not find.
pub const SSH: Set = Set {
    name: "ssh",
    title: "tools: OpenSSH's client",
    packages: &["openssh-client"],
    programs: &["ssh"],
    prefers_host: true,
    about_mb: 13,
    ..WITHOUT
};

/// Tools that `cargo xtask ci` compares with.
pub const CI: Set = Set {
    name: "ci",
    title: "tools: tshark, tcpdump",
    packages: &["tcpdump", "tshark"],
    programs: &["capinfos", "tcpdump", "tshark"],
    data: &["usr/share/wireshark", "usr/lib/x86_64-linux-gnu/wireshark"],
    about_mb: 50,
    ..WITHOUT
};

/// The set: libclang of Debian 12, whose bindings this project is tested with.
pub const CLANG: Set = Set {
    name: "clang",
    title: "tools: libclang 14",
    release: "bookworm",
    packages: &["libclang1-14", "libclang-common-14-dev"],
    programs: &[],
    libraries: &[LIBRARY],
    data: &[HEADERS],
    kept: &["__stddef_", "float.h", "inttypes.h", "iso646.h", "limits.h", "std", "varargs.h"],
    about_mb: 51,
    ..WITHOUT
};

/// libclang, among [`CLANG`]'s libraries.
pub(super) const LIBRARY: &str = "libclang-14.so.13";

/// clang's own headers.
pub(super) const HEADERS: &str = "usr/lib/llvm-14/lib/clang/14.0.6/include";

/// Every set.
pub const ALL: [&Set; 4] = [&RUN, &SSH, &CI, &CLANG];

impl Set {
    /// The set that has the program `name`.
    pub fn of(name: &str) -> Option<&'static Set> {
        ALL.into_iter().find(|set| set.programs.contains(&name))
    }

    /// The lock that is held while it is unpacked.
    pub fn lock(&self) -> String {
        format!("{TOOLS}{}", self.name)
    }

    /// Its directory in the cache.
    pub fn directory(&self) -> String {
        let parts = format!("{FORMAT} {ARCHITECTURE} {self:?}");
        format!("{TOOLS}{}-{}", self.name, &sha256(parts.as_bytes())[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_is_in_one_set() {
        for set in ALL {
            for name in set.programs {
                assert_eq!(ALL.iter().filter(|set| set.programs.contains(name)).count(), 1, "{name}");
                assert_eq!(Set::of(name), Some(set));
            }
        }
        assert_eq!(Set::of("vi"), None);
    }

    #[test]
    fn directory_follows_from_what_is_in_the_set() {
        let directories = ALL.map(Set::directory);
        assert!(directories.iter().all(|name| name.starts_with(TOOLS) && !name.contains('/')));
        assert_ne!(Set { packages: &["tcpdump"], ..CI }.directory(), CI.directory());
    }
}
