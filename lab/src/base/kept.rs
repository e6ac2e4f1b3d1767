//! Directories of the cache that are made once: checked, or made aside and renamed into place, under a lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::base::cache::Cache;
use crate::base::disk;
use crate::base::error::{IoContext as _, Result};
use crate::base::progress::say;

/// How a kind of directory is checked and made.
pub struct KeptKind<'a> {
    /// The lock that is held while one is made.
    pub lock: &'a str,
    /// Disk space that making one takes at its largest, in MiB.
    pub room_mib: u64,
    /// Compares what is there with what was made.
    pub check: &'a dyn Fn(&Path) -> Result<()>,
    /// Makes it, in a directory aside.
    pub build: &'a dyn Fn(&Cache, &Path) -> Result<()>,
}

/// The directory `name` of the cache, checked; or made again into a directory aside and renamed.
///
/// # Errors
///
/// It cannot be made, or the cache cannot be written.
pub fn ensure(cache: &Cache, name: &str, kind: &KeptKind<'_>) -> Result<PathBuf> {
    let directory = cache.path(name);
    if directory.exists() && (kind.check)(&directory).is_ok() {
        used(&directory);
        return Ok(directory);
    }
    let _lock = cache.lock(kind.lock)?;
    if directory.exists() {
        // Whoever held the lock may have built it meanwhile.
        match (kind.check)(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) => {
                say(&format!("cached {name} is damaged and is built again: {error}"));
                fs::remove_dir_all(&directory).at("failed to remove", &directory)?;
            }
        }
    }
    disk::demand(&cache.path(""), kind.room_mib)?;
    let scratch = cache.scratch()?;
    let building = scratch.path().join("result");
    fs::create_dir_all(&building).at("failed to create", &building)?;
    (kind.build)(cache, &building)?;
    fs::rename(&building, &directory).at("failed to rename into place", &directory)?;
    Ok(directory)
}

/// Sets a directory's time to now: other versions of the kit remove what nobody used for long.
fn used(directory: &Path) {
    // One that cannot be written is not removed either.
    let _ = fs::File::open(directory).and_then(|file| file.set_modified(SystemTime::now()));
}

/// The names of archives without their ending, sorted: package, version and architecture.
pub fn names_of(archives: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<_> =
        archives.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

/// The paths of all that is below `root` except directories, relative to it, sorted.
///
/// # Errors
///
/// A directory cannot be listed.
pub fn files(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).at("failed to list", &directory)? {
            let path = entry.at("failed to list", &directory)?.path();
            let kind = path.symlink_metadata().at("failed to look at", &path)?.file_type();
            if kind.is_dir() {
                directories.push(path);
            } else {
                names.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned());
            }
        }
    }
    names.sort();
    Ok(names)
}
