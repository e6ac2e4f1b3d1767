//! Reasons that forked machines are not awake, and the blame of their frozen state.
//!
//! A frozen state is thrown away on evidence only: QEMU does not take it, or takes it and the guest does not wake. What
//! this computer refused or ended (open files, memory, a killed process) is its own error, and the state is kept.

use std::thread;
use std::time::{Duration, Instant};

use crate::base::error::{Error, Kind};
use crate::base::invocation;
use crate::base::role::Role;
use crate::provider::qemu::control::Control;

/// Longest time that a machine's end may take, once its sockets have closed, and how long until its guard knows of it: on a busy
/// computer each takes seconds.
const ENDING_LIMIT: Duration = Duration::from_secs(3);

/// QEMU's own words for a state that it does not take.
const NOT_TAKEN: &str = "load of migration failed";

/// Parts of QEMU's last words, or of its ending, that are this computer's doing, with their cures; `{}` stands for the
/// command that ends other labs.
const HOST: [(&str, &str); 6] = [
    ("Too many open files", "raise the limit of open files: ulimit -n 1024"),
    ("Cannot allocate memory", "end something, or end other labs: {}"),
    ("cannot set up guest memory", "end something, or end other labs: {}"),
    ("No space left on device", "free space on that file system"),
    ("Resource temporarily unavailable", "raise the limit of processes: ulimit -u"),
    (
        "signal: ",
        "look who ended it: the kernel does so for want of memory, and says it in the host's `dmesg`",
    ),
];

/// Machines that did not wake.
#[derive(Debug)]
pub(super) struct Asleep {
    pub(super) error: Error,
    /// True if the frozen state is to blame.
    pub(super) blames_state: bool,
}

impl From<Error> for Asleep {
    fn from(error: Error) -> Asleep {
        Asleep { error, blames_state: false }
    }
}

impl Asleep {
    /// Judges a machine whose state could not be loaded.
    pub(super) fn not_taken(ending: Option<&str>, error: Error) -> Asleep {
        let is_refused = ending.map_or(error.kind() == Kind::Boot && is_word_of_qemu(&error), |ending| {
            ending.contains(NOT_TAKEN)
        });
        Asleep { blames_state: is_refused && ending.and_then(host_cure).is_none(), error }
    }

    /// Judges a machine that took its state, and whose guest has not answered as it should.
    pub(super) fn not_awake(ending: Option<&str>, is_stopped: bool, error: Error) -> Asleep {
        Asleep { blames_state: !is_stopped && ending.and_then(host_cure).is_none(), error }
    }
}

/// True if QEMU itself said so, and goes on.
fn is_word_of_qemu(error: &Error) -> bool {
    error.to_string().starts_with("failed: state loaded")
}

/// The cure, if a machine's end is this computer's doing.
pub(super) fn host_cure(ending: &str) -> Option<String> {
    let (_, cure) = HOST.iter().find(|(words, _)| ending.contains(words))?;
    Some(cure.replace("{}", &invocation::lab("down --all")))
}

/// End of a machine, if it has ended; one whose sockets have just closed gets a moment to end, and its guard one to know it.
pub(super) fn ending(control: &Control, role: Role) -> Option<String> {
    let status = control.status().ok();
    if let Some(process) = status.and_then(|status| status.machine(role))
        // One that lives is waited for in vain.
        && (process.is_stopped() || process.wait_end(ENDING_LIMIT).is_err())
    {
        return control.ending(role);
    }
    let ended = Instant::now();
    loop {
        let ending = control.ending(role);
        if ending.is_some() || ended.elapsed() > ENDING_LIMIT {
            return ending;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_evidence_blames_the_state() {
        let closed = || Error::boot("QEMU closed its control socket");
        let words = "exit status: 1\nqemu-system-x86_64: load of migration failed: Invalid argument";
        assert!(Asleep::not_taken(Some(words), closed()).blames_state);
        let refused = || Error::boot("failed: state loaded: Section footer error");
        assert!(Asleep::not_taken(None, refused()).blames_state);
        for ending in [
            "signal: 9 (SIGKILL)",
            "exit status: 1\nqemu-system-x86_64: cannot set up guest memory 'memory': Cannot allocate memory",
            "exit status: 1\nqemu-system-x86_64: Failed to open: Too many open files",
            "exit status: 1\nload of migration failed: Cannot allocate memory",
            "exit status: 1\nsomething else",
        ] {
            assert!(!Asleep::not_taken(Some(ending), closed()).blames_state, "{ending}");
        }
        assert!(!Asleep::not_taken(None, closed()).blames_state);

        let silent = || Error::timeout("it is awake", Duration::from_secs(20));
        assert!(Asleep::not_awake(None, false, silent()).blames_state);
        assert!(Asleep::not_awake(Some("exit status: 0"), false, silent()).blames_state, "the guest ended");
        assert!(!Asleep::not_awake(None, true, silent()).blames_state);
        assert!(!Asleep::not_awake(Some("signal: 9 (SIGKILL)"), false, silent()).blames_state);
        assert!(!Asleep::from(closed()).blames_state);
    }
}
