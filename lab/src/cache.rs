//! The cache directory: where images and verdicts about this host are kept between runs.
//!
//! `$RDMA_LAB_CACHE` if set, else `rdma-lab` in the user's cache directory. What is built is written aside
//! and renamed into place under a file lock, so that two checkouts can build at once and a reader never
//! sees half of anything.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, IoContext as _, Result};
use crate::progress;

/// How long one process waits for another that builds the same thing.
const LOCK_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The cache directory, created and known to be writable.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the user's cache directory.
    ///
    /// # Errors
    ///
    /// There is no home directory, or the directory cannot be created or written.
    pub fn open() -> Result<Cache> {
        let root = match std::env::var_os("RDMA_LAB_CACHE") {
            Some(root) if !root.is_empty() => std::path::absolute(root).map_err(|source| {
                Error::setup("failed to resolve RDMA_LAB_CACHE").source(source)
            })?,
            _ => directories::ProjectDirs::from("", "", "rdma-lab")
                .ok_or_else(|| {
                    Error::setup("no home directory to keep a cache in")
                        .next("name a directory: RDMA_LAB_CACHE=/some/directory")
                })?
                .cache_dir()
                .to_owned(),
        };
        Cache::at(root)
    }

    /// Opens a cache directory at `root`.
    ///
    /// # Errors
    ///
    /// The directory cannot be created or written.
    pub fn at(root: PathBuf) -> Result<Cache> {
        fs::create_dir_all(&root).at("failed to create the cache directory", &root)?;
        tempfile::tempfile_in(&root).at("failed to write into the cache directory", &root)?;
        Ok(Cache { root })
    }

    /// A path in the cache.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Takes the lock called `name`, waiting for whoever holds it; it is released when dropped.
    ///
    /// # Errors
    ///
    /// The lock file cannot be created, or its holder keeps it for a quarter of an hour.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        let path = self.path(&format!("{name}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .at("failed to open the lock", &path)?;
        let started = Instant::now();
        let mut said = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if started.elapsed() < LOCK_LIMIT => {
                    if !said {
                        progress::say(&format!(
                            "waiting for another process that holds {}",
                            path.display()
                        ));
                        said = true;
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Error::timeout(
                        format_args!("lock {}", path.display()),
                        LOCK_LIMIT,
                    )
                    .next("see who holds it: fuser -v <the file>"));
                }
                Err(errno) => {
                    return Err(io::Error::from(errno)).at("failed to lock", &path);
                }
            }
        }
    }

    /// A fresh directory in the cache to build in; removed when dropped unless it was renamed into place.
    ///
    /// # Errors
    ///
    /// The directory cannot be created.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix("building-")
            .tempdir_in(&self.root)
            .at("failed to create a directory in", &self.root)
    }
}

/// A lock on the cache, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The SHA-256 of a file, in lower-case hexadecimal.
///
/// # Errors
///
/// The file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).at("failed to open", path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).at("failed to read", path)? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// The SHA-256 of some bytes, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file whole or not at all: aside first, then renamed.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file =
        tempfile::NamedTempFile::new_in(parent).at("failed to create a file in", parent)?;
    file.write_all(bytes).at("failed to write", path)?;
    file.persist(path)
        .map_err(|error| error.error)
        .at("failed to write", path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_a_file_is_that_of_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        write_whole(&path, b"abc").unwrap();
        assert_eq!(sha256_file(&path).unwrap(), sha256(b"abc"));
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn cache_below_a_file_is_an_error_with_a_cure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Cache::at(file.path().join("cache")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("failed to create the cache directory"),
            "{error}"
        );
    }

    #[test]
    fn lock_is_exclusive_until_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let held = cache.lock("x").unwrap();
        let other = cache.clone();
        let waiter = std::thread::spawn(move || other.lock("x").map(|_| Instant::now()));
        std::thread::sleep(Duration::from_millis(100));
        let released = Instant::now();
        drop(held);
        assert!(waiter.join().unwrap().unwrap() >= released);
    }
}
