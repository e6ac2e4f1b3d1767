//! The kernel that goes into an image: found in packages, whichever a release splits it into.
//!
//! Until Linux 6.19 a Debian's kernel is one package, with the kernel in `/boot`; then the kernel, its modules and what is built
//! into it are packages of their own, and all lies below `/usr/lib/modules`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::error::{Error, IoContext as _, Result};
use crate::host::packages::Archive;

/// Beginnings of the names of packages that are parts of a kernel.
const PARTS: [&str; 4] = ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];

/// A kernel's files in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFiles {
    /// Its version, as `uname -r` prints it.
    pub version: String,
    /// The kernel, as QEMU loads it.
    pub vmlinuz: PathBuf,
    /// The directory of its modules.
    pub modules: PathBuf,
}

/// Names the packages of a kernel that `package` leads to, itself among them.
///
/// # Errors
///
/// There is no such package.
pub fn packages(archive: &dyn Archive, package: &str) -> Result<Vec<String>> {
    let mut found = vec![package.to_owned()];
    let mut next = 0;
    while let Some(package) = found.get(next).cloned() {
        next += 1;
        for dependency in archive.dependencies(&package)? {
            if PARTS.iter().any(|part| dependency.starts_with(part)) && !found.contains(&dependency) {
                found.push(dependency);
            }
        }
    }
    Ok(found)
}

impl KernelFiles {
    /// Finds them in an unpacked tree, whose `/lib` is `/usr/lib`; `what` names the tree.
    ///
    /// # Errors
    ///
    /// There are no modules, those of more than one kernel, or no kernel.
    pub fn find(root: &Path, what: &str) -> Result<KernelFiles> {
        let (version, modules) = only_entry(&root.join("usr/lib/modules"))?;
        let places = [root.join(format!("boot/vmlinuz-{version}")), modules.join("vmlinuz")];
        let vmlinuz = places.into_iter().find(|path| path.is_file());
        let vmlinuz = vmlinuz.ok_or_else(|| Error::setup(format!("{what} has no kernel {version}")))?;
        Ok(KernelFiles { version, vmlinuz, modules })
    }
}

/// The name and the path of what a directory has, which is one.
fn only_entry(directory: &Path) -> Result<(String, PathBuf)> {
    let mut entries = fs::read_dir(directory).at("failed to list", directory)?.flatten();
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok((entry.file_name().to_string_lossy().into_owned(), entry.path())),
        _ => Err(Error::setup(format!("not one kernel's modules are in {}", directory.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::host::packages::Package;

    /// An archive that knows what depends on what.
    struct Listed(BTreeMap<&'static str, &'static [&'static str]>);

    impl Archive for Listed {
        fn dependencies(&self, package: &str) -> Result<Vec<String>> {
            let names = self.0.get(package).ok_or_else(|| Error::setup(format!("no package {package}")))?;
            Ok(names.iter().map(|name| (*name).to_owned()).collect())
        }

        fn resolve(&self, _: &[&str]) -> Result<Vec<Package>> {
            Err(Error::setup("not asked for here"))
        }

        fn look_up(&self, packages: &[&str]) -> Result<Vec<Package>> {
            self.resolve(packages)
        }

        fn download(&self, _: &[&str]) -> Result<Vec<PathBuf>> {
            Err(Error::setup("not asked for here"))
        }

        fn download_only(&self, packages: &[&str], _: &Path) -> Result<Vec<PathBuf>> {
            self.download(packages)
        }
    }

    #[test]
    fn parts_of_a_kernel_are_found_in_one_package_and_in_many() {
        let of = |archive: &[(&'static str, &'static [&'static str])]| {
            packages(&Listed(archive.iter().copied().collect()), "linux-image-amd64")
        };
        let one = of(&[
            ("linux-image-amd64", &["linux-image-6.1.0-50-amd64"]),
            ("linux-image-6.1.0-50-amd64", &["kmod", "linux-base", "initramfs-tools"]),
        ]);
        assert_eq!(one.unwrap(), ["linux-image-amd64", "linux-image-6.1.0-50-amd64"]);
        let many = of(&[
            ("linux-image-amd64", &["linux-base-amd64", "linux-image-7.3.4-amd64", "linux-modules-amd64"]),
            ("linux-base-amd64", &["linux-base-7.3.4-amd64"]),
            ("linux-base-7.3.4-amd64", &[]),
            (
                "linux-image-7.3.4-amd64",
                &[
                    "linux-base",
                    "linux-base-7.3.4-amd64",
                    "linux-binary-7.3.4-amd64",
                    "linux-modules-7.3.4-amd64",
                ],
            ),
            ("linux-binary-7.3.4-amd64", &["linux-base-7.3.4-amd64"]),
            ("linux-modules-amd64", &["linux-modules-7.3.4-amd64"]),
            ("linux-modules-7.3.4-amd64", &["kmod"]),
        ]);
        let many = many.unwrap();
        for name in ["linux-binary-7.3.4-amd64", "linux-modules-7.3.4-amd64", "linux-base-7.3.4-amd64"] {
            assert_eq!(many.iter().filter(|found| *found == name).count(), 1, "{name} in {many:?}");
        }
        assert!(of(&[]).unwrap_err().to_string().contains("no package linux-image-amd64"));
    }

    #[test]
    fn kernel_is_found_in_boot_and_beside_its_modules() {
        for place in ["boot/vmlinuz-7.3.4", "usr/lib/modules/7.3.4/vmlinuz"] {
            let root = tempfile::tempdir().unwrap();
            let modules = root.path().join("usr/lib/modules/7.3.4");
            fs::create_dir_all(&modules).unwrap();
            let error = KernelFiles::find(root.path(), "package p").unwrap_err().to_string();
            assert!(error.contains("package p has no kernel 7.3.4"), "{error}");
            let vmlinuz = root.path().join(place);
            fs::create_dir_all(vmlinuz.parent().unwrap()).unwrap();
            fs::write(&vmlinuz, "").unwrap();
            let version = "7.3.4".to_owned();
            let expected = KernelFiles { version, vmlinuz, modules: modules.clone() };
            assert_eq!(KernelFiles::find(root.path(), "").unwrap(), expected);
            fs::create_dir(root.path().join("usr/lib/modules/other")).unwrap();
            assert!(KernelFiles::find(root.path(), "").unwrap_err().to_string().contains("not one kernel's"));
        }
    }
}
