//! Requests to a guard, and the owner's handle on one.
//!
//! A request is one line of JSON on the guard's socket `control`, and gets one line back. The handle that
//! started a guard also holds the pipe that it lives by. A guard that has gone is told from one that is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt::socket_peercred,
};
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;
use crate::provider::qemu::argv::control_socket;
use crate::provider::qemu::process::Process;
use crate::scenario::fault::{Fault, Met};
use crate::scenario::port::LimitedPort;
use crate::wire::captured::Captured;
use crate::wire::gate::{GateDecision, GatePacket};
use crate::wire::limits::PortCount;

/// Longest time that the guard may take for an answer: it only starts and ends processes and writes files.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Longest time that a guard of another command's may be silent until it is said not to answer.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);

/// Interval between two looks at a guard that has not answered yet: one that was stopped by a signal at two looks is silent.
const LOOK: Duration = Duration::from_secs(1);

/// Longest time that the guard may take to end its machines.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Requests to a guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Start a machine; its own output goes into `log`.
    Start {
        /// The machine.
        role: Role,
        /// Its command line.
        argv: Vec<String>,
        /// Variables that it needs.
        #[serde(default)]
        env: Vec<(String, String)>,
        /// A file, overwritten.
        log: PathBuf,
    },
    /// Kill these machines, and go on.
    Kill {
        /// The machine.
        roles: Vec<Role>,
    },
    /// Tell which ports are connected, which machines have ended.
    Status,
    /// Begin to record the wire.
    StartCapture {
        /// A pcapng, overwritten.
        file: PathBuf,
    },
    /// Tell the file that is being recorded into.
    Recording,
    /// Tell how much has been recorded.
    Captured,
    /// Let faults act on what comes from now on.
    Arm {
        /// In the order in which they are asked.
        faults: Vec<Fault>,
    },
    /// Packets that the faults have met so far.
    Met,
    /// Limit ports for what comes from now on.
    Limit {
        /// In the order in which they are asked.
        ports: Vec<LimitedPort>,
    },
    /// Tell what has passed the limited ports.
    Ports,
    /// End the recording.
    StopCapture,
    /// Keep RoCE packets at the gate until somebody decides on each.
    CloseGate {
        /// Process that decides.
        keeper: String,
        /// Time that the keeper may be silent until the gate opens by itself, in milliseconds.
        patience_ms: u64,
    },
    /// Packet that waits for longest.
    AtGate {
        /// Process that asks.
        keeper: String,
    },
    /// Decide on the packet that waits for longest.
    Decide {
        /// Process that decides.
        keeper: String,
        /// Number of the packet.
        number: u64,
        /// Decision on it.
        decision: GateDecision,
    },
    /// Let all that waits go on.
    OpenGate {
        /// Whose gate.
        keeper: String,
    },
    /// Outlive the owner. If a machine ends, leave the reason in `note` and end.
    Stay {
        /// A file, overwritten.
        note: PathBuf,
    },
    /// End the machines and yourself.
    End,
}

/// Answers of a guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The request is done.
    Done,
    /// The request failed, with the reason.
    Failed(String),
    /// To [`Request::Status`].
    Status {
        /// Nodes whose port of the switch is connected.
        joined: Vec<Role>,
        /// Machines that ended unasked, with their status and last words.
        ended: BTreeMap<Role, String>,
        /// Machines that run, with their process ids.
        machines: BTreeMap<Role, u32>,
        /// Machines among them whose process stands still because of a signal.
        #[serde(default)]
        stopped: BTreeSet<Role>,
        /// The guard's own process id.
        guard: u32,
    },
    /// To [`Request::Captured`]: RoCEv2 packets by node.
    Captured(BTreeMap<Role, Captured>),
    /// To [`Request::Met`].
    Met(Met),
    /// To [`Request::Ports`].
    Ports(Vec<PortCount>),
    /// To [`Request::Recording`].
    Recording(Option<PathBuf>),
    /// To [`Request::StopCapture`]: the file, whole.
    Stopped(PathBuf),
    /// To [`Request::AtGate`].
    AtGate(Option<GatePacket>),
}

/// A guard's knowledge of its machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Nodes whose port of the switch is connected.
    pub joined: Vec<Role>,
    /// Machines that ended unasked, with their status and last words.
    pub ended: BTreeMap<Role, String>,
    /// Machines that run, with their process ids.
    pub machines: BTreeMap<Role, u32>,
    /// Machines among them whose process stands still because of a signal.
    pub stopped: BTreeSet<Role>,
    /// The guard's own process id.
    pub guard: u32,
}

impl Status {
    /// The process of a machine, unless it has ended.
    pub(super) fn machine(&self, role: Role) -> Option<Process> {
        self.machines.get(&role).copied().and_then(Process::find)
    }
}

/// Outcome of asking a guard for its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Serves.
    Status(Status),
    /// Stands still: there, and silent.
    Silence,
    /// Has ended.
    Gone,
}

/// Reason that there is no answer.
enum NoAnswer {
    Gone,
    Silence(Duration),
    Failed(Error),
}

/// A handle on a guard. One that started it ends it when dropped, unless it was told to stay.
#[derive(Debug)]
pub struct Control {
    directory: PathBuf,
    process: Option<Child>,
}

impl Control {
    /// Starts a guard: `program` is the executable that calls [`crate::provider::qemu::guard::main`] when its
    /// only argument is `__guard`.
    ///
    /// # Errors
    ///
    /// It cannot be started, or finds no place for its run directory.
    pub fn start(program: &Path) -> Result<Control> {
        let mut process = std::process::Command::new(program)
            .arg("__guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .at("failed to start the guard", program)?;
        let output = process.stdout.take().ok_or_else(|| Error::setup("the guard has no output"))?;
        let mut control = Control { directory: PathBuf::new(), process: Some(process) };
        let (sender, ready) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            let mut output = BufReader::new(output);
            // A failed guard's message may have several lines; a directory is one.
            while matches!(output.read_line(&mut text), Ok(1..)) && text.starts_with("error: ") {}
            let _ = sender.send(text);
        });
        let text = match ready.recv_timeout(ANSWER_LIMIT) {
            Ok(text) => text,
            Err(RecvTimeoutError::Timeout) => return Err(Error::timeout("guard ready", ANSWER_LIMIT)),
            Err(RecvTimeoutError::Disconnected) => String::new(),
        };
        if let Some(error) = text.strip_prefix("error: ") {
            return Err(Error::setup(error.trim_end()));
        }
        if text.is_empty() {
            return Err(Error::setup("the guard of the machines ended at once"));
        }
        control.directory = text.trim_end().into();
        Ok(control)
    }

    /// A handle on the guard of a resident lab, by its run directory.
    pub fn of(directory: &Path) -> Control {
        Control { directory: directory.to_owned(), process: None }
    }

    /// The run directory: private, short, removed when the guard ends.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts a machine whose own output goes into `log`: the words `argv`, with the variables `env`.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start_machine(
        &self,
        role: Role,
        argv: &[OsString],
        env: &[(OsString, OsString)],
        log: &Path,
    ) -> Result<()> {
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        let argv = argv.iter().map(text).collect();
        let env = env.iter().map(|(key, value)| (text(key), text(value))).collect();
        self.ask(&Request::Start { role, argv, env, log: log.to_owned() }).map(drop)
    }

    /// Kills the machines; the guard, the switch and the run directory stay.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn kill_machines(&self) -> Result<()> {
        self.ask(&Request::Kill { roles: Role::ALL.into() }).map(drop)
    }

    /// Kills one machine; all else stays.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn kill_machine(&self, role: Role) -> Result<()> {
        self.ask(&Request::Kill { roles: vec![role] }).map(drop)
    }

    /// Asks the guard for its knowledge of the machines.
    ///
    /// # Errors
    ///
    /// The guard is gone, or does not answer.
    pub fn status(&self) -> Result<Status> {
        status(self.ask(&Request::Status)?)
    }

    /// Asks the guard for its knowledge of the machines, or tells that there is no asking it. The guard may be another command's.
    pub fn reply(&self) -> Reply {
        match self.exchange(&Request::Status, SILENCE_LIMIT) {
            Ok(answer) => status(answer).map_or(Reply::Silence, Reply::Status),
            Err(NoAnswer::Gone) => Reply::Gone,
            Err(NoAnswer::Silence(_) | NoAnswer::Failed(_)) => Reply::Silence,
        }
    }

    /// The process that listens on the guard's socket, whether it answers or not.
    pub(in crate::provider) fn listener(&self) -> Option<Process> {
        listener(&self.connect().ok()?)
    }

    /// End of a machine, if it has ended; a guard that is gone counts as an end of its machines.
    pub fn ending(&self, role: Role) -> Option<String> {
        match self.status() {
            Ok(mut status) => status.ended.remove(&role),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Begins to record the wire into `file`.
    ///
    /// # Errors
    ///
    /// As [`crate::wire::switch::Switch::start_capture`].
    pub fn start_capture(&self, file: &Path) -> Result<()> {
        self.ask(&Request::StartCapture { file: file.to_owned() }).map(drop)
    }

    /// Lets faults act on what comes from now on.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn arm(&self, faults: &[Fault]) -> Result<()> {
        self.ask(&Request::Arm { faults: faults.to_owned() }).map(drop)
    }

    /// Packets that the faults have met so far.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn met(&self) -> Result<Met> {
        match self.ask(&Request::Met)? {
            Answer::Met(met) => Ok(met),
            other => Err(unexpected(&other)),
        }
    }

    /// Limits ports for what comes from now on.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn limit(&self, ports: &[LimitedPort]) -> Result<()> {
        self.ask(&Request::Limit { ports: ports.to_owned() }).map(drop)
    }

    /// Frames that have passed the limited ports.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn port_counts(&self) -> Result<Vec<PortCount>> {
        match self.ask(&Request::Ports)? {
            Answer::Ports(counts) => Ok(counts),
            other => Err(unexpected(&other)),
        }
    }

    /// Number of RoCEv2 packets that the recording holds, by node.
    ///
    /// # Errors
    ///
    /// As [`crate::wire::switch::Switch::captured`].
    pub fn captured(&self) -> Result<BTreeMap<Role, Captured>> {
        match self.ask(&Request::Captured)? {
            Answer::Captured(counts) => Ok(counts),
            other => Err(unexpected(&other)),
        }
    }

    /// The file that is being recorded into, if one is.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn recording(&self) -> Result<Option<PathBuf>> {
        match self.ask(&Request::Recording)? {
            Answer::Recording(file) => Ok(file),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the recording and gives its file.
    ///
    /// # Errors
    ///
    /// As [`crate::wire::switch::Switch::stop_capture`].
    pub fn stop_capture(&self) -> Result<PathBuf> {
        match self.ask(&Request::StopCapture)? {
            Answer::Stopped(file) => Ok(file),
            other => Err(unexpected(&other)),
        }
    }

    /// Keeps RoCE packets at the gate for `keeper`, which may be silent for `patience`.
    ///
    /// # Errors
    ///
    /// As [`crate::wire::switch::Switch::close_gate`].
    pub fn close_gate(&self, keeper: &str, patience: Duration) -> Result<()> {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.ask(&Request::CloseGate { keeper: keeper.to_owned(), patience_ms }).map(drop)
    }

    /// The packet that waits for longest, if one does.
    ///
    /// # Errors
    ///
    /// As [`crate::wire::switch::Switch::at_gate`].
    pub fn at_gate(&self, keeper: &str) -> Result<Option<GatePacket>> {
        match self.ask(&Request::AtGate { keeper: keeper.to_owned() })? {
            Answer::AtGate(packet) => Ok(packet),
            other => Err(unexpected(&other)),
        }
    }

    /// Decides on the packet of that number.
    ///
    /// # Errors
    ///
    /// As [`crate::wire::switch::Switch::decide`].
    pub fn decide(&self, keeper: &str, number: u64, decision: GateDecision) -> Result<()> {
        self.ask(&Request::Decide { keeper: keeper.to_owned(), number, decision }).map(drop)
    }

    /// Forwards what waits, and lets later packets pass.
    ///
    /// # Errors
    ///
    /// As [`crate::wire::switch::Switch::open_gate`].
    pub fn open_gate(&self, keeper: &str) -> Result<()> {
        self.ask(&Request::OpenGate { keeper: keeper.to_owned() }).map(drop)
    }

    /// Lets the guard outlive this process; it leaves the reason in `note` if a machine ends.
    ///
    /// # Errors
    ///
    /// The guard is gone.
    pub fn stay(&mut self, note: &Path) -> Result<()> {
        self.ask(&Request::Stay { note: note.to_owned() })?;
        self.process = None;
        Ok(())
    }

    /// Ends the guard and all it holds; one that is gone already is no error.
    ///
    /// # Errors
    ///
    /// It does not end within the limit.
    pub fn end(&self) -> Result<()> {
        let _ = self.ask(&Request::End);
        let started = Instant::now();
        while self.directory.exists() {
            if started.elapsed() > END_LIMIT {
                return Err(Error::timeout("end of the lab's guard", END_LIMIT)
                    .detail(format!("its run directory is still there: {}", self.directory.display())));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn ask(&self, request: &Request) -> Result<Answer> {
        self.exchange(request, ANSWER_LIMIT).map_err(|unanswered| match unanswered {
            NoAnswer::Gone => Error::boot("the guard of the machines has ended, and they with it"),
            NoAnswer::Silence(limit) => {
                let error = Error::timeout("answer of the guard", limit);
                match self.listener() {
                    Some(guard) if guard.is_stopped() => error.detail(format!(
                        "its process {} stands still: it was stopped by a signal (SIGSTOP)",
                        guard.pid
                    )),
                    _ => error,
                }
            }
            NoAnswer::Failed(error) => error,
        })
    }

    /// Asks with a limit, which covers the connection too: the guard's backlog may be full.
    fn exchange(&self, request: &Request, limit: Duration) -> Result<Answer, NoAnswer> {
        let failed = |what: &str, source: &dyn ToString| {
            NoAnswer::Failed(Error::setup(what.to_owned()).source(source.to_string()))
        };
        let mut stream = match self.connect() {
            Ok(stream) => stream,
            Err(rustix::io::Errno::AGAIN) => return Err(NoAnswer::Silence(Duration::ZERO)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOTDIR) => {
                return Err(NoAnswer::Gone);
            }
            Err(errno) => return Err(failed("failed to connect to the guard", &errno)),
        };
        stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(LOOK)))
            .map_err(|source| failed("failed to set a limit on the guard's socket", &source))?;
        let line =
            serde_json::to_string(request).map_err(|source| failed("failed to write a request", &source))?;
        stream.write_all(format!("{line}\n").as_bytes()).map_err(|_| NoAnswer::Gone)?;
        let guard = listener(&stream);
        let (started, mut stopped) = (Instant::now(), 0);
        let mut stream = BufReader::new(stream);
        let mut answer = Vec::new();
        loop {
            match stream.read_until(b'\n', &mut answer) {
                Ok(0) => return Err(NoAnswer::Gone),
                Ok(_) => break,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    stopped = if guard.is_some_and(Process::is_stopped) { stopped + 1 } else { 0 };
                    if started.elapsed() >= limit || stopped == 2 {
                        return Err(NoAnswer::Silence(started.elapsed()));
                    }
                }
                Err(_) => return Err(NoAnswer::Gone),
            }
        }
        match serde_json::from_slice(&answer) {
            Ok(Answer::Failed(text)) => Err(NoAnswer::Failed(Error::setup(text))),
            Ok(answer) => Ok(answer),
            Err(source) => {
                let said = String::from_utf8_lossy(&answer);
                Err(failed(&format!("the guard said `{}`", said.trim()), &source))
            }
        }
    }

    /// Connects without waiting for room in the guard's backlog, for which the error is `AGAIN`.
    fn connect(&self) -> Result<UnixStream, rustix::io::Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(control_socket(&self.directory))?)?;
        Ok(socket.into())
    }
}

/// The process that listened when this connection was made.
fn listener(stream: &UnixStream) -> Option<Process> {
    let credentials = socket_peercred(stream).ok()?;
    Process::find(credentials.pid.as_raw_nonzero().get().cast_unsigned())
}

fn status(answer: Answer) -> Result<Status> {
    match answer {
        Answer::Status { joined, ended, machines, stopped, guard } => {
            Ok(Status { joined, ended, machines, stopped, guard })
        }
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> Error {
    Error::setup(format!("the guard answered something else: {answer:?}"))
}

impl Drop for Control {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        drop(process.stdin.take());
        let started = Instant::now();
        while started.elapsed() < END_LIMIT {
            match process.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                Ok(Some(_)) | Err(_) => break,
            }
        }
        // Machines have a parent-death signal; the run directory is all that can be left.
        let _ = process.kill();
        let _ = process.wait();
        if !self.directory.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn guard_that_is_gone_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = Control::of(directory.path()).status().unwrap_err();
        assert_eq!(error.to_string(), "the guard of the machines has ended, and they with it");
    }

    #[test]
    fn guard_that_is_silent_is_told_from_one_that_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let control = Control::of(directory.path());
        assert_eq!(control.reply(), Reply::Gone);
        // Listens and never accepts, as a guard that stands still.
        let listener = UnixListener::bind(control_socket(directory.path())).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        assert_eq!(control.listener(), Process::find(std::process::id()));
        let started = Instant::now();
        assert_eq!(control.reply(), Reply::Silence);
        assert!(started.elapsed() < 2 * SILENCE_LIMIT);
        // Those that asked fill its backlog; the next does not wait for room.
        let _waiting: Vec<_> = std::iter::from_fn(|| control.connect().ok()).take(9).collect();
        let started = Instant::now();
        assert_eq!(control.reply(), Reply::Silence);
        assert!(started.elapsed() < SILENCE_LIMIT);
        drop(listener);
        // A process that another test starts has the socket open, too, until it is what it will be.
        let dropped = Instant::now();
        while control.reply() != Reply::Gone {
            assert!(dropped.elapsed() < Duration::from_secs(5));
        }
    }

    #[test]
    fn program_that_is_no_guard_is_an_error() {
        let error = Control::start(Path::new("/bin/true")).unwrap_err();
        assert_eq!(error.to_string(), "the guard of the machines ended at once");
    }
}
