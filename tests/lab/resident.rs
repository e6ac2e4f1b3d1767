//! Labs by name: the walk by hand, files, exit codes, reset, several side by side, names.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use crate::support::{Beside, Lab, run, run_with, xtask};

#[test]
#[ignore = "needs the lab's machines"]
fn samples_run_by_hand() {
    let lab = Lab::up("walk");
    for (programs, server_result, client_result) in [
        (
            ["rdma_server", "rdma_client"],
            "received 18 bytes: \"client-wrote-this\"",
            "wrote 18 bytes, read 4096 bytes back, verified",
        ),
        (
            ["rdma_server_imm", "rdma_client_imm"],
            "received 22 bytes with immediate 22: \"client-wrote-with-imm\"",
            "wrote 22 bytes with immediate 22",
        ),
    ] {
        let mut server = Beside::start(lab.command(&["exec"], &["server", "--", programs[0]]));
        server.wait_said("listening on");
        let client = lab.run("exec", &["client", "--", programs[1], "server"]).ok();
        assert!(client.stdout.contains(client_result), "{client:?}");
        server.wait_said(server_result);
    }
}

/// The kernel of a release tells that no other was booted, forked or reset to.
#[test]
#[ignore = "needs the lab's machines"]
fn lab_is_the_guest_that_was_asked_for_and_stays_it() {
    for (guest, kernel) in [("debian-12", "6.1."), ("debian-13", "6.12.")] {
        let lab = Lab::named(guest, None);
        let up = lab.run("up", &["--guest", guest, "--json"]).ok().json();
        assert_eq!(up["guest"], guest);
        assert!(up["kernel"].as_str().is_some_and(|version| version.starts_with(kernel)), "{up}");
        let status = lab.status().expect("a lab");
        let description = status["description"].as_str().expect("text");
        assert!(description.starts_with(&format!("qemu, {guest}, kernel {kernel}")), "{description}");
        lab.run("reset", &[]).ok();
        let version = lab.exec("client", "uname -r").ok().stdout;
        assert_eq!(version.trim(), up["kernel"].as_str().expect("text"));
    }
}

/// Each machine of a pair that differs is forked from the frozen ones of its own guest, and programs run on both.
#[test]
#[ignore = "needs the lab's machines"]
fn pair_that_differs_has_both_kernels_and_stays_it() {
    let lab = Lab::named("mixed", None);
    let guests = ["--server-guest", "debian-12", "--client-guest", "debian-13"];
    let up = lab.run("up", &[&guests[..], &["--json"]].concat()).ok().json();
    assert_eq!(up["guest"], "debian-12 and debian-13");
    let kernels = || ["server", "client"].map(|node| lab.exec(node, "uname -r").ok().stdout);
    let [server, client] = kernels();
    assert!(server.starts_with("6.1.") && client.starts_with("6.12."), "{server} {client}");
    lab.run("reset", &[]).ok();
    assert_eq!(kernels(), [server, client]);
}

#[test]
#[ignore = "needs the lab's machines"]
fn files_and_exit_codes_pass_through_and_reset_forgets() {
    let lab = Lab::named("files", None);
    let up = lab.run("up", &["--json"]).ok().json();
    assert_eq!(up["name"], lab.name.as_str());

    let directory = tempfile::tempdir().expect("a temporary directory");
    let (there, back) = (directory.path().join("there"), directory.path().join("back"));
    let mut bytes = vec![0; 300_000];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("random bytes");
    fs::write(&there, &bytes).expect("a file");
    lab.run("push", &["server", &there.display().to_string(), "/root/bytes"]).ok();
    lab.run("pull", &["server", "/root/bytes", &back.display().to_string()]).ok();
    assert!(fs::read(&back).expect("a file") == bytes, "the bytes that came back differ");

    let echoed = run_with(lab.command(&["exec"], &["client", "--", "cat; echo told >&2"]), b"asked").ok();
    assert_eq!((echoed.stdout.as_str(), echoed.stderr.trim_end()), ("asked", "told"));

    assert_eq!(lab.status().expect("the lab")["is_up"], true);
    lab.run("capture", &[]).fails(2, &["Usage"]);
    run(lab.command(&["capture", "start"], &[])).ok();
    lab.exec("client", "ping -c 1 server").ok();
    let stopped = run(lab.command(&["capture", "stop"], &["--json"])).ok().json();
    assert_eq!(stopped["packets"]["client"], 0, "{stopped}");
    assert!(run(xtask(&["lab", "clean", "--json"])).ok().json()["size_bytes"].is_u64());

    lab.run("reset", &[]).ok();
    lab.exec("server", "test ! -e /root/bytes && grep -q ACTIVE /sys/class/infiniband/rxe0/ports/1/state")
        .ok();
    lab.exec("client", "rping -c -a server -C 1 2>/dev/null; command -v rdma_client").ok();
}

#[test]
#[ignore = "needs the lab's machines"]
fn labs_and_scenarios_side_by_side_do_not_meet() {
    let (one, other) = (Lab::up("one"), Lab::up("other"));
    let mut scenarios =
        Beside::start(xtask(&["test-e2e", "--ci", "-j", "2", "write_read", "write_with_imm"]));
    for lab in [&one, &other] {
        lab.exec("server", &format!("echo {} >/root/whose", lab.name)).ok();
        let mut server = Beside::start(lab.command(&["exec"], &["server", "--", "rdma_server"]));
        server.wait_said("listening on");
        let client = lab.run("exec", &["client", "--", "rdma_client", "server"]).ok();
        assert!(client.stdout.contains("verified"), "{client:?}");
    }
    let ended = scenarios.wait();
    assert!(ended.success(), "{}", scenarios.said());
    for lab in [&one, &other] {
        assert_eq!(lab.exec("server", "cat /root/whose").ok().stdout.trim(), lab.name);
    }
    one.run("down", &[]).ok();
    other.exec("client", "true").ok();
}

#[test]
#[ignore = "needs the lab's machines"]
fn lab_that_is_up_is_no_error_and_says_what_differs() {
    let lab = Lab::named("twice", None);
    let mut both = [(); 2].map(|()| Beside::start(lab.command(&["up"], &["--json"])));
    let codes = both.each_mut().map(|up| up.wait().code());
    let said = both.each_ref().map(Beside::said);
    assert_eq!(codes, [Some(0), Some(0)], "{said:?}");
    assert_eq!(said.iter().filter(|said| said.contains(r#""was_up":false"#)).count(), 1, "{said:?}");
    let note = format!("note: the lab called {} was up already\n", lab.name);
    assert_eq!(said.iter().filter(|said| said.contains(&note)).count(), 1, "{said:?}");

    let again = lab.run("up", &["--seed", "7", "--json"]).ok();
    assert!(again.stderr.contains(&note), "{again:?}");
    assert!(again.stderr.contains("note: it differs: --seed 7 was asked for, and it has none"), "{again:?}");
    assert!(again.stderr.contains(&format!("lab down --name {}, then this again", lab.name)), "{again:?}");
    let (told, status) = (again.json(), lab.status().expect("the lab"));
    for key in ["guard", "machines", "nodes", "logs"] {
        assert_eq!(told[key], status[key], "{key}");
    }
    assert_eq!(told["nodes"]["client"]["address"], "198.51.100.2");
    assert!(told["nodes"]["server"]["ssh"]["port"].as_u64().is_some_and(|port| port > 1023), "{told}");
    let logs = told["logs"].as_str().expect("a path");
    assert!(logs.contains("/target/lab/labs/") && Path::new(logs).is_dir(), "{logs}");
    lab.run("up", &["--foreground"]).fails(2, &["is up already", "next: end it first"]);
    lab.exec("server", "true").ok();
}

#[test]
#[ignore = "needs the lab's machines"]
fn lab_that_is_down_and_bad_names_are_named() {
    let lab = Lab::named("never", None);
    let none = format!("no lab called {} is up", lab.name);
    let cure = format!("cargo xtask lab up --name {}", lab.name);
    for subcommand in [&["pull", "server", "x"][..], &["reset"], &["logs"]] {
        run(lab.command(&subcommand[..1], &subcommand[1..])).fails(2, &[&none, &cure]);
    }
    lab.run("exec", &["server", "true"]).fails(125, &[&none, &cure]);
    let down = lab.run("down", &[]).ok();
    assert!(down.stdout.contains("was not up"), "{down:?}");
    for name in ["../x", "a/b", "", "A", "a b", &"x".repeat(33)] {
        for subcommand in ["up", "down", "reset"] {
            let named = format!("--name={name}");
            run(xtask(&["lab", subcommand, &named]))
                .fails(2, &["is no name for a lab", "next: use small letters"]);
        }
    }
}
