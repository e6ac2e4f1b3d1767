//! One life of two instances: launched, used, found in every state that they can be in, given back.

use std::time::{Duration, Instant};

use multipass_stand_in::place::{Misbehaviour, VARIABLE};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, xtask};

const NAME: &str = "--name t-mended";

#[test]
#[ignore = "needs the lab"]
fn both_examples_run_on_instances() {
    let bench = Bench::new();
    // Guests that are as busy as two first boots make them.
    bench.place.turn_on(Misbehaviour::BusyGuest, "").unwrap();
    // The wire, against the snapshots that were reviewed on QEMU machines; with a fault that netem makes.
    let output = bench.ok("test-e2e --ci --provider multipass write_read write_with_imm rate_limited");
    assert!(output.stdout.contains("3 passed, 0 failed"), "{}", output.stdout);
    launches_are_side_by_side(&bench);
    bench.assert_no_guest_can_block_the_daemon();
    bench.assert_others_are_left_alone();
}

/// Nothing is asked of either instance before both are launched.
fn launches_are_side_by_side(bench: &Bench) {
    let logged = bench.place.logged();
    let at = |command: &str| logged.iter().position(|logged| logged.argv[0] == command).unwrap();
    let launches = logged.iter().take(at("exec")).filter(|logged| logged.argv[0] == "launch");
    assert_eq!(launches.count(), 2);
}

#[test]
#[ignore = "needs the lab"]
fn instances_are_launched_used_and_mended() {
    let bench = Bench::new();
    let up = format!("lab up {NAME} --provider multipass");
    let output = bench.ok(&up);
    assert!(output.stderr.contains("will launch rdma-server and rdma-client: Ubuntu image 24.04"));

    second_lab_up(&bench, &up);
    files_that_do_not_arrive_whole_are_refused(&bench);
    programs_are_brought_again(&bench, &up);
    interrupted_command_ends_there(&bench);
    states_are_mended(&bench, &up);
    hung_guest_is_named(&bench, &up);
    bench.assert_others_are_left_alone();

    bench.ok(&format!("lab down {NAME}"));
    let list = bench.multipass("list --format json").stdout;
    assert_eq!(list.matches("\"Stopped\"").count(), 2, "{list}");
    assert!(list.contains("\"mine\""), "{list}");
}

/// Told and not judged: how long it takes depends on what else this computer does.
fn second_lab_up(bench: &Bench, up: &str) {
    let mut seconds: Vec<f64> = (0..5)
        .map(|_| {
            let started = Instant::now();
            let output = bench.ok(up);
            assert!(!output.stderr.contains("prepare both machines"), "{}", output.stderr);
            started.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("second `lab up`: best {:.2} s, median {:.2} s of 5, load {load}", seconds[0], seconds[2]);
}

/// A program that was written over there is not the one that was deployed.
fn programs_are_brought_again(bench: &Bench, up: &str) {
    let sum = || bench.exec("t-mended", "server", "sha256sum /opt/lab/deployed/rdma_server").stdout;
    let before = sum();
    bench.exec("t-mended", "server", "echo >>/opt/lab/deployed/rdma_server");
    bench.ok(up);
    assert_eq!(sum(), before);
    // What was started by hand of the lab's programs has ended.
    assert_eq!(bench.exec("t-mended", "server", "pgrep -x sleep").code, Some(1));
}

/// A client that is killed leaves its command running, so the lab ends it.
fn interrupted_command_ends_there(bench: &Bench) {
    let runs = || bench.exec("t-mended", "client", "pgrep -x -f 'sleep 4242'").code == Some(0);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut exec = std::process::Command::new(xtask())
            .args(["lab", "exec", "--name", "t-mended", "client", "--", "sleep 4242; true"])
            .env("PATH", format!("{}:{path}", xtask().parent().unwrap().display()))
            .env(VARIABLE, bench.place.path())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while !runs() {
            assert!(started.elapsed() < Duration::from_secs(60), "it never ran");
        }
        kill_process(Pid::from_child(&exec), signal).unwrap();
        assert_eq!(exec.wait().unwrap().code(), Some(code));
        assert!(!runs(), "it runs on");
    }
}

fn files_that_do_not_arrive_whole_are_refused(bench: &Bench) {
    let file = bench.directory.path().join("file");
    std::fs::write(&file, vec![7; 100_000]).unwrap();
    let push = format!("lab push {NAME} server {} /opt/lab/bin/file", file.display());
    bench.place.turn_on(Misbehaviour::TruncatedPush, "once").unwrap();
    bench.refused(&push, "did not arrive whole");
    assert_eq!(bench.xtask(&format!("lab exec {NAME} server -- ls /opt/lab/bin/file")).code, Some(2));
    bench.ok(&push);
    // A program that runs cannot be written over, and what comes by standard input may not be run.
    let sleep = format!("lab push {NAME} server /bin/sleep /opt/lab/bin/sleep");
    bench.ok(&sleep);
    bench.exec("t-mended", "server", "systemd-run --quiet /opt/lab/bin/sleep 600");
    bench.ok(&sleep);
    let pulled = bench.directory.path().join("pulled");
    let pull = format!("lab pull {NAME} server /opt/lab/bin/file {}", pulled.display());
    bench.place.turn_on(Misbehaviour::TruncatedPull, "once").unwrap();
    bench.refused(&pull, "did not arrive whole");
    // Multipass itself leaves a file behind when a pull fails.
    assert!(!pulled.exists() && !pulled.with_extension("part").exists());
    bench.ok(&pull);
    assert_eq!(std::fs::read(&pulled).unwrap(), vec![7; 100_000]);
}

fn states_are_mended(bench: &Bench, up: &str) {
    let mended = |before: [&str; 2], said: [&str; 2]| {
        for words in before {
            assert_eq!(bench.multipass(words).code, Some(0), "{words}");
        }
        // Looking at a machine must not start it, as `multipass exec` would.
        bench
            .refused(&format!("lab exec {NAME} client -- true"), "not both machines of the lab t-mended run");
        assert!(bench.ok("lab status").stdout.contains("t-mended      down  "));
        let output = bench.ok(up);
        assert!(said.iter().all(|said| output.stderr.contains(said)), "{}", output.stderr);
    };
    mended(["stop rdma-client", "suspend rdma-server"], ["start rdma-client", "start rdma-server"]);
    // Begun anew: the other one goes on as it is.
    mended(
        ["delete rdma-server", "delete --purge rdma-client"],
        ["rdma-server was deleted and not purged: it is recovered", "will launch rdma-client:"],
    );
    bench.ok(&format!("lab exec {NAME} client -- ping -c 1 server"));
}

fn hung_guest_is_named(bench: &Bench, up: &str) {
    bench.place.turn_on(Misbehaviour::HungGuest, "rdma-client").unwrap();
    bench.refused(up, "multipass stop --force rdma-client");
    bench.assert_no_guest_can_block_the_daemon();
    bench.place.turn_off(Misbehaviour::HungGuest);
    bench.ok(up);
}

#[test]
#[ignore = "needs the lab"]
fn launch_that_goes_wrong_is_looked_at_and_mended() {
    let bench = Bench::new();
    let up = "lab up --name t-launch --provider multipass --launch-limit 60";
    // Exit code 0, and no instance is left: it is launched again. Then SSH does not come up in time, and the state
    // stays Unknown until it is stopped.
    bench.place.turn_on(Misbehaviour::LaunchLost, "once").unwrap();
    let output = bench.ok(up);
    let launches = ["launch rdma-server ...", "launch rdma-client ..."];
    let count: usize = launches.iter().map(|line| output.stderr.matches(line).count()).sum();
    assert_eq!(count, 3, "{}", output.stderr);
    bench.multipass("delete --purge rdma-client");
    bench.place.turn_on(Misbehaviour::LaunchTimesOut, "once ssh").unwrap();
    bench.place.turn_on(Misbehaviour::CloudInitFails, "").unwrap();
    let output = bench.ok("lab up --name t-launch --provider multipass --launch-limit 20");
    assert!(output.stderr.contains("has lost sight of rdma-client"), "{}", output.stderr);
    bench.place.turn_on(Misbehaviour::EqualAddresses, "").unwrap();
    bench.ok("lab down --name t-launch");
    bench.refused(up, "both machines have the address");
    bench.place.turn_off(Misbehaviour::EqualAddresses);
    bench.refused(&format!("{up} --image 22.04"), "and 22.04 was asked for");
    bench.assert_others_are_left_alone();
}
