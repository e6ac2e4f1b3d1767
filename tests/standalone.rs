//! `rdma-lab` alone: one file in a directory of a user's, on a computer that has neither cargo nor this repository.
//!
//! The program is copied away from cargo's directories, called with an empty PATH for what is its own and with a C compiler
//! for what is the user's.

#![forbid(unsafe_code)]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest time that one command may take: a boot of both machines on a busy computer included.
const LIMIT: Duration = Duration::from_secs(300);

/// A user's directory with the program in it.
struct User {
    directory: TempDir,
}

/// A command that has ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn ok(self) -> Ran {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn fails(self, code: i32, texts: &[&str]) -> Ran {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        for text in texts {
            assert!(self.stderr.contains(text), "no `{text}` in {}", self.stderr);
        }
        self
    }
}

impl User {
    fn new() -> User {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::copy(env!("CARGO_BIN_EXE_rdma-lab"), directory.path().join("rdma-lab")).expect("the program");
        fs::create_dir(directory.path().join("bin")).expect("a directory");
        User { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(self.path("rdma-lab"));
        command.args(args).current_dir(self.directory.path()).env("PATH", self.path("bin"));
        for name in std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| name.to_string_lossy().starts_with("CARGO"))
        {
            command.env_remove(name);
        }
        finish(command)
    }
}

fn finish(command: Command) -> Ran {
    let mut command = assert_cmd::Command::from_std(command);
    let started = Instant::now();
    let output = loop {
        match command.timeout(LIMIT).output() {
            // A process that another test forks just now still holds the copied program open for writing.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && started.elapsed() < LIMIT => {
                std::thread::yield_now();
            }
            output => break output.expect("the command starts"),
        }
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Names commands that only this workspace has.
fn names_of_the_workspace(text: &str) -> bool {
    text.contains("cargo") || text.contains("xtask") || text.contains("test-e2e")
}

#[test]
fn commands_of_a_lab_are_the_programs_own_and_nothing_names_cargo() {
    let user = User::new();
    let help = user.run(&["--help"]).ok().stdout;
    for command in [
        "run", "up", "exec", "push", "pull", "down", "status", "doctor", "decode", "results", "clean", "test",
    ] {
        assert!(
            help.lines().any(|line| line.trim_start().split(' ').next() == Some(command)),
            "{command}: {help}"
        );
        let help = user.run(&[command, "--help"]).ok().stdout;
        assert!(!names_of_the_workspace(&help), "{help}");
    }
    assert!(!help.contains("__") && !names_of_the_workspace(&help), "{help}");
    let cache = user.path("cache");
    let mut command = Command::new(user.path("rdma-lab"));
    command.arg("status").current_dir(user.directory.path()).env("RDMA_LAB_CACHE", cache);
    // Behind it stands what killed labs left on this computer, which the test has no say in.
    let status = finish(command).ok().stdout;
    assert_eq!(status.lines().next(), Some("no lab is up; bring one up: rdma-lab up"), "{status}");
    assert!(!names_of_the_workspace(&status), "{status}");
    user.run(&["exec", "nowhere", "true"]).fails(125, &["nowhere"]);
    user.run(&["tset"]).fails(2, &["test"]);
}

#[test]
fn sample_program_that_is_not_at_hand_is_named_with_what_to_do() {
    let user = User::new();
    let ran = user.run(&["run", "--server", "rdma_server --once", "--client", "rdma_client {server}"]);
    ran.fails(2, &["rdma_client is a sample program", "rdma-lab-samples.tar.gz", "rping"]);
    user.run(&["test", "write_read"]).fails(2, &["rdma_client is a sample program"]);
    user.run(&["test", "--review"]).fails(2, &["parts of this program", "--scenarios DIR"]);
    assert!(!user.path(".rdma-lab").exists());
}

#[test]
#[ignore = "needs the lab's machines"]
fn rping_runs_in_an_empty_directory_without_cargo() {
    let user = User::new();
    let run = ["run", "--server", "rping -s -a {server} -C 1", "--client", "rping -c -a {server} -C 1"];
    let ran = user.run(&run).ok();
    assert!(ran.stdout.contains(" packets, complete by rxe's counters"), "{}", ran.stdout);
    assert!(ran.stdout.contains("/.rdma-lab/runs/"), "{}", ran.stdout);
    assert!(!ran.stderr.contains("guest programs"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(user.path(".rdma-lab/.gitignore")).expect("a file"), "*\n");
    assert!(user.run(&["results"]).ok().stdout.contains("1 passed, 0 failed"));
    let ran = user.run(&[&run[..], &["--client-exit", "3"]].concat());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains("  replay     rdma-lab run ") && !names_of_the_workspace(&ran.stdout),
        "{}",
        ran.stdout
    );
}

#[test]
#[ignore = "needs the lab's machines"]
fn step_of_the_action_is_green_and_after_a_change_red_with_summary_annotation_and_artifacts() {
    let user = User::new();
    let command = |role: &str, count: u8| match role {
        "server" => format!("rping -s -a {{server}} -C {count}"),
        _ => format!("rping -c -a {{server}} -C {count}"),
    };
    let [server, client] = ["server", "client"].map(|role| command(role, 1));
    user.run(&["run", "--server", &server, "--client", &client, "--snapshot", "trace.snap", "--accept"]).ok();
    let step = |count: u8| {
        let name = |what: &str| user.path(&format!("{what}-{count}"));
        let mut step = Command::new("bash");
        step.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github/actions/run"));
        step.current_dir(user.directory.path()).env("GITHUB_WORKSPACE", user.directory.path());
        step.env("GITHUB_STEP_SUMMARY", name("summary")).env("GITHUB_OUTPUT", name("output"));
        step.env("RUNNER_TEMP", user.directory.path()).env("LAB_BINARY", user.path("rdma-lab"));
        step.env("LAB_SERVER", command("server", count)).env("LAB_CLIENT", command("client", count));
        step.env("LAB_SNAPSHOT", "trace.snap").env("LAB_NAME", "ping").env("LAB_ARGUMENTS", "--timeout\n90");
        let ran = finish(step);
        let [summary, output] =
            ["summary", "output"].map(|what| fs::read_to_string(name(what)).unwrap_or_default());
        (ran, summary, output)
    };
    let (ran, summary, output) = step(1);
    let stdout = ran.ok().stdout;
    assert!(summary.contains("| ping | passed |") && !stdout.contains("::error"), "{summary}{stdout}");
    assert!(output.contains("passed=true\n"), "{output}");
    let (ran, summary, output) = step(2);
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    for part in [
        "| ping | failed: WIRE |",
        "diff\n--- accepted\n+++ found\n",
        "\n+  client.qp1 > ",
        "```mermaid\nsequenceDiagram\n",
    ] {
        assert!(summary.contains(part), "no {part} in {summary}");
    }
    assert!(ran.stdout.contains("::error file=trace.snap,line="), "{}", ran.stdout);
    let artifacts = output.lines().find_map(|line| line.strip_prefix("artifacts=")).expect("a directory");
    for file in ["index.html", "ping/report.html", "ping/trace.diff", "ping/trace.new", "ping/capture.pcapng"]
    {
        assert!(Path::new(artifacts).join(file).is_file(), "{file} in {artifacts}");
    }
    assert!(output.contains("passed=false\n"), "{output}");
}

#[test]
#[ignore = "needs the lab's machines"]
fn sample_programs_beside_the_program_are_deployed() {
    let user = User::new();
    fs::create_dir(user.path("rdma-lab-samples")).expect("a directory");
    // Their names, and programs that the machines have.
    for (name, command) in [("rdma_server", "rping -s -C 1"), ("rdma_client", "rping -c -C 1 -a")] {
        let path = user.path("rdma-lab-samples").join(name);
        fs::write(&path, format!("#!/bin/sh\nexec {command} $1\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let ran = user.run(&["run", "--server", "rdma_server", "--client", "rdma_client {server}"]).ok();
    assert!(ran.stdout.contains(" packets, complete by rxe's counters"), "{}", ran.stdout);
}

#[test]
#[ignore = "needs the lab's machines"]
fn c_program_is_compiled_pushed_and_run() {
    let user = User::new();
    let flags = user.run(&["cflags"]).ok().stdout;
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/lab/peer.c");
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Werror", "-o"]).arg(user.path("peer")).arg(source).args(flags.split_whitespace());
    finish(cc).ok();
    user.run(&["run", "--server", "./peer write server", "--client", "./peer write client {server}"]).ok();
}

#[test]
#[ignore = "needs the lab's machines"]
fn lab_comes_up_runs_commands_and_goes_down() {
    let user = User::new();
    let name = format!("alone-{}", std::process::id());
    let up = user.run(&["up", "--name", &name]).ok().stdout;
    let try_it = format!("try it   rdma-lab exec --name {name} server rping -s -C 1");
    assert!(up.contains(&try_it) && !names_of_the_workspace(&up), "{up}");
    let state = ["exec", "--name", &name, "server", "cat /sys/class/infiniband/rxe0/ports/1/state"];
    assert!(user.run(&state).ok().stdout.contains("ACTIVE"));
    fs::write(user.path("greeting"), "hello\n").expect("a file");
    user.run(&["push", "--name", &name, "client", "greeting", "/tmp/"]).ok();
    user.run(&["pull", "--name", &name, "client", "/tmp/greeting", "back"]).ok();
    assert_eq!(fs::read_to_string(user.path("back")).expect("a file"), "hello\n");
    user.run(&["down", "--name", &name]).ok();
    user.run(&["exec", "--name", &name, "server", "true"])
        .fails(125, &["next: bring it up: rdma-lab up --name"]);
}

#[test]
#[ignore = "needs the lab's machines"]
fn scenarios_that_need_no_sample_program_run_and_the_others_say_why_not() {
    let user = User::new();
    let ran = user.run(&["test", "foreign_rping"]).ok();
    assert!(ran.stdout.contains("1 passed, 0 failed"), "{}", ran.stdout);
    assert!(Path::new(&user.path(".rdma-lab/runs/latest/results.json")).is_file());
}

/// Every Rust source below `directory`.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn texts_name_commands_through_the_front_end() {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the lab");
    let mut files = Vec::new();
    sources(&lab.join("src"), &mut files);
    sources(&lab.join("cli/src"), &mut files);
    assert!(files.len() > 50, "{} files", files.len());
    // Commands for who develops the kit, and where the spelling is defined.
    let is_meant = |line: &str| {
        [
            "cargo xtask ci",
            "cargo xtask self-test",
            "cargo xtask explain`): change it there",
            "by its `cargo xtask`",
        ]
        .iter()
        .any(|meant| line.contains(meant))
    };
    for file in files.iter().filter(|file| !file.ends_with("invocation.rs")) {
        let text = fs::read_to_string(file).expect("a source");
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for line in product.lines().filter(|line| !line.trim_start().starts_with("//")) {
            assert!(
                !line.contains("cargo xtask") || is_meant(line),
                "{}: {line}\nuse lab::base::invocation",
                file.display()
            );
        }
    }
}
