//! The command line, as a user types it: exit codes, what goes where, and what each error says to do next.
//!
//! Needs nothing but the built `xtask`: where a test is about what a computer lacks, it gives the command a
//! PATH with nothing on it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;

fn xtask() -> Command {
    let mut command = Command::new(cargo_bin!("xtask"));
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
    let selection = ["RDMA_LAB_SELECTION", "RDMA_LAB_TOOLS", "RDMA_LAB_OFFLINE"];
    for name in ["LIBCLANG_PATH", "RDMA_LAB_DEBIAN_MIRROR"].into_iter().chain(selection) {
        command.env_remove(name);
    }
    command.env("RDMA_LAB_CACHE", cache).stdin(Stdio::null());
    command
}

/// Runs `xtask ARGS` and gives exit code, standard output and standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    finish(xtask().args(args).output().expect("xtask starts"))
}

/// Runs `xtask ARGS` on a computer that has no programs.
fn run_without_programs(args: &[&str]) -> (i32, String, String) {
    let empty = tempfile::tempdir().expect("a temporary directory");
    finish(xtask().args(args).env("PATH", empty.path()).output().expect("xtask starts"))
}

fn finish(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn file_with(directory: &Path, name: &str, bytes: &[u8]) -> String {
    let path = directory.join(name);
    fs::write(&path, bytes).expect("a file");
    path.display().to_string()
}

/// A pcapng capture of `frames`, as the lab writes it.
fn capture_of(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = roce::capture::Writer::new(&mut bytes, &["server", "client"]).expect("a capture");
    for frame in frames {
        writer.write(1, 1_000, frame, "fate=forwarded").expect("a packet");
    }
    writer.finish().expect("a capture");
    bytes
}

/// A capture of one WRITE and one READ.
fn capture() -> Vec<u8> {
    capture_of(&roce::synth::Pair::new(1).write_then_read())
}

#[test]
fn help_names_every_command_and_hides_the_guard() {
    let (code, stdout, stderr) = run(&["--help"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for name in ["doctor", "lab", "test-e2e", "decode", "ci"] {
        assert!(stdout.contains(name), "{name} in {stdout}");
    }
    assert!(!stdout.contains("__guard"), "{stdout}");
}

#[test]
fn unknown_subcommand_is_a_usage_error() {
    let (code, stdout, stderr) = run(&["tset-e2e"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("tset-e2e") && stderr.contains("test-e2e"), "{stderr}");
}

#[test]
fn no_subcommand_is_a_usage_error_with_help() {
    let (code, _, stderr) = run(&[]);
    assert_eq!(code, 2);
    assert!(stderr.contains("Usage: cargo xtask"), "{stderr}");
}

#[test]
fn unknown_provider_names_the_valid_ones() {
    let (code, _, stderr) = run(&["test-e2e", "--provider", "vmware"]);
    assert_eq!(code, 2);
    for name in ["vmware", "qemu"] {
        assert!(stderr.contains(name), "{name} in {stderr}");
    }
}

#[test]
fn unknown_accelerator_names_the_valid_ones() {
    let (code, _, stderr) = run(&["lab", "up", "--accel", "hvf"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("auto, kvm, tcg"), "{stderr}");
}

#[test]
fn unknown_guest_names_the_nearest() {
    let commands: [&[&str]; 6] = [
        &["test-e2e", "write_read"],
        &["run", "--server", "a", "--client", "b"],
        &["lab", "up"],
        &["test-guest"],
        &["self-test"],
        &["bench", "lab"],
    ];
    for command in commands {
        let (code, stdout, stderr) = run_without_programs(&[command, &["--guest", "debian12"]].concat());
        assert_eq!((code, stdout.as_str()), (2, ""), "{command:?}: {stderr}");
        assert!(stderr.contains("no guest is called `debian12`"), "{command:?}: {stderr}");
        assert!(stderr.contains("the nearest is `debian-12`; there are: debian-13-backports"), "{stderr}");
        let named = xtask().args(command).env("RDMA_LAB_GUEST", "debian-99").output();
        let (code, _, stderr) = finish(named.expect("xtask starts"));
        assert_eq!(code, 2, "{command:?}: {stderr}");
        assert!(stderr.contains("RDMA_LAB_GUEST=debian-99 names no guest"), "{command:?}: {stderr}");
    }
}

#[test]
fn guest_of_machines_of_others_is_a_usage_error() {
    let (code, _, stderr) = run(&["lab", "up", "--provider", "ssh", "--hosts", "x", "--guest", "debian-12"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("--guest debian-12 is for QEMU's machines"), "{stderr}");
}

#[test]
fn review_and_ci_exclude_each_other() {
    let (code, _, stderr) = run(&["test-e2e", "--review", "--ci"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("cannot be used with"), "{stderr}");
}

#[test]
fn decode_without_a_file_is_a_usage_error() {
    let (code, _, stderr) = run(&["decode"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("<FILE>"), "{stderr}");
}

#[test]
fn decode_of_an_absent_file_or_a_directory_names_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let name = directory.path().display().to_string();
    let (code, _, stderr) = run(&["decode", &format!("{name}/none.pcapng")]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error: ") && stderr.contains("none.pcapng"), "{stderr}");
    let (code, _, stderr) = run(&["decode", &name]);
    assert_eq!(code, 1);
    assert!(stderr.contains("is a directory"), "{stderr}");
}

#[test]
fn decode_of_an_empty_capture_is_an_error() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (code, stdout, stderr) = run(&["decode", &file_with(directory.path(), "e.pcapng", b"")]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("e.pcapng") && stderr.contains("empty"), "{stderr}");
    assert!(stderr.contains("next: "), "{stderr}");
}

#[test]
fn decode_of_something_else_is_an_error() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for bytes in [&b"hello, world\n"[..], b"\x1f\x8b\x08", b"x"] {
        let (code, stdout, stderr) = run(&["decode", &file_with(directory.path(), "notes.txt", bytes)]);
        assert_eq!((code, stdout.as_str()), (1, ""));
        assert!(stderr.contains("not a capture"), "{stderr}");
    }
}

#[test]
fn decode_of_a_cut_capture_prints_what_was_before_the_cut() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let whole = capture();
    let (code, all, stderr) = run(&["decode", &file_with(directory.path(), "w.pcapng", &whole)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let cut = &whole[..whole.len() - 10];
    let (code, some, stderr) = run(&["decode", &file_with(directory.path(), "c.pcapng", cut)]);
    assert_eq!(code, 1);
    assert!(stderr.contains("is cut") && stderr.contains("next: "), "{stderr}");
    assert!(all.contains("12 packets") && some.contains("11 packets"), "{all}\n{some}");
}

#[test]
fn decode_without_a_roce_packet_says_what_is_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let name = file_with(directory.path(), "other.pcapng", &capture_of(&[vec![0; 60]]));
    let (code, stdout, stderr) = run(&["decode", &name]);
    assert_eq!(code, 0);
    assert!(stdout.contains("0 packets"), "{stdout}");
    assert!(stderr.starts_with("note: no RoCE packet in ") && stderr.contains("1 other frame"), "{stderr}");
}

#[test]
fn decode_reads_standard_input() {
    let mut child = xtask()
        .args(["decode", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("xtask starts");
    child.stdin.take().expect("a pipe").write_all(&capture()).expect("xtask reads");
    let (code, stdout, stderr) = finish(child.wait_with_output().expect("xtask ends"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(!stdout.is_empty());
}

#[test]
fn reader_that_leaves_early_is_no_panic() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let name = file_with(directory.path(), "w.pcapng", &capture());
    let mut child = xtask()
        .args(["decode", &name])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("xtask starts");
    drop(child.stdout.take());
    let (code, _, stderr) = finish(child.wait_with_output().expect("xtask ends"));
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[test]
fn doctor_says_in_five_lines_what_is_missing_and_fails() {
    let (code, stdout, stderr) = run_without_programs(&["doctor"]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    let lines: Vec<&str> = stdout.lines().collect();
    for (line, name) in lines.iter().zip(["Rust", "C linker", "packages", "tools", "machines", ""]) {
        assert!(line.starts_with(name), "{name} in {stdout}");
    }
    for name in ["MISSING", "install gcc", "Multipass"] {
        assert!(stdout.contains(name), "{name} in {stdout}");
    }
    assert!(!stdout.contains("qemu-system"), "what the lab brings is not asked for: {stdout}");
}

#[test]
fn hosts_own_tools_are_named_one_by_one_where_they_are_asked_for() {
    let (code, stdout, _) = run_without_programs(&["doctor", "--tools", "host"]);
    assert_eq!(code, 1);
    for name in
        ["no qemu-system-x86_64", "no mkfs.erofs", "no tshark", "qemu-system-x86 erofs-utils", "--tools host"]
    {
        assert!(stdout.contains(name), "{name} in {stdout}");
    }
    let (code, _, stderr) = run_without_programs(&["lab", "up", "--provider", "qemu", "--tools", "host"]);
    assert_eq!(code, 1);
    for name in ["qemu-system-x86_64: missing", "libclang", "leave out `--tools host`"] {
        assert!(stderr.contains(name), "{name} in {stderr}");
    }
}

#[test]
fn tools_variable_that_is_none_is_a_usage_error() {
    for (name, value) in [("RDMA_LAB_TOOLS", "mine"), ("RDMA_LAB_OFFLINE", "yes")] {
        let (code, _, stderr) =
            finish(xtask().arg("doctor").env(name, value).output().expect("xtask starts"));
        assert_eq!(code, 2);
        assert!(stderr.contains(value) && stderr.contains("next: write "), "{stderr}");
    }
}

#[test]
fn install_says_that_nothing_needs_to_be_installed() {
    let (_, _, stderr) = run_without_programs(&["doctor", "--install"]);
    assert!(stderr.contains("nothing needs to be installed any more"), "{stderr}");
}

#[test]
fn forbidden_download_is_named_with_its_size() {
    let empty = tempfile::tempdir().expect("a temporary directory");
    for args in [&["test-guest", "--offline"][..], &["lab", "up", "--offline"]] {
        let mut command = xtask();
        command.args(args).args(["--provider", "qemu"]).env("RDMA_LAB_CACHE", empty.path());
        let (code, _, stderr) = finish(command.output().expect("xtask starts"));
        assert_eq!(code, 1);
        for text in ["downloads are forbidden: tools: QEMU", "about 41 MB", "--offline"] {
            assert!(stderr.contains(text), "{text} in {stderr}");
        }
    }
}

#[test]
fn run_without_a_linker_says_what_to_do() {
    for args in [&["test-e2e"][..], &["lab", "up"]] {
        let (code, stdout, stderr) = run_without_programs(args);
        assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}");
        for name in ["error: ", "cc: missing", "next: install gcc", "Multipass"] {
            assert!(stderr.contains(name), "{name} in {stderr}");
        }
    }
}

#[test]
fn libclang_that_does_not_exist_is_named() {
    let output = xtask()
        .args(["doctor", "--tools", "host"])
        .env("LIBCLANG_PATH", "/nonexistent/libclang.so")
        .env("PATH", "")
        .output()
        .expect("xtask starts");
    let (code, stdout, _) = finish(output);
    assert_eq!(code, 1);
    assert!(stdout.contains("LIBCLANG_PATH=/nonexistent/libclang.so: no such file"), "{stdout}");
}

#[test]
fn cache_directory_that_cannot_be_made_names_the_variable() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = xtask()
        .arg("doctor")
        .env("RDMA_LAB_CACHE", file.path().join("cache"))
        .output()
        .expect("xtask starts");
    let (code, stdout, stderr) = finish(output);
    assert_eq!(code, 1);
    assert!(stdout.contains("see the error below"), "{stdout}");
    assert!(stderr.contains("failed to create the cache directory"), "{stderr}");
}

#[test]
fn unusable_cache_is_an_error_before_anything_starts() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = file_with(directory.path(), "file", b"");
    let quoted = directory.path().join("a'b").display().to_string();
    for (cache, hint) in [(format!("{file}/cache"), "is a file"), (quoted, "RDMA_LAB_CACHE=")] {
        for args in [&["test-e2e"][..], &["lab", "up"]] {
            let output = xtask().args(args).env("RDMA_LAB_CACHE", &cache).output().expect("xtask starts");
            let (code, stdout, stderr) = finish(output);
            assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
            assert!(stderr.starts_with("error: ") && stderr.contains(hint), "{stderr}");
        }
    }
}

#[test]
fn directory_without_a_run_is_a_usage_error() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let empty = directory.path().display().to_string();
    for (args, hint) in [
        (&["test-e2e", "--from-artifacts", &empty][..], "no run is kept in"),
        (&["test-e2e", "--from-artifacts", "/nonexistent"], "no directory is called /nonexistent"),
        (&["results", &empty], "no results are kept in"),
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(hint), "{stderr}");
    }
}

#[test]
fn number_of_kept_runs_that_is_none_is_a_usage_error() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(directory.path().join("a")).expect("a directory");
    let verdict = r#"{"scenario": "a", "not_run": "it needs the lab's own switch"}"#;
    fs::write(directory.path().join("a/verdict.json"), verdict).expect("a file");
    let judge = |kept: &str| {
        let mut command = xtask();
        command.args(["test-e2e", "--from-artifacts"]).arg(directory.path()).env("RDMA_LAB_KEEP_RUNS", kept);
        finish(command.output().expect("xtask starts"))
    };
    for kept in ["0", "-1", "some"] {
        let (code, _, stderr) = judge(kept);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(&format!("RDMA_LAB_KEEP_RUNS={kept} is no number of runs")), "{stderr}");
        assert!(stderr.contains("next: write 1 or more, or `all`"), "{stderr}");
    }
    for kept in ["all", "1000"] {
        assert_eq!(judge(kept).0, 0);
    }
}

#[test]
fn results_tell_every_class() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, verdict) in [
        ("a", r#"{"scenario": "a", "passed": true, "headline": null, "failures": [], "packets": 12}"#),
        (
            "b",
            r#"{"scenario": "b", "not_run": "it needs the lab's own switch, which these machines have not"}"#,
        ),
    ] {
        fs::create_dir(directory.path().join(name)).expect("a directory");
        fs::write(directory.path().join(name).join("verdict.json"), verdict).expect("a file");
    }
    let (code, stdout, _) = run(&["results", &directory.path().display().to_string()]);
    assert_eq!(code, 0);
    assert!(stdout.contains("1 passed, 0 failed, 0 disturbed, 1 not run"), "{stdout}");
    let (_, stdout, _) = run(&["test-e2e", "--from-artifacts", &directory.path().display().to_string()]);
    assert!(stdout.contains("b: not run: it needs the lab's own switch"), "{stdout}");
    let (code, _, _) =
        run(&["test-e2e", "--require-all", "--from-artifacts", &directory.path().display().to_string()]);
    assert_eq!(code, 1);
}

#[test]
fn run_of_what_cannot_be_is_a_usage_error() {
    let both = ["run", "--server", "rping -s", "--client", "rping -c"];
    for (more, texts) in [
        (&["--fault", "action=\"dorp\""][..], &["the nearest is `drop`", "opcode="][..]),
        (&["--fault", "drop"], &["no fault: `drop`", "next: write it as"]),
        (
            &["--fault", "action=\"drop\",opcode=\"rc atomic acknowlege\""],
            &["the nearest is `RC Atomic Acknowledge`"],
        ),
        (&["--fault", "acton=\"drop\""], &["key `acton` is not known; the nearest is `action`"]),
        (&["--fault", "action=\"drop\",to=\"serfer\""], &["the nearest is `server`"]),
        (&["--mtu", "1200", "--ipv6"], &["at least 1280, the least that IPv6 works with"]),
        (&["--name", "../x"], &["letters, digits"]),
        (&["--finding", "IcrcMissmatch"], &["the nearest is `IcrcMismatch`"]),
        (&["--push", "/nonexistent/file"], &["/nonexistent/file is not there", "next: "]),
        (&["--counter", "sever.x=1"], &["the nearest is `server`", "server.completer_retry_err=1"]),
        (&["--counter", "server.duplicate_requests=1"], &["the nearest is `duplicate_request`"]),
        (&["--accept"], &["--snapshot <FILE>"]),
        (&["--timeout", "0"], &["0 is not in 1..=3600"]),
    ] {
        let (code, stdout, stderr) = run(&[&both[..], more].concat());
        assert_eq!((code, stdout.as_str()), (2, ""), "{more:?} {stderr}");
        for text in texts {
            assert!(stderr.contains(text), "no `{text}` in {stderr}");
        }
    }
    let (code, _, stderr) = run(&["run", "--server", "./nothing -s", "--client", "rping -c"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("./nothing is not there"), "{stderr}");
    let (code, _, stderr) = run(&["run", "--server", "rping -s", "--client", "rping -c -a {sever}"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("{sever} stands for nothing; the nearest is {server}"), "{stderr}");
    let (code, _, stderr) = run(&["run", "--server", "rping -s"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--client <COMMAND>"), "{stderr}");
}

#[test]
fn unknown_mutation_names_those_there_are() {
    let (code, _, stderr) = run(&["self-test", "node_kiled"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("the nearest is `node_killed`; there are: "), "{stderr}");
}

#[test]
fn unknown_scenario_names_the_nearest() {
    let (code, stdout, stderr) = run(&["test-e2e", "write_raed"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("no scenario is called `write_raed`; the nearest is `write_read`"), "{stderr}");
    assert!(stderr.contains("next: look at all: cargo xtask test-e2e --list"), "{stderr}");
    let (_, _, stderr) = run(&["test-e2e", "qqqqqqqq"]);
    assert!(stderr.contains("there are: ") && stderr.contains(" more\n"), "{stderr}");
}

#[test]
fn scenarios_are_listed_with_what_they_are_about() {
    let (code, out, err) = run_without_programs(&["test-e2e", "--list"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.lines().count() > 40, "{out}");
    assert!(out.contains("\nwrite_read") && out.contains("One RDMA WRITE, then an RDMA READ"), "{out}");
    let (code, out, _) = run_without_programs(&["test-e2e", "--list", "write_read"]);
    assert_eq!((code, out.lines().count()), (0, 1), "{out}");
    let (code, _, err) = run_without_programs(&["test-e2e", "--list", "write_raed"]);
    assert!(code == 2 && err.contains("write_read"), "{err}");
}

#[test]
fn captures_are_shown_by_git_as_traces_once_it_is_told_how() {
    if Command::new("git").arg("--version").output().is_err() {
        return eprintln!("not tried: there is no git here");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let at = directory.path();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(at)
            .args(["-c", "user.name=a", "-c", "user.email=a@example.invalid"])
            .args(arguments);
        finish(command.output().expect("git starts"))
    };
    let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name);
    assert_eq!(git(&["init", "--quiet"]).0, 0);
    fs::write(at.join(".gitattributes"), "*.pcapng diff=roce\n").expect("a file");
    fs::copy(fixture("write_read.pcapng"), at.join("a.pcapng")).expect("a copy");
    assert_eq!(git(&["add", "."]).0, 0);
    assert_eq!(git(&["commit", "--quiet", "-m", "one"]).0, 0);
    fs::copy(fixture("write_with_imm.pcapng"), at.join("a.pcapng")).expect("a copy");
    let setup = |arguments: &[&str]| {
        finish(xtask().arg("setup-git").args(arguments).current_dir(at).output().expect("xtask starts"))
    };
    let (code, out, err) = setup(&[]);
    assert!(code == 0 && out.contains("diff.roce.textconv = "), "{out}{err}");
    let (_, out, err) = git(&["diff"]);
    assert!(out.contains("\n-") && out.contains("RC RDMA WRITE Only with Immediate"), "{out}{err}");
    assert_eq!(setup(&["--undo"]).0, 0);
    assert!(!git(&["diff"]).1.contains("RC RDMA WRITE Only with Immediate"));
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let (code, _, err) =
        finish(xtask().arg("setup-git").current_dir(elsewhere.path()).output().expect("xtask starts"));
    assert!(code == 2 && err.contains("in a git repository"), "{err}");
}

#[test]
fn step_of_the_action_says_what_kept_it_from_beginning() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [summary, output] = ["summary", "output"].map(|name| directory.path().join(name));
    let step = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/actions/run");
    let ran = |binary: &Path| {
        let mut command = Command::new("bash");
        command.arg(&step).current_dir(directory.path());
        command
            .env("GITHUB_STEP_SUMMARY", &summary)
            .env("GITHUB_OUTPUT", &output)
            .env("RUNNER_TEMP", directory.path());
        command.env("LAB_BINARY", binary).env("LAB_SERVER", "./nothing::x").env("LAB_CLIENT", "true");
        command.env("LAB_PACKAGES", "python3-pyverbs, qperf\nperftest\n");
        command.env("LAB_PUSH", "one\n\ntwo").env("LAB_ARGUMENTS", "").env("LAB_NAME", "x");
        finish(command.output().expect("bash starts"))
    };
    let (code, out, _) = ran(Path::new("/nonexistent/rdma-lab"));
    assert!(
        code == 2 && out.contains("::error title=rdma-lab::no program is called /nonexistent/rdma-lab"),
        "{out}"
    );
    // Its words, a line each, to a program that does nothing else.
    let told = directory.path().join("told");
    let script = directory.path().join("rdma-lab");
    fs::write(&script, format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >{}\nexit 2\n", told.display()))
        .expect("a file");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
    ran(&script);
    assert_eq!(
        fs::read_to_string(&told).expect("its words"),
        "run\n--server\n./nothing::x\n--client\ntrue\n--name\nx\n--push\none\n--push\ntwo\n--packages\npython3-pyverbs,qperf,perftest\n"
    );
    fs::remove_file(&output).expect("outputs of that");
    // A program that is there, and refuses what it is asked for: `xtask` has the same `run`.
    let (code, out, err) = ran(cargo_bin!("xtask"));
    assert!(code == 2 && out.contains("::error title=rdma-lab::the run could not begin"), "{out}{err}");
    assert!(out.contains("::stop-commands::"), "{out}");
    assert_eq!(fs::read_to_string(&output).expect("outputs"), "passed=false\n");
}

#[test]
fn documentation_shows_what_the_commands_do() {
    let (code, out, err) = run(&["book", "--check"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn summarized_command_keeps_its_exit_code_and_tells_its_end() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let summary = directory.path().join("summary");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/summarized");
    let ran = |command: &str| {
        let mut of = Command::new("bash");
        of.arg(&script).args(["A check", "sh", "-c", command]).env("GITHUB_STEP_SUMMARY", &summary);
        finish(of.output().expect("bash starts"))
    };
    let (code, out, _) = ran("echo fine; printf '\\033[31mred\\033[0m\\n'");
    assert!(code == 0 && out.contains("fine"), "{out}");
    let (code, _, _) = ran("seq 1 100; echo worse >&2; exit 3");
    assert_eq!(code, 3);
    let told = fs::read_to_string(&summary).expect("a summary");
    assert!(told.starts_with("### A check: passed in "), "{told}");
    assert!(told.contains("\nfine\nred\n`````\n"), "{told}");
    assert!(told.contains("\n### A check: failed with exit code 3 in "), "{told}");
    assert!(
        told.contains("\n42\n") && !told.contains("\n41\n") && told.contains("\n100\nworse\n`````\n"),
        "{told}"
    );
}
