//! A set of tools in the cache: unpacked from its packages, cut down to what the programs load, checked before use.
//!
//! The manifest has size and checksum of each file. Sizes and times are compared at every use; the checksum of a file
//! that was changed since it was last found whole is computed again. What is damaged is thrown away and unpacked anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use goblin::elf::Elf;
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, sha256_file};
use crate::error::{Error, IoContext as _, Result};
use crate::kept;
use crate::packages::{self, TRIPLET, unpack::unpack};
use crate::policy::Policy;
use crate::progress::Step;
use crate::toolbox::set::{PRUNED, Set};
use crate::toolbox::toolbox;

const MANIFEST: &str = "manifest.json";

/// The file whose time says when all files were last found whole.
const VERIFIED: &str = "verified";

/// The loader, in each set.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// What is loaded at run time, without a program or library saying so in its header.
const LOADED_LATER: [&str; 2] = ["libgcc_s.so.1", LOADER];

/// What unpacking takes on disk at its largest, in MiB: archives, the whole tree and the result.
const ROOM_MIB: u64 = 500;

/// A set, in the cache.
#[derive(Debug, Clone)]
pub struct Unpacked {
    directory: PathBuf,
    packages: Vec<String>,
}

/// What was unpacked, from what, and how to tell that it still is that.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    packages: Vec<String>,
    files: BTreeMap<String, File>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    size_bytes: u64,
    sha256: String,
}

impl Unpacked {
    /// A set: from the cache where it is whole there, else unpacked.
    ///
    /// # Errors
    ///
    /// The packages cannot be fetched, or the cache cannot be written.
    pub fn ensure(cache: &Cache, set: &Set) -> Result<Unpacked> {
        let build = |cache: &Cache, into: &Path| build(cache, set, into);
        let kind = kept::Kind { lock: "tools", room_mib: ROOM_MIB, check: &check, build: &build };
        let directory = kept::ensure(cache, &set.directory(), &kind)?;
        let packages = read_manifest(&directory)?.packages;
        Ok(Unpacked { directory, packages })
    }

    /// A file or directory of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What `directory` would be with a set in it.
    pub(super) fn at(directory: impl Into<PathBuf>, packages: Vec<String>) -> Unpacked {
        Unpacked { directory: directory.into(), packages }
    }

    /// A script that starts its program `name`: for who wants one path.
    pub fn script(&self, name: &str) -> PathBuf {
        self.path(&format!("bin/{name}"))
    }

    /// Its directory of scripts: for who looks on a PATH.
    pub fn scripts(&self) -> PathBuf {
        self.path("bin")
    }

    /// Its directory of libraries.
    pub fn libraries(&self) -> PathBuf {
        self.path(&libraries())
    }

    /// Its loader, which starts any of its programs on any host.
    pub fn loader(&self) -> PathBuf {
        self.libraries().join(LOADER)
    }

    /// The names and versions of its packages, as files in an archive are called.
    pub fn packages(&self) -> &[String] {
        &self.packages
    }
}

fn libraries() -> String {
    format!("usr/lib/{TRIPLET}")
}

fn build(cache: &Cache, set: &Set, into: &Path) -> Result<()> {
    Policy::get().demand_download(set.title, set.about_mb)?;
    let step = Step::begin(set.title);
    let scratch = cache.scratch()?;
    let archive = packages::open(set.release, scratch.path())?;
    let size_bytes: u64 = archive.resolve(set.packages)?.iter().map(|package| package.size_bytes).sum();
    step.say(&format!("{}: {} MB to download", set.title, size_bytes.div_ceil(1_000_000)));
    let archives = archive.download(set.packages)?;
    step.now("unpack");
    let tree = scratch.path().join("tree");
    unpack(&archives, &tree)?;
    take(set, &tree, into)?;
    for name in set.programs {
        write_script(&into.join("bin").join(name), &script(name))?;
    }
    let mut files = BTreeMap::new();
    for file in kept::files(into)? {
        let path = into.join(&file);
        let size_bytes = path.symlink_metadata().at("failed to look at", &path)?.len();
        files.insert(file, File { size_bytes, sha256: sha256_file(&path)? });
    }
    let manifest = Manifest { packages: kept::names_of(&archives), files };
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|source| Error::setup("failed to write the manifest").source(source))?;
    let path = into.join(MANIFEST);
    fs::write(&path, text).at("failed to write", &path)?;
    verified(into)?;
    step.done(&format!("{} packages", archives.len()));
    Ok(())
}

/// Moves what a set keeps from the whole tree: its programs, its data, and the libraries that these load.
fn take(set: &Set, tree: &Path, into: &Path) -> Result<()> {
    let mut roots = Vec::new();
    for name in set.programs {
        let from = ["usr/bin", "usr/sbin"].map(|place| tree.join(place).join(name));
        let from = from.iter().find(|path| path.is_file()).ok_or_else(|| {
            Error::setup(format!("the packages {} bring no program {name}", set.packages.join(", ")))
        })?;
        let to = into.join("usr/bin").join(name);
        copy(from, &to)?;
        roots.push(to);
    }
    for directory in set.data {
        let from = tree.join(directory);
        if !from.is_dir() {
            return Err(Error::setup(format!(
                "the packages {} bring no {directory}",
                set.packages.join(", ")
            )));
        }
        for file in kept::files(&from)? {
            let name = format!("{directory}/{file}");
            if !set.pruned.iter().chain(PRUNED).any(|prefix| name.starts_with(prefix)) {
                copy(&from.join(&file), &into.join(&name))?;
                roots.push(into.join(&name));
            }
        }
    }
    let places = ["usr/lib", "lib"].map(|place| tree.join(place).join(TRIPLET));
    for name in needed(&roots, &places)? {
        if let Some(from) = places.iter().map(|place| place.join(&name)).find(|path| path.is_file()) {
            copy(&from, &into.join(libraries()).join(&name))?;
        }
    }
    Ok(())
}

/// The names of the libraries that files load, and those that these load.
fn needed(roots: &[PathBuf], places: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut names: BTreeSet<String> = LOADED_LATER.map(str::to_owned).into();
    let mut files: VecDeque<PathBuf> = roots.iter().cloned().collect();
    let find = |name: &str| places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    files.extend(names.iter().filter_map(|name| find(name)));
    while let Some(file) = files.pop_front() {
        let bytes = fs::read(&file).at("failed to read", &file)?;
        let Ok(elf) = Elf::parse(&bytes) else { continue };
        for name in elf.libraries {
            if names.insert(name.to_owned()) {
                files.extend(find(name));
            }
        }
    }
    Ok(names)
}

/// A script that starts the program `name` of the set that it is in, wherever that is.
fn script(name: &str) -> String {
    let tool = toolbox::from_set(&Unpacked::at("$root", Vec::new()), name);
    let quoted = |word: &OsString| format!("\"{}\"", word.to_string_lossy());
    let words: Vec<String> = tool.argv.iter().map(quoted).collect();
    let variables =
        tool.env.iter().map(|(key, value)| format!("{}={} ", key.to_string_lossy(), quoted(value)));
    let variables: String = variables.collect();
    format!("#!/bin/sh\nroot=${{0%/*}}/..\n{variables}exec {} \"$@\"\n", words.join(" "))
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("failed to create", parent)?;
    }
    fs::write(path, text).at("failed to write", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).at("failed to set the mode of", path)
}

/// Copies a file, or what a link leads to, with its rights.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).at("failed to create", parent)?;
    }
    fs::copy(from, to).at("failed to copy to", to)?;
    let mode = fs::metadata(from).at("failed to look at", from)?.permissions().mode();
    fs::set_permissions(to, fs::Permissions::from_mode(mode & 0o755 | 0o600))
        .at("failed to set the mode of", to)
}

fn read_manifest(directory: &Path) -> Result<Manifest> {
    let path = directory.join(MANIFEST);
    let text = fs::read_to_string(&path).at("failed to read", &path)?;
    serde_json::from_str(&text)
        .map_err(|source| Error::setup(format!("failed to parse {}", path.display())).source(source))
}

fn verified(directory: &Path) -> Result<()> {
    let path = directory.join(VERIFIED);
    fs::write(&path, "").at("failed to write", &path)
}

/// Compares the files with the manifest.
fn check(directory: &Path) -> Result<()> {
    let manifest = read_manifest(directory)?;
    // Without it every file is read.
    let since = fs::metadata(directory.join(VERIFIED)).ok().map(|file| (file.mtime(), file.mtime_nsec()));
    let mut was_read = false;
    for (name, expected) in &manifest.files {
        let path = directory.join(name);
        let found = fs::metadata(&path).at("failed to look at", &path)?;
        if found.len() != expected.size_bytes {
            let (found, expected) = (found.len(), expected.size_bytes);
            return Err(Error::setup(format!("{name} has {found} bytes, not {expected}")));
        }
        if since.is_some_and(|since| (found.ctime(), found.ctime_nsec()) <= since) {
            continue;
        }
        was_read = true;
        let found = sha256_file(&path)?;
        if found != expected.sha256 {
            return Err(Error::setup(format!("{name} has checksum {found}, not {}", expected.sha256)));
        }
    }
    if was_read {
        // A cache that cannot be written is read anew each time.
        let _ = verified(directory);
    }
    Ok(())
}
