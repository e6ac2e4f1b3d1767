//! Processes that stand still, do not read or are killed: the lab says so, and ends.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Family, is_used_by};
use crate::support::{Beside, Catalogue, Lab, linked_cache, poll, reasons, run, verdict, xtask};

/// The exit code of `lab exec` where the lab did not run the command to its end.
const TROUBLE: i32 = 125;

/// Number of times that each kind of process is killed; `ci` leaves it at this.
const KILLS: usize = 2;

/// Demands that `lab down` ends a lab that is there, and that nothing of it is left.
#[track_caller]
fn assert_goes_down(lab: &Lab, family: &Family) {
    let started = Instant::now();
    let down = lab.run("down", &[]).ok();
    assert!(down.stdout.contains(&format!("{}: ended", lab.name)), "{down:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{} s", started.elapsed().as_secs_f64());
    family.assert_leaves_nothing();
    assert_eq!(lab.status(), None);
}

#[test]
#[ignore = "needs the lab's machines"]
fn node_that_takes_no_frames_deafens_nobody() {
    let lab = Lab::up("deaf");
    let family = lab.family();
    lab.exec("client", "arp -s 198.51.100.1 52:54:00:00:00:01").ok();
    lab.exec("server", "ip link set eth0 down").ok();
    // Over the socket's own buffer, so that QEMU does not take the rest.
    lab.exec("client", "ping -c 700 -i 0.01 -s 1400 -W 1 198.51.100.1 >/dev/null; true").ok();
    assert_eq!(lab.status().expect("the lab")["state"], "up");
    // What waited arrives, and the wire works again, once the link is up.
    lab.exec("server", "ip link set eth0 up").ok();
    lab.exec(
        "client",
        "for i in $(seq 20); do ping -c 1 -W 1 198.51.100.1 >/dev/null && exit 0; done; exit 1",
    )
    .ok();
    lab.exec("server", "ip link set eth0 down").ok();
    lab.exec("client", "ping -c 200 -i 0.01 -s 1400 -W 1 198.51.100.1 >/dev/null; true").ok();
    assert_goes_down(&lab, &family);
}

#[test]
#[ignore = "needs the lab's machines"]
fn guard_that_stands_still_is_named_and_ended() {
    let cache = linked_cache();
    for is_recorded in [true, false] {
        let lab = Lab::named("still", Some(cache.path()));
        lab.run("up", &[]).ok();
        let family = lab.family();
        family.guard.signal(Signal::STOP);
        let process = format!("process {}", family.guard.pid);
        if is_recorded {
            let status = lab.status().expect("the lab");
            assert_eq!(
                (status["state"].as_str(), &status["is_up"]),
                (Some("does not answer"), &false.into())
            );
            for (subcommand, code) in
                [(&["exec", "client", "--", "true"][..], TROUBLE), (&["up"], 1), (&["reset"], 1)]
            {
                let ran = run(lab.command(&subcommand[..1], &subcommand[1..]));
                ran.fails(code, &["does not answer", &process, "kill -CONT", "lab down"]);
            }
            family.guard.signal(Signal::CONT);
            lab.exec("client", "true").ok();
            family.guard.signal(Signal::STOP);
            assert_goes_down(&lab, &family);
            continue;
        }
        fs::remove_file(cache.path().join(format!("labs/{}.json", lab.name))).expect("the record");
        let stray = format!("guard that does not answer, {process}");
        poll("stray", Duration::from_secs(60), || {
            lab.overview()["strays"]
                .as_array()
                .expect("strays")
                .contains(&stray.as_str().into())
                .then_some(())
        });
        let mut down = xtask(&["lab", "down", "--all"]);
        down.env("RDMA_LAB_CACHE", cache.path());
        let down = run(down).ok();
        assert!(down.stdout.contains(&format!("cleared {stray}")), "{down:?}");
        family.assert_leaves_nothing();
    }
}

#[test]
#[ignore = "needs the lab's machines"]
fn guard_without_its_directory_ends_and_a_stopped_one_is_ended() {
    for is_stopped in [false, true] {
        let lab = Lab::named("lost", None);
        lab.run("up", &[]).ok();
        let family = lab.family();
        if is_stopped {
            family.guard.signal(Signal::STOP);
        }
        fs::remove_dir_all(&family.run_directory).expect("the run directory");
        if is_stopped {
            assert_eq!(lab.status().expect("the lab")["state"], "does not answer");
            assert_goes_down(&lab, &family);
        } else {
            family.assert_leaves_nothing();
            lab.exec("client", "true").fails(TROUBLE, &["is down", "its run directory was removed"]);
        }
    }
}

#[test]
#[ignore = "needs the lab's machines"]
fn machine_of_a_lab_that_stands_still_is_named_and_ended() {
    let lab = Lab::up("frozen");
    let family = lab.family();
    let status = lab.status().expect("the lab");
    let machine = |index: usize| {
        let pid = status["machines"][index].as_u64().expect("a process id");
        family.machines.iter().find(|machine| u64::from(machine.pid) == pid).expect("a machine")
    };
    machine(1).signal(Signal::STOP);
    let process = format!("process {}", machine(1).pid);
    assert_eq!(lab.status().expect("the lab")["stopped"][0], "client");
    lab.exec("client", "true").fails(TROUBLE, &["node client of ", "stands still", &process, "kill -CONT"]);
    lab.exec("server", "true").ok();
    assert_goes_down(&lab, &family);
}

#[test]
#[ignore = "needs the lab's machines"]
fn machine_that_stands_still_in_a_scenario_is_the_headline_and_ran() {
    let catalogue = Catalogue::new();
    let limit_s = 20;
    let name = catalogue.add(
        "stops",
        &format!(
            "summary = \"A machine is stopped while its program sleeps\"\ntimeout_s = {limit_s}\n\
             server = \"rdma_server --json\"\nclient = \"rdma_client {{server}} --json; sleep 15\"\n"
        ),
        None,
    );
    let mut scenario = Beside::start(catalogue.command(&[]));
    let family = Family::wait_under(scenario.id());
    let capture = family.artifacts.join("capture.pcapng");
    // Both programs have been started once the wire has something of RDMA.
    poll("traffic", Duration::from_secs(60), || fs::metadata(&capture).ok().filter(|file| file.len() > 3000));
    let machine = family.machines.iter().max_by_key(|machine| machine.pid).expect("a machine");
    machine.signal(Signal::STOP);
    let stopped = Instant::now();
    assert_eq!(scenario.wait().code(), Some(1));
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(limit_s + 10), "{} s", took.as_secs_f64());
    family.assert_leaves_nothing();

    let verdict = verdict(&family.artifacts);
    assert_eq!(verdict["scenario"], name.as_str());
    assert_eq!(reasons(&verdict)[0], "BOOT", "{verdict}");
    let text = verdict["failures"][0]["text"].as_str().expect("a text");
    assert!(text.contains("stands still: its QEMU, process ") && text.contains("SIGSTOP"), "{text}");
    assert!(!verdict.to_string().contains("never ran"), "{verdict}");
}

/// `LAB_KILLS=10` is as often as a release is tried.
#[test]
#[ignore = "needs the lab's machines"]
fn whoever_is_killed_the_lab_says_so_and_ends() {
    let kills = std::env::var("LAB_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let lab = Lab::named("kills", None);
    for _ in 0..kills {
        for kind in ["machine", "guard", "xtask"] {
            let mut up = Beside::start(lab.command(&["up"], &[]));
            let family = match kind {
                "xtask" => {
                    let family = Family::wait_under(up.id());
                    up.kill();
                    family
                }
                _ => {
                    assert_eq!(up.wait().code(), Some(0), "{}", up.said());
                    lab.family()
                }
            };
            match kind {
                "machine" => family.machines[0].kill(),
                "guard" => family.guard.kill(),
                _ => {}
            }
            family.assert_ends();
            let state = lab.status().map(|status| status["state"].clone());
            let recorded = (kind != "xtask").then(|| "down".into());
            assert_eq!(state, recorded, "{kind}");
            let down = lab.run("down", &[]).ok();
            assert!(down.stdout.contains("was not up"), "{down:?}");
            assert_eq!(lab.status(), None);
            family.assert_leaves_nothing();
        }
    }
}

#[test]
#[ignore = "needs the lab's machines"]
fn exec_gives_a_program_no_child_and_pull_ends_on_both_sides() {
    let lab = Lab::up("sides");
    let family = lab.family();
    let children = lab.exec("client", "exec cat /proc/$$/task/$$/children").ok();
    assert_eq!(children.stdout.trim(), "", "it started none");

    for (path, what) in [("/dev/zero", "it is a device"), ("/root", "it is a directory")] {
        let to = family.artifacts.join("pulled");
        let ran = lab.run("pull", &["client", path, &to.display().to_string()]);
        ran.fails(1, &["failed to read", what]);
        assert!(!to.exists());
    }

    lab.exec("client", "truncate -s 4G /root/large").ok();
    let key = family.run_directory.join("ssh-key");
    let is_connected = || is_used_by("ssh", Path::new(&key));
    for signal in [Signal::INT, Signal::KILL] {
        let mut pull = Beside::start(lab.command(&["pull"], &["client", "/root/large", "/dev/null/x"]));
        lab.exec("client", "for i in $(seq 40); do pidof sha256sum tar && exit; sleep 0.5; done; exit 1")
            .ok();
        match signal {
            Signal::INT => pull.signal(signal),
            _ => pull.kill(),
        }
        let _ = pull.wait();
        poll("end of the client", Duration::from_secs(5), || (!is_connected()).then_some(()));
        let ended = "for i in $(seq 20); do pidof sha256sum tar || exit 0; sleep 1; done; exit 1";
        lab.exec("client", ended).ok();
    }
}
