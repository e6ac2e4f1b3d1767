//! A cached directory's checksums, and whether its files still have them.
//!
//! The file `manifest.json` has the checksum of each file and one of itself. Reading hundreds of megabytes for each fork
//! would cost more than the fork: `checked.json` says how each file looked to the file system (inode, length, times)
//! when it was last read and found right, and only a file that looks otherwise is read again. What a file system hides
//! from its user, as a sector that decays, is not seen so.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::base::cache::{read_record, sha256, write_record};
use crate::base::error::{Error, IoContext as _, Result};

/// The file with the checksums.
pub const MANIFEST: &str = "manifest.json";

/// The file that says how the files looked when they were last read.
const CHECKED: &str = "checked.json";

/// How much of a file is hashed at once, in bytes; what is zero throughout is left out.
const CHUNK: usize = 1 << 16;

/// The checksums of a directory's files.
#[derive(Debug, Serialize, Deserialize)]
struct SealedSums {
    /// By name, of a file's content; see [`sum_of_content`].
    sums: BTreeMap<String, String>,
    /// Of `sums` itself.
    seal: String,
}

/// How each file looked when it was found right, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Checked(BTreeMap<String, String>);

/// Failure of a check.
#[derive(Debug)]
pub enum SealError {
    /// A file is not what it was, or has gone: which and how.
    Damaged(String),
    /// The check itself failed, for a reason of this computer's.
    Host(Error),
}

/// Writes the checksums of these files of a directory.
///
/// # Errors
///
/// A file cannot be read, or the manifest cannot be written.
pub fn seal(directory: &Path, names: &[&str]) -> Result<()> {
    let mut sums = BTreeMap::new();
    for name in names {
        let path = directory.join(name);
        sums.insert((*name).to_owned(), sum_of_content(&path).at("failed to read", &path)?);
    }
    let manifest = SealedSums { seal: seal_of(&sums), sums };
    write_record(&directory.join(MANIFEST), &manifest)
}

/// Checks that each of these files of a directory is what it was when they were sealed.
///
/// # Errors
///
/// One is not, or there is no telling.
pub fn check(directory: &Path, names: &[&str]) -> Result<(), SealError> {
    let manifest = manifest(directory, names)?;
    let path = directory.join(CHECKED);
    let mut checked: Checked = read_record(&path).ok().flatten().unwrap_or_default();
    let mut is_news = false;
    for name in names {
        let file = directory.join(name);
        let look = look(&file).map_err(|error| broken(name, &file, error))?;
        let look = format!("{look} {}", manifest.sums[*name]);
        if checked.0.get(*name) == Some(&look) {
            continue;
        }
        let sum = sum_of_content(&file).map_err(|error| broken(name, &file, error))?;
        if sum != manifest.sums[*name] {
            return Err(SealError::Damaged(format!("{name} has another checksum")));
        }
        checked.0.insert((*name).to_owned(), look);
        is_news = true;
    }
    if is_news {
        // Without it the next check takes longer.
        let _ = write_record(&path, &checked);
    }
    Ok(())
}

fn manifest(directory: &Path, names: &[&str]) -> Result<SealedSums, SealError> {
    let path = directory.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| broken(MANIFEST, &path, error))?;
    let manifest: Option<SealedSums> = serde_json::from_slice(&text).ok();
    manifest
        .filter(|manifest| manifest.seal == seal_of(&manifest.sums))
        .filter(|manifest| names.iter().all(|name| manifest.sums.contains_key(*name)))
        .ok_or_else(|| SealError::Damaged(format!("{MANIFEST} is not as it was written")))
}

/// Whose fault an I/O error is: that of a file which is gone or unreadable, or this computer's.
fn broken(name: &str, path: &Path, error: io::Error) -> SealError {
    match error.kind() {
        io::ErrorKind::NotFound => SealError::Damaged(format!("{name} is missing")),
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            SealError::Damaged(format!("{name} is no file"))
        }
        _ => SealError::Host(
            Err::<(), _>(error).at("failed to check", path).err().unwrap_or_else(|| Error::setup(name)),
        ),
    }
}

/// How a file looks to its file system: any write changes it.
fn look(path: &Path) -> io::Result<String> {
    let file = fs::metadata(path)?;
    let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
    Ok(format!("{}:{}:{}:{times:?}", file.dev(), file.ino(), file.size()))
}

/// The SHA-256 of a file's length and of each chunk that is not zero throughout, with its place: the same whether holes
/// are holes or zeros. Holes are not read.
fn sum_of_content(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut digest = Sha256::new();
    digest.update(length.to_le_bytes());
    let zeros = vec![0; CHUNK];
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        at = match seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data - data % CHUNK as u64,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(Errno::INVAL) => at,
            Err(errno) => return Err(errno.into()),
        };
        seek(&file, SeekFrom::Start(at))?;
        let chunk = &mut buffer[..usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK)];
        file.read_exact(chunk)?;
        if *chunk != zeros[..chunk.len()] {
            digest.update(at.to_le_bytes());
            digest.update(&*chunk);
        }
        at += CHUNK as u64;
    }
    Ok(hex::encode(digest.finalize()))
}

fn seal_of(sums: &BTreeMap<String, String>) -> String {
    let lines: String = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    sha256(lines.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    const NAMES: [&str; 2] = ["memory", "state"];

    fn sealed() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut memory = File::create(directory.path().join("memory")).unwrap();
        memory.set_len(3 << 20).unwrap();
        memory.seek(io::SeekFrom::Start(1 << 20)).unwrap();
        memory.write_all(b"in the middle").unwrap();
        fs::write(directory.path().join("state"), "state").unwrap();
        seal(directory.path(), &NAMES).unwrap();
        check(directory.path(), &NAMES).unwrap();
        directory
    }

    fn damage(directory: &Path) -> String {
        match check(directory, &NAMES) {
            Err(SealError::Damaged(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn any_flipped_byte_of_any_file_is_found_and_named() {
        for (name, at) in [("memory", 1 << 20), ("memory", 2_500_000), ("memory", 0), ("state", 2)] {
            let directory = sealed();
            let path = directory.path().join(name);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(damage(directory.path()), format!("{name} has another checksum"));
        }
        let length = fs::read(sealed().path().join(MANIFEST)).unwrap().len();
        for at in 0..length {
            let directory = sealed();
            let path = directory.path().join(MANIFEST);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            damage(directory.path());
        }
    }

    #[test]
    fn note_of_the_last_check_cannot_hide_damage() {
        let directory = sealed();
        let note = fs::read(directory.path().join(CHECKED)).unwrap();
        for bytes in [&note[..], b"{", b""] {
            fs::write(directory.path().join(CHECKED), bytes).unwrap();
            check(directory.path(), &NAMES).unwrap();
        }
        fs::write(directory.path().join("state"), "stat!").unwrap();
        fs::write(directory.path().join(CHECKED), note).unwrap();
        assert_eq!(damage(directory.path()), "state has another checksum");
    }

    #[test]
    fn missing_and_shorter_files_are_damage_and_holes_are_not() {
        let directory = sealed();
        let memory = directory.path().join("memory");
        let bytes = fs::read(&memory).unwrap();
        fs::write(&memory, &bytes).unwrap();
        check(directory.path(), &NAMES).unwrap();
        fs::write(&memory, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(damage(directory.path()), "memory has another checksum");
        fs::remove_file(&memory).unwrap();
        assert_eq!(damage(directory.path()), "memory is missing");
        fs::remove_file(directory.path().join(MANIFEST)).unwrap();
        assert_eq!(damage(directory.path()), "manifest.json is missing");
    }
}
