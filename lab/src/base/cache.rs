//! The cache directory: where images and verdicts about this host are kept between runs.
//!
//! `$RDMA_LAB_CACHE` if set, else `rdma-lab` in the user's cache directory. What is built is written aside
//! and renamed into place under a file lock, so that two checkouts can build at once and a reader never
//! sees half of anything.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::progress;

/// How long one process waits for another that builds the same thing.
const LOCK_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long a wait for a lock is nobody's concern.
const SAY_AFTER: Duration = Duration::from_secs(2);

/// The locks that are held while something of the cache is made; those of tools begin with [`TOOLS`].
const MAKERS: [&str; 3] = ["image", "sysroot", "frozen"];

/// The beginning of the locks and directories of tools.
pub const TOOLS: &str = "tools-";

/// Characters that cannot be in its path: apt's configuration, pkg-config or the linker's search paths have
/// no escape for them. The last stands for bytes that are not UTF-8.
const UNFIT: [char; 6] = ['"', '\'', ':', '\\', '%', char::REPLACEMENT_CHARACTER];

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
        Cache::at(Cache::directory()?)
    }

    /// Where the user's cache directory is, whether it exists or not.
    ///
    /// # Errors
    ///
    /// There is no home directory.
    pub fn directory() -> Result<PathBuf> {
        match std::env::var_os("RDMA_LAB_CACHE") {
            Some(root) if !root.is_empty() => std::path::absolute(root)
                .map_err(|source| Error::setup("failed to resolve RDMA_LAB_CACHE").source(source)),
            _ => directories::ProjectDirs::from("", "", "rdma-lab")
                .map(|directories| directories.cache_dir().to_owned())
                .ok_or_else(|| {
                    Error::setup("no home directory to keep a cache in")
                        .next("name a directory: RDMA_LAB_CACHE=/some/directory")
                }),
        }
    }

    /// Opens a cache directory at `root`.
    ///
    /// # Errors
    ///
    /// The directory cannot be created or written; its path has a character that a tool cannot take.
    pub fn at(root: PathBuf) -> Result<Cache> {
        if let Some(unfit) = root.to_string_lossy().chars().find(|&c| UNFIT.contains(&c) || c.is_control()) {
            return Err(Error::setup(format!(
                "the path of the cache directory has a character {unfit:?}, which apt, pkg-config or the linker cannot take: {}",
                root.display()
            ))
            .next("name another directory: RDMA_LAB_CACHE=/some/directory"));
        }
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
        lock_file(&self.path(&format!("{name}.lock")))
    }

    /// Takes the lock called `name` together with others who take it so; whoever takes it alone waits for all of them.
    ///
    /// # Errors
    ///
    /// As [`Cache::lock`].
    pub fn lock_shared(&self, name: &str) -> Result<Lock> {
        lock_one_of(&[self.path(&format!("{name}.lock"))], FlockOperation::NonBlockingLockShared)
    }

    /// Takes the lock called `name`, if nobody has it; nothing else.
    pub fn try_lock(&self, name: &str) -> Option<Lock> {
        let path = self.path(&format!("{name}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Lock { _file: file })
    }

    /// Takes one of `count` slots for a pair of machines, waiting until one is free; given back when dropped.
    ///
    /// # Errors
    ///
    /// As [`Cache::lock`].
    pub fn slot(&self, count: usize) -> Result<Lock> {
        let paths: Vec<PathBuf> = (0..count).map(|slot| self.path(&format!("slot-{slot}.lock"))).collect();
        lock_one_of(&paths, FlockOperation::NonBlockingLockExclusive)
    }

    /// Lists what it holds: images, frozen machines and the like, with their sizes on disk; locks left out.
    ///
    /// # Errors
    ///
    /// The directory cannot be listed.
    pub fn entries(&self) -> Result<Vec<CacheEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.root).at("failed to list", &self.root)? {
            let path = entry.at("failed to list", &self.root)?.path();
            if path.extension().is_none_or(|extension| extension != "lock") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                entries.push(CacheEntry { name, size_bytes: size_on_disk(&path) });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Removes everything, except the locks: whoever waits for one must not get another file.
    ///
    /// # Errors
    ///
    /// Something cannot be removed.
    pub fn clear(&self) -> Result<()> {
        let locks =
            fs::read_dir(&self.root).at("failed to list", &self.root)?.flatten().map(|file| file.path());
        let makes = |path: &PathBuf| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            path.extension().is_some_and(|extension| extension == "lock")
                && (MAKERS.contains(&name.as_ref()) || name.starts_with(TOOLS))
        };
        let _locks: Vec<Result<Lock>> = locks.filter(makes).map(|path| lock_file(&path)).collect();
        for CacheEntry { name, .. } in self.entries()? {
            let path = self.path(&name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.at("failed to remove", &path)?;
        }
        Ok(())
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

/// One thing in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheEntry {
    /// Its name.
    pub name: String,
    /// Size on disk, in bytes; files may be sparse.
    pub size_bytes: u64,
}

fn size_on_disk(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    let own = metadata.blocks() * 512;
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    own + inside.filter(|_| metadata.is_dir()).map(|entry| size_on_disk(&entry.path())).sum::<u64>()
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
    sha256_of(&mut File::open(path).at("failed to open", path)?).at("failed to read", path)
}

/// The SHA-256 of what is left to read, in lower-case hexadecimal.
///
/// # Errors
///
/// It cannot be read.
pub fn sha256_of(source: &mut impl Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// The SHA-256 of some bytes, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Takes the lock that a file is, made if need be; see [`Cache::lock`].
///
/// # Errors
///
/// As [`Cache::lock`].
pub fn lock_file(path: &Path) -> Result<Lock> {
    lock_one_of(&[path.to_owned()], FlockOperation::NonBlockingLockExclusive)
}

/// Takes a share of the lock that a file is, made if need be: many have one, until someone has the whole.
///
/// # Errors
///
/// The file cannot be created, or someone else has the whole lock.
pub fn lock_shared(path: &Path) -> Result<Lock> {
    let file = open_lock(path)?;
    flock(&file, FlockOperation::NonBlockingLockShared)
        .map_err(io::Error::from)
        .at("failed to lock", path)?;
    Ok(Lock { _file: file })
}

/// Whether nobody has the lock that a file is, nor a share of it. A lock without a file is free.
pub fn lock_is_free(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return !path.exists() };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn open_lock(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).open(path).at("failed to open the lock", path)
}

fn lock_one_of(paths: &[PathBuf], how: FlockOperation) -> Result<Lock> {
    let mut files = paths.iter().map(|path| open_lock(path)).collect::<Result<Vec<File>>>()?;
    let names = || paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let started = Instant::now();
    let mut said = false;
    loop {
        for (index, file) in files.iter().enumerate() {
            match flock(file, how) {
                Ok(()) => return Ok(Lock { _file: files.swap_remove(index) }),
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(io::Error::from(errno)).at("failed to lock", &paths[index]),
            }
        }
        if started.elapsed() > LOCK_LIMIT {
            return Err(Error::timeout(format_args!("lock {}", names()), LOCK_LIMIT)
                .next("see who holds it: fuser -v <the file>"));
        }
        if !said && started.elapsed() > SAY_AFTER {
            progress::say(&format!("waiting for another process that holds {}", names()));
            said = true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Writes a file whole or not at all: aside first, then renamed.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(parent).at("failed to create a file in", parent)?;
    file.write_all(bytes).at("failed to write", path)?;
    file.persist(path).map_err(|error| error.error).at("failed to write", path)?;
    Ok(())
}

/// Writes a record, a JSON file, whole or not at all.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_record(path: &Path, record: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(record)
        .map_err(|source| Error::setup(format!("failed to write {}", path.display())).source(source))?;
    write_whole(path, &text)
}

/// Reads a record that has to be there.
///
/// # Errors
///
/// There is none, or as [`read_record`].
pub fn needed_record<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let missing = || Error::setup(format!("{} is missing", path.display()));
    read_record(path)?.ok_or_else(missing)
}

/// Reads a record, a JSON file; nothing where there is no such file.
///
/// # Errors
///
/// It cannot be read, or is not such a record.
pub fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|source| Error::setup(format!("failed to parse {}", path.display())).source(source)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("failed to read", path),
    }
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
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn cache_below_a_file_is_an_error_with_a_cure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Cache::at(file.path().join("cache")).unwrap_err();
        assert!(error.to_string().contains("failed to create the cache directory"), "{error}");
    }

    #[test]
    fn path_that_no_tool_can_take_is_refused_before_anything_is_made() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a:b", "a\"b", "a'b", "a\nb"] {
            let path = directory.path().join(name);
            let error = Cache::at(path.clone()).unwrap_err().to_string();
            assert!(error.contains("RDMA_LAB_CACHE=") && !path.exists(), "{error}");
        }
        Cache::at(directory.path().join("a,b c")).unwrap();
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

    #[test]
    fn shared_lock_keeps_out_only_who_takes_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let shared = [(); 2].map(|()| cache.lock_shared("x").unwrap());
        assert!(cache.try_lock("x").is_none());
        drop(shared);
        assert!(cache.try_lock("x").is_some());
    }
}
