//! Deeds of the real client and daemon that the stand-in had hidden: busy guests, hung guests, words of the daemon's
//! before a failure, slow first boots, old clients. No machine is booted, so `cargo xtask ci` runs these.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use lab::base::command::Output;
use multipass_stand_in::place::{Misbehaviour, VARIABLE};

use crate::bench::{Bench, assert_refused, told, xtask};

/// Programs are built in the guest, which nothing of these comes to: so this computer needs nothing for them.
const UP: &str = "lab up --name t-recorded --provider multipass --build guest";

/// A lab on instances that the daemon has from the start, in these states; both do what they are told, and nothing.
struct Recorded(Bench);

impl Recorded {
    fn new(server: &str, client: &str) -> Recorded {
        let instance = |name: &str, state: &str| {
            format!(r#"{{"name": "{name}", "state": "{state}", "ipv4": ["198.51.100.1"]}}"#)
        };
        let bench = Bench::with(&format!(
            "[{}, {}]",
            instance("rdma-server", server),
            instance("rdma-client", client)
        ));
        let labs = bench.cache().join("labs");
        std::fs::create_dir_all(&labs).unwrap();
        let node = r#"{"address": "198.51.100.1", "device": "rxe0", "interface": "ens3", "boot": "b\n"}"#;
        let record = format!(
            r#"{{"name": "t-recorded", "selection": {{"provider": "multipass"}}, "description": "d",
                 "logs": "/l", "recording": null, "nodes": {{"server": {node}, "client": {node}}}}}"#
        );
        std::fs::write(labs.join("t-recorded.remote"), record).unwrap();
        Recorded(bench)
    }

    #[track_caller]
    fn down(&self) -> Output {
        let output = apart(&self.0, "lab down --name t-recorded");
        assert_eq!(output.code, Some(0));
        assert!(output.stdout.contains("t-recorded: given back"));
        output
    }

    fn states(&self) -> String {
        self.0.multipass("info --no-runtime-information --format json").stdout
    }
}

/// `cargo xtask` with these words, on a cache of this test's own.
fn apart(bench: &Bench, words: &str) -> Output {
    let command = bench.command(xtask()).env("RDMA_LAB_CACHE", bench.cache());
    told(command.args(words.split_whitespace()))
}

#[test]
#[ignore = "builds xtask"]
fn busy_guests_are_not_asked_for_their_state() {
    let lab = Recorded::new("Running", "Running");
    lab.0.place.turn_on(Misbehaviour::BusyGuest, "").unwrap();
    // No connection at first: it is asked for again before anything is cut.
    lab.0.place.turn_on(Misbehaviour::BusySsh, "once").unwrap();
    lab.down();
    assert_eq!(lab.states().matches("\"Stopped\"").count(), 2);
    assert!(lab.0.was_told(&["stop", "rdma-server"]) && lab.0.was_told(&["stop", "rdma-client"]));
    lab.0.assert_no_guest_can_block_the_daemon();
}

#[test]
#[ignore = "builds xtask"]
fn hung_guest_is_ended_by_force_and_blocks_nobody() {
    let lab = Recorded::new("Running", "Running");
    lab.0.place.turn_on(Misbehaviour::HungGuest, "rdma-client").unwrap();
    let output = lab.down();
    assert!(output.stderr.contains("multipass stop --force rdma-client"), "{}", output.stderr);
    assert!(lab.0.was_told(&["stop", "--force", "rdma-client"]));
    assert!(!lab.0.was_told(&["stop", "rdma-client"]), "blocks the daemon");
    assert!(lab.0.was_told(&["stop", "rdma-server"]), "the other one is not cut off");
    assert_eq!(lab.states().matches("\"Stopped\"").count(), 2);
    lab.0.assert_no_guest_can_block_the_daemon();
}

#[test]
#[ignore = "builds xtask"]
fn old_client_is_asked_as_it_can_be() {
    let lab = Recorded::new("Running", "Stopped");
    lab.0.place.turn_on(Misbehaviour::OldClient, "").unwrap();
    lab.down();
    lab.0.place.turn_off(Misbehaviour::OldClient);
    assert_eq!(lab.states().matches("\"Stopped\"").count(), 2);
}

#[test]
#[ignore = "builds xtask"]
fn instance_that_boots_goes_on_running_and_that_is_said() {
    let lab = Recorded::new("Running", "Unknown");
    let output = lab.down();
    assert!(output.stderr.contains("rdma-client goes on running"), "{}", output.stderr);
    assert!(output.stderr.contains("multipass stop rdma-client"), "{}", output.stderr);
    assert!(!lab.0.place.logged().iter().any(|logged| {
        logged.argv[0] == "stop" && logged.argv.last().is_some_and(|name| name == "rdma-client")
    }));
}

#[test]
#[ignore = "builds xtask"]
fn words_of_the_daemon_before_a_failure_are_not_its_cause() {
    let bench = Bench::new();
    bench.place.turn_on(Misbehaviour::Noise, "").unwrap();
    let refused = |options: &str, named: &str, next: &str| {
        let output = apart(&bench, &format!("{UP} {options}"));
        assert_refused(&output, named);
        assert!(output.stderr.contains(next), "no {next:?} in\n{}", output.stderr);
        assert!(!output.stderr.contains("downloads.example"), "{}", output.stderr);
        output.stderr
    };
    refused("--memory 1M", "Multipass refuses the memory of 1M", "--memory 2G");
    refused("--disk 1M", "Multipass refuses the disk of 1M", "--disk 10G");
    refused("--disk 1G", "the image needs a larger disk than 1G", "--disk 3G");
    let said = refused("--image file:///nope.img", "no image file /nope.img", "--image");
    assert!(!said.contains("a download"), "{said}");
    let said = refused("--image http://192.0.2.1/x.img", "could not download", "proxy");
    assert!(said.contains("a download"), "{said}");
    bench.place.turn_on(Misbehaviour::Offline, "").unwrap();
    for image in ["24.04", "nosuch"] {
        refused(&format!("--image {image}"), "cannot look up its images", "proxy");
    }
    assert!(bench.place.logged().iter().any(|logged| logged.argv[0] == "launch"));
    bench.assert_others_are_left_alone();
}

#[test]
#[ignore = "builds xtask"]
fn sizes_that_are_text_are_refused_before_multipass_is_asked() {
    let bench = Bench::new();
    for (options, named) in [
        ("--memory lots", "--memory lots is no size"),
        ("--disk 5X", "--disk 5X is no size"),
        ("--memory=-1G", "--memory -1G is no size"),
        ("--cpus 0", "--cpus 0"),
    ] {
        let output = apart(&bench, &format!("{UP} {options}"));
        assert_eq!(output.code, Some(2));
        assert!(output.stderr.contains(named), "no {named:?} in\n{}", output.stderr);
    }
    assert!(bench.place.logged().iter().all(|logged| logged.argv[0] != "launch"));
}

/// Limits that the first boot's launch and a second `lab up` were given, in seconds.
const GIVEN: (u32, u32) = (600, 2);

#[test]
#[ignore = "builds xtask"]
fn first_boot_is_waited_for_as_long_as_its_launch_was_given() {
    let bench = Bench::new();
    // It stays Unknown for longer than this test lasts.
    bench.place.turn_on(Misbehaviour::SlowBoot, "600000").unwrap();
    until(&bench, GIVEN.0, |_| {
        let states = bench.multipass("info --no-runtime-information --format json").stdout;
        states.contains("\"Unknown\"")
    });
    // A second `lab up` is in less of a hurry than its own limit: the daemon waits for as long as the first one said.
    let waits = format!("up to {} s", GIVEN.0);
    until(&bench, GIVEN.1, |line| line.contains(&waits));
    assert!(bench.place.logged().iter().all(|logged| logged.argv[0] != "stop"));
}

/// Longest time that `lab up` may take to say something, in looks of 0.3 s.
const LOOKS: u32 = 100;

/// Starts `lab up` and kills it when a line of it, or a look meanwhile, is as awaited.
fn until(bench: &Bench, limit_s: u32, is_awaited: impl Fn(&str) -> bool) {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut up = Command::new(xtask())
        .args(UP.split(' '))
        .args(["--launch-limit", &limit_s.to_string()])
        .env(
            "PATH",
            format!("{}:{path}", Path::new(env!("CARGO_BIN_EXE_multipass")).parent().unwrap().display()),
        )
        .env(VARIABLE, bench.place.path())
        .env("RDMA_LAB_CACHE", bench.cache())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = channel();
    let stderr = up.stderr.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            println!("{line}");
            let _ = sender.send(line);
        }
    });
    let mut looks = 0;
    let found = loop {
        let line = lines.recv_timeout(Duration::from_millis(300)).unwrap_or_default();
        looks += 1;
        if is_awaited(&line) {
            break true;
        }
        if looks > LOOKS || up.try_wait().unwrap().is_some() {
            break false;
        }
    };
    let _ = up.kill();
    let _ = up.wait();
    assert!(found, "`lab up --launch-limit {limit_s}` never came that far");
}
