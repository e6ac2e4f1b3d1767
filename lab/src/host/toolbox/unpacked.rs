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

use crate::base::cache::{Cache, needed_record, sha256, sha256_file, write_record};
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::policy::Policy;
use crate::base::progress::Step;
use crate::base::{disk, kept};
use crate::host::packages::unpack::unpack;
use crate::host::packages::{self, TRIPLET};
use crate::host::toolbox::set::{QEMU, Set};
use crate::host::toolbox::shim;
use crate::host::toolbox::tool::Tool;

const MANIFEST: &str = "manifest.json";

/// The file whose time says when all files were last found whole.
const VERIFIED: &str = "verified";

/// The loader, in each set.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Libraries that are loaded at run time, without a program or library saying so in its header.
const LOADED_LATER: &[&str] = &["libgcc_s.so.1", LOADER];

/// Libraries that a process of the host's has already, or must take from the host, by the beginning of the name.
const C_LIBRARY: [&str; 7] =
    ["ld-linux", "libc.so", "libdl.so", "libgcc_s.so", "libm.so", "libpthread.so", "librt.so"];

/// Disk space of unpacking at its largest, in MiB: archives, the whole tree and the result.
const ROOM_MIB: u64 = 500;

/// A set, in the cache.
#[derive(Debug, Clone)]
pub struct Unpacked {
    directory: PathBuf,
    packages: Vec<String>,
}

/// Packages and files of a set, with a checksum of all.
#[derive(Debug, Serialize, Deserialize)]
struct SetManifest {
    packages: Vec<String>,
    files: BTreeMap<String, File>,
    /// Of all the above.
    sha256: String,
}

impl SetManifest {
    fn of(packages: Vec<String>, files: BTreeMap<String, File>) -> SetManifest {
        let sha256 = SetManifest::sum(&packages, &files);
        SetManifest { packages, files, sha256 }
    }

    fn sum(packages: &[String], files: &BTreeMap<String, File>) -> String {
        sha256(format!("{packages:?} {files:?}").as_bytes())
    }
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
        disk::demand_exec(&cache.path(""))?;
        let build = |cache: &Cache, into: &Path| build(cache, set, into);
        let kind = kept::KeptKind { lock: &set.lock(), room_mib: ROOM_MIB, check: &check, build: &build };
        let directory = kept::ensure(cache, &set.directory(), &kind)?;
        // A cache that links to another's tools must not make cargo build everything again.
        let directory = directory.canonicalize().at("failed to resolve", &directory)?;
        let packages = read_manifest(&directory)?.packages;
        Ok(Unpacked { directory, packages })
    }

    /// A file or directory of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns `directory` as if a set were in it.
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

    /// A program of the set, through its loader.
    pub(super) fn tool(&self, name: &str) -> Tool {
        let program = self.path(&format!("usr/bin/{name}"));
        let mut argv: Vec<OsString> = vec![
            self.loader().into(),
            "--library-path".into(),
            self.libraries().into(),
            // What it calls itself in messages.
            "--argv0".into(),
            name.into(),
            program.into(),
        ];
        // Neither the host's locales nor its character sets fit another C library.
        let mut env: Vec<(OsString, OsString)> = vec![("LC_ALL".into(), "C.UTF-8".into())];
        match name {
            QEMU => {
                for firmware in ["usr/share/qemu", "usr/share/seabios"] {
                    argv.extend(["-L".into(), self.path(firmware).into()]);
                }
                // Nowhere: else the host's modules would be found.
                env.push(("QEMU_MODULE_DIR".into(), self.path("usr/lib/no-modules").into()));
            }
            "tshark" | "capinfos" => {
                env.push(("WIRESHARK_DATA_DIR".into(), self.path("usr/share/wireshark").into()));
                let plugins = self.libraries().join("wireshark/plugins");
                env.push(("WIRESHARK_PLUGIN_DIR".into(), plugins.into()));
            }
            _ => {}
        }
        Tool { argv, env, identity: sha256(self.packages().join("\n").as_bytes())[..16].to_owned() }
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
    if !set.libraries.is_empty() {
        shim::link(&into.join("lib"))?;
    }
    for name in set.programs {
        write_script(&into.join("bin").join(name), &script(name))?;
    }
    let mut files = BTreeMap::new();
    for file in kept::files(into)? {
        let path = into.join(&file);
        let size_bytes = path.symlink_metadata().at("failed to look at", &path)?.len();
        files.insert(file, File { size_bytes, sha256: sha256_file(&path)? });
    }
    let manifest = SetManifest::of(kept::names_of(&archives), files);
    write_record(&into.join(MANIFEST), &manifest)?;
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
            if set.kept.is_empty() || set.kept.iter().any(|kept| file.starts_with(kept)) {
                copy(&from.join(&file), &into.join(directory).join(&file))?;
                roots.push(into.join(directory).join(&file));
            }
        }
    }
    let places = ["usr/lib", "lib"].map(|place| tree.join(place).join(TRIPLET));
    let find = |name: &str| places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    if !set.programs.is_empty() {
        let names = needed(roots, LOADED_LATER, &find)?;
        copy_libraries(&names, &find, &into.join(libraries()))?;
    }
    if !set.libraries.is_empty() {
        let mut names = needed(Vec::new(), set.libraries, &find)?;
        names.retain(|name| !C_LIBRARY.iter().any(|own| name.starts_with(own)));
        copy_libraries(&names, &find, &into.join("lib"))?;
    }
    Ok(())
}

fn copy_libraries(names: &BTreeSet<String>, find: &Find<'_>, into: &Path) -> Result<()> {
    for name in names {
        if let Some(from) = find(name) {
            copy(&from, &into.join(name))?;
        }
    }
    Ok(())
}

/// Finds a library by its name.
type Find<'a> = dyn Fn(&str) -> Option<PathBuf> + 'a;

/// The names of the libraries `first`, and of those that they and the files `roots` load, and so on.
fn needed(roots: Vec<PathBuf>, first: &[&str], find: &Find<'_>) -> Result<BTreeSet<String>> {
    let mut names: BTreeSet<String> = first.iter().map(|&name| name.to_owned()).collect();
    let mut files = VecDeque::from(roots);
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
    let tool = Unpacked::at("$root", Vec::new()).tool(name);
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

fn read_manifest(directory: &Path) -> Result<SetManifest> {
    let manifest: SetManifest = needed_record(&directory.join(MANIFEST))?;
    match SetManifest::sum(&manifest.packages, &manifest.files) == manifest.sha256 {
        true => Ok(manifest),
        false => Err(Error::setup(format!("{MANIFEST} is not as it was written"))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(tool: &Tool) -> String {
        tool.argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn program_of_a_set_runs_through_its_loader_with_its_firmware() {
        let set = Unpacked::at("/c/t", vec!["qemu_10".to_owned()]);
        let qemu = set.tool(QEMU);
        assert_eq!(
            words(&qemu),
            "/c/t/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /c/t/usr/lib/x86_64-linux-gnu \
             --argv0 qemu-system-x86_64 /c/t/usr/bin/qemu-system-x86_64 -L /c/t/usr/share/qemu -L /c/t/usr/share/seabios"
        );
        assert!(qemu.env.iter().any(|(key, _)| key == "QEMU_MODULE_DIR"), "{:?}", qemu.env);
        let elsewhere = Unpacked::at("/d/t", vec!["qemu_10".to_owned()]).tool(QEMU);
        let newer = Unpacked::at("/c/t", vec!["qemu_11".to_owned()]).tool(QEMU);
        assert_eq!(qemu.identity, elsewhere.identity, "where a set is does not matter");
        assert_ne!(qemu.identity, newer.identity);
    }

    /// A directory with one file and its manifest.
    fn made() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("qemu"), "machine").unwrap();
        let file = File { size_bytes: 7, sha256: crate::base::cache::sha256(b"machine") };
        let manifest = SetManifest::of(vec![], BTreeMap::from([("qemu".to_owned(), file)]));
        fs::write(directory.path().join(MANIFEST), serde_json::to_string(&manifest).unwrap()).unwrap();
        verified(directory.path()).unwrap();
        check(directory.path()).unwrap();
        directory
    }

    /// Waits until a change has a later time than all before it.
    fn tick() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }

    #[test]
    fn manifest_with_another_name_or_size_is_named() {
        for (from, to) in [("qemu", "qemv"), (":7", ":6")] {
            let directory = made();
            let path = directory.path().join(MANIFEST);
            let text = fs::read_to_string(&path).unwrap().replacen(from, to, 1);
            fs::write(&path, text).unwrap();
            let error = check(directory.path()).unwrap_err().to_string();
            assert_eq!(error, "manifest.json is not as it was written");
        }
    }

    #[test]
    fn flipped_bit_a_cut_and_a_lost_file_are_named() {
        let directory = made();
        tick();
        for (content, fault) in
            [(Some("machinf"), "qemu has checksum"), (Some("mach"), "qemu has 4 bytes, not 7")]
        {
            fs::write(directory.path().join("qemu"), content.unwrap_or_default()).unwrap();
            let error = check(directory.path()).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
        fs::remove_file(directory.path().join("qemu")).unwrap();
        assert!(check(directory.path()).unwrap_err().to_string().contains("qemu"));
        fs::write(directory.path().join("qemu"), "machine").unwrap();
        check(directory.path()).unwrap();
    }

    #[test]
    fn whole_files_are_read_once_after_a_change() {
        let directory = made();
        let stamp = || fs::metadata(directory.path().join(VERIFIED)).unwrap().modified().unwrap();
        let before = stamp();
        tick();
        check(directory.path()).unwrap();
        assert_eq!(stamp(), before, "nothing changed, nothing was read");
        fs::write(directory.path().join("qemu"), "machine").unwrap();
        tick();
        check(directory.path()).unwrap();
        assert!(stamp() > before);
        fs::remove_file(directory.path().join(VERIFIED)).unwrap();
        check(directory.path()).unwrap();
        assert!(stamp() > before);
    }

    #[test]
    fn libraries_of_libraries_are_needed_too() {
        let program = std::env::current_exe().unwrap();
        let places =
            ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib"];
        let find =
            |name: &str| places.iter().map(|place| Path::new(place).join(name)).find(|path| path.is_file());
        let needed = needed(vec![program], &["libstdc++.so.6"], &find).unwrap();
        assert!(needed.contains("libstdc++.so.6"), "{needed:?}");
        // A program that is linked to no library has none to name.
        let is_static = crate::host::glibc::version().is_none();
        assert!(is_static || needed.contains("libc.so.6"), "{needed:?}");
    }

    #[test]
    fn script_finds_its_set_wherever_that_is() {
        let text = script("setpriv");
        assert_eq!(
            text,
            "#!/bin/sh\nroot=${0%/*}/..\nLC_ALL=\"C.UTF-8\" exec \
             \"$root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\" \"--library-path\" \
             \"$root/usr/lib/x86_64-linux-gnu\" \"--argv0\" \"setpriv\" \"$root/usr/bin/setpriv\" \"$@\"\n"
        );
    }
}
