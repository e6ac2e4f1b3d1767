//! What killed labs leave behind: run directories without a guard, and machines without a run directory.
//!
//! Machines die with their guard, so a stray machine is the exception; a stray directory is what a guard
//! that got SIGKILL could not remove.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::error::{Error, IoContext as _, Result};
use crate::provider::qemu::argv::control_socket;
use crate::provider::qemu::control::Control;
use crate::provider::qemu::guard::{RUN_PREFIX, run_places};
use crate::toolbox::toolbox::QEMU;

/// What a loader's name ends with.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// How many words a loader takes before and with the program.
const LOADER_WORDS: usize = 5;

/// A run directory of this age has a guard that listens, if it has one at all.
const STARTING: Duration = Duration::from_secs(5);

/// Something left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stray {
    /// A run directory whose guard has gone.
    Directory(PathBuf),
    /// A machine whose run directory has gone, by its process id.
    Machine(u32),
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stray::Directory(path) => write!(f, "run directory {}", path.display()),
            Stray::Machine(pid) => write!(f, "machine, process {pid}"),
        }
    }
}

impl Stray {
    /// Removes or ends it.
    ///
    /// # Errors
    ///
    /// It cannot be removed or ended.
    pub fn clear(&self) -> Result<()> {
        match self {
            Stray::Directory(path) => fs::remove_dir_all(path).at("failed to remove", path),
            Stray::Machine(pid) => {
                let raw = i32::try_from(*pid).ok().and_then(Pid::from_raw);
                let pid = raw.ok_or_else(|| Error::setup(format!("{pid} is no process id")))?;
                kill_process(pid, Signal::KILL)
                    .map_err(|errno| Error::setup(format!("failed to end {self}")).source(errno))
            }
        }
    }
}

/// Run directories of this user's whose guard does not answer, except `recorded` ones.
pub(super) fn directories(recorded: &[PathBuf]) -> Vec<Stray> {
    let mut found: Vec<PathBuf> = run_places()
        .iter()
        .flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(RUN_PREFIX))
        .filter(|entry| entry.metadata().is_ok_and(|file| file.is_dir() && file.uid() == getuid().as_raw()))
        .filter(|entry| age(&entry.path()) > STARTING)
        .map(|entry| entry.path())
        // A cache, or whatever else bears such a name, is no run directory.
        .filter(|path| control_socket(path).exists())
        .filter(|path| !recorded.contains(path) && Control::of(path).status().is_err())
        .collect();
    found.sort();
    found.into_iter().map(Stray::Directory).collect()
}

fn age(path: &Path) -> Duration {
    let modified = fs::metadata(path).and_then(|file| file.modified()).ok();
    modified.and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default()
}

/// Machines of this user's that were started by a lab and whose run directory has gone.
pub(super) fn machines() -> Vec<Stray> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| process.metadata().is_ok_and(|file| file.uid() == getuid().as_raw()))
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let line = fs::read(process.path().join("cmdline")).ok()?;
            let words: Vec<_> = line.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
            (is_stray(&words) && !has_guard(&process.path())).then_some(Stray::Machine(pid))
        })
        .collect()
}

/// Whether the parent of a process is a guard: then the machine is not left behind, it is ending, or its run
/// directory is in a file system that this process does not see.
fn has_guard(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    // `pid (name) state parent …`; the name may hold anything.
    let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
    let line = parent.and_then(|parent| fs::read(format!("/proc/{parent}/cmdline")).ok()).unwrap_or_default();
    line.split(|&byte| byte == 0).any(|word| word == b"__guard")
}

/// Whether a command line is that of a lab's machine whose run directory is not there.
fn is_stray<S: AsRef<str>>(words: &[S]) -> bool {
    let mut words = words.iter().map(AsRef::as_ref);
    // The program itself, or the loader that starts it, with options of its own before.
    let is_program = |program: &str| program.rsplit('/').next() == Some(QEMU);
    let is_qemu = match words.next() {
        Some(loader) if loader.ends_with(LOADER) => words.by_ref().take(LOADER_WORDS).any(is_program),
        program => program.is_some_and(is_program),
    };
    let socket = words.find_map(|word: &str| word.strip_prefix("unix:")?.split(",server").next());
    let directory = socket.and_then(|socket| Path::new(socket).parent());
    is_qemu
        && directory.is_some_and(|directory| {
            let name = directory.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(RUN_PREFIX) && !directory.exists()
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_a_lab_machine_without_its_directory_is_a_stray() {
        let gone = "unix:/tmp/rdma-lab-gone/qmp-server,server=on,wait=off";
        assert!(is_stray(&["/usr/bin/qemu-system-x86_64", "-qmp", gone]));
        let loader = ["/c/tools/ld-linux-x86-64.so.2", "--library-path", "/c/tools", "--argv0", "x"];
        assert!(is_stray(
            &[&loader[..], &["/c/tools/qemu-system-x86_64", "-L", "/c", "-qmp", gone]].concat()
        ));
        assert!(!is_stray(&[&loader[..], &["/c/tools/vi", "-L", "/c", "-qmp", gone]].concat()));
        assert!(!is_stray(&["vi", "-qmp", gone]));
        assert!(!is_stray(&["qemu-system-x86_64", "-qmp", "unix:/tmp/other/qmp,server=on"]));
        let there = tempfile::Builder::new().prefix(RUN_PREFIX).tempdir().unwrap();
        let socket = format!("unix:{}/qmp-server,server=on", there.path().display());
        assert!(!is_stray(&["qemu-system-x86_64", "-qmp", &socket]));
    }

    #[test]
    fn directory_without_a_guard_is_found_unless_it_is_recorded() {
        let there = tempfile::Builder::new().prefix(RUN_PREFIX).tempdir_in("/tmp").unwrap();
        let stray = Stray::Directory(there.path().to_owned());
        let listener = UnixListener::bind(control_socket(there.path())).unwrap();
        drop(listener);
        assert!(!directories(&[]).contains(&stray), "its guard may be starting");
        fs::File::open(there.path()).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(directories(&[]).contains(&stray));
        assert!(!directories(&[there.path().to_owned()]).contains(&stray));
        fs::remove_file(control_socket(there.path())).unwrap();
        fs::File::open(there.path()).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(!directories(&[]).contains(&stray), "no guard ever listened in it");
    }
}
