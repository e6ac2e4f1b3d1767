//! The guest programs: built on the host against the guest release's own headers and libraries; or, where those do
//! not run, on a machine (`provider::remote::build_guest`). [`samples`]: which there are, and whether they are built at all.
//!
//! Neither the host's glibc nor its RDMA packages matter. The build has a target directory and flags of its
//! own; the user's `CARGO_TARGET_DIR`, `RUSTFLAGS` and cargo configuration do not reach it.

pub mod samples;

use std::ffi::OsString;
use std::path::Path;

use xshell::{Shell, cmd};

use crate::base::cache::Cache;
use crate::base::command::shell_word;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::invocation;
use crate::base::policy::Policy;
use crate::base::program::{Program, executables};
use crate::base::progress::Step;
use crate::guest::image::{Release, Sysroot};
use crate::host::libclang::Libclang;
use crate::host::packages::TRIPLET;
use crate::host::toolbox::Toolbox;
use crate::host::{Host, bindgen};

/// The target of everything that is linked against the sysroot.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Programs that are built for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// The sample programs, of the root package.
    Programs,
    /// The tests of the verbs library: its own unit tests, and those in its `tests/`.
    Tests,
    /// Sample programs that do not do what they say, in a directory of their own: for the self-test.
    Mutants,
}

impl Build {
    fn what(self) -> &'static str {
        match self {
            Build::Programs => "guest programs",
            Build::Tests => "guest tests",
            Build::Mutants => "mutant programs",
        }
    }

    /// The words after `cargo` that say what is built.
    fn words(self) -> &'static [&'static str] {
        match self {
            Build::Programs => &["build", "--package", "rdma-lab", "--bins", "--features", "verbs"],
            Build::Tests => &[
                "test",
                "--package",
                "rdma-lab-verbs",
                "--no-run",
                "--lib",
                "--test",
                "*",
                "--features",
                "tokio",
            ],
            Build::Mutants => &["build", "--package", "rdma-lab", "--bins", "--features", "mutants"],
        }
    }

    /// The directory below `target` that it is built in.
    fn directory(self) -> &'static str {
        match self {
            Build::Programs | Build::Tests => "guest",
            Build::Mutants => "guest-mutants",
        }
    }
}

/// Builds programs or tests for a guest in the workspace at `workspace`; what is up to date is not built
/// again.
///
/// # Errors
///
/// The build fails, with the compiler's output.
pub fn build(what: Build, workspace: &Path, sysroot: &Sysroot, libclang: &Libclang) -> Result<Vec<Program>> {
    let step = Step::begin(what.what());
    let shell = Shell::new().map_err(|source| Error::setup("failed to open a shell").source(source))?;
    shell.change_dir(workspace);
    let target_directory = workspace.join("target").join(what.directory()).join(sysroot.key());
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = what.words();
    let mut build = cmd!(
        shell,
        "{cargo} {words...} --quiet --profile guest --locked
         --target {TARGET} --target-dir {target_directory} --message-format json-render-diagnostics"
    )
    .env_remove("CARGO_TARGET_DIR")
    .env_remove("CARGO_BUILD_TARGET")
    .env_remove("RUSTFLAGS")
    .quiet()
    .ignore_status();
    if what == Build::Mutants {
        // They run once; small files are not worth the time.
        build = build.env("CARGO_PROFILE_GUEST_LTO", "off").env("CARGO_PROFILE_GUEST_CODEGEN_UNITS", "16");
    }
    // A cache that links to another's sysroot must not make cargo build everything again.
    let directory = sysroot.directory();
    let directory = directory.canonicalize().at("failed to resolve", directory)?;
    let pkg_config = Toolbox::of(&Cache::open()?).program("pkgconf")?;
    for (key, value) in environment(&directory, libclang, &pkg_config) {
        build = build.env(key, value);
    }
    if Policy::get().offline {
        build = build.env("CARGO_NET_OFFLINE", "true");
    }
    let output = build.output().map_err(|source| {
        Error::setup(format!("failed to run cargo for the {}", what.what())).source(source)
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::setup(format!("failed to build the {}", what.what()))
            .detail(faults(&text))
            .next(format!("{} says whether a tool is missing", invocation::program("doctor"))));
    }
    let programs = executables(&String::from_utf8_lossy(&output.stdout), what == Build::Tests);
    if programs.is_empty() {
        return Err(Error::setup(format!("the build of the {} named no executable", what.what())));
    }
    step.done(&programs.iter().map(|program| program.name.as_str()).collect::<Vec<_>>().join(", "));
    Ok(programs)
}

/// The last lines of a build's output, without what build scripts tell cargo.
fn faults(output: &str) -> String {
    let lines = output.lines().filter(|line| !line.trim_start().starts_with("cargo:"));
    crate::base::command::tail(&lines.collect::<Vec<_>>().join("\n"), 30)
}

/// Environment in which a cargo on this computer checks feature `verbs` as a guest's build sees it: against the sysroot's headers
/// and libraries; what is `linked`, for [`TARGET`], also runs with the sysroot's C library, whatever the host's is.
///
/// # Errors
///
/// The sysroot, libclang or pkgconf cannot be fetched.
pub fn checks(cache: &Cache, linked: bool) -> Result<Vec<(OsString, OsString)>> {
    let sysroot = Sysroot::ensure(cache, Release::oldest())?;
    let root = sysroot.directory();
    let root = root.canonicalize().at("failed to resolve", root)?;
    let libclang = bindgen::libclang(&Host::this(), cache)?;
    let mut environment = bindings(&root, &libclang, &Toolbox::of(cache).program("pkgconf")?);
    if linked {
        let flags: OsString = [linking(&root), running(&root)?].concat().join("\u{1f}").into();
        let linker = ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER".into(), "cc".into());
        environment.push(linker);
        environment.push(("CARGO_ENCODED_RUSTFLAGS".into(), flags.clone()));
        environment.push(("CARGO_ENCODED_RUSTDOCFLAGS".into(), flags));
    }
    Ok(environment)
}

/// Environment in which cargo, pkg-config, bindgen and the linker look into the sysroot.
fn environment(sysroot: &Path, libclang: &Libclang, pkg_config: &Path) -> Vec<(OsString, OsString)> {
    let mut environment = bindings(sysroot, libclang, pkg_config);
    environment.push(("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER".into(), "cc".into()));
    environment.push(("CARGO_ENCODED_RUSTFLAGS".into(), linking(sysroot).join("\u{1f}").into()));
    environment
}

/// The linker's arguments, one each: a comma in a path would split those of `-Wl,`.
fn to_linker(words: &[&str]) -> Vec<String> {
    words.iter().flat_map(|word| ["-Clink-arg=-Xlinker".to_owned(), format!("-Clink-arg={word}")]).collect()
}

/// Flags for who links against the sysroot.
fn linking(sysroot: &Path) -> Vec<String> {
    let root = sysroot.display();
    let places = format!("-rpath-link={root}/lib/{TRIPLET}:{root}/usr/lib/{TRIPLET}");
    [vec![format!("-Clink-arg=--sysroot={root}")], to_linker(&[&places])].concat()
}

/// Flags for who also runs it here: with the sysroot's loader and libraries.
fn running(sysroot: &Path) -> Result<Vec<String>> {
    let places = ["lib", "usr/lib"].map(|place| sysroot.join(place).join(TRIPLET));
    let mut loaders = places.iter().map(|place| place.join("ld-linux-x86-64.so.2"));
    let loader = loaders
        .find(|loader| loader.is_file())
        .ok_or_else(|| Error::setup(format!("no loader in the sysroot {}", sysroot.display())))?;
    let places = places.map(|place| place.display().to_string()).join(":");
    // RPATH, not RUNPATH: also for what the libraries need in turn.
    let loader = loader.display().to_string();
    Ok(to_linker(&["--dynamic-linker", &loader, "--disable-new-dtags", "-rpath", &places]))
}

/// Environment in which cargo, pkg-config and bindgen look into the sysroot.
fn bindings(sysroot: &Path, libclang: &Libclang, pkg_config: &Path) -> Vec<(OsString, OsString)> {
    let root = sysroot.display();
    let libraries = sysroot.join("usr/lib").join(TRIPLET);
    let mut environment = libclang.env(&Host::this());
    let bindgen = "BINDGEN_EXTRA_CLANG_ARGS";
    // rdma-sys looks into the host's /usr/include before any sysroot; named as the last system directory, it
    // is looked into last.
    let headers = format!("{} -idirafter /usr/include", shell_word(&format!("--sysroot={root}")));
    match environment.iter_mut().find(|(key, _)| key == bindgen) {
        Some((_, value)) => value.push(format!(" {headers}")),
        None => environment.push((bindgen.into(), headers.into())),
    }
    let ours: [(&str, OsString); 4] = [
        ("PKG_CONFIG", pkg_config.into()),
        ("PKG_CONFIG_SYSROOT_DIR", sysroot.into()),
        ("PKG_CONFIG_LIBDIR", libraries.join("pkgconfig").into()),
        ("PKG_CONFIG_ALLOW_CROSS", "1".into()),
    ];
    environment.extend(ours.map(|(key, value)| (key.into(), value)));
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_survive_spaces_commas_and_quotes_in_the_path() {
        let libclang = Libclang { file: "/l/libclang.so".into(), version: None, resources: None };
        let environment = environment(Path::new("/a,b 'c"), &libclang, Path::new("/p"));
        let value = |key: &str| {
            environment
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.to_string_lossy())
                .unwrap()
        };
        assert_eq!(
            value("CARGO_ENCODED_RUSTFLAGS"),
            "-Clink-arg=--sysroot=/a,b 'c\u{1f}-Clink-arg=-Xlinker\u{1f}\
             -Clink-arg=-rpath-link=/a,b 'c/lib/x86_64-linux-gnu:/a,b 'c/usr/lib/x86_64-linux-gnu"
        );
        assert_eq!(value("PKG_CONFIG_SYSROOT_DIR"), "/a,b 'c");
        assert!(
            value("BINDGEN_EXTRA_CLANG_ARGS").ends_with(r"'--sysroot=/a,b '\''c' -idirafter /usr/include")
        );
        assert_eq!(shell_word("--sysroot=/a,b 'c"), r"'--sysroot=/a,b '\''c'");
        assert_eq!(shell_word("--sysroot=/a,b"), "--sysroot=/a,b");
    }

    #[test]
    fn faults_of_a_build_are_not_hidden_by_its_scripts() {
        let output =
            "error: failed to run\n  --- stdout\n  cargo:rerun-if-env-changed=X\n  --- stderr\n  no header\n";
        assert_eq!(faults(output), "error: failed to run\n  --- stdout\n  --- stderr\n  no header");
    }
}
