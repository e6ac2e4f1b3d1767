//! The guest programs built on a machine, where this computer's would not run there: on a Mac with Apple silicon, for
//! arm64 hosts, for a release older than ours.
//!
//! This computer sends the sources and every crate that they need, so that the machine needs no registry; the
//! machine's own packages are its toolchain and libraries. One machine builds for both, so both must be alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use xshell::{Shell, cmd};

use crate::base::cache::sha256;
use crate::base::command::tail;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::program::Program;
use crate::base::progress::Step;
use crate::provider::remote::machine::Machine;
use crate::provider::remote::survey::Survey;

/// Script that builds there.
const SCRIPT: &str = include_str!("../../../guest/build-programs");

/// Where it builds.
const DIRECTORY: &str = "/opt/lab/build";

/// How long the toolchain and the build may take.
const LIMIT: Duration = Duration::from_secs(2400);

/// Parts of the workspace that are sent: the root package, and the library that it is written with.
const SOURCES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "src", "lab/verbs"];

/// Builds the root package's programs of the workspace on `machine`, and brings them here; what was built from the
/// same sources for such a machine before is not built again.
///
/// # Errors
///
/// The crates cannot be fetched, or the machine has no toolchain, or the build fails.
pub fn build(workspace: &Path, machine: &Machine, survey: &Survey) -> Result<Vec<Program>> {
    let step = Step::begin(format!("guest programs, on {}", machine.title()));
    let key = sha256(format!("{}{}{}", key(workspace)?, survey.architecture, survey.glibc).as_bytes());
    let directory = workspace.join("target/guest").join(format!("in-guest-{}", &key[..16]));
    let kept = programs_in(&directory);
    if !kept.is_empty() {
        step.done("built before");
        return Ok(kept);
    }
    step.now("crates");
    let archive = pack(workspace)?;
    step.now("send");
    machine.push(&archive, "/opt/lab/build.tar.gz", 0o644)?;
    machine.push(SCRIPT.as_bytes(), "/opt/lab/build-programs", 0o755)?;
    step.now("build");
    let may_install = if machine.setting.install { "yes" } else { "no" };
    // The target directory stays: crates are built once.
    let script = format!(
        "mkdir -p {DIRECTORY} && cd {DIRECTORY} && rm -rf src vendor .cargo && tar -xzf /opt/lab/build.tar.gz && \
         LAB_MAY_INSTALL={may_install} sh /opt/lab/build-programs {DIRECTORY}"
    );
    let output = machine.run_root(&script, LIMIT)?;
    if output.code != Some(0) {
        return Err(Error::setup(format!("failed to build the guest programs on {}", machine.title()))
            .detail(tail(&output.stderr, 20))
            .next(
                "let the lab install what is missing (hosts file: install = true), or do it there\n\
                 or build here, where both are alike: --build host",
            ));
    }
    let scratch = directory.with_extension("part");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).at("failed to create", &scratch)?;
    for path in output.stdout.lines().filter(|line| line.starts_with('/')) {
        let name = path.rsplit('/').next().unwrap_or_default();
        machine.pull(path, &scratch.join(name))?;
    }
    fs::rename(&scratch, &directory).at("failed to rename into place", &directory)?;
    let programs = programs_in(&directory);
    if programs.is_empty() {
        return Err(Error::setup(format!("the build on {} made no program", machine.title())));
    }
    step.done(&programs.iter().map(|program| program.name.as_str()).collect::<Vec<_>>().join(", "));
    Ok(programs)
}

fn programs_in(directory: &Path) -> Vec<Program> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut programs: Vec<Program> = entries
        .map(|entry| Program { name: entry.file_name().to_string_lossy().into_owned(), path: entry.path() })
        .collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    programs
}

/// The SHA-256 of what is sent, but for the crates, which the lock file names, and of what builds it.
fn key(workspace: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    digest.update(SCRIPT);
    for name in SOURCES {
        let mut files = Vec::new();
        collect(&workspace.join(name), &mut files)?;
        files.sort();
        for file in files {
            digest.update(file.strip_prefix(workspace).unwrap_or(&file).as_os_str().as_encoded_bytes());
            digest.update(fs::read(&file).at("failed to read", &file)?);
        }
    }
    Ok(sha256(&digest.finalize()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).at("failed to list", path)? {
        collect(&entry.at("failed to list", path)?.path(), files)?;
    }
    Ok(())
}

/// The root package and its library as a workspace of their own, with every crate it needs, packed.
fn pack(workspace: &Path) -> Result<Vec<u8>> {
    let scratch =
        tempfile::tempdir().map_err(|source| Error::setup("failed to make a directory").source(source))?;
    let root = scratch.path().join("root");
    fs::create_dir(&root).at("failed to create", &root)?;
    let shell = Shell::new().map_err(|source| Error::setup("failed to open a shell").source(source))?;
    let failed = |what: &'static str| {
        move |source| Error::setup(format!("failed to {what} for a build on a machine")).source(source)
    };
    for name in SOURCES {
        let (from, to) = (workspace.join(name), root.join(name));
        let parent = to.parent().unwrap_or(&root);
        fs::create_dir_all(parent).at("failed to create", parent)?;
        cmd!(shell, "cp -R {from} {to}").quiet().run().map_err(failed("copy the sources"))?;
    }
    let manifest = root.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).at("failed to read", &manifest)?;
    fs::write(&manifest, alone(&text)).at("failed to write", &manifest)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    shell.change_dir(&root);
    let config = cmd!(shell, "{cargo} vendor --quiet vendor")
        .env_remove("CARGO_TARGET_DIR")
        .quiet()
        .ignore_stderr()
        .read()
        .map_err(failed("fetch the crates"))?;
    let settings = root.join(".cargo");
    fs::create_dir(&settings).at("failed to create", &settings)?;
    fs::write(settings.join("config.toml"), config).at("failed to write into", &settings)?;
    let archive = scratch.path().join("root.tar.gz");
    // A Mac's tar adds files of its own otherwise.
    cmd!(shell, "tar -czf {archive} .")
        .env("COPYFILE_DISABLE", "1")
        .quiet()
        .run()
        .map_err(failed("pack the sources"))?;
    fs::read(&archive).at("failed to read", &archive)
}

/// The manifest of a workspace with nothing in it but the root package and what that names by path.
fn alone(manifest: &str) -> String {
    manifest
        .lines()
        .filter(|line| !line.starts_with("members = ") && !line.starts_with("default-members = "))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::command::{Command, Output};
    use crate::base::role::Role;
    use crate::provider::remote::host::RemoteHost;
    use crate::provider::remote::setting::{Recorder, Setting};

    /// This computer, as if it were another one.
    #[derive(Debug)]
    struct Here;

    impl RemoteHost for Here {
        fn name(&self) -> String {
            "here".to_owned()
        }

        fn call(&self, line: &str, limit: Duration) -> Result<Output> {
            Command::new(["sh", "-c", line]).env_remove("CARGO_TARGET_DIR").output(limit)
        }

        fn upload(&self, bytes: &[u8], path: &str, _limit: Duration) -> Result<()> {
            fs::write(path, bytes).at("failed to write", Path::new(path))
        }

        fn download(&self, path: &str, to: &Path, _limit: Duration) -> Result<()> {
            fs::copy(path, to).map(drop).at("failed to copy", to)
        }

        fn explain(&self, output: &Output) -> Error {
            Error::setup("no answer").detail(output.stderr.clone())
        }

        fn shell(&self, _line: Option<&str>, _terminal: bool) -> Command {
            Command::new(["sh"])
        }
    }

    #[test]
    #[ignore = "builds in /opt/lab, as root"]
    fn programs_are_built_from_what_is_sent() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let setting = Setting {
            host: Arc::new(Here),
            address: "192.0.2.1".parse().unwrap(),
            device: None,
            capture: Recorder::Tcpdump(None),
            setup_rxe: false,
            install: false,
        };
        let machine = Machine::new(Role::Server, setting);
        let programs = build(workspace, &machine, &Survey::default()).unwrap();
        assert!(programs.iter().any(|program| program.name == "rdma_server"), "{programs:?}");
        assert_eq!(build(workspace, &machine, &Survey::default()).unwrap(), programs);
    }

    #[test]
    fn root_package_stands_alone() {
        let text = "[workspace]\nmembers = [\".\", \"lab\"]\ndefault-members = [\".\"]\nresolver = \"3\"\n[package]\n";
        assert_eq!(alone(text), "[workspace]\nresolver = \"3\"\n[package]\n");
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let ours = fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
        assert!(!alone(&ours).contains("members"), "each on one line");
        assert_eq!(key(workspace).unwrap(), key(workspace).unwrap());
    }
}
