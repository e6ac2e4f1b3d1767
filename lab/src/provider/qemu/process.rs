//! Processes of this user's as /proc shows them: whether one still is the one that it was, stands still, or has ended.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process};
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::host::toolbox::set::QEMU;

/// Longest time that a killed process may take until it has gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Longest time without a processor by which limits are extended.
const STARVED_LIMIT: Duration = Duration::from_secs(600);

/// A wait for a machine, measured in the machine's own time: time in which it has no processor does not count, up to
/// [`STARVED_LIMIT`].
#[derive(Debug, Clone, Copy)]
pub(super) struct MachineWait {
    machine: Option<Process>,
    began: Instant,
    starved_before: Duration,
}

impl MachineWait {
    /// A wait that begins now; all time counts if the process is not known.
    pub(super) fn begin(machine: Option<Process>) -> MachineWait {
        MachineWait { machine, began: Instant::now(), starved_before: starved(machine) }
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) {
        *self = MachineWait::begin(self.machine);
    }

    /// Time that counts so far. A machine that has ended is starved no more.
    pub(super) fn lasted(&self) -> Duration {
        let starved = starved(self.machine).saturating_sub(self.starved_before);
        self.began.elapsed().saturating_sub(starved)
    }
}

fn starved(machine: Option<Process>) -> Duration {
    machine.map_or(Duration::ZERO, Process::starved).min(STARVED_LIMIT)
}

/// A process, told from others that get its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Time of its start, in clock ticks since the computer's boot.
    pub started: u64,
}

/// State of a process at one moment, by /proc.
struct Stat {
    state: String,
    parent: u32,
    started: u64,
}

impl Process {
    /// The process that has this number now, unless it has ended.
    pub fn find(pid: u32) -> Option<Process> {
        stat(pid).map(|stat| Process { pid, started: stat.started })
    }

    /// Every process of this user's.
    pub(super) fn all() -> impl Iterator<Item = Process> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter(|process| process.metadata().is_ok_and(|file| file.uid() == getuid().as_raw()))
            .filter_map(|process| Process::find(process.file_name().to_str()?.parse().ok()?))
    }

    /// The machines whose sockets are in a run directory.
    pub(super) fn machines(run_directory: &Path) -> Vec<Process> {
        Process::all().filter(|process| process.run_directory().as_deref() == Some(run_directory)).collect()
    }

    /// True if it has not ended.
    pub fn is_alive(self) -> bool {
        self.stat().is_some()
    }

    /// True if it stands still because of a signal (SIGSTOP, SIGTSTP) or a debugger.
    pub fn is_stopped(self) -> bool {
        self.stat().is_some_and(|stat| ["T", "t"].contains(&stat.state.as_str()))
    }

    /// Longest time that one of its threads has waited for a processor so far; zero where the kernel does not count it.
    pub(super) fn starved(self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        // `on a processor, waiting for one, turns`, in nanoseconds.
        let waited = threads.filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().nth(1)?.parse().ok()
        });
        Duration::from_nanos(waited.max().unwrap_or(0))
    }

    /// The words of its command line.
    pub(super) fn words(self) -> Vec<String> {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    /// Its working directory, by the name that it had when it was entered.
    pub(super) fn directory(self) -> Option<PathBuf> {
        let link = fs::read_link(format!("/proc/{}/cwd", self.pid)).ok()?;
        let text = link.to_string_lossy();
        Some(text.strip_suffix(" (deleted)").map_or_else(|| link.clone(), PathBuf::from))
    }

    /// True if it is the guard of some lab.
    pub(super) fn is_guard(self) -> bool {
        self.words().get(1).is_some_and(|word| word == "__guard")
    }

    /// True if its parent is the guard of some lab.
    pub(super) fn has_guard(self) -> bool {
        self.stat().and_then(|stat| Process::find(stat.parent)).is_some_and(Process::is_guard)
    }

    /// The run directory of a lab's machine.
    pub(super) fn run_directory(self) -> Option<PathBuf> {
        run_directory(&self.words())
    }

    /// Kills it and waits until it has gone; one that has ended is no error.
    ///
    /// # Errors
    ///
    /// It cannot be killed, or is still there at the limit.
    pub fn kill(self) -> Result<()> {
        let raw = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let (true, Some(pid)) = (self.is_alive(), raw)
            && let Err(errno) = kill_process(pid, Signal::KILL)
            && self.is_alive()
        {
            return Err(Error::setup(format!("failed to end process {} (`kill`)", self.pid)).source(errno));
        }
        self.wait_end(KILL_LIMIT)
    }

    /// Waits until it has gone.
    ///
    /// # Errors
    ///
    /// It is still there at the limit.
    pub(in crate::provider) fn wait_end(self, limit: Duration) -> Result<()> {
        let started = Instant::now();
        while self.is_alive() {
            if started.elapsed() > limit {
                return Err(Error::timeout(format_args!("end of process {}", self.pid), limit));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn stat(self) -> Option<Stat> {
        stat(self.pid).filter(|stat| stat.started == self.started)
    }
}

/// Reads /proc of the process with a number; nothing of one that has ended and waits for its parent.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state parent …`; the name may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let stat = Stat {
        state: (*fields.first()?).to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    };
    (!["Z", "X"].contains(&stat.state.as_str())).then_some(stat)
}

/// The directory of the control socket in the command line of a lab's machine, whatever loader runs it.
fn run_directory(words: &[String]) -> Option<PathBuf> {
    let is_qemu = words.iter().take_while(|word| !word.starts_with("unix:")).any(|word| word.ends_with(QEMU));
    let socket = words.iter().find_map(|word| word.strip_prefix("unix:")?.split(",server").next())?;
    // As `argv` wrote it.
    let directory = PathBuf::from(socket.replace(",,", ",")).parent()?.to_owned();
    is_qemu.then_some(directory)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn process_that_is_stopped_then_killed_is_seen_as_such() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::find(child.id()).unwrap();
        assert!(process.is_alive() && !process.is_stopped());
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        let started = Instant::now();
        while !process.is_stopped() {
            assert!(started.elapsed() < Duration::from_secs(5));
        }
        assert!(Process { started: process.started + 1, ..process }.wait_end(Duration::ZERO).is_ok());
        process.kill().unwrap();
        assert!(!process.is_alive(), "a zombie has ended");
        child.wait().unwrap();
        process.kill().unwrap();
    }

    #[test]
    fn process_that_shares_its_processor_is_starved() {
        let count = thread::available_parallelism().map_or(1, usize::from) + 1;
        let busy = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let mut children: Vec<_> = (0..count).map(|_| busy()).collect();
        let processes: Vec<Process> = children.iter().filter_map(|child| Process::find(child.id())).collect();
        let started = Instant::now();
        let is_starved = || processes.iter().any(|process| process.starved() > Duration::from_millis(50));
        while !is_starved() && started.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(20));
        }
        let has_starved = is_starved();
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(has_starved);
        assert_eq!(processes[0].starved(), Duration::ZERO, "it has ended");
    }

    #[test]
    fn run_directory_is_that_of_a_machine_only() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let socket = "unix:/tmp/rdma-lab-x/qmp-server,server=on,wait=off";
        let directory = Some(PathBuf::from("/tmp/rdma-lab-x"));
        assert_eq!(run_directory(&words(&["/usr/bin/qemu-system-x86_64", "-qmp", socket])), directory);
        let loader = ["/t/ld-linux-x86-64.so.2", "--library-path", "/t", "/t/qemu-system-x86_64", "-qmp"];
        assert_eq!(run_directory(&words(&[&loader[..], &[socket]].concat())), directory);
        assert_eq!(run_directory(&words(&["vi", "-qmp", socket])), None);
        let comma = "unix:/a,,b/qmp,server=on";
        assert_eq!(run_directory(&words(&["qemu-system-x86_64", comma])), Some(PathBuf::from("/a,b")));
    }
}
