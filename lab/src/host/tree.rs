//! Programs and files of this computer, by name.
//!
//! A value, so that tests look into a directory of their own. Reads directories, changes nothing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::base::cache::Cache;

/// Directories of system programs that an ordinary user's PATH may lack.
const SYSTEM_DIRECTORIES: [&str; 2] = ["usr/sbin", "sbin"];

/// A computer, as far as its programs and files go.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    path: Vec<PathBuf>,
    cache: Option<PathBuf>,
}

impl Host {
    /// This computer, with the PATH of this process and the user's cache directory.
    pub fn this() -> Host {
        let mut host = Host::new("/", &std::env::var_os("PATH").unwrap_or_default());
        host.cache = Cache::directory().ok();
        host
    }

    /// A computer whose files lie below `root` and whose PATH is `path`, colon-separated and used as it is;
    /// without a cache.
    pub fn new(root: impl Into<PathBuf>, path: &OsStr) -> Host {
        let root = root.into();
        let mut path: Vec<PathBuf> =
            std::env::split_paths(path).filter(|directory| directory.is_absolute()).collect();
        path.extend(SYSTEM_DIRECTORIES.iter().map(|directory| root.join(directory)));
        Host { root, path, cache: None }
    }

    /// The first executable file called `name` on PATH or in the directories of system programs.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.path
            .iter()
            .map(|directory| directory.join(name))
            .find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok())
    }

    /// The same computer with the cache directory `cache`.
    #[must_use]
    pub fn with_cache(mut self, cache: impl Into<PathBuf>) -> Host {
        self.cache = Some(cache.into());
        self
    }

    /// The cache directory, whether it exists or not.
    pub fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// The path of an absolute file name on this computer, whether the file is there or not.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The directories that match `pattern`, an absolute name in which one component may hold one `*`;
    /// sorted by name.
    pub fn directories(&self, pattern: &str) -> Vec<PathBuf> {
        let mut found = vec![self.root.clone()];
        for component in pattern.split('/').filter(|component| !component.is_empty()) {
            found = found.iter().flat_map(|parent| children(parent, component)).collect();
        }
        found
    }
}

/// The directories in `parent` whose name matches `component`.
fn children(parent: &Path, component: &str) -> Vec<PathBuf> {
    let Some((before, after)) = component.split_once('*') else {
        let child = parent.join(component);
        return if child.is_dir() { vec![child] } else { Vec::new() };
    };
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        })
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn program_must_be_executable_and_may_be_in_sbin() {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        let sbin = root.path().join("usr/sbin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&sbin).unwrap();
        fs::write(bin.join("tool"), "").unwrap();
        let host = Host::new(root.path(), bin.as_os_str());
        assert_eq!(host.program("tool"), None);
        fs::write(sbin.join("tool"), "").unwrap();
        fs::set_permissions(sbin.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(host.program("tool"), Some(sbin.join("tool")));
    }

    #[test]
    fn directories_match_one_star() {
        let root = tempfile::tempdir().unwrap();
        for name in ["usr/lib/llvm-14/lib", "usr/lib/llvm-19/lib", "usr/lib/llvm-3", "usr/lib/x"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let host = Host::new(root.path(), OsStr::new(""));
        assert_eq!(
            host.directories("/usr/lib/llvm-*/lib"),
            [root.path().join("usr/lib/llvm-14/lib"), root.path().join("usr/lib/llvm-19/lib")]
        );
        assert!(host.directories("/nowhere/*").is_empty());
    }
}
