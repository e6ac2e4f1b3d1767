//! The process that machines and switch live and die with.
//!
//! It runs in a session of its own. Its standard input is a pipe from its owner: at end of file, however the
//! owner ended, it ends the machines, removes the run directory and exits. A resident lab's guard has been
//! told to stay: it ends when asked to, or when a machine ends. Machines are started from its main thread
//! with a parent-death signal, so that they end with it too. A guard whose run directory is removed ends: nobody could
//! ask it any more. The run directory is its working directory, which tells whose it is.
//!
//! It serves requests on the socket `control` of its run directory; [`crate::provider::qemu::control`] is
//! the other end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::base::command::tail;
use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;
use crate::provider::qemu::argv::{Files, SOCKET_PATH_LIMIT, control_socket};
use crate::provider::qemu::control::{Answer, Request};
use crate::provider::qemu::process::Process;
use crate::wire::switch::Switch;

/// Longest time that a machine may take to end once it was killed.
const KILL_LIMIT: Duration = Duration::from_secs(3);

/// Interval at which a guard looks whether it can still be asked.
const LOOK: Duration = Duration::from_secs(2);

/// Pause after which a guard accepts again that could not.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// Events of a guard, in the order in which they happen.
enum GuardEvent {
    Request(Request, Sender<Answer>),
    /// A machine has ended, with this status and its last words. `number` tells a machine from one that took
    /// its place.
    Ended {
        role: Role,
        number: u64,
        status: String,
    },
    OwnerGone,
}

/// The guard process: serves until its owner has gone or it is asked to end, then ends what it started.
///
/// Says the run directory on standard output, in one line, once it serves; an error instead begins with
/// `error: `.
///
/// # Errors
///
/// There is no place for the run directory. The owner is told, too.
pub fn main() -> Result<()> {
    // Leaving the owner's session keeps a Ctrl-C on its terminal from reaching the machines first.
    let _ = rustix::process::setsid();
    let (sender, events) = channel();
    let mut guard = match Guard::prepare(&sender) {
        Ok(guard) => guard,
        Err(error) => {
            println!("error: {error}");
            return Err(error);
        }
    };
    println!("{}", guard.directory.path().display());
    let owner_gone = sender.clone();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = owner_gone.send(GuardEvent::OwnerGone);
    });
    guard.serve(&events, &sender);
    guard.kill_machines(&Role::ALL);
    Ok(())
}

struct Guard {
    directory: tempfile::TempDir,
    switch: Switch,
    machines: BTreeMap<Role, GuardedMachine>,
    ended: BTreeMap<Role, String>,
    started: u64,
    /// File in which a resident lab's guard leaves the reason if a machine ends.
    stay: Option<PathBuf>,
}

struct GuardedMachine {
    number: u64,
    handle: Arc<duct::Handle>,
}

impl Guard {
    fn prepare(sender: &Sender<GuardEvent>) -> Result<Guard> {
        let directory = run_directory(&run_places())?;
        let ports: Vec<_> = Role::BOTH.map(|role| (role, Files::new(directory.path(), role).wire())).into();
        let switch = Switch::listen(&ports)?;
        let socket = control_socket(directory.path());
        let listener = UnixListener::bind(&socket).at("failed to listen on", &socket)?;
        std::env::set_current_dir(directory.path()).at("failed to enter", directory.path())?;
        let (sender, wire) = (sender.clone(), switch.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    // Want of open files, as a rule, which passes.
                    thread::sleep(ACCEPT_AGAIN);
                    continue;
                };
                let (sender, wire) = (sender.clone(), wire.clone());
                thread::spawn(move || converse(&stream, &sender, &wire));
            }
        });
        Ok(Guard {
            directory,
            switch,
            machines: BTreeMap::new(),
            ended: BTreeMap::new(),
            started: 0,
            stay: None,
        })
    }

    fn serve(&mut self, events: &Receiver<GuardEvent>, sender: &Sender<GuardEvent>) {
        loop {
            let event = match events.recv_timeout(LOOK) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) if self.can_be_asked() => continue,
                Err(_) => return,
            };
            match event {
                GuardEvent::Request(Request::End, answer) => {
                    self.kill_machines(&Role::ALL);
                    let _ = answer.send(Answer::Done);
                    return;
                }
                GuardEvent::Request(request, answer) => {
                    let done = self.answer(request, sender);
                    let _ = answer.send(done.unwrap_or_else(|error| Answer::Failed(error.to_string())));
                }
                GuardEvent::Ended { role, number, status } => {
                    if self.machines.get(&role).is_none_or(|machine| machine.number != number) {
                        // It was killed on request and another has its place.
                        continue;
                    }
                    if let Some(note) = &self.stay {
                        let _ = fs::write(note, format!("node {role} ended: {status}\n"));
                        return;
                    }
                    self.ended.insert(role, status);
                }
                GuardEvent::OwnerGone if self.stay.is_none() => return,
                GuardEvent::OwnerGone => {}
            }
        }
    }

    /// True if its socket is still there; a resident lab's guard that has lost it leaves the reason.
    fn can_be_asked(&self) -> bool {
        let is_there = control_socket(self.directory.path()).exists();
        if let (false, Some(note)) = (is_there, &self.stay) {
            let directory = self.directory.path().display();
            let _ = fs::write(note, format!("its run directory was removed: {directory}\n"));
        }
        is_there
    }

    /// Answers what is asked of machines; never waits for the wire.
    fn answer(&mut self, request: Request, sender: &Sender<GuardEvent>) -> Result<Answer> {
        Ok(match request {
            Request::Start { role, argv, env, log } => {
                // Those of the two that every lab has are there.
                self.switch.open(role, &Files::new(self.directory.path(), role).wire())?;
                self.started += 1;
                let number = self.started;
                let handle = start_machine(role, number, (argv, env), log, sender.clone())?;
                self.ended.remove(&role);
                self.machines.insert(role, GuardedMachine { number, handle });
                Answer::Done
            }
            Request::Kill { roles } => {
                self.kill_machines(&roles);
                Answer::Done
            }
            Request::Status => {
                let machines: BTreeMap<Role, u32> = self
                    .machines
                    .iter()
                    .filter_map(|(&role, machine)| Some((role, *machine.handle.pids().first()?)))
                    .collect();
                let is_stopped = |pid: u32| Process::find(pid).is_some_and(Process::is_stopped);
                Answer::Status {
                    joined: Role::ALL.into_iter().filter(|&role| self.switch.has_joined(role)).collect(),
                    ended: self.ended.clone(),
                    stopped: machines
                        .iter()
                        .filter(|(_, pid)| is_stopped(**pid))
                        .map(|(&role, _)| role)
                        .collect(),
                    machines,
                    guard: std::process::id(),
                }
            }
            Request::Stay { note } => {
                self.stay = Some(note);
                Answer::Done
            }
            // Taken before, or the wire's.
            _ => Answer::Done,
        })
    }

    /// Kills machines and waits until they have gone.
    fn kill_machines(&mut self, roles: &[Role]) {
        let machines: Vec<GuardedMachine> =
            roles.iter().filter_map(|role| self.machines.remove(role)).collect();
        for machine in &machines {
            let _ = machine.handle.kill();
        }
        for machine in &machines {
            let _ = machine.handle.wait_timeout(KILL_LIMIT);
        }
        self.ended.retain(|role, _| !roles.contains(role));
    }
}

/// Answers what is asked of the wire, in the thread of whoever asks: should it take long, nobody else waits. `None` for
/// all else.
fn of_the_wire(request: &Request, wire: &Switch) -> Option<Result<Answer>> {
    Some(match request {
        Request::StartCapture { file } => wire.start_capture(file).map(|()| Answer::Done),
        Request::Recording => Ok(Answer::Recording(wire.recording())),
        Request::Captured => wire.captured().map(Answer::Captured),
        Request::Arm { faults } => {
            wire.arm(faults.clone());
            Ok(Answer::Done)
        }
        Request::Met => Ok(Answer::Met(wire.met())),
        Request::Limit { ports } => {
            wire.limit(ports.clone());
            Ok(Answer::Done)
        }
        Request::Ports => Ok(Answer::Ports(wire.port_counts())),
        Request::StopCapture => wire.stop_capture().map(Answer::Stopped),
        Request::CloseGate { keeper, patience_ms } => {
            wire.close_gate(keeper, Duration::from_millis(*patience_ms)).map(|()| Answer::Done)
        }
        Request::AtGate { keeper } => wire.at_gate(keeper).map(Answer::AtGate),
        Request::Decide { keeper, number, decision } => {
            wire.decide(keeper, *number, *decision).map(|()| Answer::Done)
        }
        Request::OpenGate { keeper } => wire.open_gate(keeper).map(|()| Answer::Done),
        _ => return None,
    })
}

/// One connection: a request a line, an answer a line.
fn converse(stream: &UnixStream, sender: &Sender<GuardEvent>, wire: &Switch) {
    for line in BufReader::new(stream).lines().map_while(std::io::Result::ok) {
        let answer = match serde_json::from_str(&line) {
            Ok(request) if let Some(answer) = of_the_wire(&request, wire) => {
                answer.unwrap_or_else(|error| Answer::Failed(error.to_string()))
            }
            Ok(request) => {
                let (answer_sender, answer) = channel();
                if sender.send(GuardEvent::Request(request, answer_sender)).is_err() {
                    return;
                }
                let Ok(answer) = answer.recv() else { return };
                answer
            }
            Err(error) => Answer::Failed(format!("the guard was asked `{line}`: {error}")),
        };
        let Ok(text) = serde_json::to_string(&answer) else { return };
        let mut stream = stream;
        if stream.write_all(format!("{text}\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// Beginning of run directories' names.
pub const RUN_PREFIX: &str = "rdma-lab-";

/// Places in which run directories may be, best first.
pub fn run_places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> =
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).into_iter().collect();
    places.extend([std::env::temp_dir(), "/tmp".into()]);
    places.dedup();
    places
}

/// A private directory below the first of `places` in which sockets' paths are short enough.
fn run_directory(places: &[PathBuf]) -> Result<tempfile::TempDir> {
    let mut refused = String::new();
    for place in places {
        let mut builder = tempfile::Builder::new();
        builder.prefix(RUN_PREFIX).permissions(fs::Permissions::from_mode(0o700));
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

/// Starts a machine and a thread that tells its end. Called on the main thread: the parent-death signal
/// comes when the thread that started a process ends.
fn start_machine(
    role: Role,
    number: u64,
    (argv, env): (Vec<String>, Vec<(String, String)>),
    log: PathBuf,
    sender: Sender<GuardEvent>,
) -> Result<Arc<duct::Handle>> {
    fs::write(&log, argv.join(" ") + "\n").at("failed to write", &log)?;
    let output = fs::File::options().append(true).open(&log).at("failed to open", &log)?;
    let (program, words) = argv.split_first().ok_or_else(|| Error::setup("no command for a machine"))?;
    let machine = env.iter().fold(duct::cmd(program, words), |machine, (key, value)| machine.env(key, value));
    let handle = machine.stdin_null().stderr_to_stdout().stdout_file(output).unchecked().start().map_err(
        |source| Error::setup(format!("failed to start the machine {role} (`{program}`)")).source(source),
    )?;
    let handle = Arc::new(handle);
    let for_watcher = Arc::clone(&handle);
    thread::spawn(move || {
        let status = match for_watcher.wait() {
            Ok(output) => output.status.to_string(),
            Err(error) => error.to_string(),
        };
        let status = format!("{status}\n{}", last_words(&log)).trim().to_owned();
        // A guard that is ending itself listens no more.
        let _ = sender.send(GuardEvent::Ended { role, number, status });
    });
    Ok(handle)
}

/// Last words of QEMU; the log's first line is its command line.
fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    tail(text.split_once('\n').map_or("", |(_, rest)| rest), 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_directory_is_private_and_short() {
        let directory = run_directory(&["/tmp".into()]).unwrap();
        let mode = fs::metadata(directory.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn place_with_long_paths_is_passed_over() {
        let long = tempfile::Builder::new().prefix(&"x".repeat(90)).tempdir_in("/tmp").unwrap();
        let directory = run_directory(&[long.path().to_owned(), "/tmp".into()]).unwrap();
        assert_eq!(directory.path().parent(), Some(Path::new("/tmp")));
    }

    #[test]
    fn no_place_is_an_error_that_names_each() {
        let long = tempfile::Builder::new().prefix(&"x".repeat(90)).tempdir_in("/tmp").unwrap();
        let error = run_directory(&[long.path().to_owned(), "/nonexistent".into()]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the limit is 107") && text.contains("/nonexistent"), "{text}");
    }
}
