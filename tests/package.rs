//! The packages as somebody gets them who has not got this workspace: packed without a warning, unpacked elsewhere, tested.
//!
//! `cargo test -p xtask --test package -- --ignored`, a stage of `cargo xtask ci`. Needs no network and no rdma-core.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A package that others may get.
struct Packed {
    name: &'static str,
    /// Packages of this workspace that it needs, which are packed with it.
    needs: &'static [&'static str],
    /// Some of the files that it must hold.
    files: &'static [&'static str],
    /// Words of `cargo test`.
    words: &'static [&'static str],
}

const ROCE: Packed = Packed {
    name: "roce",
    needs: &[],
    files: &["examples/trace.rs", "fixtures/write_read.pcapng"],
    words: &["--features", "synth"],
};

const VERBS: Packed = Packed {
    name: "rdma-lab-verbs",
    needs: &[],
    files: &["examples/write.rs", "tests/device/main.rs"],
    words: &[],
};

const ROCE_CLI: Packed = Packed {
    name: "roce-cli",
    needs: &["roce", "roce-page", "rdma-lab-hinted"],
    files: &["src/main.rs", "fixtures/write_read.pcapng"],
    words: &[],
};

/// Files that every package holds.
const EVERYWHERE: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Runs a program; returns its standard error.
fn run(program: &str, directory: &Path, target: &Path, args: &[&str]) -> String {
    let mut command = Command::new(program);
    // What is thrown away needs no debug information.
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
    let output = command.args(args).current_dir(directory).env("CARGO_TARGET_DIR", target).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{program} {args:?}:\n{out}\n{err}");
    err
}

/// Packs `packed` and what it needs, and unpacks all of it into `elsewhere`; returns where each is, the package's first.
fn unpack(packed: &Packed, elsewhere: &Path, target: &Path) -> Vec<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names: Vec<&str> = std::iter::once(packed.name).chain(packed.needs.iter().copied()).collect();
    let mut args = vec!["package", "--allow-dirty", "--no-verify", "--offline"];
    for name in &names {
        args.extend(["--package", name]);
    }
    let err = run(env!("CARGO"), &workspace, target, &args);
    assert!(!err.contains("warning"), "{err}");
    let unpacked = |name: &&str| {
        let name = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
        let archive = target.join("package").join(format!("{name}.crate")).display().to_string();
        run("tar", elsewhere, target, &["xzf", &archive]);
        elsewhere.join(name)
    };
    names.iter().map(unpacked).collect()
}

fn its_tests_pass_elsewhere(packed: &Packed, elsewhere: &Path) {
    let target = elsewhere.join("target");
    let unpacked = unpack(packed, elsewhere, &target);
    let package = &unpacked[0];
    for file in EVERYWHERE.iter().chain(packed.files) {
        assert!(package.join(file).is_file(), "{} has no {file}", packed.name);
    }
    // What it needs of this workspace is in no registry yet.
    let patch = |(name, path): (&&str, &PathBuf)| format!("patch.crates-io.{name}.path={path:?}");
    let patches: Vec<String> = packed.needs.iter().zip(&unpacked[1..]).map(patch).collect();
    let mut args = vec!["test", "--offline"];
    for patch in &patches {
        args.extend(["--config", patch]);
    }
    args.extend(packed.words);
    run(env!("CARGO"), package, &target, &args);
}

/// All in one test: what they share of the registry is compiled once.
#[test]
#[ignore = "compiles the packages and runs their tests once more: a stage of `cargo xtask ci`"]
fn packages_are_packed_without_a_warning_and_their_tests_pass_elsewhere() {
    let elsewhere = tempfile::tempdir().unwrap();
    for packed in [ROCE, VERBS, ROCE_CLI] {
        its_tests_pass_elsewhere(&packed, elsewhere.path());
    }
}
