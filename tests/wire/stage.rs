//! A lab whose guard and switch are real, and whose machines' ends of the wire are the test's.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use lab::base::role::Role;
use lab::provider::qemu::argv::Files;
use lab::provider::qemu::control::Control;
use serde_json::json;
use tempfile::TempDir;

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `found` gives something.
#[track_caller]
pub(crate) fn poll<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(started.elapsed() < LIMIT, "no {what} within {} s", LIMIT.as_secs());
        thread::sleep(Duration::from_millis(10));
    }
}

/// A lab called `stage`, in a cache of its own.
pub(crate) struct Stage {
    guard: Child,
    pub(crate) directory: TempDir,
    server: UnixStream,
    client: UnixStream,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut guard = Command::new(cargo_bin!("xtask"))
            .arg("__guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the guard starts");
        let mut line = String::new();
        BufReader::new(guard.stdout.take().expect("its output")).read_line(&mut line).expect("its directory");
        let run_directory = PathBuf::from(line.trim_end());
        let [server, client] = Role::BOTH.map(|role| {
            let end = UnixStream::connect(Files::new(&run_directory, role).wire()).expect("the switch");
            end.set_read_timeout(Some(LIMIT)).expect("a limit");
            end
        });
        let control = Control::of(&run_directory);
        poll("connected machines", || {
            control.status().is_ok_and(|status| status.joined.len() == 2).then_some(())
        });
        let logs = directory.path().join("logs");
        fs::create_dir_all(directory.path().join("labs")).expect("a directory");
        fs::create_dir(&logs).expect("a directory");
        let record = json!({
            "name": "stage", "run_directory": run_directory, "logs": logs, "known_hosts": "",
            "accel": "tcg", "description": "no machines",
        });
        fs::write(directory.path().join("labs/stage.json"), record.to_string()).expect("a record");
        Stage { guard, directory, server, client }
    }

    /// `xtask WORDS` on this lab.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin!("xtask"));
        command.args(words).env("RDMA_LAB_CACHE", self.directory.path());
        command
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.directory.path().join("logs")
    }

    /// Sends a frame as a machine does.
    pub(crate) fn send(&self, from: Role, frame: &[u8]) {
        let length = u32::try_from(frame.len()).expect("a short frame").to_be_bytes();
        self.end(from).write_all(&[&length, frame].concat()).expect("the switch reads");
    }

    /// The next frame that a machine gets.
    pub(crate) fn receive(&self, at: Role) -> Vec<u8> {
        let mut length = [0; 4];
        self.end(at).read_exact(&mut length).expect("a frame");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.end(at).read_exact(&mut frame).expect("a whole frame");
        frame
    }

    fn end(&self, role: Role) -> &UnixStream {
        if role == Role::Server { &self.server } else { &self.client }
    }

    /// The fates in the lab's recording so far, without numbers.
    pub(crate) fn fates(&self, file: &Path) -> Vec<String> {
        let mut reader =
            roce::capture::Reader::new(fs::File::open(file).expect("a recording")).expect("pcapng");
        let mut fates = Vec::new();
        while let Ok(Some(record)) = reader.next() {
            let comment = record.comment.unwrap_or_default().trim_start_matches("fate=");
            fates.push(comment.split(' ').next().unwrap_or_default().to_owned());
        }
        fates
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Ends when its pipe does.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A command whose words come from the test, and whose lines go to it. Dropped, it is killed.
pub(crate) struct Dialogue {
    pub(crate) child: Child,
    said: PathBuf,
    _directory: TempDir,
}

impl Dialogue {
    pub(crate) fn start(mut command: Command) -> Dialogue {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let said = directory.path().join("said");
        let output = fs::File::create(&said).expect("a file");
        let child = command
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .spawn()
            .expect("the command starts");
        Dialogue { child, said, _directory: directory }
    }

    pub(crate) fn say(&mut self, words: &str) {
        self.child.stdin.as_mut().expect("its input").write_all(words.as_bytes()).expect("it reads");
    }

    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.said).expect("its output")).into_owned()
    }

    #[track_caller]
    pub(crate) fn wait_said(&mut self, text: &str) {
        let (child, said) = (&mut self.child, &self.said);
        poll(&format!("`{text}`"), || {
            let all = String::from_utf8_lossy(&fs::read(said).expect("its output")).into_owned();
            if all.contains(text) {
                return Some(());
            }
            assert!(child.try_wait().expect("a child").is_none(), "no `{text}` in {all}");
            None
        });
    }

    #[track_caller]
    pub(crate) fn wait_code(&mut self) -> Option<i32> {
        poll("end of the command", || self.child.try_wait().expect("a child")).code()
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
