//! Both machines, booted once and saved: what every lab and every scenario is forked from.
//!
//! A further client is forked from the frozen client, and becomes itself once it is awake.
//!
//! A directory of the cache, named by all that the state depends on. A machine's memory is a file that forks
//! map privately, so that a fork reads only what it touches and side-by-side forks share it; the rest of its
//! state is half a megabyte. What is damaged, or was taken by QEMU and did not wake, is thrown away and made again; a
//! fork that fails for another reason leaves it alone. Whoever forks holds the state's lock together with others until
//! its machines have taken it; whoever throws it away holds the lock alone, and only throws away what it has seen.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::base::cache::{Cache, Lock, sha256};
use crate::base::disk;
use crate::base::error::{IoContext as _, Result};
use crate::base::progress::say;
use crate::base::role::Role;
use crate::base::seal::{self, SealError};
use crate::guest::image::recipe::{self, Recipe};
use crate::guest::image::{Image, Release};
use crate::host::toolbox::{Tool, set};
use crate::provider::qemu::accel::Accel;
use crate::provider::qemu::argv::{Files, Origin, QemuMachine};
use crate::provider::qemu::ssh;

/// The files that are sealed.
const FILES: [&str; 5] = ["memory-server", "memory-client", "state-server", "state-client", "known_hosts"];

/// Counts changes of how a pair is frozen that nothing else in the key shows.
const FORMAT: u32 = 2;

/// Size of a frozen pair on disk, in MiB; measured, with room.
const ROOM_MIB: u64 = 400;

/// Other frozen pairs and images of this age are taken for abandoned.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// A frozen pair, in the cache; it is not thrown away as long as this is held.
#[derive(Debug)]
pub struct Frozen {
    cache: Cache,
    name: String,
    directory: PathBuf,
    /// Tells the directory from one that takes its place; 0 while it is being made.
    inode: u64,
    held: Option<Lock>,
}

impl Frozen {
    /// The frozen pair for this image, accelerator, key and QEMU: from the cache, or made by `freeze`, which leaves
    /// the files in the directory it is given.
    ///
    /// # Errors
    ///
    /// The machines do not come up, the cache cannot be written, or this computer lacks what a check needs.
    pub fn ensure(
        cache: &Cache,
        image: &Image,
        accel: Accel,
        ssh_key: &ssh::Key,
        qemu: &Tool,
        freeze: impl FnOnce(&Frozen) -> Result<()>,
    ) -> Result<Frozen> {
        let name = format!("frozen-{}", key(image, accel, ssh_key, qemu));
        if let Some(frozen) = Frozen::held(cache, &name)?
            && frozen.damage()?.is_none()
        {
            return Ok(frozen);
        }
        let _lock = cache.lock("frozen")?;
        // Whoever held the lock may have made it meanwhile.
        if let Some(frozen) = Frozen::held(cache, &name)? {
            match frozen.damage()? {
                None => return Ok(frozen),
                Some(what) => {
                    say(&format!("the frozen machines are damaged and are made again: {what}"));
                    frozen.discard()?;
                }
            }
        }
        disk::demand(&cache.path(""), ROOM_MIB)?;
        let scratch = cache.scratch()?;
        let building = Frozen::at(cache, &name, scratch.path().join("frozen"));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&building.directory)
            .at("failed to create", &building.directory)?;
        for role in Role::BOTH {
            // QEMU takes the file that is there, and would make one that others can read.
            create_private(&building.memory(role))?;
        }
        freeze(&building)?;
        seal::seal(&building.directory, &FILES)?;
        let directory = cache.path(&name);
        fs::rename(&building.directory, &directory).at("failed to rename into place", &directory)?;
        let held = Frozen::held(cache, &name)?;
        evict(cache, &image.root().with_file_name(""), &directory);
        held.ok_or_else(|| crate::Error::setup(format!("{} was removed at once", directory.display())))
    }

    fn at(cache: &Cache, name: &str, directory: PathBuf) -> Frozen {
        Frozen { cache: cache.clone(), name: name.to_owned(), directory, inode: 0, held: None }
    }

    /// The one of that name, if it is there, with its lock.
    fn held(cache: &Cache, name: &str) -> Result<Option<Frozen>> {
        let directory = cache.path(name);
        if !directory.exists() {
            return Ok(None);
        }
        let held = Some(cache.lock_shared(name)?);
        let inode = fs::metadata(&directory).map(|file| file.ino()).ok();
        Ok(inode.map(|inode| Frozen { inode, held, ..Frozen::at(cache, name, directory) }))
    }

    /// The file that is a machine's memory.
    pub fn memory(&self, role: Role) -> PathBuf {
        self.directory.join(format!("memory-{}", role.model()))
    }

    /// The file with the rest of a machine's state.
    pub fn state(&self, role: Role) -> PathBuf {
        self.directory.join(format!("state-{}", role.model()))
    }

    /// The host keys of both machines, as `ssh` reads them.
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    /// The rest of a machine's state, as it was saved.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn read_state(&self, role: Role) -> Result<Vec<u8>> {
        let path = self.state(role);
        fs::read(&path).at("failed to read", &path)
    }

    /// Keeps the rest of a machine's state, for this user alone: it is what was in the machine's processor.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_state(&self, role: Role, state: &[u8]) -> Result<()> {
        let path = self.state(role);
        create_private(&path)?.write_all(state).at("failed to write", &path)
    }

    /// Throws it away, unless another has taken its place; what runs from it runs on.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub fn discard(self) -> Result<()> {
        let Frozen { cache, name, directory, inode, held } = self;
        drop(held);
        let _alone = cache.lock(&name)?;
        match fs::metadata(&directory) {
            Ok(found) if found.ino() == inode => {
                fs::remove_dir_all(&directory).at("failed to remove", &directory)
            }
            _ => Ok(()),
        }
    }

    /// Damage to its files, if there is any.
    ///
    /// # Errors
    ///
    /// There is no telling, for a reason of this computer's.
    fn damage(&self) -> Result<Option<String>> {
        match seal::check(&self.directory, &FILES) {
            Ok(()) => Ok(None),
            Err(SealError::Damaged(what)) => Ok(Some(what)),
            Err(SealError::Host(error)) => Err(error),
        }
    }
}

/// The frozen machine of each role: of one pair, or of two where they differ.
#[derive(Debug, Default)]
pub struct FrozenMachines {
    /// Pairs, each with the key of its image and the roles that are taken from it.
    pairs: Vec<(String, Vec<Role>, Frozen)>,
}

impl FrozenMachines {
    /// Takes a role from the pair of the image `key`, if that is there already; returns whether it is.
    pub(super) fn share(&mut self, role: Role, key: &str) -> bool {
        let pair = self.pairs.iter_mut().find(|(of, ..)| of == key);
        pair.map(|(_, roles, _)| roles.push(role)).is_some()
    }

    /// Adds the pair of the image `key`, for a role.
    pub(super) fn add(&mut self, role: Role, key: String, frozen: Frozen) {
        self.pairs.push((key, vec![role], frozen));
    }

    /// The pair that a role's machine is taken from.
    ///
    /// # Errors
    ///
    /// None was added for it.
    pub(super) fn of(&self, role: Role) -> Result<&Frozen> {
        let found = self.pairs.iter().find(|(_, roles, _)| roles.contains(&role.model()));
        let missing = || crate::Error::setup(format!("node {role} has no frozen machine"));
        found.map(|(.., frozen)| frozen).ok_or_else(missing)
    }

    /// Throws them away, as [`Frozen::discard`].
    ///
    /// # Errors
    ///
    /// One cannot be removed.
    pub fn discard(self) -> Result<()> {
        self.pairs.into_iter().try_for_each(|(.., frozen)| frozen.discard())
    }
}

/// Makes a file that only this user can read.
fn create_private(path: &Path) -> Result<fs::File> {
    fs::File::options().create_new(true).write(true).mode(0o600).open(path).at("failed to create", path)
}

/// All that the state depends on; never the programs.
fn key(image: &Image, accel: Accel, ssh_key: &ssh::Key, qemu: &Tool) -> String {
    let qemu = qemu.identity.clone();
    let mut parts = vec![FORMAT.to_string(), qemu, image.recipe().image_key(), ssh_key.public().to_owned()];
    let nowhere = Path::new("/");
    let image_directory = image.root().with_file_name("").display().to_string();
    for role in Role::BOTH {
        let files = Files::new(nowhere, role);
        let machine = QemuMachine {
            role,
            image,
            accel,
            files: &files,
            deployment: nowhere,
            console: nowhere,
            memory: nowhere,
            origin: Origin::Boot,
            // The state is the same.
            is_confined: false,
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
            let alone = cache.try_lock(&name);
            if alone.is_none() && name.starts_with("frozen-") {
                // Somebody forks from it.
                continue;
            }
            // Whoever cannot be evicted stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(cache: &Cache, name: &str) -> Frozen {
        let building = Frozen::at(cache, name, cache.path(name));
        fs::create_dir(&building.directory).unwrap();
        for role in Role::BOTH {
            create_private(&building.memory(role)).unwrap().write_all(b"memory").unwrap();
            building.write_state(role, b"state").unwrap();
        }
        fs::write(building.known_hosts(), "x").unwrap();
        seal::seal(&building.directory, &FILES).unwrap();
        Frozen::held(cache, name).unwrap().unwrap()
    }

    #[test]
    fn every_file_is_checked_and_nobody_else_reads_machines() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        for name in FILES {
            let frozen = made(&cache, "frozen-x");
            assert_eq!(frozen.damage().unwrap(), None);
            let path = frozen.directory.join(name);
            let mode = fs::metadata(&path).unwrap().mode() & 0o777;
            assert!(mode == 0o600 || name == "known_hosts", "{name}: {mode:o}");
            let mut bytes = fs::read(&path).unwrap();
            bytes[0] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(frozen.damage().unwrap(), Some(format!("{name} has another checksum")));
            frozen.discard().unwrap();
        }
    }

    #[test]
    fn each_role_is_taken_from_the_pair_of_its_image() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let path = |machines: &FrozenMachines, role| machines.of(role).unwrap().memory(role);
        let mut alike = FrozenMachines::default();
        assert!(!alike.share(Role::Server, "a") && alike.of(Role::Server).is_err());
        alike.add(Role::Server, "a".to_owned(), made(&cache, "frozen-a"));
        assert!(alike.share(Role::Client, "a"));
        for role in [Role::Client, Role::Client2, Role::Client7] {
            assert_eq!(path(&alike, role), cache.path("frozen-a/memory-client"));
        }
        // One lock, so one holder has to let go before it is thrown away.
        alike.discard().unwrap();
        let mut mixed = FrozenMachines::default();
        for (role, key) in [(Role::Server, "a"), (Role::Client, "b")] {
            assert!(!mixed.share(role, key));
            mixed.add(role, key.to_owned(), made(&cache, &format!("frozen-{key}")));
        }
        assert_eq!(path(&mixed, Role::Server), cache.path("frozen-a/memory-server"));
        assert_eq!(path(&mixed, Role::Client), cache.path("frozen-b/memory-client"));
    }

    #[test]
    fn only_what_was_seen_is_thrown_away_and_not_while_somebody_forks_from_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        let (seen, path) = (made(&cache, "frozen-x"), cache.path("frozen-x"));
        fs::rename(&path, cache.path("aside")).unwrap();
        let other = made(&cache, "frozen-x");
        let fork = Frozen::held(&cache, "frozen-x").unwrap().unwrap();
        drop(other);
        let waiter = std::thread::spawn(move || seen.discard());
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiter.is_finished(), "a fork is under way");
        drop(fork);
        waiter.join().unwrap().unwrap();
        assert!(path.exists(), "another has taken the place of what was seen");
        Frozen::held(&cache, "frozen-x").unwrap().unwrap().discard().unwrap();
        assert!(!path.exists());
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
