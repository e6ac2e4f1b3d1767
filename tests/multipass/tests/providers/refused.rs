//! Obstacles to using Multipass: each by its name, before anything is launched or lost.

use multipass_stand_in::place::Misbehaviour;

use crate::bench::Bench;

const UP: &str = "lab up --name t-refused --provider multipass";

#[test]
#[ignore = "needs the lab"]
fn daemon_that_cannot_be_used_is_named() {
    let bench = Bench::without_daemon();
    bench.refused(UP, "Multipass's daemon cannot be reached");
    bench.place.turn_on(Misbehaviour::NeverRan, "").unwrap();
    bench.refused(UP, "has never run on this computer");
    bench.place.turn_off(Misbehaviour::NeverRan);

    let bench = Bench::new();
    bench.place.turn_on(Misbehaviour::NotAuthenticated, "").unwrap();
    bench.refused(UP, "does not let this user in");
    bench.place.turn_off(Misbehaviour::NotAuthenticated);
    bench.place.turn_on(Misbehaviour::Driver, "virtualbox").unwrap();
    bench.refused(UP, "VirtualBox, which cannot connect two instances");
    bench.place.turn_off(Misbehaviour::Driver);
    bench.place.turn_on(Misbehaviour::DaemonBlocked, "").unwrap();
    bench.refused(UP, "`multipass get local.driver`: not within 20.0 s");
    assert!(bench.place.logged().iter().all(|logged| ["get", "version"].contains(&logged.argv[0].as_str())));
}

#[test]
#[ignore = "needs the lab"]
fn launch_that_cannot_be_is_named() {
    let bench = Bench::new();
    bench.place.turn_on(Misbehaviour::NoKvm, "").unwrap();
    bench.refused(UP, "gives Multipass no KVM");
    bench.place.turn_off(Misbehaviour::NoKvm);
    bench.refused(&format!("{UP} --image 99.99"), "Multipass has no such image");
    bench.refused(&format!("{UP} --memory lots"), "--memory lots is no size");
    bench.refused(&format!("{UP} --disk 600M"), "the image needs a larger disk");
    bench.place.turn_on(Misbehaviour::Offline, "").unwrap();
    bench.refused(UP, "cannot look up its images");
    bench.place.turn_off(Misbehaviour::Offline);
    bench.assert_others_are_left_alone();
    let list = bench.multipass("list --format json").stdout;
    assert!(!list.contains("rdma-") && list.contains("\"mine\""), "{list}");
}

#[test]
#[ignore = "needs the lab"]
fn usual_provider_is_multipass_where_its_daemon_answers() {
    let named = |bench: &Bench| {
        let output = bench.xtask("test-e2e no-such-scenario");
        assert_eq!(output.code, Some(2));
        output.stderr.contains("note: provider multipass, since its daemon answers")
    };
    assert!(named(&Bench::new()));
    assert!(!named(&Bench::without_daemon()));
}

#[test]
#[ignore = "needs the lab"]
fn scenario_that_needs_the_switch_is_refused_when_named() {
    let output = Bench::new().xtask("test-e2e --provider multipass lost_read_response");
    assert_eq!(output.code, Some(2));
    let why =
        "lost_read_response: fault 1 (drop RC RDMA READ response Middle, nth 2) needs the lab's own switch";
    assert!(output.stderr.contains(why), "{}", output.stderr);
}
