//! An rdma-core of the user's own: its build directory, or a tree that it was installed into, and what of it goes into a guest.
//!
//! libibverbs, librdmacm and rxe's provider take the place of the release's, and so do programs of the same name. The
//! provider is named by its path: a libibverbs looks for providers where it was to be installed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::base::error::{Error, IoContext as _, Result};
use crate::guest::contents::{self, Contents};
use crate::guest::pushed::Pushed;
use crate::host::packages::TRIPLET;

/// Libraries that a guest's programs load, by the names that they ask for.
const LIBRARIES: [&str; 2] = ["libibverbs.so.1", "librdmacm.so.1"];

/// Beginning and end of the name of rxe's provider; between them is the number of its interface to libibverbs.
const PROVIDER: (&str, &str) = ("librxe-rdmav", ".so");

/// End of the name of the directory that tells a libibverbs its providers.
const CONFIGURATION: &[u8] = b"libibverbs.d";

/// Files of a build, each found once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RdmaCoreFiles {
    /// Each of [`LIBRARIES`], by the file that its name leads to.
    libraries: Vec<(&'static str, PathBuf)>,
    /// The provider's file, and its name.
    provider: (String, PathBuf),
    /// Programs, by name.
    programs: Vec<(String, PathBuf)>,
    /// Its version, as the name of its libibverbs has it; empty if that has none.
    pub version: String,
}

impl RdmaCoreFiles {
    /// Finds them below `directory`.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed; a library is not there: it was not built.
    pub fn find(directory: &Path) -> Result<RdmaCoreFiles> {
        let mut files = Vec::new();
        list(directory, &mut files)?;
        files.sort();
        let named = |is: &dyn Fn(&str) -> bool| {
            let is_it = |path: &&PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is);
            files.iter().find(is_it)
        };
        let missing = |name: &str| {
            Error::usage(format!("{} has no {name}", directory.display())).next(
                "name the directory in which rdma-core was built (`build`, after build.sh), or installed",
            )
        };
        let mut libraries = Vec::new();
        for name in LIBRARIES {
            let path = named(&|found| found == name).ok_or_else(|| missing(name))?;
            libraries.push((name, path.canonicalize().at("failed to resolve", path)?));
        }
        let is_provider = |name: &str| name.starts_with(PROVIDER.0) && name.ends_with(PROVIDER.1);
        let provider = named(&is_provider).ok_or_else(|| missing("librxe-rdmav*.so"))?;
        let name = provider.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let provider = (name, provider.canonicalize().at("failed to resolve", provider)?);
        let is_in_bin = |path: &&PathBuf| {
            let parent = path.parent().and_then(Path::file_name);
            parent.is_some_and(|parent| parent == "bin" || parent == "sbin")
        };
        let programs = files.iter().filter(is_in_bin).filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            Some((name.to_owned(), path.clone()))
        });
        let version = contents::rdma_core(&libraries[0].1.to_string_lossy()).unwrap_or_default().to_owned();
        Ok(RdmaCoreFiles { programs: programs.collect(), libraries, provider, version })
    }

    /// All files that may come into a guest, in an order that stays.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let libraries = self.libraries.iter().map(|(_, path)| path);
        let programs = self.programs.iter().map(|(_, path)| path);
        libraries.chain([&self.provider.1]).chain(programs).map(PathBuf::as_path)
    }

    /// Puts them into a guest's tree in place of the release's; `contents` is what the tree has.
    ///
    /// # Errors
    ///
    /// A file cannot run there: it is for another processor, or needs a library or a C library that is not there.
    pub fn place(&self, root: &Path, contents: &Contents) -> Result<()> {
        let libraries: Vec<PathBuf> = self.libraries.iter().map(|(_, path)| path.clone()).collect();
        Pushed::new(&[libraries, vec![self.provider.1.clone()]].concat())?.check(contents)?;
        let directory = root.join("usr/lib").join(TRIPLET);
        let mut configurations = vec!["etc/libibverbs.d".to_owned()];
        for (name, path) in &self.libraries {
            let bytes = fs::read(path).at("failed to read", path)?;
            configurations.extend(configuration(&bytes));
            remove_versions(&directory, name)?;
            // With its version, which is what tells it.
            let file = path.file_name().unwrap_or_default();
            put(&directory.join(file), &bytes, 0o644)?;
            if file != *name {
                symlink(file, directory.join(name)).at("failed to link", &directory.join(name))?;
            }
        }
        let (name, path) = &self.provider;
        put(&directory.join("libibverbs").join(name), &fs::read(path).at("failed to read", path)?, 0o644)?;
        let line = format!("driver /usr/lib/{TRIPLET}/libibverbs/librxe\n");
        for configuration in configurations {
            put(&root.join(configuration).join("rxe.driver"), line.as_bytes(), 0o644)?;
        }
        for (name, path) in &self.programs {
            let there = root.join("usr/bin").join(name);
            if there.is_file() {
                put(&there, &fs::read(path).at("failed to read", path)?, 0o755)?;
            }
        }
        Ok(())
    }
}

/// The directory of its providers' names that a libibverbs was built with, without the leading `/`.
fn configuration(library: &[u8]) -> Option<String> {
    let mut ends = library.windows(CONFIGURATION.len()).enumerate();
    let (end, _) = ends.find(|(_, window)| *window == CONFIGURATION)?;
    let begin = library[..end].iter().rposition(|byte| *byte == 0)? + 1;
    let path = std::str::from_utf8(&library[begin..end + CONFIGURATION.len()]).ok()?;
    path.strip_prefix('/').filter(|path| !path.contains("..")).map(str::to_owned)
}

/// Removes a library by its name, and the files of all its versions.
fn remove_versions(directory: &Path, name: &str) -> Result<()> {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(name) {
            fs::remove_file(entry.path()).at("failed to remove", &entry.path())?;
        }
    }
    Ok(())
}

/// Writes a file in place of whatever has its name.
fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("failed to create", parent)?;
    }
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path).at("failed to remove", path)?;
    }
    fs::write(path, bytes).at("failed to write", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("failed to set the mode of", path)
}

/// Lists files and links to files below a directory; hidden ones are left out.
fn list(directory: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).at("failed to list", directory)? {
        let entry = entry.at("failed to list", directory)?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type().at("failed to look at", &path)?.is_dir() {
            list(&path, into)?;
        } else if path.is_file() {
            into.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::image::head::synth;

    /// A directory in which an rdma-core was built, for the processor of that number.
    fn built(machine: u8) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let [lib, bin] = ["lib", "bin"].map(|name| directory.path().join(name));
        for path in [&lib, &bin] {
            fs::create_dir(path).unwrap();
        }
        let mut library = synth::module("libibverbs", "", "", machine);
        library.extend(b"\0/home/u/rdma-core/build/config/libibverbs.d\0");
        fs::write(lib.join("libibverbs.so.1.14.65.0"), &library).unwrap();
        symlink("libibverbs.so.1.14.65.0", lib.join("libibverbs.so.1")).unwrap();
        fs::write(lib.join("librdmacm.so.1"), &library).unwrap();
        fs::write(lib.join("librxe-rdmav65.so"), &library).unwrap();
        fs::write(bin.join("rping"), "own rping").unwrap();
        fs::write(bin.join("cmake"), "of the build").unwrap();
        directory
    }

    #[test]
    fn libraries_programs_and_the_version_are_found_and_take_the_place_of_the_releases() {
        let directory = built(62);
        let files = RdmaCoreFiles::find(directory.path()).unwrap();
        assert_eq!(files.version, "65.0");
        let root = tempfile::tempdir().unwrap();
        let lib = root.path().join("usr/lib").join(TRIPLET);
        put(&lib.join("libibverbs.so.1.14.56.1"), b"", 0o644).unwrap();
        symlink("libibverbs.so.1.14.56.1", lib.join("libibverbs.so.1")).unwrap();
        put(&root.path().join("usr/bin/rping"), b"", 0o755).unwrap();
        files.place(root.path(), &Contents::default()).unwrap();
        let link = fs::read_link(lib.join("libibverbs.so.1")).unwrap();
        assert_eq!(link, Path::new("libibverbs.so.1.14.65.0"));
        assert!(!lib.join("libibverbs.so.1.14.56.1").exists(), "the version is told by one file");
        assert!(lib.join("libibverbs/librxe-rdmav65.so").is_file());
        for configuration in ["etc", "home/u/rdma-core/build/config"] {
            let file = root.path().join(configuration).join("libibverbs.d/rxe.driver");
            let line = fs::read_to_string(&file).unwrap();
            assert_eq!(line, format!("driver /usr/lib/{TRIPLET}/libibverbs/librxe\n"), "{}", file.display());
        }
        assert_eq!(fs::read_to_string(root.path().join("usr/bin/rping")).unwrap(), "own rping");
        assert!(!root.path().join("usr/bin/cmake").exists());
    }

    #[test]
    fn what_was_not_built_or_is_for_another_processor_is_named() {
        let directory = built(62);
        fs::remove_file(directory.path().join("lib/librxe-rdmav65.so")).unwrap();
        let error = RdmaCoreFiles::find(directory.path()).unwrap_err().to_string();
        assert!(error.contains("has no librxe-rdmav*.so") && error.contains("build.sh"), "{error}");
        let (directory, root) = (built(183), tempfile::tempdir().unwrap());
        let files = RdmaCoreFiles::find(directory.path()).unwrap();
        let error = files.place(root.path(), &Contents::default()).unwrap_err().to_string();
        assert!(error.contains("is for another processor: AARCH64"), "{error}");
    }
}
