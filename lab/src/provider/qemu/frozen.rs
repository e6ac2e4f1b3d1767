//! Both machines, booted once and saved: what every lab and every scenario is forked from.
//!
//! A directory of the cache, named by all that the state depends on. A machine's memory is a file that forks
//! map privately, so that a fork reads only what it touches and side-by-side forks share it; the rest of its
//! state is a megabyte. What is damaged or does not wake up is thrown away and made again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, sha256, sha256_file};
use crate::error::{Error, IoContext as _, Result};
use crate::host::disk;
use crate::image::recipe::{self, Recipe};
use crate::image::{Image, Release};
use crate::node::Role;
use crate::progress::say;
use crate::provider::qemu::accel::Accel;
use crate::provider::qemu::argv::{Files, Machine, Origin};
use crate::provider::qemu::ssh;
use crate::toolbox::{Tool, set};

const MANIFEST: &str = "manifest.json";

/// Counts changes of how a pair is frozen that nothing else in the key shows.
const FORMAT: u32 = 1;

/// What a frozen pair takes on disk, in MiB; measured, with room.
const ROOM_MIB: u64 = 400;

/// Other frozen pairs and images of this age are taken for abandoned.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// A frozen pair, in the cache.
#[derive(Debug, Clone)]
pub struct Frozen {
    directory: PathBuf,
}

/// What was saved, to be compared before it is used.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// Length in bytes of the memory files.
    memory: BTreeMap<Role, u64>,
    /// SHA-256 of the state files.
    state: BTreeMap<Role, String>,
}

impl Frozen {
    /// The frozen pair for this image, accelerator, key and QEMU: from the cache, or made by `freeze`, which leaves
    /// the files in the directory it is given.
    ///
    /// # Errors
    ///
    /// The machines do not come up, or the cache cannot be written.
    pub fn ensure(
        cache: &Cache,
        image: &Image,
        accel: Accel,
        ssh_key: &ssh::Key,
        qemu: &Tool,
        freeze: impl FnOnce(&Frozen) -> Result<()>,
    ) -> Result<Frozen> {
        let frozen =
            Frozen { directory: cache.path(&format!("frozen-{}", key(image, accel, ssh_key, qemu))) };
        if frozen.directory.exists() && frozen.check().is_ok() {
            return Ok(frozen);
        }
        let _lock = cache.lock("frozen")?;
        if frozen.directory.exists() {
            match frozen.check() {
                Ok(()) => return Ok(frozen),
                Err(error) => {
                    say(&format!("the frozen machines are damaged and are made again: {error}"));
                    frozen.discard()?;
                }
            }
        }
        disk::demand(&cache.path(""), ROOM_MIB)?;
        let scratch = cache.scratch()?;
        let building = Frozen { directory: scratch.path().join("frozen") };
        fs::create_dir_all(&building.directory).at("failed to create", &building.directory)?;
        freeze(&building)?;
        building.write_manifest()?;
        fs::rename(&building.directory, &frozen.directory)
            .at("failed to rename into place", &frozen.directory)?;
        evict(cache, &image.root().with_file_name(""), &frozen.directory);
        Ok(frozen)
    }

    /// The file that is a machine's memory.
    pub fn memory(&self, role: Role) -> PathBuf {
        self.directory.join(format!("memory-{role}"))
    }

    /// The file with the rest of a machine's state.
    pub fn state(&self, role: Role) -> PathBuf {
        self.directory.join(format!("state-{role}"))
    }

    /// The host keys of both machines, as `ssh` reads them.
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    /// Throws it away; what runs from it runs on.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub fn discard(&self) -> Result<()> {
        if !self.directory.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&self.directory).at("failed to remove", &self.directory)
    }

    fn write_manifest(&self) -> Result<()> {
        let mut manifest = Manifest { memory: BTreeMap::new(), state: BTreeMap::new() };
        for role in Role::BOTH {
            manifest.memory.insert(role, length(&self.memory(role))?);
            manifest.state.insert(role, sha256_file(&self.state(role))?);
        }
        let path = self.directory.join(MANIFEST);
        let text = serde_json::to_string_pretty(&manifest)
            .map_err(|source| Error::setup("failed to write the manifest").source(source))?;
        fs::write(&path, text).at("failed to write", &path)
    }

    fn check(&self) -> Result<()> {
        let path = self.directory.join(MANIFEST);
        let text = fs::read_to_string(&path).at("failed to read", &path)?;
        let manifest: Manifest = serde_json::from_str(&text)
            .map_err(|source| Error::setup(format!("failed to parse {}", path.display())).source(source))?;
        for role in Role::BOTH {
            if manifest.memory.get(&role) != Some(&length(&self.memory(role))?) {
                return Err(Error::setup(format!("the memory of {role} has another length")));
            }
            if manifest.state.get(&role) != Some(&sha256_file(&self.state(role))?) {
                return Err(Error::setup(format!("the state of {role} has another checksum")));
            }
        }
        fs::metadata(self.known_hosts()).at("failed to look at", &self.known_hosts()).map(drop)
    }
}

fn length(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).at("failed to look at", path)?.len())
}

/// All that the state depends on; never the programs.
fn key(image: &Image, accel: Accel, ssh_key: &ssh::Key, qemu: &Tool) -> String {
    let qemu = qemu.identity.clone();
    let mut parts = vec![FORMAT.to_string(), qemu, image.recipe().image_key(), ssh_key.public().to_owned()];
    let nowhere = Path::new("/");
    let image_directory = image.root().with_file_name("").display().to_string();
    for role in Role::BOTH {
        let files = Files::new(nowhere, role);
        let machine = Machine {
            role,
            image,
            accel,
            files: &files,
            deployment: nowhere,
            console: nowhere,
            memory: nowhere,
            origin: Origin::Boot,
        };
        // Where the cache is does not matter: what is in the image has its own part.
        parts.extend(machine.argv().iter().map(|word| word.to_string_lossy().replace(&image_directory, "")));
    }
    if accel == Accel::Kvm {
        // A guest on `-cpu host` has seen this processor.
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let traits = ["model name", "flags", "microcode"];
        parts.extend(
            processor
                .lines()
                .filter(|line| traits.iter().any(|name| line.starts_with(name)))
                .take(traits.len())
                .map(str::to_owned),
        );
    }
    sha256(parts.join("\0").as_bytes())[..16].to_owned()
}

/// Removes what other recipes and other QEMUs left, once it is old enough not to be in use by a checkout
/// beside this one.
fn evict(cache: &Cache, image: &Path, keep: &Path) {
    let mut current = vec![keep.to_owned(), image.to_owned()];
    // What another guest's machines are frozen from again without a download.
    for release in Release::all() {
        current.push(cache.path(&format!("image-{}", Recipe::lab(release).image_key())));
        current.push(cache.path(&format!("sysroot-{}", recipe::sysroot_key(release))));
    }
    current.extend(set::ALL.iter().map(|set| cache.path(&set.directory())));
    for entry in fs::read_dir(cache.path("")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = ["frozen-", "image-", "sysroot-", "tools-", "building-"]
            .iter()
            .any(|kind| name.starts_with(kind));
        let age = entry
            .metadata()
            .and_then(|file| file.modified())
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        if is_ours
            && entry.path().is_dir()
            && !current.contains(&entry.path())
            && age.is_some_and(|age| age > ABANDONED)
        {
            // Whoever cannot be evicted stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(directory: &Path) -> Frozen {
        let frozen = Frozen { directory: directory.to_owned() };
        for role in Role::BOTH {
            fs::write(frozen.memory(role), "memory").unwrap();
            fs::write(frozen.state(role), "state").unwrap();
        }
        fs::write(frozen.known_hosts(), "x").unwrap();
        frozen.write_manifest().unwrap();
        frozen.check().unwrap();
        frozen
    }

    #[test]
    fn truncated_state_and_memory_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let frozen = made(directory.path());
        fs::write(frozen.state(Role::Client), "stat").unwrap();
        assert!(frozen.check().unwrap_err().to_string().contains("state of client"));
        let frozen = made(directory.path());
        fs::write(frozen.memory(Role::Server), "mem").unwrap();
        assert!(frozen.check().unwrap_err().to_string().contains("memory of server"));
        let frozen = made(directory.path());
        fs::remove_file(frozen.known_hosts()).unwrap();
        assert!(frozen.check().is_err());
    }

    #[test]
    fn only_old_directories_of_other_keys_are_evicted() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let [keep, fresh, old] = ["frozen-keep", "frozen-fresh", "frozen-old"].map(|name| cache.path(name));
        let other = Release::oldest();
        let image = cache.path(&format!("image-{}", Recipe::lab(other).image_key()));
        let sysroot = cache.path(&format!("sysroot-{}", recipe::sysroot_key(other)));
        for path in [&keep, &fresh, &old, &image, &sysroot] {
            fs::create_dir(path).unwrap();
        }
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        for path in [&keep, &old, &image, &sysroot] {
            fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        evict(&cache, &keep, &keep);
        assert!(keep.exists() && fresh.exists() && !old.exists());
        assert!(image.exists() && sysroot.exists(), "what another guest is frozen from");
    }
}
