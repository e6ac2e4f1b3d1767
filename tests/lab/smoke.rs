//! Every subcommand of `cargo xtask`, run once as a user types it: the runs are in `smoke-runs`, and a unit test of
//! xtask's holds that list against its command line.

use std::fs;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;

use crate::support::{Lab, run};

#[test]
#[ignore = "needs the lab's machines"]
fn every_subcommand_runs() {
    let lab = Lab::named("smoke", None);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut failures = Vec::new();
    for line in include_str!("smoke-runs").lines() {
        if line.starts_with("ci: ") || line.starts_with('#') {
            continue;
        }
        let mut command = Command::new("sh");
        command.args(["-c", &format!("\"$XTASK\" {line}")]).current_dir(workspace);
        command.env("XTASK", cargo_bin!("xtask")).env("LAB", &lab.name).env("DIR", directory.path());
        let ran = run(command);
        if ran.code != Some(0) {
            failures.push(format!("{line}: {ran:?}"));
        } else if line.contains("--json") && serde_json::from_str::<serde_json::Value>(&ran.stdout).is_err() {
            failures.push(format!("{line}: no JSON: {}", ran.stdout));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(
        fs::read(directory.path().join("pulled")).expect("a file"),
        fs::read(workspace.join("Cargo.toml")).expect("a file")
    );
}
