//! The end of things: whoever is killed, nothing stays, and the next run works.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::Family;
use crate::support::{Beside, Catalogue, Lab, linked_cache, poll, reasons, run, verdict, xtask};

#[test]
#[ignore = "needs the lab's machines"]
fn killed_test_run_leaves_nothing() {
    for how in ["xtask killed", "interrupted", "test binary killed"] {
        let mut scenario = Beside::start(xtask(&["test-e2e", "--ci", "write_read"]));
        let family = Family::wait_under(scenario.id());
        match how {
            "xtask killed" => scenario.kill(),
            "interrupted" => {
                scenario.signal(Signal::INT);
                assert!(!scenario.wait().success());
            }
            _ => {
                family.ancestors.iter().for_each(|process| process.kill());
                assert!(!scenario.wait().success());
            }
        }
        family.assert_leaves_nothing();
    }
    run(xtask(&["test-e2e", "--ci", "write_read"])).ok();
}

#[test]
#[ignore = "needs the lab's machines"]
fn killed_resident_lab_leaves_nothing_and_comes_up_again() {
    let lab = Lab::named("killed", None);
    let mut up = Beside::start(lab.command(&["up"], &[]));
    let family = Family::wait_under(up.id());
    up.kill();
    family.assert_leaves_nothing();

    lab.run("up", &[]).ok();
    let family = lab.family();
    family.machines[0].kill();
    family.assert_leaves_nothing();
    lab.exec("client", "true").fails(125, &["is down", "ended: signal: 9", "next: bring it up"]);

    for everything in [false, true] {
        lab.run("up", &[]).ok();
        let family = lab.family();
        family.guard.kill();
        if everything {
            family.machines.iter().for_each(|machine| machine.kill());
        }
        // Nobody is left to remove its directory: the record says so, and the next `lab up` does it.
        assert!(!family.assert_ends());
        lab.exec("client", "true").fails(125, &["is down", "next: bring it up"]);
        assert_eq!(lab.status().expect("the record")["is_up"], false);
        if everything {
            lab.run("up", &[]).ok();
            assert!(!family.run_directory.exists());
            lab.exec("client", "true").ok();
        }
    }
}

#[test]
#[ignore = "needs the lab's machines"]
fn what_a_test_run_leaves_when_all_of_it_is_killed_is_named_and_cleared() {
    // A cache of its own: `down --all` would end the user's labs.
    let cache = linked_cache();
    let lab = Lab::named("unused", Some(cache.path()));
    let mut command = xtask(&["test-e2e", "--ci", "write_read"]);
    command.env("RDMA_LAB_CACHE", cache.path());
    let mut scenario = Beside::start(command);
    let family = Family::wait_under(scenario.id());
    // Stopped first, so that none has the time to clear up behind another that died before it.
    scenario.signal(Signal::STOP);
    let all = || family.ancestors.iter().chain([&family.guard]).chain(&family.machines);
    all().for_each(|process| process.signal(Signal::STOP));
    all().for_each(|process| process.kill());
    scenario.signal(Signal::KILL);
    scenario.wait();
    assert!(!family.assert_ends());

    let stray = format!("run directory {}", family.run_directory.display());
    // A directory that was changed a moment ago may be that of a guard that is starting.
    poll("stray", Duration::from_secs(20), || {
        lab.overview()["strays"].as_array().expect("strays").contains(&stray.as_str().into()).then_some(())
    });
    let mut down = xtask(&["lab", "down", "--all"]);
    down.env("RDMA_LAB_CACHE", cache.path());
    let down = run(down).ok();
    assert!(down.stdout.contains(&format!("cleared {stray}")), "{down:?}");
    assert!(!family.run_directory.exists());
    assert!(cache.path().exists());
}

#[test]
#[ignore = "needs the lab's machines"]
fn machine_that_dies_in_a_scenario_is_the_headline_at_once() {
    let catalogue = Catalogue::new();
    let name = catalogue.add(
        "dies",
        "summary = \"A machine is killed while its program sleeps\"\ntimeout_s = 100\n\
         server = \"rdma_server --json\"\nclient = \"rdma_client {server} --json; sleep 90\"\n",
        None,
    );
    let mut scenario = Beside::start(catalogue.command(&[]));
    let family = Family::wait_under(scenario.id());
    let capture = family.artifacts.join("capture.pcapng");
    poll("capture", Duration::from_secs(30), || fs::metadata(&capture).ok());
    family.machines[1].kill();
    let killed = Instant::now();
    assert_eq!(scenario.wait().code(), Some(1));
    assert!(killed.elapsed() < Duration::from_secs(10), "{} s", killed.elapsed().as_secs_f64());
    family.assert_leaves_nothing();

    let verdict = verdict(&family.artifacts);
    assert_eq!(verdict["scenario"], name.as_str());
    assert_eq!(verdict["headline"], "BOOT", "{verdict}");
    assert_eq!(reasons(&verdict)[0], "BOOT");
    let text = verdict["failures"][0]["text"].as_str().expect("a text");
    assert!(text.contains("ended: signal: 9"), "{text}");
    // The tail of the console, below what ended.
    assert!(text.lines().any(|line| line.contains("| ")), "{text}");
    assert!(scenario.said().contains(": BOOT: node "), "{}", scenario.said());
}
