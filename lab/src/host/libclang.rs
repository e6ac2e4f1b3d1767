//! A libclang that can generate rdma-sys's bindings.
//!
//! rdma-sys 0.3 generates them with bindgen 0.59, which works with libclang 11 to 15 and panics on 16 and
//! later (observed: bindgen 0.59.2). Distributions that default to a newer one often offer an older one
//! beside it, so the version is chosen here and handed over as `LIBCLANG_PATH`.
//! Looks into directories and asks the C compiler where its headers are; never installs anything.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::command::{Command, shell_word};
use crate::host::{Host, wheel};

/// The major versions that bindgen 0.59 works with.
pub const USABLE: RangeInclusive<u32> = 11..=15;

/// The usable versions, the best known first: 14 is Debian 12's, which this project is tested with.
pub const PREFERENCE: [u32; 5] = [14, 15, 13, 12, 11];

/// Directories in which Linux distributions put libclang.
const PLACES: [&str; 7] = [
    "/usr/lib/llvm-*/lib",
    "/usr/lib/*-linux-gnu",
    "/usr/lib64/llvm*/lib",
    "/usr/lib/llvm*/lib64",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
];

/// The longest wait for a program that prints where something is.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// The cure for a variable that names something else.
const UNSET: &str = "unset it to let the lab look for one";

/// A version, as far as a library's file name tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u32>);

impl Version {
    /// Reads dot-separated numbers.
    pub fn parse(text: &str) -> Option<Version> {
        numbers(text).map(Version)
    }

    /// The first number.
    pub fn major(&self) -> u32 {
        self.0[0]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

/// A libclang that rdma-sys can be built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Libclang {
    /// The shared library.
    pub file: PathBuf,
    /// Its version; `None` where the user named a library whose file name does not tell.
    pub version: Option<Version>,
    /// The directory of its own headers, as clang's `-resource-dir` has it, if it has any.
    pub resources: Option<PathBuf>,
}

impl fmt::Display for Libclang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{version}, {}", self.file.display()),
            None => write!(f, "{}, version unknown", self.file.display()),
        }
    }
}

/// Outcome of a search for a libclang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// One that can be used.
    Found(Libclang),
    /// None at all.
    Absent,
    /// None that can be used; the text says what was found and why not.
    Unfit(String),
}

/// Looks for a libclang on `host`: the one that `LIBCLANG_PATH` names, or the best of the usual places, or
/// the one in the cache.
pub fn search(host: &Host) -> Search {
    match std::env::var_os("LIBCLANG_PATH") {
        Some(named) if !named.is_empty() => match search_named(Path::new(&named)) {
            Search::Unfit(why) => Search::Unfit(format!("LIBCLANG_PATH={}: {why}; {UNSET}", named.display())),
            Search::Absent => {
                Search::Unfit(format!("LIBCLANG_PATH={}: no libclang there; {UNSET}", named.display()))
            }
            found => found,
        },
        _ => {
            let mut directories: Vec<PathBuf> = llvm_config(host).into_iter().collect();
            directories.extend(PLACES.iter().flat_map(|place| host.directories(place)));
            let found = choose(directories.iter().flat_map(|directory| libraries(directory)).collect());
            match host.cache().map(wheel::file) {
                Some(file) if !matches!(found, Search::Found(_)) && file.exists() => search_cached(file),
                _ => found,
            }
        }
    }
}

/// The library that was brought into the cache, which nothing but its checksum vouches for.
fn search_cached(file: PathBuf) -> Search {
    match wheel::check(&file) {
        Ok(()) => Search::Found(Libclang { version: version_of(&file), file, resources: None }),
        Err(error) => Search::Unfit(format!("damaged: {error}")),
    }
}

/// The library that the user named: a file, or a directory that holds one.
///
/// A file whose name tells no version is the user's choice, as Python's libclang package has it.
fn search_named(path: &Path) -> Search {
    if path.is_dir() {
        let mut found = libraries(path);
        return match found.iter().position(|library| library.version.is_none()) {
            Some(index) if found.len() == 1 => Search::Found(found.remove(index)),
            _ => choose(found),
        };
    }
    if !path.is_file() {
        return Search::Unfit("no such file".to_owned());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !is_libclang(&name) {
        return Search::Unfit("clang-sys loads only a file called libclang*.so*".to_owned());
    }
    match version_of(path) {
        Some(version) if !USABLE.contains(&version.major()) => Search::Unfit(unusable(&[&version])),
        version => Search::Found(Libclang { version, file: path.to_owned(), resources: None }),
    }
}

impl Libclang {
    /// The directory that the library is in.
    pub fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// The variables that a cargo which builds rdma-sys for this computer needs.
    ///
    /// `LIBCLANG_PATH` is the file itself: a directory may hold several versions, and clang-sys takes the
    /// newest. `BINDGEN_EXTRA_CLANG_ARGS` has clang's own headers (`stddef.h`), or the C compiler's where a libclang
    /// came without; what the user put there stays.
    pub fn env(&self, host: &Host) -> Vec<(OsString, OsString)> {
        let mut env = vec![("LIBCLANG_PATH".into(), self.file.clone().into_os_string())];
        let headers = match &self.resources {
            Some(directory) => {
                Some(format!("-resource-dir {}", shell_word(&directory.display().to_string())))
            }
            None => compiler_include(host).map(|include| shell_word(&format!("-I{}", include.display()))),
        };
        if let Some(headers) = headers {
            let theirs = std::env::var("BINDGEN_EXTRA_CLANG_ARGS").unwrap_or_default();
            let ours = format!("{theirs} {headers}");
            env.push(("BINDGEN_EXTRA_CLANG_ARGS".into(), ours.trim_start().into()));
        }
        env
    }
}

/// Cure for a computer whose distribution has no usable libclang.
pub fn without_package() -> String {
    format!(
        "take one from Python's libclang package:\n\
         python3 -m pip install --target \"$HOME/libclang-14\" {}\n\
         export LIBCLANG_PATH=\"$HOME/libclang-14/clang/native\"",
        wheel::PACKAGE
    )
}

/// The headers that belong to the C compiler, such as `stddef.h`.
pub fn compiler_include(host: &Host) -> Option<PathBuf> {
    let compiler = host.program("gcc").or_else(|| host.program("cc"))?;
    let output = Command::new([compiler]).arg("-print-file-name=include").run(ASK_LIMIT).ok()?;
    let include = PathBuf::from(output.stdout.trim());
    (include.is_absolute() && include.join("stddef.h").is_file()).then_some(include)
}

/// The library directory of the LLVM whose `llvm-config` is on PATH.
fn llvm_config(host: &Host) -> Option<PathBuf> {
    let program = host.program("llvm-config")?;
    let output = Command::new([program]).arg("--libdir").run(ASK_LIMIT).ok()?;
    Some(PathBuf::from(output.stdout.trim()))
}

/// The libclang libraries in `directory`, without its subdirectories.
fn libraries(directory: &Path) -> Vec<Libclang> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut found: Vec<Libclang> = entries
        .flatten()
        .filter(|entry| is_libclang(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .map(|path| Libclang { version: version_of(&path), file: path, resources: None })
        .collect();
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

/// True if a file is called as libclang is: not libclang-cpp, not a static library.
fn is_libclang(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("libclang") else {
        return false;
    };
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    rest.split('.').next() == Some("so")
}

/// The version that the names of a library and of the file behind its links tell.
fn version_of(path: &Path) -> Option<Version> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let real = path.canonicalize().ok();
    real.as_deref()
        .and_then(name)
        .and_then(|name| version_in_name(&name))
        .or_else(|| name(path).and_then(|name| version_in_name(&name)))
}

/// The version in a file name: `libclang-14.so.14.0.6`, `libclang-14.so.1`, `libclang.so.19.1`.
///
/// A lone number after `.so.` is the library's interface, 13 for many versions, and tells nothing.
fn version_in_name(name: &str) -> Option<Version> {
    let rest = name.strip_prefix("libclang")?;
    let (before, after) = rest.split_once(".so").or_else(|| rest.split_once("so"))?;
    let suffix = numbers(after.trim_start_matches('.'));
    match suffix {
        Some(suffix) if suffix.len() > 1 => Some(Version(suffix)),
        _ => numbers(before.trim_start_matches('-').trim_end_matches('.')).map(Version),
    }
}

/// The dot-separated numbers of a text that has nothing else.
fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split('.').map(|number| number.parse().ok()).collect()
}

/// The best of the libraries that were found.
fn choose(found: Vec<Libclang>) -> Search {
    let mut by_major: BTreeMap<u32, &Libclang> = BTreeMap::new();
    for library in &found {
        if let Some(version) = &library.version {
            by_major.entry(version.major()).or_insert(library);
        }
    }
    if let Some(best) = PREFERENCE.iter().find_map(|major| by_major.get(major)) {
        return Search::Found((*best).clone());
    }
    let versions: Vec<&Version> = by_major.values().filter_map(|library| library.version.as_ref()).collect();
    if versions.is_empty() {
        return Search::Absent;
    }
    Search::Unfit(unusable(&versions))
}

/// Says that none of `versions` will do.
fn unusable(versions: &[&Version]) -> String {
    let names: Vec<String> = versions.iter().map(|version| version.to_string()).collect();
    format!("libclang {} cannot be used: rdma-sys needs 11 to 15", names.join(" and "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    fn found_in(root: &Path) -> Search {
        let host = Host::new(root, std::ffi::OsStr::new(""));
        let directories: Vec<PathBuf> = PLACES.iter().flat_map(|place| host.directories(place)).collect();
        choose(directories.iter().flat_map(|directory| libraries(directory)).collect())
    }

    #[test]
    fn version_is_read_from_the_file_name() {
        let version = |name| version_in_name(name).map(|version| version.to_string());
        assert_eq!(version("libclang-14.so.14.0.6").as_deref(), Some("14.0.6"));
        assert_eq!(version("libclang-14.so.1").as_deref(), Some("14"));
        assert_eq!(version("libclang-19.so.19").as_deref(), Some("19"));
        assert_eq!(version("libclang.so.19.1").as_deref(), Some("19.1"));
        assert_eq!(version("libclang-14.0.6.so").as_deref(), Some("14.0.6"));
        assert_eq!(version("libclang.so.13"), None);
        assert_eq!(version("libclang.so"), None);
    }

    #[test]
    fn only_the_library_itself_counts() {
        assert!(is_libclang("libclang.so") && is_libclang("libclang-14.so.1"));
        for other in ["libclang-cpp.so.14", "libclangAST.a", "libclang_rt.so", "libc.so"] {
            assert!(!is_libclang(other), "{other}");
        }
    }

    #[test]
    fn tested_version_is_preferred_to_newer_and_older_ones() {
        let root = tree(&[
            "usr/lib/llvm-11/lib/libclang-11.so.1",
            "usr/lib/llvm-19/lib/libclang-19.so.19",
            "usr/lib/x86_64-linux-gnu/libclang-14.so.14.0.6",
            "usr/lib/x86_64-linux-gnu/libclang-15.so.15",
        ]);
        let Search::Found(found) = found_in(root.path()) else { panic!("not found") };
        assert_eq!(found.version.unwrap().to_string(), "14.0.6");
        assert_eq!(found.file, root.path().join("usr/lib/x86_64-linux-gnu/libclang-14.so.14.0.6"));
    }

    #[test]
    fn too_new_libclang_is_named() {
        let root = tree(&["usr/lib/llvm-19/lib/libclang-19.so.19", "usr/lib64/libclang.so.16.0.6"]);
        let why = "libclang 16.0.6 and 19 cannot be used: rdma-sys needs 11 to 15";
        assert_eq!(found_in(root.path()), Search::Unfit(why.to_owned()));
    }

    #[test]
    fn damaged_library_in_the_cache_is_not_used() {
        let root = tree(&["libclang-14.0.6.so"]);
        let found = search_cached(wheel::file(root.path()));
        assert!(matches!(&found, Search::Unfit(why) if why.starts_with("damaged: ")), "{found:?}");
    }

    #[test]
    fn library_of_another_name_is_no_libclang() {
        let root = tree(&["usr/lib/x86_64-linux-gnu/libclang-cpp.so.14"]);
        assert_eq!(found_in(root.path()), Search::Absent);
    }

    #[test]
    fn named_library_of_unknown_version_is_the_users_choice() {
        let root = tree(&["wheel/libclang.so", "new/libclang-18.so.1"]);
        let Search::Found(wheel) = search_named(&root.path().join("wheel")) else { panic!("not found") };
        assert_eq!(
            wheel,
            Libclang { file: root.path().join("wheel/libclang.so"), version: None, resources: None }
        );
        let unfit = Search::Unfit("libclang 18 cannot be used: rdma-sys needs 11 to 15".to_owned());
        assert_eq!(search_named(&root.path().join("new")), unfit);
        assert_eq!(search_named(&root.path().join("new/libclang-18.so.1")), unfit);
        let other = search_named(Path::new("/bin/sh"));
        assert!(matches!(&other, Search::Unfit(why) if why.contains("libclang*.so*")), "{other:?}");
        assert_eq!(search_named(&root.path().join("gone")), Search::Unfit("no such file".to_owned()));
    }
}
