//! The serial line: every request gets its answer, however the guest's jobs end in between.

use std::path::Path;
use std::time::Duration;

use lab::base::cache::Cache;
use lab::base::role::Role;
use lab::base::selection::AccelChoice;
use lab::guest::image::Release;
use lab::node::{Plan, Provider as _};
use lab::provider::Qemu;

/// A request while the job before it ends is the moment in which the guest's shell could lose part of a line.
#[test]
#[ignore = "needs the lab's machines"]
fn no_request_is_lost_while_earlier_jobs_end() {
    let cache = Cache::open().expect("a cache");
    let qemu =
        Qemu::new(Release::usual(), cache, AccelChoice::Auto, Path::new(env!("CARGO_BIN_EXE_xtask")), None)
            .expect("machines");
    let logs = tempfile::tempdir().expect("a directory");
    let pair = qemu.bring_up(&Plan::new(logs.path())).expect("a pair");
    let node = pair.node(Role::Server);
    for round in 0..150 {
        // Ends at some moment of the next requests' way.
        let mut beside = node.start(&format!("usleep {}", round * 200)).expect("started");
        for request in 0..2 {
            let text = format!("{round}-{request}-{}", "x".repeat(300));
            let output = node.run(&format!("echo {text}"), Duration::from_secs(20)).expect("an answer");
            assert_eq!(output.stdout.trim(), text);
        }
        beside.wait(Duration::from_secs(20)).expect("its end");
    }
}
