//! Remains of killed labs: run directories without a guard, guards that nobody can ask, and machines without a
//! run directory.
//!
//! Machines die with their guard, so a stray machine is the exception; a stray directory is what a guard that got
//! SIGKILL could not remove; a stray guard stands still, or has lost its directory, and no record leads to it.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::getuid;

use crate::base::error::{IoContext as _, Result};
use crate::provider::qemu::argv::control_socket;
use crate::provider::qemu::control::{Control, Reply};
use crate::provider::qemu::guard::{RUN_PREFIX, run_places};
use crate::provider::qemu::process::Process;

/// A run directory of this age has a guard that listens, if it has one at all.
const STARTING: Duration = Duration::from_secs(5);

/// Something left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stray {
    /// A run directory whose guard has gone.
    Directory(PathBuf),
    /// A guard that does not answer, with its run directory.
    Guard(Process, PathBuf),
    /// A machine whose run directory has gone.
    Machine(Process),
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stray::Directory(path) => write!(f, "run directory {}", path.display()),
            Stray::Guard(process, _) => write!(f, "guard that does not answer, process {}", process.pid),
            Stray::Machine(process) => write!(f, "machine, process {}", process.pid),
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
            Stray::Directory(path) => remove(path),
            Stray::Guard(process, path) => end(Some(*process), path),
            Stray::Machine(process) => process.kill(),
        }
    }
}

/// Kills a guard, by its process, and whatever runs from its run directory; removes that.
///
/// # Errors
///
/// Something cannot be ended or removed.
pub(in crate::provider) fn end(guard: Option<Process>, run_directory: &Path) -> Result<()> {
    guard.map_or(Ok(()), Process::kill)?;
    // They end with their guard; one that does not is killed.
    for machine in Process::machines(run_directory) {
        machine.kill()?;
    }
    remove(run_directory)
}

fn remove(path: &Path) -> Result<()> {
    match path.exists() {
        true => fs::remove_dir_all(path).at("failed to remove", path),
        false => Ok(()),
    }
}

/// Run directories of this user's whose guard has gone or does not answer, except `recorded` ones.
pub(in crate::provider) fn directories(recorded: &[PathBuf]) -> Vec<Stray> {
    let mut found: Vec<PathBuf> = run_places()
        .iter()
        .flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(RUN_PREFIX))
        .filter(|entry| entry.metadata().is_ok_and(|file| file.is_dir() && file.uid() == getuid().as_raw()))
        .filter(|entry| age(&entry.path()) > STARTING)
        .map(|entry| entry.path())
        // A cache, or whatever else bears such a name, is no run directory.
        .filter(|path| control_socket(path).exists())
        .filter(|path| !recorded.contains(path))
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().filter_map(stray_directory).collect()
}

fn stray_directory(path: PathBuf) -> Option<Stray> {
    let control = Control::of(&path);
    match control.reply() {
        Reply::Status(_) => None,
        Reply::Gone => Some(Stray::Directory(path)),
        // As long as it is not known who listens, nothing is taken from them.
        Reply::Silence => {
            let is_its_guard =
                |process: &Process| process.is_guard() && process.directory().as_ref() == Some(&path);
            let guard = control.listener().or_else(|| Process::all().find(is_its_guard))?;
            Some(Stray::Guard(guard, path))
        }
    }
}

fn age(path: &Path) -> Duration {
    let modified = fs::metadata(path).and_then(|file| file.modified()).ok();
    modified.and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default()
}

/// Guards of this user's that stand still and whose run directory has gone, and machines whose run directory has gone;
/// except those of `recorded` run directories.
pub(in crate::provider) fn processes(recorded: &[PathBuf]) -> Vec<Stray> {
    let has_gone = |directory: &Path| is_run_directory(directory) && !control_socket(directory).exists();
    let mut strays = Vec::new();
    for process in Process::all() {
        if process.is_guard() {
            // One that runs sees that its directory has gone, and ends.
            let directory = process.directory().filter(|directory| has_gone(directory));
            let stray = directory.filter(|directory| process.is_stopped() && !recorded.contains(directory));
            strays.extend(stray.map(|directory| Stray::Guard(process, directory)));
        } else if let Some(directory) = process.run_directory()
            && is_run_directory(&directory)
            && !directory.exists()
            // Else it is ending, or its run directory is in a file system that this process does not see.
            && !process.has_guard()
        {
            strays.push(Stray::Machine(process));
        }
    }
    strays
}

fn is_run_directory(path: &Path) -> bool {
    path.file_name().unwrap_or_default().to_string_lossy().starts_with(RUN_PREFIX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// A process whose words are a machine's, as far as it is looked at.
    fn machine(directory: &Path) -> std::process::Child {
        let socket = format!("unix:{}/qmp-server,server=on,wait=off", directory.display());
        let script = "while :; do sleep 1; done";
        Command::new("sh").args(["-c", script, "qemu-system-x86_64", "-qmp", &socket]).spawn().unwrap()
    }

    #[test]
    fn only_a_lab_machine_without_its_directory_is_a_stray() {
        let there = tempfile::Builder::new().prefix(RUN_PREFIX).tempdir().unwrap();
        let mut children =
            [Path::new("/tmp/rdma-lab-gone"), Path::new("/tmp/other"), there.path()].map(machine);
        let of = |child: &std::process::Child| Process::find(child.id()).map(Stray::Machine).unwrap();
        let found = children.each_ref().map(|child| processes(&[]).contains(&of(child)));
        let stray = of(&children[0]);
        stray.clear().unwrap();
        for child in &mut children {
            let _ = child.kill();
            child.wait().unwrap();
        }
        assert_eq!(found, [true, false, false]);
        assert!(!processes(&[]).contains(&stray));
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

    #[test]
    fn guard_that_stands_still_without_its_directory_is_found_and_ended() {
        let there = tempfile::Builder::new().prefix(RUN_PREFIX).tempdir_in("/tmp").unwrap();
        let mut guard = Command::new("tail")
            .args(["__guard", "-f", "/dev/null"])
            .current_dir(there.path())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let process = Process::find(guard.id()).unwrap();
        let directory = there.path().to_owned();
        let stray = Stray::Guard(process, directory.clone());
        drop(there);
        assert!(!processes(&[]).contains(&stray), "it runs, and will see for itself");
        kill_process(Pid::from_child(&guard), Signal::STOP).unwrap();
        while !process.is_stopped() {}
        assert!(processes(&[]).contains(&stray));
        assert!(!processes(&[directory]).contains(&stray));
        stray.clear().unwrap();
        guard.wait().unwrap();
    }
}
