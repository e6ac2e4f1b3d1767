//! The process that machines and switch live and die with.
//!
//! It runs in a session of its own and holds a pipe from its owner: its standard input. At end of file,
//! however the owner ended, it ends the machines, removes the run directory and exits. Machines are started
//! from its main thread with a parent-death signal, so that they end with it too.
//!
//! Both ends of the pipe are here: [`main`] is the process, [`Guard`] the owner's handle. A request is one
//! line of JSON and gets one answer, in order; a machine's end is told when it happens.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::command::tail;
use crate::error::{Error, IoContext as _, Result};
use crate::node::Role;
use crate::provider::qemu::argv::{Files, SOCKET_PATH_LIMIT};
use crate::switch::Switch;

/// How long the guard may take for an answer: it only starts processes and writes files.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long the guard may take to end its machines.
const END_LIMIT: Duration = Duration::from_secs(5);

/// What the owner asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    /// Start a machine; its own output goes into `log`.
    Start { role: Role, argv: Vec<String>, log: PathBuf },
    /// Whether a machine's port of the switch is connected.
    HasJoined { role: Role },
    StartCapture { file: PathBuf },
    Captured,
    StopCapture,
}

/// What the guard says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    /// First of all: where the run directory is.
    Ready { directory: PathBuf },
    Done(Answer),
    Failed { text: String },
    /// A machine has ended; the only message that answers nothing.
    Ended { role: Role, status: String },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    #[default]
    Nothing,
    Joined(bool),
    Captured(BTreeMap<Role, u64>),
}

/// The owner's handle on its guard. Dropped, everything that the guard runs is ended.
#[derive(Debug)]
pub struct Guard {
    process: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<Result<Answer>>,
    ended: Arc<Mutex<BTreeMap<Role, String>>>,
    directory: PathBuf,
}

impl Guard {
    /// Starts a guard: `program` is the executable that calls [`main`] when its only argument is `__guard`.
    ///
    /// # Errors
    ///
    /// It cannot be started, or finds no place for its run directory.
    pub fn start(program: &Path) -> Result<Guard> {
        let mut process = std::process::Command::new(program)
            .arg("__guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .at("failed to start the guard", program)?;
        let requests = process.stdin.take();
        let output = process.stdout.take().ok_or_else(|| Error::setup("the guard has no output"))?;
        let ended = Arc::<Mutex<_>>::default();
        let (sender, answers) = channel();
        let (ready_sender, ready) = channel();
        let for_reader = Arc::clone(&ended);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                let told = match serde_json::from_str(&line) {
                    Ok(Message::Ready { directory }) => ready_sender.send(Ok(directory)).is_ok(),
                    Ok(Message::Done(answer)) => sender.send(Ok(answer)).is_ok(),
                    Ok(Message::Failed { text }) => {
                        // The first failure may come before the guard is ready.
                        let _ = ready_sender.send(Err(Error::setup(text.clone())));
                        sender.send(Err(Error::setup(text))).is_ok()
                    }
                    Ok(Message::Ended { role, status }) => {
                        let mut ended: std::sync::MutexGuard<'_, BTreeMap<Role, String>> =
                            for_reader.lock().unwrap_or_else(PoisonError::into_inner);
                        ended.insert(role, status);
                        true
                    }
                    Err(source) => sender
                        .send(Err(Error::setup(format!("the guard said `{line}`")).source(source)))
                        .is_ok(),
                };
                if !told {
                    break;
                }
            }
        });
        let mut guard = Guard { process, requests, answers, ended, directory: PathBuf::new() };
        guard.directory = match ready.recv_timeout(ANSWER_LIMIT) {
            Ok(directory) => directory?,
            Err(RecvTimeoutError::Timeout) => return Err(Error::timeout("guard ready", ANSWER_LIMIT)),
            Err(RecvTimeoutError::Disconnected) => return Err(Error::setup("the guard ended at once")),
        };
        Ok(guard)
    }

    /// Its run directory: private, short, removed when it ends.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts a machine whose own output goes into `log`.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start_machine(&self, role: Role, argv: &[std::ffi::OsString], log: &Path) -> Result<()> {
        let argv = argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        self.ask(&Request::Start { role, argv, log: log.to_owned() })?;
        Ok(())
    }

    /// Whether a machine's port of the switch is connected.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn has_joined(&self, role: Role) -> Result<bool> {
        Ok(matches!(self.ask(&Request::HasJoined { role })?, Answer::Joined(true)))
    }

    /// Begins to record the wire into `file`.
    ///
    /// # Errors
    ///
    /// As [`Switch::start_capture`].
    pub fn start_capture(&self, file: &Path) -> Result<()> {
        self.ask(&Request::StartCapture { file: file.to_owned() })?;
        Ok(())
    }

    /// How many RoCEv2 packets the recording holds, by sender.
    ///
    /// # Errors
    ///
    /// As [`Switch::captured`].
    pub fn captured(&self) -> Result<BTreeMap<Role, u64>> {
        match self.ask(&Request::Captured)? {
            Answer::Captured(counts) => Ok(counts),
            _ => Err(Error::capture("the guard did not say what it captured")),
        }
    }

    /// Ends the recording.
    ///
    /// # Errors
    ///
    /// As [`Switch::stop_capture`].
    pub fn stop_capture(&self) -> Result<()> {
        self.ask(&Request::StopCapture)?;
        Ok(())
    }

    /// How a machine ended, if it has.
    pub fn ending(&self, role: Role) -> Option<String> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get(&role).cloned()
    }

    fn ask(&self, request: &Request) -> Result<Answer> {
        let gone = || Error::boot("the guard of the machines has ended, and they with it");
        let line = serde_json::to_string(request)
            .map_err(|source| Error::setup("failed to write a request").source(source))?;
        let mut requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.write_all(format!("{line}\n").as_bytes()).map_err(|_| gone())?;
        match self.answers.recv_timeout(ANSWER_LIMIT) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(Error::timeout("answer of the guard", ANSWER_LIMIT)),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.requests.take());
        let started = Instant::now();
        while started.elapsed() < END_LIMIT {
            match self.process.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        // The machines have a parent-death signal; the run directory is all that can be left.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The guard process: serves its standard input until that ends, then ends what it started.
///
/// # Errors
///
/// There is no place for the run directory. The owner is told, too.
pub fn main() -> Result<()> {
    // Leaving the owner's session keeps a Ctrl-C on its terminal from reaching the machines first.
    let _ = rustix::process::setsid();
    let (directory, switch) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            say(&Message::Failed { text: error.to_string() });
            return Err(error);
        }
    };
    say(&Message::Ready { directory: directory.path().to_owned() });
    let mut machines = Vec::new();
    for line in std::io::stdin().lines().map_while(std::io::Result::ok) {
        say(&match serve(&line, &switch, &mut machines) {
            Ok(answer) => Message::Done(answer),
            Err(error) => Message::Failed { text: error.to_string() },
        });
    }
    for machine in &machines {
        let _ = machine.kill();
    }
    drop(directory);
    Ok(())
}

fn prepare() -> Result<(tempfile::TempDir, Switch)> {
    let directory = run_directory(&[
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
        Some(std::env::temp_dir()),
        Some("/tmp".into()),
    ])?;
    let ports: Vec<_> =
        Role::BOTH.map(|role| (role, Files::new(directory.path(), role).wire())).into();
    let switch = Switch::listen(&ports)?;
    Ok((directory, switch))
}

/// A private directory below the first of `places` in which sockets' paths are short enough.
fn run_directory(places: &[Option<PathBuf>]) -> Result<tempfile::TempDir> {
    let mut refused = String::new();
    for place in places.iter().flatten() {
        let mut builder = tempfile::Builder::new();
        builder.prefix("rdma-lab-").permissions(fs::Permissions::from_mode(0o700));
        match builder.tempdir_in(place) {
            Ok(directory) => {
                let length = Files::longest_socket(directory.path()).as_os_str().len();
                if length <= SOCKET_PATH_LIMIT {
                    return Ok(directory);
                }
                refused.push_str(&format!(
                    "{}: socket paths would have {length} bytes, the limit is {SOCKET_PATH_LIMIT}\n",
                    place.display()
                ));
            }
            Err(error) => refused.push_str(&format!("{}: {error}\n", place.display())),
        }
    }
    Err(Error::setup("no place for the run directory")
        .detail(refused)
        .next("name a short, writable directory: TMPDIR=/some/directory"))
}

fn serve(line: &str, switch: &Switch, machines: &mut Vec<Arc<duct::Handle>>) -> Result<Answer> {
    let request = serde_json::from_str(line)
        .map_err(|source| Error::setup(format!("the guard was asked `{line}`")).source(source))?;
    match request {
        Request::Start { role, argv, log } => {
            machines.push(start_machine(role, argv, log)?);
            Ok(Answer::Nothing)
        }
        Request::HasJoined { role } => Ok(Answer::Joined(switch.has_joined(role))),
        Request::StartCapture { file } => switch.start_capture(&file).map(|()| Answer::Nothing),
        Request::Captured => switch.captured().map(Answer::Captured),
        Request::StopCapture => switch.stop_capture().map(|()| Answer::Nothing),
    }
}

/// Starts a machine and a thread that tells its end. Called on the main thread: the parent-death signal
/// comes when the thread that started a process ends.
fn start_machine(role: Role, argv: Vec<String>, log: PathBuf) -> Result<Arc<duct::Handle>> {
    fs::write(&log, argv.join(" ") + "\n").at("failed to write", &log)?;
    let output = fs::File::options().append(true).open(&log).at("failed to open", &log)?;
    let words: Vec<String> = ["--pdeathsig", "KILL"].map(str::to_owned).into_iter().chain(argv).collect();
    let handle = duct::cmd("setpriv", words)
        .stdin_null()
        .stderr_to_stdout()
        .stdout_file(output)
        .unchecked()
        .start()
        .map_err(|source| Error::setup(format!("failed to start the machine {role} (`setpriv`)")).source(source))?;
    let handle = Arc::new(handle);
    let for_watcher = Arc::clone(&handle);
    thread::spawn(move || {
        let status = match for_watcher.wait() {
            Ok(output) => output.status.to_string(),
            Err(error) => error.to_string(),
        };
        // The first line is the command line.
        let text = fs::read_to_string(&log).unwrap_or_default();
        let said = tail(text.split_once('\n').map_or("", |(_, rest)| rest), 5);
        say(&Message::Ended { role, status: format!("{status}\n{said}").trim().to_owned() });
    });
    Ok(handle)
}

fn say(message: &Message) {
    if let Ok(text) = serde_json::to_string(message) {
        // An owner that has gone hears nothing; end of file on standard input follows.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}


#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_directory_is_private_and_short() {
        let directory = run_directory(&[None, Some("/tmp".into())]).unwrap();
        let mode = fs::metadata(directory.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn place_with_long_paths_is_passed_over() {
        let long = tempfile::Builder::new().prefix(&"x".repeat(90)).tempdir_in("/tmp").unwrap();
        let directory =
            run_directory(&[Some(long.path().to_owned()), Some("/tmp".into())]).unwrap();
        assert_eq!(directory.path().parent(), Some(Path::new("/tmp")));
    }

    #[test]
    fn no_place_is_an_error_that_names_each() {
        let long = tempfile::Builder::new().prefix(&"x".repeat(90)).tempdir_in("/tmp").unwrap();
        let error =
            run_directory(&[Some(long.path().to_owned()), Some("/nonexistent".into())]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the limit is 107") && text.contains("/nonexistent"), "{text}");
    }
}
