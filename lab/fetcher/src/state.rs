//! The state of one release in a directory: its lists, checked, and where they came from.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::closure;
use crate::error::{Error, OTHER_MIRROR, Result};
use crate::index::{IndexedPackage, PackageIndex, shortened};
use crate::release::{SignedRelease, Validity};
use crate::signature;
use crate::transfer::{self, ExpectedFile, MirrorAddress, TransferFault};

/// The list of packages, in a release.
const LIST: &str = "main/binary-amd64/Packages.xz";

/// The largest `InRelease` that is read.
const RELEASE_BYTES: u64 = 16 << 20;

/// The longest text that a list is decoded to: ten times that of Debian 13.
const LIST_BYTES: u64 = 600 << 20;

/// Archives that are brought at once.
const TRANSFERS: usize = 4;

/// Origin of the lists of a directory.
#[derive(Debug, Serialize, Deserialize)]
struct ListOrigin {
    mirror: String,
    release: String,
}

/// A release whose lists were fetched.
#[derive(Debug)]
pub(crate) struct FetchedRelease {
    mirror: MirrorAddress,
    list: String,
}

/// A package as an answer names it.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct AnsweredPackage {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) size_bytes: u64,
}

/// Fetches the lists of `release` into `directory`, checked with the keys in the file `keys`.
///
/// # Errors
///
/// The mirror does not answer, is none, is stale, or is not signed by one of the keys.
pub(crate) fn update(
    directory: &Path,
    address: &str,
    release: &str,
    keys: &Path,
    validity: Validity,
) -> Result<()> {
    let armored = fs::read(keys).map_err(|error| Error::file("failed to read", keys, &error))?;
    let keys = signature::keys(&armored).map_err(|why| {
        Error::new(format!("failed to read the keys in {}: {why}", keys.display()), "check out the lab again")
    })?;
    let mirror = MirrorAddress::new(address)?;
    let now = SystemTime::now();

    let base = format!("dists/{release}");
    let path = format!("{base}/InRelease");
    let file = mirror.read(&path, RELEASE_BYTES).map_err(|fault| match fault {
        TransferFault::Missing(why) => Error::mirror(format!(
            "{address} is no Debian mirror, or has no release {release}: {}: {why}",
            mirror.address(&path)
        )),
        fault => mirror.error(&path, fault),
    })?;
    let checked = signature::signed_text(&file, &keys, now)
        .and_then(|text| SignedRelease::new(text, release, now, validity));
    let lists = checked.map_err(|why| Error::mirror(format!("{} {why}", mirror.address(&path))))?;

    let expected = lists.list(LIST).ok_or_else(|| {
        Error::mirror(format!(
            "{} names no {LIST}: the release has no packages for amd64",
            mirror.address(&path)
        ))
    })?;
    let packed = directory.join("Packages.xz");
    fetch_list(&mirror, &base, lists.has_files_by_hash(), expected, &packed)?;
    let list = decode(&packed)?;
    fs::remove_file(&packed).map_err(|error| Error::file("failed to remove", &packed, &error))?;

    let origin = ListOrigin { mirror: address.to_owned(), release: release.to_owned() };
    write(&directory.join("list"), shortened(&list).as_bytes())?;
    write(&directory.join("origin.json"), &serde_json::to_vec(&origin).unwrap_or_default())
}

/// Brings the list, by its checksum where the mirror has it so: then an update meanwhile does no harm.
fn fetch_list(
    mirror: &MirrorAddress,
    base: &str,
    by_hash: bool,
    expected: ExpectedFile<'_>,
    into: &Path,
) -> Result<()> {
    let plain = format!("{base}/{LIST}");
    if by_hash {
        let directory = LIST.rsplit_once('/').map_or("", |(directory, _)| directory);
        let path = format!("{base}/{directory}/by-hash/SHA256/{}", expected.sha256);
        match mirror.save(&path, expected, into) {
            Ok(()) => return Ok(()),
            Err(TransferFault::Missing(_)) => {}
            Err(fault) => return Err(mirror.error(&path, fault)),
        }
    }
    mirror.save(&plain, expected, into).map_err(|fault| stale(mirror, &plain, fault))
}

/// A file that the signed lists name: what is not there, or is another, tells of a mirror out of step.
fn stale(mirror: &MirrorAddress, path: &str, fault: TransferFault) -> Error {
    let why = match fault {
        TransferFault::Missing(_) => "the mirror is stale: its lists and its files disagree",
        TransferFault::Changed(_) => "the mirror is stale, or the file was changed on the way",
        fault => return mirror.error(path, fault),
    };
    Error::new(
        format!("{}: {why}", mirror.error(path, fault).what),
        format!("wait an hour, or {OTHER_MIRROR}"),
    )
}

fn decode(path: &Path) -> Result<String> {
    let file = fs::File::open(path).map_err(|error| Error::file("failed to read", path, &error))?;
    let mut list = String::new();
    liblzma::read::XzDecoder::new(file)
        .take(LIST_BYTES)
        .read_to_string(&mut list)
        .map_err(|error| Error::mirror(format!("failed to decode the list of packages: {error}")))?;
    Ok(list)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| Error::file("failed to write", path, &error))
}

impl FetchedRelease {
    /// Opens what [`update`] left.
    ///
    /// # Errors
    ///
    /// There is nothing.
    pub(crate) fn open(directory: &Path) -> Result<FetchedRelease> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|error| Error::file("failed to read", &path, &error))
        };
        let origin: ListOrigin = serde_json::from_str(&read("origin.json")?).map_err(|error| {
            Error::new(format!("failed to read the state: {error}"), "fetch the lists again")
        })?;
        Ok(FetchedRelease { mirror: MirrorAddress::new(&origin.mirror)?, list: read("list")? })
    }

    /// Its packages.
    pub(crate) fn index(&self) -> PackageIndex<'_> {
        PackageIndex::parse(&self.list)
    }

    /// Brings packages into `directory`, several at once; what is there and whole is kept.
    ///
    /// # Errors
    ///
    /// The first package that cannot be brought.
    pub(crate) fn download(
        &self,
        packages: &[&IndexedPackage<'_>],
        directory: &Path,
    ) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(directory).map_err(|error| Error::file("failed to create", directory, &error))?;
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let failed = || failure.lock().map_or(true, |failure| failure.is_some());
        thread::scope(|scope| {
            for _ in 0..TRANSFERS {
                scope.spawn(|| {
                    while let Some(package) = packages.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if failed() {
                            return;
                        }
                        if let Err(error) = self.bring(package, directory)
                            && let Ok(mut failure) = failure.lock()
                        {
                            failure.get_or_insert(error);
                        }
                    }
                });
            }
        });
        match failure.into_inner() {
            Ok(None) => Ok(packages.iter().map(|package| directory.join(package.file())).collect()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(Error::mirror("a transfer ended in a panic")),
        }
    }

    fn bring(&self, package: &IndexedPackage<'_>, directory: &Path) -> Result<()> {
        let into = directory.join(package.file());
        let expected = ExpectedFile { size_bytes: package.size_bytes, sha256: package.sha256 };
        if transfer::is(&into, expected) {
            return Ok(());
        }
        let path = package.filename;
        self.mirror.save(path, expected, &into).map_err(|fault| stale(&self.mirror, path, fault))
    }
}

/// All that installing `wanted` takes.
///
/// # Errors
///
/// As [`closure::closure`].
pub(crate) fn resolve<'a, 'b>(
    index: &'b PackageIndex<'a>,
    wanted: &[String],
) -> Result<Vec<&'b IndexedPackage<'a>>> {
    Ok(closure::closure(index, wanted)?.into_iter().map(|number| &index.packages[number]).collect())
}

/// Exactly `wanted`.
///
/// # Errors
///
/// One does not exist.
pub(crate) fn look_up<'a, 'b>(
    index: &'b PackageIndex<'a>,
    wanted: &[String],
) -> Result<Vec<&'b IndexedPackage<'a>>> {
    wanted.iter().map(|name| Ok(&index.packages[closure::exact(index, name)?])).collect()
}

impl From<&IndexedPackage<'_>> for AnsweredPackage {
    fn from(package: &IndexedPackage<'_>) -> AnsweredPackage {
        AnsweredPackage {
            name: package.name.to_owned(),
            file: package.file(),
            size_bytes: package.size_bytes,
        }
    }
}
