//! `lab up` killed after each of its steps in turn: the next one succeeds without anybody's help.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use multipass_stand_in::place::VARIABLE;

use crate::bench::{Bench, xtask};

/// What `lab up` says when a step begins or has ended, in order.
const STEPS: [&str; 7] = [
    "will launch rdma-server and rdma-client",
    "launch rdma-server ...",
    "launch rdma-server (",
    "launch rdma-client ...",
    "launch rdma-client (",
    "prepare both machines ...",
    "prepare both machines: ",
];

const UP: [&str; 6] = ["lab", "up", "--name", "t-killed", "--provider", "multipass"];

#[test]
#[ignore = "brings up machines"]
fn lab_up_that_was_killed_is_mended_by_the_next() {
    let bench = Bench::new();
    for step in STEPS {
        for name in ["rdma-server", "rdma-client"] {
            bench.multipass(&format!("delete --purge {name}"));
        }
        kill_after(&bench, step);
        println!("killed after `{step}`");
        bench.ok(&UP.join(" "));
    }
    bench.ok("lab exec --name t-killed client -- ping -c 1 server");
    bench.ok("lab down --name t-killed");
}

/// Starts `lab up` and kills it, and nothing else, when it has said `step`.
fn kill_after(bench: &Bench, step: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let programs = xtask().parent().unwrap().display();
    let mut up = Command::new(xtask())
        .args(UP)
        .env("PATH", format!("{programs}:{path}"))
        .env(VARIABLE, bench.place.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(up.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.into_iter().any(|line| line.contains(step));
    up.kill().unwrap();
    up.wait().unwrap();
    assert!(said, "`lab up` never said `{step}`");
}
