//! From packages to the files of a node, and the check of what is cached.
//!
//! An image is a directory of the cache, named by its recipe: `vmlinuz`, `initrd`, `root.erofs` and a
//! manifest with their checksums. A file that is not what the manifest says is thrown away with its image,
//! which is then built again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use crate::base::cache::{Cache, needed_record, sha256_file, write_record};
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::invocation;
use crate::base::kept::{self, KeptKind};
use crate::base::policy::Policy;
use crate::base::progress::Step;
use crate::guest::contents::{Contents, MODULES};
use crate::guest::image::kernel::{self, KernelFiles};
use crate::guest::image::modules::{Module, Modules};
use crate::guest::image::newc;
use crate::guest::image::recipe::{self, Recipe};
use crate::guest::image::release::Release;
use crate::host::packages::unpack::unpack;
use crate::host::packages::{self, Archive};
use crate::host::toolbox::Toolbox;

const MANIFEST: &str = "manifest.json";

/// The absolute paths of all files on the root disk, one a line.
const FILES: &str = "files.txt";

/// Disk space of a build at its largest, in MiB: archives, trees and the result.
const ROOM_MIB: u64 = 900;

/// Downloads of an image, in MB, as measured: for who forbids downloads.
const IMAGE_ABOUT_MB: u32 = 127;

/// Downloads of a sysroot, likewise.
const SYSROOT_ABOUT_MB: u32 = 10;

/// The longest wait for the root disk to be packed.
const PACK_LIMIT: Duration = Duration::from_secs(300);

/// A bootable guest, in the cache.
#[derive(Debug, Clone)]
pub struct Image {
    directory: PathBuf,
    recipe: Recipe,
}

/// The guest release's headers and libraries, unpacked in the cache: what guest programs are built against.
#[derive(Debug, Clone)]
pub struct Sysroot {
    directory: PathBuf,
    key: String,
}

/// Parts of a build, with their checksums.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    kernel: String,
    packages: Vec<String>,
    sha256: BTreeMap<String, String>,
}

impl Image {
    /// The image of a recipe: from the cache where it is whole there, else built.
    ///
    /// # Errors
    ///
    /// A tool is missing, the packages cannot be fetched, or the cache cannot be written.
    pub fn ensure(cache: &Cache, recipe: &Recipe) -> Result<Image> {
        let name = format!("image-{}", recipe.image_key());
        let build = |cache: &Cache, into: &Path| build_image(cache, recipe, into);
        let kind = KeptKind { lock: "image", room_mib: ROOM_MIB, check: &Image::check, build: &build };
        let directory = kept::ensure(cache, &name, &kind)?;
        Ok(Image { directory, recipe: recipe.clone() })
    }

    /// Its recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The kernel, as QEMU loads it.
    pub fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The initramfs, as QEMU loads it.
    pub fn initrd(&self) -> PathBuf {
        self.directory.join("initrd")
    }

    /// The read-only root disk, an erofs.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root.erofs")
    }

    /// The names and versions of its packages, as files in an archive are called.
    ///
    /// # Errors
    ///
    /// The manifest cannot be read.
    pub fn packages(&self) -> Result<Vec<String>> {
        Ok(read_manifest(&self.directory)?.packages)
    }

    /// The version of its kernel, as `uname -r` prints it.
    ///
    /// # Errors
    ///
    /// The manifest cannot be read.
    pub fn kernel_version(&self) -> Result<String> {
        Ok(read_manifest(&self.directory)?.kernel)
    }

    /// Contents of the root disk, and the version of its C library.
    ///
    /// # Errors
    ///
    /// The list cannot be read.
    pub fn contents(&self) -> Result<Contents> {
        let path = self.directory.join(FILES);
        let paths = fs::read_to_string(&path).at("failed to read", &path)?;
        Ok(Contents::new(paths.lines(), libc(&self.packages()?)))
    }

    fn check(directory: &Path) -> Result<()> {
        for (file, expected) in read_manifest(directory)?.sha256 {
            let found = sha256_file(&directory.join(&file))?;
            if found != expected {
                return Err(Error::setup(format!("{file} has checksum {found}, not {expected}")));
            }
        }
        Ok(())
    }
}

impl Sysroot {
    /// The sysroot of a release: from the cache where it is whole there, else built.
    ///
    /// # Errors
    ///
    /// As [`Image::ensure`].
    pub fn ensure(cache: &Cache, release: &'static Release) -> Result<Sysroot> {
        let key = recipe::sysroot_key(release);
        let build = |cache: &Cache, into: &Path| build_sysroot(cache, release, into);
        let kind = KeptKind { lock: "sysroot", room_mib: ROOM_MIB, check: &Sysroot::check, build: &build };
        let directory = kept::ensure(cache, &format!("sysroot-{key}"), &kind)?;
        Ok(Sysroot { directory, key })
    }

    /// Its root directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Identity among sysroots, fit for a file name.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn check(directory: &Path) -> Result<()> {
        for (file, expected) in read_manifest(directory)?.sha256 {
            let path = directory.join(&file);
            let found = fs::metadata(&path).at("failed to look at", &path)?.len().to_string();
            if found != expected {
                return Err(Error::setup(format!("{file} has {found} bytes, not {expected}")));
            }
        }
        Ok(())
    }
}

fn read_manifest(directory: &Path) -> Result<Manifest> {
    needed_record(&directory.join(MANIFEST))
}

fn build_image(cache: &Cache, recipe: &Recipe, into: &Path) -> Result<()> {
    let scratch = cache.scratch()?;
    let shell = shell()?;

    let release = recipe.release;
    let what = format!("guest image: packages of {}", release.title);
    Policy::get().demand_download(&what, IMAGE_ABOUT_MB)?;
    let step = Step::begin(&what);
    let archive = packages::open(&release.codename, scratch.path())?;
    let of_kernel = archive_of_kernel(recipe, scratch.path())?;
    let of_kernel = of_kernel.as_deref().unwrap_or(archive.as_ref());
    let kernel_packages = match recipe.own.kernel {
        Some(_) => Vec::new(),
        None => kernel::packages(of_kernel, &release.kernel.package)?,
    };
    let kernel_packages: Vec<&str> = kernel_packages.iter().map(String::as_str).collect();
    let packages = &recipe.all_packages();
    let size_bytes: u64 = archive.resolve(packages)?.iter().map(|package| package.size_bytes).sum();
    let kernel_bytes = if kernel_packages.is_empty() { 0 } else { size_of(of_kernel, &kernel_packages)? };
    step.say(&format!("{what}: {} MB to download", (size_bytes + kernel_bytes).div_ceil(1_000_000)));
    let mut archives = archive.download(packages)?;
    let kernel_archives = match kernel_packages.is_empty() {
        true => Vec::new(),
        false => of_kernel.download_only(&kernel_packages, &scratch.path().join("kernel"))?,
    };
    step.done(&format!("{} downloaded", archives.len() + kernel_archives.len()));

    let step = Step::begin("guest image: unpack and pack");
    let root = scratch.path().join("root");
    unpack(&archives, &root)?;
    merge_usr(&root)?;
    let kernel_root = scratch.path().join("kernel-root");
    let KernelFiles { version, vmlinuz, modules } = match &recipe.own.kernel {
        Some(kernel) => kernel.clone(),
        None => {
            unpack(&kernel_archives, &kernel_root)?;
            merge_usr(&kernel_root)?;
            let what = format!("package {} of {}", release.kernel.package, release.title);
            KernelFiles::find(&kernel_root, &what)?
        }
    };
    fs::copy(vmlinuz, into.join("vmlinuz")).at("failed to copy the kernel to", into)?;
    let mut modules = Modules::find(&modules)?;
    let names = &recipe.modules;
    recipe.own.replace(&mut modules, &[&names.early[..], &names.late].concat())?;
    let early = modules.order(&names.early)?;
    let mut late = modules.order(&names.late)?;
    late.retain(|module| !early.contains(module));

    furnish(&shell, recipe, &root)?;
    if let Some(files) = &recipe.own.rdma_core {
        files.place(&root, &Contents::new(paths_below(&root)?.lines(), libc(&kept::names_of(&archives))))?;
    }
    let asked: Vec<&str> = recipe.asked_modules.iter().map(String::as_str).collect();
    let asked = modules.order(&asked)?;
    let place = root.join(MODULES.trim_start_matches('/'));
    place_modules(&[modules.order(&names.ready)?, asked.clone()].concat(), &place)?;
    place_modules(&late, &place)?;
    if !asked.is_empty() {
        write_file(&place.join("asked"), 0o644, order_of(&asked).as_bytes())?;
    }
    let initramfs = scratch.path().join("initramfs");
    write_file(&initramfs.join("init"), 0o755, recipe::INITRAMFS_INIT.as_bytes())?;
    place_modules(&early, &initramfs.join("modules"))?;
    let busybox = fs::read(root.join("bin/busybox")).at("failed to read busybox in", &root)?;
    write_file(&initramfs.join("bin/busybox"), 0o755, &busybox)?;

    write_file(&into.join("initrd"), 0o644, &newc::pack(&initramfs)?)?;
    let disk = into.join("root.erofs");
    Toolbox::of(cache)
        .tool("mkfs.erofs")?
        .command()
        .args(["--quiet", "--all-root"])
        .args([&disk, &root])
        .run(PACK_LIMIT)?;
    write_file(&into.join(FILES), 0o644, paths_below(&root)?.as_bytes())?;
    step.done(&version);

    archives.extend(kernel_archives);
    let mut sha256 = BTreeMap::new();
    for file in ["vmlinuz", "initrd", "root.erofs", FILES] {
        sha256.insert(file.to_owned(), sha256_file(&into.join(file))?);
    }
    write_record(
        &into.join(MANIFEST),
        &Manifest { kernel: version, packages: kept::names_of(&archives), sha256 },
    )
}

/// The archive that has the kernel, where that is not the release itself.
fn archive_of_kernel(recipe: &Recipe, scratch: &Path) -> Result<Option<Box<dyn Archive>>> {
    let Some(suite) = recipe.release.kernel.suite.as_ref().filter(|_| recipe.own.kernel.is_none()) else {
        return Ok(None);
    };
    let lists = scratch.join("kernel-lists");
    fs::create_dir_all(&lists).at("failed to create", &lists)?;
    packages::open(suite, &lists).map(Some)
}

/// The absolute paths of all files in a root tree, one a line.
fn paths_below(root: &Path) -> Result<String> {
    Ok(kept::files(root)?.iter().map(|path| format!("/{path}\n")).collect())
}

/// The version of the C library among packages, as in `libc6_2.36-9+deb12u10_amd64.deb`; empty if there is none.
fn libc(packages: &[String]) -> &str {
    packages.iter().find_map(|name| name.strip_prefix("libc6_")).unwrap_or_default()
}

fn build_sysroot(cache: &Cache, release: &'static Release, into: &Path) -> Result<()> {
    let release = release.of_sysroot();
    let what = format!("sysroot: development packages of {}", release.title);
    Policy::get().demand_download(&what, SYSROOT_ABOUT_MB)?;
    let step = Step::begin(&what);
    let scratch = cache.scratch()?;
    let archive = packages::open(&release.codename, scratch.path())?;
    let packages: Vec<&str> = release.sysroot.iter().map(String::as_str).collect();
    let size_bytes = size_of(archive.as_ref(), &packages)?;
    step.say(&format!("{what}: {} MB to download", size_bytes.div_ceil(1_000_000)));
    let archives = archive.download_only(&packages, &scratch.path().join("sysroot"))?;
    unpack(&archives, into)?;
    merge_usr(into)?;
    prune(into, recipe::DOCUMENTATION)?;
    make_links_relative(into, into)?;
    let mut sizes = BTreeMap::new();
    list_sizes(into, into, &mut sizes)?;
    write_record(
        &into.join(MANIFEST),
        &Manifest { kernel: String::new(), packages: kept::names_of(&archives), sha256: sizes },
    )?;
    step.done(&format!("{} packages", archives.len()));
    Ok(())
}

fn shell() -> Result<Shell> {
    Shell::new().map_err(|source| Error::setup("failed to open a shell").source(source))
}

fn tool(name: &'static str) -> impl Fn(xshell::Error) -> Error {
    move |source| {
        Error::setup(format!("failed to run {name}")).source(source).next(format!(
            "{} says which tools are missing and how to get them",
            invocation::program("doctor")
        ))
    }
}

/// The size of exactly these packages, in bytes.
fn size_of(archive: &dyn Archive, packages: &[&str]) -> Result<u64> {
    Ok(archive.look_up(packages)?.iter().map(|package| package.size_bytes).sum())
}

/// Makes a tree of packages a root: what no node needs goes, our files and busybox's applets come.
fn furnish(shell: &Shell, recipe: &Recipe, root: &Path) -> Result<()> {
    prune(root, &[recipe::DOCUMENTATION, recipe::PRUNED, recipe.pruned].concat())?;
    for directory in recipe.directories {
        let path = root.join(directory);
        fs::create_dir_all(&path).at("failed to create", &path)?;
    }
    for (path, mode, content) in recipe.files {
        write_file(&root.join(path), *mode, content.as_bytes())?;
    }
    if !recipe.has_applets {
        return Ok(());
    }
    let busybox = root.join("bin/busybox");
    let applets = cmd!(shell, "{busybox} --list-full").quiet().read().map_err(tool("the guest's busybox"))?;
    for applet in applets.lines() {
        let path = root.join(applet);
        if path.symlink_metadata().is_err() {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).at("failed to create", parent)?;
            }
            symlink("/bin/busybox", &path).at("failed to link", &path)?;
        }
    }
    Ok(())
}

/// Directories that are `/usr/bin` and the like under another name, whichever of both a release's packages use.
const ALIASES: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Moves what packages brought into `/bin` and the like below `/usr`, and makes those links to it: what the package
/// base-files brings, and none of ours depends on.
fn merge_usr(root: &Path) -> Result<()> {
    for alias in ALIASES {
        let (path, target) = (root.join(alias), root.join("usr").join(alias));
        if path.is_symlink() {
            continue;
        }
        fs::create_dir_all(&target).at("failed to create", &target)?;
        if path.is_dir() {
            move_into(&path, &target)?;
        }
        symlink(Path::new("usr").join(alias), &path).at("failed to link", &path)?;
    }
    Ok(())
}

/// Moves what a directory has into another, directory by directory; what has the same name is replaced.
fn move_into(from: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(from).at("failed to list", from)? {
        let entry = entry.at("failed to list", from)?;
        let (path, target) = (entry.path(), into.join(entry.file_name()));
        if path.is_dir() && !path.is_symlink() && target.is_dir() {
            move_into(&path, &target)?;
        } else {
            fs::rename(&path, &target).at("failed to move to", &target)?;
        }
    }
    fs::remove_dir(from).at("failed to remove", from)
}

fn prune(root: &Path, paths: &[&str]) -> Result<()> {
    for path in paths {
        let path = root.join(path);
        if path.exists() {
            fs::remove_dir_all(&path).at("failed to remove", &path)?;
        }
    }
    Ok(())
}

/// Writes modules into a directory, with the file `order` that the init scripts follow.
fn place_modules(modules: &[Module], directory: &Path) -> Result<()> {
    for Module { name, bytes } in modules {
        write_file(&directory.join(format!("{name}.ko")), 0o644, bytes)?;
    }
    write_file(&directory.join("order"), 0o644, order_of(modules).as_bytes())
}

/// The names of modules, one a line.
fn order_of(modules: &[Module]) -> String {
    modules.iter().map(|module| format!("{}\n", module.name)).collect()
}

fn write_file(path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("failed to create", parent)?;
    }
    fs::write(path, content).at("failed to write", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("failed to set the mode of", path)
}

/// Turns links to absolute paths into relative ones: in a sysroot they would lead out of it.
fn make_links_relative(root: &Path, directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).at("failed to list", directory)? {
        let path = entry.at("failed to list", directory)?.path();
        let kind = path.symlink_metadata().at("failed to look at", &path)?.file_type();
        if kind.is_dir() {
            make_links_relative(root, &path)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).at("failed to read the link", &path)?;
            if let Ok(inside) = target.strip_prefix("/") {
                let depth = path
                    .strip_prefix(root)
                    .unwrap_or(&path)
                    .components()
                    .filter(|part| matches!(part, Component::Normal(_)))
                    .count();
                let up: PathBuf = std::iter::repeat_n("..", depth.saturating_sub(1)).collect();
                fs::remove_file(&path).at("failed to replace the link", &path)?;
                symlink(up.join(inside), &path).at("failed to link", &path)?;
            }
        }
    }
    Ok(())
}

/// The size of each regular file, for a check that takes no time.
fn list_sizes(root: &Path, directory: &Path, sizes: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(directory).at("failed to list", directory)? {
        let path = entry.at("failed to list", directory)?.path();
        let metadata = path.symlink_metadata().at("failed to look at", &path)?;
        if metadata.is_dir() {
            list_sizes(root, &path, sizes)?;
        } else if metadata.is_file() {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            sizes.insert(name, metadata.len().to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().to_owned()).unwrap();
        (directory, cache)
    }

    fn ensure(
        cache: &Cache,
        name: &str,
        check: &dyn Fn(&Path) -> Result<()>,
        build: &dyn Fn(&Cache, &Path) -> Result<()>,
    ) -> Result<PathBuf> {
        kept::ensure(cache, name, &KeptKind { lock: "image", room_mib: 1, check, build })
    }

    fn build(_: &Cache, into: &Path) -> Result<()> {
        fs::write(into.join("vmlinuz"), "kernel").unwrap();
        let sha256 = BTreeMap::from([("vmlinuz".to_owned(), crate::base::cache::sha256(b"kernel"))]);
        write_record(&into.join(MANIFEST), &Manifest { kernel: String::new(), packages: vec![], sha256 })
    }

    #[test]
    fn damaged_image_is_found_by_checksum_and_built_again() {
        let (_directory, cache) = cache();
        let path = ensure(&cache, "image-x", &Image::check, &build).unwrap();
        fs::write(path.join("vmlinuz"), "kernal").unwrap();
        assert!(Image::check(&path).is_err());
        ensure(&cache, "image-x", &Image::check, &build).unwrap();
        assert_eq!(fs::read_to_string(path.join("vmlinuz")).unwrap(), "kernel");
    }

    #[test]
    fn failed_build_leaves_nothing_behind() {
        let (directory, cache) = cache();
        let fail = |_: &Cache, _: &Path| Err(Error::setup("no"));
        ensure(&cache, "image-x", &Image::check, &fail).unwrap_err();
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["image.lock"]);
    }

    #[test]
    fn two_builders_of_one_image_build_it_once() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let (_directory, cache) = cache();
        let builds = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    ensure(&cache, "image-x", &Image::check, &|cache, into| {
                        builds.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(50));
                        build(cache, into)
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(builds.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_lies_outside_usr_is_found_under_both_names() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (path, text) in
            [("lib/x/a.so", "a"), ("usr/lib/x/b.so", "b"), ("bin/sh", "s"), ("usr/lib64/ld.so", "l")]
        {
            write_file(&root.join(path), 0o755, text.as_bytes()).unwrap();
        }
        symlink("sh", root.join("bin/dash")).unwrap();
        merge_usr(root).unwrap();
        for path in ["lib/x/a.so", "lib/x/b.so", "bin/dash", "lib64/ld.so"] {
            assert!(root.join(path).exists() && root.join("usr").join(path).exists(), "{path}");
        }
        assert_eq!(fs::read_link(root.join("sbin")).unwrap(), Path::new("usr/sbin"));
        merge_usr(root).unwrap();
    }

    #[test]
    fn links_of_a_sysroot_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("usr/lib/x")).unwrap();
        symlink("/lib/x/libm.so.6", root.join("usr/lib/x/libm.so")).unwrap();
        make_links_relative(root, root).unwrap();
        assert_eq!(
            fs::read_link(root.join("usr/lib/x/libm.so")).unwrap(),
            Path::new("../../../lib/x/libm.so.6")
        );
    }
}
