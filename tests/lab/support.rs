//! Support of all of these tests: the program, labs and catalogues that are cleaned up, waiting with a limit.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use lab::base::cache::Cache;
use lab::guest::image::{Release, Sysroot};
use lab::host::packages::TRIPLET;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Family;

/// Longest time that one command may take: a boot of both machines on a busy computer included.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// Beginnings of the names of what a cache holds besides frozen machines.
pub(crate) const CACHED: [&str; 6] =
    ["image-", "sysroot-", "tools-", "ssh-key", "accel.json", "sandbox.json"];

/// Waits until `found` gives something.
#[track_caller]
pub(crate) fn poll<T>(what: &str, limit: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(started.elapsed() < limit, "no {what} within {} s", limit.as_secs());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command on a terminal of its own, to its end within `limit`; gives its exit code, and what the terminal showed.
#[track_caller]
pub(crate) fn on_terminal(mut command: Command, limit: Duration) -> (Option<i32>, String) {
    use std::os::unix::process::CommandExt as _;
    let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&main).expect("a terminal of ours");
    unlockpt(&main).expect("a terminal that can be opened");
    let name = ptsname(&main, Vec::new()).expect("its name").into_string().expect("a path");
    let side = || File::options().read(true).write(true).open(&name).expect("the command's side");
    let mut child = command
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .process_group(0)
        .spawn()
        .expect("the command starts");
    // It holds the command's side of the terminal as well.
    drop(command);
    let reader = thread::spawn(move || {
        let (mut shown, mut main) = (Vec::new(), File::from(main));
        // Reading fails where nobody holds the other side any more.
        let _ = main.read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    let started = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break Some(status.code());
        }
        if started.elapsed() > limit {
            kill_process_group(Pid::from_child(&child), Signal::KILL).expect("a group");
            child.wait().expect("a child");
            break None;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let shown = reader.join().expect("what it showed");
    (code.unwrap_or_else(|| panic!("had not ended after {} s: {shown}", limit.as_secs())), shown)
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Demands exit code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Ran {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Demands this exit code, and each of these in standard error.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, texts: &[&str]) -> Ran {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        for text in texts {
            assert!(self.stderr.contains(text), "no `{text}` in {}", self.stderr);
        }
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// `xtask ARGS`, to be run with the user's cache.
pub(crate) fn xtask(args: &[&str]) -> Command {
    // A shell that runs tests in the background lets them ignore Ctrl-C, and nohup the terminal's end; so do all that
    // they start.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT").arg(cargo_bin!("xtask")).args(args).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn run(command: Command) -> Ran {
    run_with(command, b"")
}

/// Runs a command to its end, with this standard input.
#[track_caller]
pub(crate) fn run_with(command: Command, input: &[u8]) -> Ran {
    let output = assert_cmd::Command::from_std(command)
        .write_stdin(input)
        .timeout(COMMAND_LIMIT)
        .output()
        .expect("the command starts");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A command beside the test, in a process group of its own; dropped, the group is killed.
#[derive(Debug)]
pub(crate) struct Beside {
    child: Child,
    said: PathBuf,
    _directory: TempDir,
}

impl Beside {
    pub(crate) fn start(mut command: Command) -> Beside {
        use std::os::unix::process::CommandExt as _;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let said = directory.path().join("said");
        let output = File::create(&said).expect("a file");
        let child = command
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .expect("the command starts");
        Beside { child, said, _directory: directory }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Both outputs so far.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.said).expect("the output")).into_owned()
    }

    /// Waits until the output holds `text`.
    #[track_caller]
    pub(crate) fn wait_said(&mut self, text: &str) {
        let started = Instant::now();
        while !self.said().contains(text) {
            assert!(self.child.try_wait().expect("a child").is_none(), "no `{text}` in {}", self.said());
            assert!(started.elapsed() < COMMAND_LIMIT, "no `{text}` in {}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills this process only, not its group.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// Sends a signal to its whole group, as a terminal does.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }

    /// True if it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        poll("end of the command", COMMAND_LIMIT, || self.child.try_wait().expect("a child"))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Reaped children have given their number back.
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A lab that is ended when dropped, after a panic too.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) name: String,
    cache: Option<PathBuf>,
}

impl Lab {
    /// A name of this process's, in the user's cache or another; not up.
    pub(crate) fn named(name: &str, cache: Option<&Path>) -> Lab {
        Lab { name: format!("{name}-{}", std::process::id()), cache: cache.map(Path::to_owned) }
    }

    /// One that is up, in the user's cache.
    #[track_caller]
    pub(crate) fn up(name: &str) -> Lab {
        let lab = Lab::named(name, None);
        run(lab.command(&["up"], &[])).ok();
        lab
    }

    /// `lab SUBCOMMAND --name NAME ARGS`
    pub(crate) fn command(&self, subcommand: &[&str], args: &[&str]) -> Command {
        let mut command = xtask(&["lab"]);
        command.args(subcommand).args(["--name", &self.name]).args(args);
        if let Some(cache) = &self.cache {
            command.env("RDMA_LAB_CACHE", cache);
        }
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, subcommand: &str, args: &[&str]) -> Ran {
        run(self.command(&[subcommand], args))
    }

    /// Runs a shell command on a node.
    #[track_caller]
    pub(crate) fn exec(&self, node: &str, command: &str) -> Ran {
        self.run("exec", &[node, "--", command])
    }

    /// The whole of `lab status`.
    pub(crate) fn overview(&self) -> Value {
        let mut command = xtask(&["lab", "status", "--json"]);
        if let Some(cache) = &self.cache {
            command.env("RDMA_LAB_CACHE", cache);
        }
        run(command).ok().json()
    }

    /// Entry of `lab status` about this one.
    pub(crate) fn status(&self) -> Option<Value> {
        let overview = self.overview();
        overview["labs"]
            .as_array()
            .expect("labs")
            .iter()
            .find(|lab| lab["name"] == self.name.as_str())
            .cloned()
    }

    /// Its processes.
    #[track_caller]
    pub(crate) fn family(&self) -> Family {
        let status = self.status().expect("the lab is recorded");
        let guard = status["guard"].as_u64().expect("the lab is up");
        let family = Family::of(u32::try_from(guard).expect("a process id"));
        assert_eq!(status["run_directory"], family.run_directory.display().to_string());
        let pids: Vec<u64> = family.machines.iter().map(|machine| machine.pid.into()).collect();
        for pid in status["machines"].as_array().expect("machines") {
            assert!(pids.contains(&pid.as_u64().expect("a process id")), "{status} {pids:?}");
        }
        family
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.command(&["down"], &[]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// The user's cache, which holds an image, a sysroot and frozen machines.
pub(crate) struct Warm {
    pub(crate) root: PathBuf,
    /// The directory of the frozen machines in use; others may be beside it.
    pub(crate) frozen: PathBuf,
}

/// The user's cache, warm.
pub(crate) fn warm_cache() -> &'static Warm {
    static WARM: OnceLock<Warm> = OnceLock::new();
    WARM.get_or_init(|| {
        let lab = Lab::named("warm", None);
        lab.run("up", &[]).ok();
        let frozen = lab.family().machines[0].frozen().expect("frozen machines");
        Warm { root: Cache::open().expect("the cache").path(""), frozen }
    })
}

/// A cache of a test's own that has all that the user's has, linked: write no file of it in place.
pub(crate) fn linked_cache() -> TempDir {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let Warm { root, frozen } = warm_cache();
    link(frozen, &directory.path().join(frozen.file_name().expect("a name")));
    for entry in fs::read_dir(root).expect("the cache").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if CACHED.iter().any(|cached| name.starts_with(cached)) && !name.ends_with(".lock") {
            // Programs are built against the sysroot's real path.
            let made = symlink(entry.path(), directory.path().join(name));
            made.expect("a link");
        }
    }
    directory
}

/// Links a file or a tree; copies it where it cannot be linked.
pub(crate) fn link(from: &Path, to: &Path) {
    let copy = |how: &[&str]| Command::new("cp").args(how).arg(from).arg(to).stderr(Stdio::null()).status();
    if !copy(&["-al"]).expect("cp").success() {
        let _ = fs::remove_dir_all(to);
        assert!(copy(&["-a", "--sparse=always"]).expect("cp").success(), "{}", from.display());
    }
}

/// A directory of scenarios of a test's own.
#[derive(Debug)]
pub(crate) struct Catalogue {
    directory: TempDir,
}

impl Catalogue {
    pub(crate) fn new() -> Catalogue {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("snapshots")).expect("a directory");
        Catalogue { directory }
    }

    /// Adds a scenario under a name that no other run has; gives that name.
    pub(crate) fn add(&self, name: &str, scenario: &str, snapshot: Option<&str>) -> String {
        let name = format!("{name}-{}", std::process::id());
        fs::write(self.directory.path().join(format!("{name}.toml")), scenario).expect("a file");
        if let Some(snapshot) = snapshot {
            let file = self.directory.path().join(format!("snapshots/{name}.snap"));
            fs::write(file, snapshot).expect("a file");
        }
        name
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `test-e2e` on it, in the mode that writes no snapshot.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask(&["test-e2e", "--ci", "--scenarios"]);
        command.arg(self.directory.path()).args(args);
        command
    }
}

/// Compiles the C peer of the sample programs, against the machines' libraries.
pub(crate) fn compile_peer(file: &Path) {
    let cache = Cache::open().expect("the cache");
    let sysroot = Sysroot::ensure(&cache, Release::usual()).expect("the sysroot");
    // The host's C library may be older than the one that the sysroot's libraries need.
    let libraries = sysroot.directory().join("usr/lib").join(TRIPLET);
    let compiled = Command::new("cc")
        .arg(format!("--sysroot={}", sysroot.directory().display()))
        .arg(format!("-L{}", libraries.display()))
        .args(["-idirafter", "/usr/include", "-Wall", "-Werror", "-o"])
        .arg(file)
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/lab/peer.c"), "-lrdmacm", "-libverbs"])
        .status();
    assert!(compiled.expect("cc").success());
}

/// The accepted snapshot of a scenario of the workspace.
pub(crate) fn snapshot(name: &str) -> String {
    fs::read_to_string(workspace().join(format!("tests/snapshots/{name}.snap"))).expect("a snapshot")
}

/// The newest artifact directory of a scenario whose name no other run has.
pub(crate) fn artifacts(scenario: &str) -> PathBuf {
    let runs = fs::read_dir(workspace().join("target/lab/runs")).expect("runs").flatten();
    let kept = runs.filter(|run| run.file_name() != "latest").map(|run| run.path().join(scenario));
    // Their names sort by time.
    kept.filter(|directory| directory.exists()).max().unwrap_or_else(|| panic!("no artifacts of {scenario}"))
}

/// The kept verdict on a scenario.
pub(crate) fn verdict(directory: &Path) -> Value {
    let text = fs::read(directory.join("verdict.json")).expect("a verdict");
    serde_json::from_slice(&text).expect("JSON")
}

/// The reasons of a verdict, in order, each once.
pub(crate) fn reasons(verdict: &Value) -> Vec<String> {
    let failures = verdict["failures"].as_array().expect("failures").iter();
    let mut reasons: Vec<String> =
        failures.map(|failure| failure["reason"].as_str().expect("a reason").to_owned()).collect();
    reasons.dedup();
    reasons
}

fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
