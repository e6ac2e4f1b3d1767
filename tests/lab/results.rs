//! Results of a run for people and for machines: results.json, JUnit XML, the table; and judging it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

use crate::support::{COMMAND_LIMIT, Catalogue, artifacts, on_terminal, reasons, run, snapshot, xtask};

const SERVER: &str = "rdma_server_imm --once --json";
const CLIENT: &str = "rdma_client_imm {server} --json";

/// The second example with another client, and a limit.
fn scenario(client: &str, timeout_s: u32) -> String {
    format!(
        "summary = \"Results\"\nserver = \"{SERVER}\"\nclient = \"{client}\"\ntimeout_s = {timeout_s}\n\
         [expect.client]\nresult = {{ ok = true }}\n"
    )
}

/// The invocation's directory that a table ends with.
#[track_caller]
fn kept(stdout: &str) -> PathBuf {
    let line = stdout.lines().find_map(|line| line.strip_prefix("results in "));
    line.and_then(|line| line.split_once(": ")).unwrap_or_else(|| panic!("{stdout}")).0.into()
}

/// Scenario, class and reasons of each row.
fn rows(kept: &Path) -> Vec<(String, String, Vec<String>)> {
    let text = fs::read(kept.join("results.json")).expect("results");
    let results: Value = serde_json::from_slice(&text).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let rows = results["scenarios"].as_array().expect("rows").iter();
    rows.map(|row| (text(&row["scenario"]), text(&row["class"]), reasons(row))).collect()
}

#[test]
#[ignore = "needs the lab's machines"]
fn on_a_terminal_everything_is_shown_and_the_command_ends() {
    let catalogue = Catalogue::new();
    let green = catalogue.add("a-green", &scenario(CLIENT, 30), Some(&snapshot("write_with_imm")));
    let red = catalogue.add("b-red", &scenario(CLIENT, 30), None);
    for (name, code, end) in [(&green, 0, "1 passed, 0 failed"), (&red, 1, "0 passed, 1 failed")] {
        let (ended, shown) = on_terminal(catalogue.command(&[name]), COMMAND_LIMIT);
        assert_eq!(ended, Some(code), "{shown}");
        for part in [format!("test {name}"), "test result: ".to_owned(), end.to_owned()] {
            assert!(shown.contains(&part), "no `{part}` in {shown}");
        }
        assert!(!shown.contains('\0'), "{shown}");
    }
}

#[test]
#[ignore = "needs the lab's machines"]
fn hanging_scenario_is_red_at_its_limit_and_the_next_is_unaffected() {
    let accepted = snapshot("write_with_imm");
    let spoiled = accepted.replace("Only with Immediate", "Only without Immediate");
    let catalogue = Catalogue::new();
    let hang = catalogue.add("a-hang", &scenario("sleep 600", 4), Some(&accepted));
    let next = catalogue.add("b-next", &scenario(CLIENT, 30), Some(&accepted));
    let wire = catalogue.add("c-wire", &scenario(CLIENT, 30), Some(&spoiled));

    let ran = run(catalogue.command(&["-j", "1"])).fails(1, &[]);
    let run_directory = kept(&ran.stdout);
    let all = |reasons: &[&str]| reasons.iter().map(|reason| (*reason).to_owned()).collect::<Vec<_>>();
    let expected = [
        (hang.clone(), "failed".to_owned(), all(&["TIMEOUT", "WIRE", "APP", "AGREEMENT"])),
        (next, "passed".to_owned(), vec![]),
        (wire.clone(), "failed".to_owned(), all(&["WIRE"])),
    ];
    assert_eq!(rows(&run_directory), expected, "{}", ran.stdout);
    assert!(ran.stdout.contains("\n1 passed, 2 failed, 0 disturbed, 0 not run\n"), "{}", ran.stdout);

    let hung = artifacts(&hang);
    assert!(hung.starts_with(&run_directory));
    let evidence = fs::read(hung.join("evidence.json")).expect("the evidence");
    let evidence: Value = serde_json::from_slice(&evidence).expect("JSON");
    let seconds = evidence["seconds"]["programs"].as_f64().expect("seconds");
    assert!((4.0..10.0).contains(&seconds), "{seconds}");
    for file in [
        "evidence.json",
        "capture.pcapng",
        "trace.txt",
        "server.out",
        "dmesg-client.txt",
        "console-client.log",
    ] {
        assert!(hung.join(file).is_file(), "{file}");
    }

    let junit = fs::read_to_string(run_directory.join("junit.xml")).expect("JUnit XML");
    assert!(junit.contains(r#"tests="3" skipped="0" failures="2""#), "{junit}");
    for part in [
        "type=\"ProgramHung, TIMEOUT, WIRE, APP, AGREEMENT\"",
        "  replay     cargo xtask test-e2e",
        "  artifacts  ",
    ] {
        assert!(junit.contains(part), "no `{part}` in {junit}");
    }

    // Without QEMU, without a cache: from what was kept alone.
    let mut again = Command::new(cargo_bin!("xtask"));
    again.args(["test-e2e", "--from-artifacts"]).arg(&run_directory).arg("--scenarios").arg(catalogue.path());
    again.env("PATH", "/nonexistent").env("RDMA_LAB_CACHE", "/proc/nothing");
    let again = run(again).fails(1, &[]);
    assert_eq!(rows(&kept(&again.stdout)), expected, "{}", again.stdout);
    assert!(again.stdout.contains(&format!("{wire}: WIRE: ")), "{}", again.stdout);
    assert!(kept(&again.stdout).join("junit.xml").is_file());

    // A changed trace is shown, and waits beside its snapshot, without another run.
    let mut review = Command::new(cargo_bin!("xtask"));
    review.args(["test-e2e", "--review", "--from-artifacts"]).arg(run_directory.join(&wire));
    review.arg("--scenarios").arg(catalogue.path());
    review.env("PATH", "/nonexistent").env("RDMA_LAB_CACHE", "/proc/nothing");
    let review = run(review).fails(1, &[]);
    assert!(review.stdout.contains("to accept it: "), "{}", review.stdout);
    let pending = catalogue.path().join(format!("snapshots/{wire}.snap.new"));
    assert!(fs::read_to_string(pending).expect("a pending trace").starts_with("---\nsource: "));

    let summary = xtask(&["results", "--markdown", &run_directory.display().to_string()]);
    let summary = run(summary).ok().stdout;
    assert!(
        summary.contains("diff\n--- accepted\n")
            && summary.contains("\n-  client.qp1")
            && summary.contains("```mermaid\n"),
        "{summary}"
    );
}

#[test]
#[ignore = "needs the lab's machines"]
fn scenario_that_the_machines_cannot_run_is_not_run_in_every_output() {
    let catalogue = Catalogue::new();
    let mut expected: Vec<(String, &str)> = [
        ("switch", "needs = [\"switch\"]", "it needs the lab's own switch, which these machines have not"),
        (
            "nth",
            "[[fault]]\naction = \"drop\"\nnth = 1",
            "fault 1 (drop any packet, nth 1) needs the lab's own switch: tc netem knows nothing of `nth`",
        ),
        (
            "cut",
            "[[fault]]\naction = \"cut\"",
            "its faults need `tc netem` on client, whose network the lab may not change: setup_rxe is not set",
        ),
    ]
    .map(|(name, rest, why)| {
        let text = format!("summary = \"s\"\nserver = \"a\"\nclient = \"b\"\n{rest}\n");
        (catalogue.add(name, &text, None), why)
    })
    .into();
    expected.sort();
    // Nobody reaches these hosts: what cannot run on them asks nothing of them.
    let hosts = catalogue.path().join("hosts");
    let text = "[server]\nssh = \"a\"\naddress = \"192.0.2.1\"\nsetup_rxe = true\n[client]\nssh = \"b\"\naddress = \"192.0.2.2\"\n";
    fs::write(&hosts, text).expect("a file");
    let ssh = ["--provider", "ssh", "--hosts", &hosts.display().to_string()];

    let ran = run(catalogue.command(&ssh)).ok();
    assert!(ran.stdout.contains("\n0 passed, 0 failed, 0 disturbed, 3 not run\n"), "{}", ran.stdout);
    let run_directory = kept(&ran.stdout);
    let not_run: Vec<_> =
        expected.iter().map(|(name, _)| (name.clone(), "not_run".to_owned(), vec![])).collect();
    assert_eq!(rows(&run_directory), not_run);
    let junit = fs::read_to_string(run_directory.join("junit.xml")).expect("JUnit XML");
    let summary = run(xtask(&["results", "--markdown", &run_directory.display().to_string()])).ok().stdout;
    for (name, why) in &expected {
        assert!(ran.stdout.contains(&format!("  not run: {why}")), "{}", ran.stdout);
        // Before what XML writes otherwise.
        let begin = why.split(['\'', '`']).next().unwrap_or_default();
        assert!(junit.contains(&format!("<skipped message=\"{begin}")), "{junit}");
        assert!(summary.contains(&format!("| {name} | not run: {why} |")), "{summary}");
        let named = run(catalogue.command(&[&ssh[..], &[name.as_str()]].concat()));
        named.fails(2, &[&format!("{name}: {why}"), "--provider qemu"]);
    }
    let all = run(catalogue.command(&[&ssh[..], &["--require-all"]].concat())).fails(1, &[]);
    assert!(all.stdout.contains("\n0 passed, 3 failed, 0 disturbed, 0 not run\n"), "{}", all.stdout);
    for (_, why) in &expected {
        assert!(all.stdout.contains(&format!("not run: {why}")), "{}", all.stdout);
    }
}
