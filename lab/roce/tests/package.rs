//! The package as somebody gets it who has not got this workspace: `cargo test -p roce --test package -- --ignored`.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a program; gives what it printed on standard error.
fn run(program: &str, directory: &Path, target: &Path, args: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.args(args).current_dir(directory).env("CARGO_TARGET_DIR", target).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{program} {args:?}:\n{out}\n{err}");
    err
}

#[test]
#[ignore = "compiles the crate and runs its tests once more: a stage of `cargo xtask ci`"]
fn it_is_packaged_without_a_warning_and_its_tests_pass_elsewhere() {
    let elsewhere = std::env::temp_dir().join(format!("roce-package-{}", std::process::id()));
    let target = elsewhere.join("target");
    fs::create_dir_all(&elsewhere).unwrap();
    let cargo = env!("CARGO");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let err = run(cargo, here, &target, &["package", "--allow-dirty", "--no-verify", "--offline"]);
    assert!(!err.contains("warning"), "{err}");
    let name = concat!("roce-", env!("CARGO_PKG_VERSION"));
    let package = target.join("package").join(format!("{name}.crate")).display().to_string();
    run("tar", &elsewhere, &target, &["xzf", &package]);
    let package = elsewhere.join(name);
    for file in
        ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "examples/trace.rs", "fixtures/write_read.pcapng"]
    {
        assert!(package.join(file).is_file(), "{file} is not in the package");
    }
    run(cargo, &package, &target, &["test", "--offline", "--features", "synth"]);
    fs::remove_dir_all(&elsewhere).unwrap();
}
