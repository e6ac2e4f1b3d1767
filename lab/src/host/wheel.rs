//! The last rung of libclang's ladder: one file of Python's libclang package, in the cache.
//!
//! For distributions that offer no libclang that bindgen 0.59 works with. pip fetches the package by its
//! name from wherever it is configured to; what came is compared with checksums pinned here, and its one
//! file that matters is renamed into the cache. Needs Python and pip, and no rights.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::cache::{Cache, sha256_file};
use crate::base::command::Command;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::policy::Policy;
use crate::base::progress::Step;
use crate::host::Host;

/// The package as pip names it: the version that Debian 12 has too.
pub const PACKAGE: &str = "libclang==14.0.6";

/// The platform tag of the wheel: any Linux of the last decade on x86_64.
const PLATFORM: &str = "manylinux2010_x86_64";

/// The size of the wheel in MB.
const ABOUT_MB: u32 = 14;

/// SHA-256 of the wheel.
const WHEEL_SHA256: &str = "206d2789e4450a37d054e63b70451a6fc1873466397443fa13de2b3d4adb2796";

/// SHA-256 of the library in it.
const LIBRARY_SHA256: &str = "b65575a22e9a01ae558030fbfe563fd0a90eaf9050b8dcceb6fc9b09e91c3c0e";

/// Path of the library in the wheel.
const LIBRARY: &str = "libclang-14.0.6.data/platlib/clang/native/libclang.so";

/// The longest wait for pip's version.
const ASK_LIMIT: Duration = Duration::from_secs(20);

/// The longest wait for the download.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(5 * 60);

/// The longest wait for the archive to be unpacked.
const UNPACK_LIMIT: Duration = Duration::from_secs(60);

/// Path of the library in the cache directory `cache`, whether it is there or not; its name tells its
/// version.
pub fn file(cache: &Path) -> PathBuf {
    cache.join("libclang-14.0.6.so")
}

/// Compares the library in the cache with its pinned checksum.
///
/// # Errors
///
/// It cannot be read, or is another file.
pub fn check(file: &Path) -> Result<()> {
    compare(file, LIBRARY_SHA256)
}

/// True if this computer can use what the wheel holds.
pub fn fits() -> bool {
    std::env::consts::ARCH == "x86_64"
}

/// True if `host` has a pip that answers.
pub fn has_pip(host: &Host) -> bool {
    host.program("python3")
        .is_some_and(|python| Command::new([python]).args(["-m", "pip", "--version"]).run(ASK_LIMIT).is_ok())
}

/// Brings the library into the cache, unless it is there and whole.
///
/// # Errors
///
/// There is no pip, it cannot fetch the package, what came is not what was pinned, or the cache cannot be
/// written.
pub fn fetch(host: &Host, cache: &Cache) -> Result<()> {
    let _lock = cache.lock("libclang")?;
    let file = file(&cache.path(""));
    if check(&file).is_ok() {
        return Ok(());
    }
    let python =
        host.program("python3").ok_or_else(|| Error::setup("no python3 to fetch a libclang with"))?;
    Policy::get().demand_download(&format!("{PACKAGE}, the Python package"), ABOUT_MB)?;
    let step = Step::begin(format!("{PACKAGE}, the Python package"));
    step.say(&format!("{PACKAGE}, the Python package: {ABOUT_MB} MB to download"));
    let scratch = cache.scratch()?;
    let python = |args: Vec<String>| Command::new([python.clone()]).args(args);
    python(download_args(scratch.path()))
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .run(DOWNLOAD_LIMIT)
        .map_err(|error| {
            Error::setup(format!("failed to fetch the Python package {PACKAGE}")).source(error).next(
                "check the network and the index that pip is configured with: python3 -m pip config list",
            )
        })?;
    let wheel = only_file(scratch.path())?;
    compare(&wheel, WHEEL_SHA256)?;
    let unpacked = scratch.path().join("unpacked");
    python(unpack_args(&wheel, &unpacked)).run(UNPACK_LIMIT)?;
    let library = unpacked.join(LIBRARY);
    check(&library)?;
    fs::rename(&library, &file).at("failed to rename into place", &file)?;
    step.done("");
    Ok(())
}

fn compare(file: &Path, expected: &str) -> Result<()> {
    match sha256_file(file)? {
        found if found == expected => Ok(()),
        found => Err(Error::setup(format!("{} has checksum {found}, not {expected}", file.display()))),
    }
}

/// The one file that pip left in `directory`.
fn only_file(directory: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(directory).at("failed to list", directory)?.flatten();
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry.path()),
        _ => Err(Error::setup("pip did not leave exactly one file of the Python package")),
    }
}

fn download_args(into: &Path) -> Vec<String> {
    let fixed =
        ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--platform", PLATFORM];
    let mut args: Vec<String> = fixed.map(str::to_owned).into();
    args.extend(["--dest".to_owned(), into.display().to_string(), PACKAGE.to_owned()]);
    args
}

fn unpack_args(wheel: &Path, into: &Path) -> Vec<String> {
    ["-m", "zipfile", "-e", &wheel.to_string_lossy(), &into.to_string_lossy()].map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A computer whose python3 is `script`, and a cache.
    fn computer(script: &str) -> (tempfile::TempDir, Host, Cache) {
        let root = tempfile::tempdir().unwrap();
        let python = root.path().join("python3");
        fs::write(&python, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        let host = Host::new(root.path(), root.path().as_os_str());
        let cache = Cache::at(root.path().join("cache")).unwrap();
        (root, host, cache)
    }

    #[test]
    fn package_is_asked_for_by_name_and_as_a_wheel() {
        assert_eq!(
            download_args(Path::new("/c/x")).join(" "),
            "-m pip download --quiet --no-deps --only-binary=:all: --platform manylinux2010_x86_64 \
             --dest /c/x libclang==14.0.6"
        );
    }

    #[test]
    fn other_file_than_the_pinned_one_is_refused_and_not_kept() {
        let (_root, host, cache) =
            computer("while [ \"$1\" != --dest ]; do shift; done; echo evil >\"$2/x.whl\"");
        let error = fetch(&host, &cache).unwrap_err().to_string();
        assert!(error.contains("x.whl has checksum ") && error.contains(WHEEL_SHA256), "{error}");
        assert!(!file(&cache.path("")).exists());
        assert_eq!(cache.entries().unwrap(), []);
    }

    #[test]
    fn pip_that_fails_is_quoted_with_what_to_do() {
        let (_root, host, cache) = computer("echo 'No module named pip' >&2; exit 1");
        assert!(!has_pip(&host));
        let error = fetch(&host, &cache).unwrap_err().to_string();
        assert!(
            error.contains("No module named pip") && error.contains("next: check the network"),
            "{error}"
        );
    }
}
