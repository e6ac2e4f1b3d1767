//! Ground of the tests: `xtask`, built once, and a stand-in of their own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lab::base::command::Output;
use lab::base::selection::Selection;
use multipass_stand_in::place::{Logged, StandInDirectory, VARIABLE};
use tempfile::TempDir;

/// Longest time that a command may take, a build and a first boot of the machines included.
const LIMIT: Duration = Duration::from_secs(900);

/// `xtask`, as this workspace has it.
pub(crate) fn xtask() -> &'static Path {
    static XTASK: OnceLock<PathBuf> = OnceLock::new();
    XTASK.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "--quiet", "--package", "xtask"]).status().unwrap();
        assert!(built.success());
        programs().join("xtask")
    })
}

/// Directory in which this workspace's programs are built.
fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_multipassd")).parent().unwrap()
}

/// Runs a command to its end and tells it, for whoever reads a failed test.
pub(crate) fn told(command: lab::base::command::Command) -> Output {
    let started = Instant::now();
    let output = command.output(LIMIT).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!("$ {command} ({seconds:.1} s): {:?}\n{}{}", output.code, output.stdout, output.stderr);
    output
}

/// A stand-in of one test.
pub(crate) struct Bench {
    pub(crate) place: StandInDirectory,
    pub(crate) directory: TempDir,
    daemon: Option<(Child, ChildStdin)>,
}

impl Bench {
    /// Without a daemon.
    pub(crate) fn without_daemon() -> Bench {
        let directory = tempfile::Builder::new().prefix("stand-in-").tempdir_in("/tmp").unwrap();
        Bench { place: StandInDirectory::at(directory.path()), directory, daemon: None }
    }

    /// With a daemon that knows a running instance `mine`, of the user's.
    pub(crate) fn new() -> Bench {
        Bench::with(
            r#"[{"name": "mine", "state": "Running", "ipv4": ["10.9.8.7"]}, {"name": "old", "state": "Deleted"}]"#,
        )
    }

    /// With a daemon that knows these instances, without machines.
    pub(crate) fn with(instances: &str) -> Bench {
        let mut bench = Bench::without_daemon();
        std::fs::write(bench.place.instances(), instances).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_multipassd"))
            .arg(bench.place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("serving"), "{line}");
        let stdin = child.stdin.take().unwrap();
        bench.daemon = Some((child, stdin));
        bench
    }

    /// A command that finds this stand-in.
    pub(crate) fn command(&self, program: &Path) -> lab::base::command::Command {
        let path = std::env::var("PATH").unwrap_or_default();
        // As nobody named a provider.
        let selection = Selection::of_environment().expect("a selection");
        let (variable, selection) = Selection { provider: None, ..selection }.variable();
        lab::base::command::Command::new([program])
            .env("PATH", format!("{}:{path}", programs().display()))
            .env(VARIABLE, self.place.path())
            .env(variable, selection)
    }

    /// `cargo xtask` with these words, on a lab of this test's own name.
    pub(crate) fn xtask(&self, words: &str) -> Output {
        told(self.command(xtask()).args(words.split_whitespace()))
    }

    /// `cargo xtask lab exec` of a shell command on a node of the lab `name`.
    pub(crate) fn exec(&self, name: &str, node: &str, command: &str) -> Output {
        told(self.command(xtask()).args(["lab", "exec", "--name", name, node, "--", command]))
    }

    /// `multipass` with these words, as a user would.
    pub(crate) fn multipass(&self, words: &str) -> Output {
        told(self.command(Path::new(env!("CARGO_BIN_EXE_multipass"))).args(words.split_whitespace()))
    }

    /// A cache of this test's own, for what needs nothing of the usual one.
    pub(crate) fn cache(&self) -> std::path::PathBuf {
        self.directory.path().join("cache")
    }

    /// True if a client was given these words.
    pub(crate) fn was_told(&self, words: &[&str]) -> bool {
        self.place.logged().iter().any(|logged| logged.argv == words)
    }

    /// Demands that nothing was asked that a hung guest turns into a daemon that serves nobody.
    #[track_caller]
    pub(crate) fn assert_no_guest_can_block_the_daemon(&self) {
        for Logged { argv, .. } in self.place.logged() {
            let is_full = argv[0] == "info" && !argv.iter().any(|word| word == "--no-runtime-information");
            assert!(!is_full && argv[0] != "list", "{argv:?}");
        }
    }

    /// A script as root in an instance, as its owner would run it.
    pub(crate) fn inside(&self, instance: &str, script: &str) -> Output {
        let client = self.command(Path::new(env!("CARGO_BIN_EXE_multipass")));
        told(client.args(["exec", "-n", instance, "--", "sudo", "sh", "-c", script]))
    }

    /// Demands exit code 0.
    #[track_caller]
    pub(crate) fn ok(&self, words: &str) -> Output {
        let output = self.xtask(words);
        assert_eq!(output.code, Some(0), "{words}");
        output
    }

    /// Demands a failure that names itself and says what to do.
    #[track_caller]
    pub(crate) fn refused(&self, words: &str, named: &str) {
        let output = self.xtask(words);
        assert_refused(&output, named);
    }

    /// Demands that nobody touched what is not the lab's.
    #[track_caller]
    pub(crate) fn assert_others_are_left_alone(&self) {
        for logged in self.place.logged() {
            let words = &logged.argv;
            let instances: Vec<&String> =
                words.iter().filter(|word| !word.starts_with('-')).skip(1).collect();
            match words[0].as_str() {
                "version" | "get" | "find" => {}
                "info" | "exec" | "start" | "stop" | "recover" | "transfer" | "shell" | "launch"
                | "suspend" | "delete" => {
                    assert!(!instances.is_empty(), "{words:?}");
                    assert!(
                        !words.iter().any(|word| ["mine", "old", "--all"].contains(&word.as_str())),
                        "{words:?}"
                    );
                    assert!(
                        words.iter().any(|word| word.contains("rdma-server") || word.contains("rdma-client")),
                        "{words:?}"
                    );
                }
                _ => panic!("{words:?}"),
            }
        }
    }
}

/// Demands a failure that names itself and says what to do.
#[track_caller]
pub(crate) fn assert_refused(output: &Output, named: &str) {
    // 125 is the lab's own trouble of `lab exec`.
    assert!(matches!(output.code, Some(1 | 2 | 125)), "{output:?}");
    assert!(output.stderr.contains(named), "no {named:?} in\n{}", output.stderr);
    assert!(output.stderr.contains("next: "), "{}", output.stderr);
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some((mut child, stdin)) = self.daemon.take() {
            drop(stdin);
            let _ = child.wait();
        }
    }
}
