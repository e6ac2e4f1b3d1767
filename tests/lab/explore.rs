//! `cargo xtask explore` and `fuzz` find defects that are planted: in programs, and in what a responder answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::scenario::Scenario;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Beside, Catalogue, Ran, compile_peer, poll, run, xtask};

/// `explore ARGS`, one pair of machines at a time.
fn explore(directory: &Path, args: &[&str]) -> Command {
    let mut command = xtask(&["explore", "--jobs", "1"]);
    command.current_dir(directory).args(args);
    command
}

/// A directory with the C peer.
fn with_peer() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    compile_peer(&directory.path().join("peer"));
    directory
}

/// The scenario files that an exploration wrote.
fn again(ran: &Ran) -> Vec<PathBuf> {
    let files = ran.stdout.lines().filter_map(|line| line.trim_start().strip_prefix("again "));
    files.map(|file| PathBuf::from(file.trim())).collect()
}

/// The faults of the only scenario file that an exploration wrote, in words.
#[track_caller]
fn fewest(ran: &Ran) -> Vec<String> {
    let files = again(ran);
    assert_eq!(files.len(), 1, "{}", ran.stdout);
    let scenario = Scenario::read(&files[0]).expect("a scenario");
    scenario.faults.iter().map(ToString::to_string).collect()
}

#[test]
#[ignore = "needs the lab's machines"]
fn server_that_forgets_the_rtu_is_found_and_shrunk_to_the_one_fault() {
    let directory = with_peer();
    let pair = ["--server", "./peer write server", "--client", "rdma_client {server}", "--timeout", "8"];
    let reach = ["--pairs", "1", "--on", "CM RTU", "--on", "RC RDMA WRITE Only", "--action", "drop"];
    let ran = run(explore(directory.path(), &[&pair[..], &reach].concat()));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("SURPRISE: drop CM RTU, to server"), "{}", ran.stdout);
    assert_eq!(fewest(&ran), ["drop CM RTU, to server, nth 1"]);
}

#[test]
#[ignore = "needs the lab's machines"]
fn client_that_does_not_look_at_what_it_read_is_told_apart() {
    let directory = with_peer();
    let pair = ["--server", "rdma_server --once", "--client", "./peer write client {server} unread"];
    let reach = ["--on", "RC RDMA READ response First", "--action", "corrupt", "--field", "payload"];
    let ran = run(explore(directory.path(), &[&pair[..], &reach].concat())).ok();
    // Without a fitting ICRC the kernel sees the change.
    assert!(ran.stdout.contains("SURPRISE 0, UNDETECTED 1, recovered 1"), "{}", ran.stdout);
    assert_eq!(fewest(&ran), ["corrupt payload RC RDMA READ response First, to client.qp1, psn 1"]);
}

/// Responders that are wrong about what comes twice; the wire plays them. Each with the packet whose loss shows it.
const WRONG_RESPONDERS: [(&str, &str, &str, &str, &str); 3] = [
    (
        "skips-an-ack",
        "rdma_server --once",
        "rdma_client {server} --ack-timeout 14 --retry-count 2",
        "action = 'drop'\nopcode = 'RC Acknowledge'\nagain = true\ntimes = 20",
        "RC Acknowledge",
    ),
    (
        "stale-read",
        "rdma_server --once",
        "rdma_client {server}",
        "action = 'corrupt'\nfield = 'payload'\nreseal = true\nopcode = 'RC RDMA READ response First'\nagain = true\ntimes = 20",
        "RC RDMA READ response First",
    ),
    (
        "atomic-twice",
        "rdma_server_atomic --once",
        "rdma_client_atomic {server} --ack-timeout 14",
        "action = 'corrupt'\nfield = 'original'\nreseal = true\nopcode = 'RC Atomic Acknowledge'\npsn = 0\nagain = true\ntimes = 20",
        "RC Atomic Acknowledge",
    ),
];

#[test]
#[ignore = "needs the lab's machines"]
fn responder_that_is_wrong_about_what_comes_twice_is_found_by_one_loss() {
    let catalogue = Catalogue::new();
    for (name, server, client, fault, lost) in WRONG_RESPONDERS {
        let text = format!(
            "summary = 's'\nserver = '{server}'\nclient = '{client}'\n[[fault]]\n{fault}\n[expect]\ncompletions = false\n"
        );
        let name = catalogue.add(name, &text, None);
        let mut command = explore(catalogue.path(), &[&name, "--on", lost, "--action", "drop"]);
        let ran = run({
            command.arg("--scenarios").arg(catalogue.path());
            command
        });
        assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
        let faults = fewest(&ran);
        assert!(faults.len() == 2 && faults[0].starts_with(&format!("drop {lost}")), "{name}: {faults:?}");
    }
}

#[test]
#[ignore = "needs the lab's machines"]
fn pair_that_is_not_the_same_twice_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pair = [
        "--server",
        "rdma_server_send --once",
        "--client",
        "rdma_client_send --size $((RANDOM % 900 + 8)) {server}",
    ];
    let ran = run(explore(directory.path(), &pair));
    ran.fails(2, &["not deterministic by itself", "only some runs have RC SEND Only", "next: "]);
}

#[test]
#[ignore = "needs the lab's machines"]
fn second_exploration_says_the_same() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let explored = || {
        let ran = run(explore(directory.path(), &["send", "--on", "RC SEND Only", "--action", "drop"])).ok();
        let page = ran.stdout.lines().find_map(|line| line.trim_start().strip_prefix("page "));
        let kept = PathBuf::from(page.expect("a page").trim());
        (kept.parent().expect("a directory").to_owned(), ran)
    };
    let (one, _) = explored();
    let (other, ran) = explored();
    let summary = |directory: &Path| fs::read_to_string(directory.join("summary.txt")).expect("a summary");
    assert_eq!(summary(&one), summary(&other));
    assert!(ran.stdout.ends_with(&format!("  page       {}\n", other.join("index.html").display())));
    let page = fs::read_to_string(other.join("index.html")).expect("a page");
    assert!(page.contains("href=\"./0001/report.html\"><span aria-hidden=\"true\">rt</span>"), "{page}");
}

#[test]
#[ignore = "needs the lab's machines"]
fn exploration_that_ctrl_c_ended_goes_on_with_the_command_that_it_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let reach = ["send", "--on", "RC SEND Only", "--action", "drop", "--action", "duplicate"];
    let mut begun = Beside::start(explore(directory.path(), &reach));
    begun.wait_said("if it is interrupted: cargo xtask explore --resume ");
    let said = begun.said();
    let (_, kept) = said.split_once(" --resume ").expect("a command");
    let kept = PathBuf::from(kept.lines().next().expect("a directory"));
    let runs = || fs::read_to_string(kept.join("explore.jsonl")).expect("a file").lines().count() - 1;
    poll("first run", Duration::from_secs(300), || (runs() == 1).then_some(()));
    begun.signal(Signal::INT);
    begun.wait();
    assert_eq!(runs(), 1);
    let resume = ["--resume", &kept.display().to_string()];
    let other = [&resume[..], &["--guest", "debian-12"]].concat();
    run(explore(directory.path(), &other)).fails(2, &["was made with ", "--guest debian-13", "next: "]);
    let ran = run(explore(directory.path(), &resume)).ok();
    assert!(ran.stdout.contains("2 runs for 2 placements: SURPRISE 0"), "{}", ran.stdout);
    assert_eq!(runs(), 2);
}

#[test]
#[ignore = "needs the lab's machines"]
fn legal_moves_of_a_peer_surprise_nobody() {
    let ran = run(xtask(&["fuzz", "--runs", "3", "--seed", "5", "--illegal", "0"])).ok();
    assert!(ran.stdout.contains("3 runs, 30 moves, "), "{}", ran.stdout);
    assert!(ran.stdout.contains("seed 5; answers: 30 that acknowledge, 0 NAKs; 0 runs"), "{}", ran.stdout);
}

#[test]
#[ignore = "needs the lab's machines"]
fn right_answers_of_a_peer_surprise_nobody() {
    let client = "rdma_client {server}";
    let ran = run(xtask(&["fuzz", "--client", client, "--runs", "3", "--seed", "5", "--illegal", "0"])).ok();
    assert!(ran.stdout.contains("3 runs, 9 moves, "), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("seed 5; answers: 9 as they should be, 0 not; 0 runs with surprises"),
        "{}",
        ran.stdout
    );
}

#[test]
#[ignore = "needs the lab's machines"]
fn client_that_takes_a_refusal_for_a_success_is_found() {
    let client = "rdma_client {server} || true";
    let ran = run(xtask(&["fuzz", "--client", client, "--runs", "12", "--seed", "5"]));
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stdout.contains("the client ended well, though"), "{}", ran.stdout);
}
