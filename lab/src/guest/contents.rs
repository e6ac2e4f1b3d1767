//! Contents of a guest: the paths of its files, and the version of its C library.
//!
//! Pure: a list goes in. Links are not followed, except that `/bin`, `/lib` and the like may be `/usr/bin`,
//! `/usr/lib`.

use std::collections::BTreeSet;

use crate::host::glibc::{self, Glibc};

/// Directories in which a shell on a node looks for programs.
const PROGRAMS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Directory of kernel modules on a node of the lab's own: a file each, and lists of them in the order of loading.
pub const MODULES: &str = "/lib/lab/modules";

/// Command that loads the modules which were asked for beside the usual ones, on a node of the lab's own.
pub fn load_asked() -> String {
    format!(
        "while read -r name; do grep -q \"^$name \" /proc/modules || insmod {MODULES}/$name.ko || exit; \
         done <{MODULES}/asked"
    )
}

/// Command that a shell on a node runs before a program: what was pushed is first on PATH, then what was deployed, and
/// libraries are found likewise; registered memory, which is locked memory, is not limited.
pub const ENVIRONMENT: &str = "export PATH=/opt/lab/bin:/opt/lab/deployed:$PATH \
    LD_LIBRARY_PATH=/opt/lab/bin:/opt/lab/deployed; ulimit -l unlimited";

/// The first half of [`ENVIRONMENT`]: where programs and libraries are found.
pub const PATHS: &str = "export PATH=/opt/lab/bin:/opt/lab/deployed:$PATH \
    LD_LIBRARY_PATH=/opt/lab/bin:/opt/lab/deployed";

/// The second half: registered memory is not limited.
pub const UNLOCKED: &str = "ulimit -l unlimited";

/// Beginning of the name of a libibverbs; the interface's number follows, then rdma-core's version.
const LIBIBVERBS: &str = "libibverbs.so.1.";

/// Reads the version of rdma-core from the path of its libibverbs, as in `libibverbs.so.1.14.56.1`; `None` for other paths.
pub fn rdma_core(path: &str) -> Option<&str> {
    let (_, version) = path.rsplit('/').next()?.strip_prefix(LIBIBVERBS)?.split_once('.')?;
    Some(version)
}

/// Contents of a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    paths: BTreeSet<String>,
    glibc: Option<Glibc>,
}

impl Contents {
    /// From absolute paths, and a version that begins as in `2.36-9`.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>, glibc: &str) -> Contents {
        let paths = paths.into_iter().map(str::to_owned).collect();
        Contents { paths, glibc: glibc::parse(glibc) }
    }

    /// True if there is a file with this absolute path.
    pub fn has(&self, path: &str) -> bool {
        let other = path.strip_prefix("/usr").map_or_else(|| format!("/usr{path}"), str::to_owned);
        self.paths.contains(path) || self.paths.contains(&other)
    }

    /// True if a shell finds a program by this name.
    pub fn has_program(&self, name: &str) -> bool {
        PROGRAMS.iter().any(|directory| self.has(&format!("{directory}/{name}")))
    }

    /// True if the loader finds a library by this name.
    pub fn has_library(&self, name: &str) -> bool {
        self.paths.iter().any(|path| {
            let in_lib = path.starts_with("/lib") || path.starts_with("/usr/lib");
            in_lib && path.rsplit_once('/').is_some_and(|(_, file)| file == name)
        })
    }

    /// The version of its rdma-core, if it has one.
    pub fn rdma_core(&self) -> Option<&str> {
        self.paths.iter().find_map(|path| rdma_core(path))
    }

    /// Contents that this guest and another both have, with the older C library.
    #[must_use]
    pub fn common(&self, other: &Contents) -> Contents {
        let paths = self.paths.iter().filter(|path| other.has(path)).cloned().collect();
        Contents { paths, glibc: self.glibc.min(other.glibc) }
    }

    /// The version of its C library, if it has one.
    pub fn glibc(&self) -> Option<Glibc> {
        self.glibc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_made_of_its_halves() {
        assert_eq!(ENVIRONMENT, format!("{PATHS}; {UNLOCKED}"));
    }

    #[test]
    fn version_of_rdma_core_is_that_of_its_library() {
        let contents = Contents::new(["/usr/lib/x86_64-linux-gnu/libibverbs.so.1.14.56.1"], "2.41");
        assert_eq!(contents.rdma_core(), Some("56.1"));
        assert_eq!(Contents::new(["/usr/lib/libibverbs.so.1"], "").rdma_core(), None);
    }

    #[test]
    fn common_is_what_both_have_and_the_older_c_library() {
        let one = Contents::new(["/bin/sh", "/usr/bin/fio"], "2.41");
        let other = Contents::new(["/usr/bin/sh", "/usr/bin/qperf"], "2.36");
        let common = one.common(&other);
        assert!(common.has_program("sh") && !common.has_program("fio") && !common.has_program("qperf"));
        assert_eq!(common.glibc(), Some((2, 36)));
    }

    #[test]
    fn files_are_found_with_and_without_usr() {
        let contents = Contents::new(
            ["/bin/sh", "/usr/bin/rping", "/lib/x86_64-linux-gnu/libc.so.6"],
            "2.36-9+deb12u10",
        );
        assert!(contents.has("/usr/bin/sh") && contents.has("/bin/rping") && !contents.has("/bin/bash"));
        assert!(contents.has_program("rping") && !contents.has_program("libc.so.6"));
        assert!(contents.has_library("libc.so.6") && !contents.has_library("libc.so"));
        assert_eq!(contents.glibc(), Some((2, 36)));
    }
}
