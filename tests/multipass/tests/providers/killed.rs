//! `lab up` killed after each of its steps in turn: the next one succeeds without anybody's help.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use multipass_stand_in::place::{Misbehaviour, VARIABLE};

use crate::bench::{Bench, xtask};

/// Words of `lab up` when a step begins or has ended, in order; before each, what takes the instances back to before
/// that step.
const STEPS: [(&str, &[&str]); 7] = [
    ("will launch rdma-server and rdma-client", &[]),
    ("launch rdma-server ...", &["delete --purge rdma-server"]),
    ("launch rdma-server (", &["delete --purge rdma-server"]),
    ("launch rdma-client ...", &["delete --purge rdma-client"]),
    ("launch rdma-client (", &["delete --purge rdma-client"]),
    ("prepare both machines ...", &["stop rdma-client"]),
    ("prepare both machines: ", &["stop rdma-client"]),
];

/// The step beside which the lab is also given back.
const DOWN_BESIDE: &str = "launch rdma-client ...";

const UP: [&str; 6] = ["lab", "up", "--name", "t-killed", "--provider", "multipass"];

#[test]
#[ignore = "brings up machines"]
fn lab_up_that_was_killed_is_mended_by_the_next() {
    let bench = Bench::new();
    for (step, back) in STEPS {
        for words in back {
            assert_eq!(bench.multipass(words).code, Some(0), "{words}");
        }
        if step == DOWN_BESIDE {
            bench.place.turn_on(Misbehaviour::SlowLaunch, "5000").unwrap();
        }
        kill_after(&bench, step);
        println!("killed after `{step}`");
        if step == DOWN_BESIDE {
            down_beside_a_launch(&bench);
            bench.place.turn_off(Misbehaviour::SlowLaunch);
        }
        bench.ok(&UP.join(" "));
    }
    bench.ok("lab exec --name t-killed client -- ping -c 1 server");
    bench.ok("lab down --name t-killed");
}

/// `stop` on an instance that boots would block the daemon for five minutes: it is left to boot.
fn down_beside_a_launch(bench: &Bench) {
    bench.ok("lab down --name t-killed");
    let stopped = |name: &str| bench.place.logged().iter().any(|logged| logged.argv == ["stop", name]);
    assert!(stopped("rdma-server") && !stopped("rdma-client"));
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
