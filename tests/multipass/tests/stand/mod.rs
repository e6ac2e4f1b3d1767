//! A daemon of the stand-in for one test, in a directory of its own, and its clients.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use multipass_stand_in::instance::StandInInstance;
use multipass_stand_in::place::{StandInDirectory, VARIABLE};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// Longest time that a client may take, a first boot of the machines included.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// A place, with a daemon or without.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) place: StandInDirectory,
    daemon: Option<(Child, ChildStdin)>,
    _directory: TempDir,
}

/// End of a client.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; `None` if it still ran at its limit.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Ran {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Demands exit code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Ran {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout(), self.stderr());
        self
    }
}

impl Stand {
    /// A place without a daemon, with the files that recorded cases name.
    pub(crate) fn without_daemon() -> Stand {
        let directory = tempfile::Builder::new().prefix("stand-in-").tempdir_in("/tmp").expect("a directory");
        let place = StandInDirectory::at(directory.path());
        let stand = Stand { place, daemon: None, _directory: directory };
        fs::create_dir(stand.work()).expect("a directory");
        fs::write(stand.work().join("image.img"), "").expect("a file");
        stand
    }

    /// A daemon that knows these instances.
    pub(crate) fn with(instances: &[StandInInstance]) -> Stand {
        let mut stand = Stand::without_daemon();
        let text = serde_json::to_string(instances).expect("JSON");
        fs::write(stand.place.instances(), text).expect("a file");
        stand.start_daemon();
        stand
    }

    /// Starts the daemon.
    pub(crate) fn start_daemon(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_multipassd"))
            .arg(self.place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the daemon starts");
        let stdin = child.stdin.take().expect("a pipe");
        let mut line = String::new();
        let _ = BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line);
        assert!(line.starts_with("serving"), "the daemon says {line:?}");
        self.daemon = Some((child, stdin));
    }

    /// Directory in which clients run.
    pub(crate) fn work(&self) -> PathBuf {
        self.place.path().join("work")
    }

    /// A client's command line.
    pub(crate) fn command(&self, argv: &[impl AsRef<std::ffi::OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_multipass"));
        command.args(argv).env(VARIABLE, self.place.path()).current_dir(self.work()).stdin(Stdio::null());
        command
    }

    /// Runs a client to its end.
    pub(crate) fn run(&self, argv: &[&str]) -> Ran {
        run(self.command(argv), Input::Nothing, LIMIT)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Some((mut child, stdin)) = self.daemon.take() {
            drop(stdin);
            let _ = child.wait();
        }
    }
}

/// Input of a client.
#[derive(Debug)]
pub(crate) enum Input {
    Nothing,
    Bytes(Vec<u8>),
    /// A pipe that stays open and brings nothing.
    Open,
}

/// Runs a command to its end, or until its limit: then with everything it started.
pub(crate) fn run(mut command: Command, input: Input, limit: Duration) -> Ran {
    if !matches!(input, Input::Nothing) {
        command.stdin(Stdio::piped());
    }
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().expect("it starts");
    let stdin = child.stdin.take();
    let mut outputs = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    thread::scope(|scope| {
        let open = match input {
            Input::Bytes(bytes) => {
                // A command need not read all of it.
                scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(&bytes)));
                None
            }
            Input::Nothing | Input::Open => stdin,
        };
        let read = scope.spawn(|| {
            let mut bytes = Vec::new();
            let _ = outputs.0.read_to_end(&mut bytes);
            bytes
        });
        let read_errors = scope.spawn(|| {
            let mut bytes = Vec::new();
            let _ = outputs.1.read_to_end(&mut bytes);
            bytes
        });
        let started = Instant::now();
        let code = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status.code();
            }
            if started.elapsed() > limit {
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                let _ = child.wait();
                break None;
            }
            thread::sleep(Duration::from_millis(5));
        };
        drop(open);
        Ran { code, stdout: read.join().expect("a reader"), stderr: read_errors.join().expect("a reader") }
    })
}
