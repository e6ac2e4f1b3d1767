//! Processes of the lab, found in /proc and told from others that get their numbers later.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::poll;

/// Longest time that what belongs together may take to end together.
const END_LIMIT: Duration = Duration::from_secs(5);

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    parent: u32,
    /// In clock ticks since boot: with the number it names a process for ever.
    started: u64,
    words: Vec<String>,
}

impl Process {
    /// The process with this number, unless it has ended.
    pub(crate) fn find(pid: u32) -> Option<Process> {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(directory.join("stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
        if ["Z", "X"].contains(state) {
            return None;
        }
        let line = fs::read(directory.join("cmdline")).ok()?;
        let words = line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        Some(Process {
            pid,
            parent: parent.parse().ok()?,
            started: started.parse().ok()?,
            words: words.collect(),
        })
    }

    fn all() -> Vec<Process> {
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        entries.filter_map(|entry| Process::find(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    pub(crate) fn is_alive(&self) -> bool {
        Process::find(self.pid).is_some_and(|found| found.started == self.started)
    }

    /// Sends SIGKILL, unless it has ended.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        assert!(self.pid > 1);
        if self.is_alive() {
            let pid = Pid::from_raw(self.pid.cast_signed()).expect("a process id");
            // It may end between the look and the signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// The directory of the frozen machines that a machine was forked from.
    pub(crate) fn frozen(&self) -> Option<PathBuf> {
        let memory = self.words.iter().find_map(|word| word.split_once("mem-path="))?.1;
        Some(Path::new(memory).parent()?.to_owned())
    }

    /// The run directory of a machine.
    fn run_directory(&self) -> Option<PathBuf> {
        let socket =
            self.words.iter().find_map(|word| word.strip_prefix("unix:")?.split(",server").next())?;
        // Its own loader may run it.
        let is_machine = self.words.iter().any(|word| word.ends_with("qemu-system-x86_64"));
        is_machine.then(|| Path::new(socket).parent().expect("a directory").to_owned())
    }

    /// Directory in which a machine's console is logged.
    fn artifacts(&self) -> Option<PathBuf> {
        let file = self.words.iter().find_map(|word| word.strip_prefix("file,id=console,path="))?;
        Some(Path::new(file).parent()?.to_owned())
    }
}

/// True if a process has this path among its words.
pub(crate) fn is_used(path: &Path) -> bool {
    is_used_by("", path)
}

/// True if a process whose first word ends so has this path among its words.
pub(crate) fn is_used_by(program: &str, path: &Path) -> bool {
    let path = path.display().to_string();
    Process::all().iter().any(|process| {
        process.words.first().is_some_and(|word| word.ends_with(program))
            && process.words.iter().any(|word| word.contains(&path))
    })
}

/// A machine under the process `root`, however deep, that has started.
pub(crate) fn machine_under(root: u32) -> Option<Process> {
    let all = Process::all();
    let parent = |process: &Process| all.iter().find(|other| other.pid == process.parent);
    let is_under = |process: &Process| {
        std::iter::successors(Some(process), |process| parent(process)).any(|process| process.pid == root)
    };
    let is_machine = |process: &&Process| process.run_directory().is_some() && is_under(process);
    all.iter().find(is_machine).cloned()
}

/// A guard, its two machines, and where they keep things.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) guard: Process,
    pub(crate) machines: Vec<Process>,
    /// Processes between the guard and the process that it was looked for under.
    pub(crate) ancestors: Vec<Process>,
    pub(crate) run_directory: PathBuf,
    pub(crate) artifacts: PathBuf,
}

impl Family {
    /// Waits until both machines run under the process `root`, however deep.
    pub(crate) fn wait_under(root: u32) -> Family {
        poll("machines", Duration::from_secs(240), || Family::under(root))
    }

    fn under(root: u32) -> Option<Family> {
        let all = Process::all();
        let parent = |process: &Process| all.iter().find(|other| other.pid == process.parent);
        let is_under = |process: &Process| {
            std::iter::successors(Some(process), |process| parent(process)).any(|process| process.pid == root)
        };
        let machines: Vec<Process> = all
            .iter()
            .filter(|process| process.run_directory().is_some() && is_under(process))
            .cloned()
            .collect();
        let [first, second] = &machines[..] else { return None };
        let guard = parent(first).filter(|guard| guard.pid == second.parent)?.clone();
        let is_owned = guard.pid != root;
        let ancestors = std::iter::successors(parent(&guard), |process| parent(process))
            .take_while(|process| is_owned && process.pid != root)
            .cloned()
            .collect();
        Some(Family {
            guard,
            ancestors,
            run_directory: first.run_directory()?,
            artifacts: first.artifacts()?,
            machines,
        })
    }

    /// That of a guard.
    pub(crate) fn of(guard: u32) -> Family {
        let family = Family::under(guard).expect("machines of the guard");
        assert!(family.guard.words.contains(&"__guard".to_owned()), "{family:?}");
        family
    }

    /// Everything of it that runs, machines that were started later included.
    fn alive(&self) -> Vec<Process> {
        let mut alive: Vec<Process> = self.ancestors.iter().chain([&self.guard]).cloned().collect();
        alive.retain(Process::is_alive);
        let is_here = |process: &Process| process.run_directory().as_ref() == Some(&self.run_directory);
        alive.extend(Process::all().into_iter().filter(is_here));
        alive
    }

    /// Demands that in time nothing of it runs; gives whether the run directory has gone too.
    #[track_caller]
    pub(crate) fn assert_ends(&self) -> bool {
        let started = Instant::now();
        while !self.alive().is_empty() {
            assert!(started.elapsed() < END_LIMIT, "still there: {:?}", self.alive());
            thread::sleep(Duration::from_millis(10));
        }
        !self.run_directory.exists()
    }

    /// Demands that in time nothing of it runs and the run directory has gone.
    #[track_caller]
    pub(crate) fn assert_leaves_nothing(&self) {
        self.assert_ends();
        poll("the end of the run directory", END_LIMIT, || (!self.run_directory.exists()).then_some(()));
    }
}
