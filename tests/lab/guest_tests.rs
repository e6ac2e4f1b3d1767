//! Tests inside a guest go red: one that fails, one that hangs, one whose device is gone.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lab::base::cache::Cache;
use lab::base::program::Program;
use lab::base::role::Role;
use lab::base::selection::AccelChoice;
use lab::guest::image::Release;
use lab::node::{Plan, Provider as _};
use lab::provider::Qemu;
use lab::run::guest_tests::{TestEnd, list, run};

/// Tells of itself what a test binary tells, and looks for the device as a test of the verbs library does.
const BINARY: &str = r#"#!/bin/sh
passed="test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured"
case "$1 $2" in
"--list "*) printf '%s: test\n' device fails hangs logs quiet says silent ;;
*device) ls /sys/class/infiniband/rxe0 >/dev/null && echo "$passed" ;;
*fails) echo why >&2; exit 101 ;;
*hangs) sleep 600 ;;
*logs) echo "<3>boom" >/dev/kmsg; echo "$passed" ;;
*quiet) echo "kernel log: boom"; echo "$passed" ;;
*says) echo "kernel log: boom"; echo "<3>boom" >/dev/kmsg; echo "$passed" ;;
*silent) ;;
esac
"#;

#[test]
#[ignore = "needs the lab's machines"]
fn only_a_test_that_ran_on_a_device_passes() {
    let directory = tempfile::tempdir().expect("a directory");
    let binary = Program { name: "some-tests".to_owned(), path: directory.path().join("some-tests") };
    fs::write(&binary.path, BINARY).expect("a file");
    let programs = [binary];
    let cache = Cache::open().expect("a cache");
    let guard = Path::new(env!("CARGO_BIN_EXE_xtask"));
    let qemu = Qemu::new(Release::usual(), cache, AccelChoice::Auto, guard, None).expect("machines");
    let plan = Plan { programs: &programs, ..Plan::new(directory.path()) };
    let pair = qemu.bring_up(&plan).expect("a pair");
    let node = pair.node(Role::Client);
    let tests = list(node, &programs).expect("a list");
    let ended = |name: &str| {
        let test = tests.iter().find(|test| test.name == name).unwrap_or_else(|| panic!("{tests:?}"));
        run(node, test, Duration::from_secs(3)).expect("an end").0
    };
    assert_eq!((ended("device"), ended("says")), (TestEnd::Passed, TestEnd::Passed));
    for (name, text) in [
        ("fails", "exit code 101\nwhy"),
        ("hangs", "had not ended after 3 s"),
        ("logs", "the kernel logged:\n<11>"),
        ("quiet", "the kernel did not log what the test expects: boom"),
        ("silent", "did not run"),
    ] {
        assert!(matches!(ended(name), TestEnd::Failed(said) if said.starts_with(text)), "{name}");
    }
    node.run("rdma link delete rxe0", Duration::from_secs(20)).expect("an answer");
    assert!(matches!(ended("device"), TestEnd::Failed(said) if said.contains("rxe0")));
}
