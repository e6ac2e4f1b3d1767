//! Which provider is taken, what it refuses, and how little a second `lab up` does.

use std::time::{Duration, Instant};

use crate::bench::Bench;

#[test]
#[ignore = "runs xtask"]
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
#[ignore = "runs xtask"]
fn scenario_that_needs_the_switch_is_refused_when_named() {
    let output = Bench::new().xtask("test-e2e --provider multipass lost_read_response");
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("lost_read_response needs the lab's own switch"), "{}", output.stderr);
}

#[test]
#[ignore = "brings up machines"]
fn second_lab_up_only_looks() {
    let bench = Bench::new();
    let up = "lab up --name t-second --provider multipass";
    bench.ok(up);
    let before = bench.place.logged().len();
    let fastest = (0..3)
        .map(|_| {
            let started = Instant::now();
            bench.ok(up);
            started.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("second `lab up`: {:.1} s", fastest.as_secs_f64());
    let verbs: Vec<String> = bench
        .place
        .logged()
        .split_off(before)
        .into_iter()
        .map(|mut logged| logged.argv.swap_remove(0))
        .collect();
    // Two questions to the daemon, two to the guests.
    assert_eq!(verbs.iter().filter(|verb| *verb == "exec").count(), 3 * 2, "{verbs:?}");
    assert!(
        verbs.iter().all(|verb| ["version", "get", "info", "exec"].contains(&verb.as_str())),
        "{verbs:?}"
    );
    assert!(fastest < Duration::from_secs(3), "{fastest:?}");
    bench.ok("lab down --name t-second");
}
