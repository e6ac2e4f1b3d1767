//! A command that a person runs on a machine and waits for: its exit code, and its end there if the person ends it here.
//!
//! Carriers tell no exit code that can be trusted and forward no signal: a client that is killed leaves its command
//! running. So the command writes down its process id and its exit code, and whoever is interrupted here ends it there.

use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::command::Command;
use crate::base::error::{Error, Result};
use crate::base::names::unique;
use crate::provider::remote::script;

/// How long a signal may still come that has ended the client already: the terminal's Ctrl-C is for both.
const SIGNAL_LATE: Duration = Duration::from_millis(300);

/// How long the client may take to end when it was told to.
const CLIENT_END: Duration = Duration::from_secs(5);

/// Where a command's process id and its exit code are told on the machine.
#[derive(Debug)]
pub struct Ending {
    file: String,
}

impl Ending {
    /// A line of shell that runs `command` as root and tells both.
    pub(in crate::provider) fn line(command: &str) -> (String, Ending) {
        let file = format!("/tmp/rdma-lab-{}", unique());
        let encoded = BASE64_STANDARD.encode(format!("echo $$ >{file}.pid\n{command}"));
        // Nothing is told of a command that was ended from here.
        let line = format!(
            "{}$sudo sh -c \"$(echo {encoded} | base64 -d)\"; code=$?; [ ! -e {file}.pid ] || echo $code >{file}; exit 0",
            script::SUDO
        );
        (line, Ending { file })
    }

    /// The script that prints the exit code and forgets the command.
    pub(in crate::provider) fn code(&self) -> String {
        format!("rm -f {0}.pid; cat {0} && rm {0}", self.file)
    }

    /// The script that ends the command with all that it has started: it may end well first, as at Ctrl-C. Not by their
    /// process group, which some servers share between their sessions.
    pub(in crate::provider) fn end(&self) -> String {
        format!(
            "pid=$(cat {0}.pid 2>/dev/null); rm -f {0} {0}.pid; [ -n \"$pid\" ] || exit 0\n\
             tree() {{ echo $1; for child in $(cat /proc/$1/task/*/children 2>/dev/null); do tree $child; done; }}\n\
             runs() {{ for each in $all; do [ ! -e /proc/$each ] || return 0; done; return 1; }}\n\
             all=$(tree $pid)\n\
             for signal in INT TERM KILL; do\n\
             kill -s $signal $all 2>/dev/null\n\
             n=0; while runs && [ $n -lt 40 ]; do n=$((n+1)); sleep 0.05; done\n\
             runs || exit 0\n\
             done\n\
             exit 1",
            self.file
        )
    }
}

/// Events that end the wait.
enum WaitEnd {
    Ended(std::io::Result<ExitStatus>),
    Signal(i32),
}

/// Runs the client of a carrier with this process's outputs, and its input unless it is to have none; gives the number of
/// the signal that ended it here, SIGINT, SIGTERM or SIGHUP, whoever of both was sent it.
///
/// # Errors
///
/// It cannot be started or waited for.
pub fn run(words: &Command, without_input: bool) -> Result<Option<i32>> {
    let failed = |source: std::io::Error| Error::setup(format!("failed to run `{words}`")).source(source);
    let (sender, events) = channel();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
    let (handle, for_signals) = (signals.handle(), sender.clone());
    thread::spawn(move || signals.forever().for_each(|signal| tell(&for_signals, WaitEnd::Signal(signal))));
    let (program, arguments) =
        words.argv().split_first().ok_or_else(|| Error::setup("there is no command to reach the node"))?;
    let mut process = std::process::Command::new(program);
    process.args(arguments).stdin(if without_input { Stdio::null() } else { Stdio::inherit() });
    let mut child = process.spawn().map_err(failed)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    thread::spawn(move || tell(&sender, WaitEnd::Ended(child.wait())));
    let signal = match events.recv() {
        Ok(WaitEnd::Signal(signal)) => {
            for end in [Signal::TERM, Signal::KILL] {
                let _ = pid.map(|pid| kill_process(pid, end));
                if events.recv_timeout(CLIENT_END).is_ok_and(|event| matches!(event, WaitEnd::Ended(_))) {
                    break;
                }
            }
            Some(signal)
        }
        Ok(WaitEnd::Ended(status)) if status.as_ref().is_ok_and(ExitStatus::success) => None,
        Ok(WaitEnd::Ended(status)) => {
            status.map_err(failed)?;
            match events.recv_timeout(SIGNAL_LATE) {
                Ok(WaitEnd::Signal(signal)) => Some(signal),
                _ => None,
            }
        }
        Err(_) => None,
    };
    handle.close();
    Ok(signal)
}

fn tell(events: &Sender<WaitEnd>, event: WaitEnd) {
    // Nobody waits any more.
    let _ = events.send(event);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> crate::base::command::Output {
        Command::new(["sh", "-c", script]).output(LIMIT).unwrap()
    }

    /// Starts the line as a session of its own, as a carrier does, without root.
    #[cfg(target_os = "linux")]
    fn begun(command: &str) -> (Ending, String) {
        let (line, ending) = Ending::line(command);
        let line = line.replace(script::SUDO, "sudo=; ");
        let pid = sh(&format!(
            "exec 2>/dev/null; setsid -f sh -c {} </dev/null >/dev/null 2>&1
             n=0; until [ -s {1}.pid ]; do n=$((n+1)); [ $n -gt 200 ] && exit 1; sleep 0.05; done; cat {1}.pid",
            crate::base::command::shell_word(&line),
            ending.file
        ));
        assert_eq!(pid.code, Some(0));
        (ending, pid.stdout.trim().to_owned())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn interrupted_command_ends_there_and_leaves_nothing() {
        for command in ["sleep 300; true", "trap '' INT TERM; sleep 300; sleep 300"] {
            let (ending, pid) = begun(command);
            let group = sh(&format!("cut -d ' ' -f 5 /proc/{pid}/stat")).stdout.trim().to_owned();
            assert_eq!(sh(&ending.end()).code, Some(0), "{command}");
            let left = sh(&format!(
                "ls {}* 2>/dev/null; n=0; while pgrep -g {group} >/dev/null; do n=$((n+1)); [ $n -gt 100 ] && exit 1; sleep 0.05; done",
                ending.file
            ));
            assert_eq!((left.code, left.stdout.as_str()), (Some(0), ""), "{command}");
        }
    }

    #[test]
    fn command_that_never_began_or_has_ended_is_no_error() {
        let (_, ending) = Ending::line("true");
        assert_eq!(sh(&ending.end()).code, Some(0));
        let (line, ending) = Ending::line("exit 4");
        sh(&line.replace(script::SUDO, "sudo=; "));
        assert_eq!(sh(&ending.code()).stdout, "4\n");
        assert_eq!(sh(&format!("ls {}*", ending.file)).code, Some(2));
    }

    #[test]
    fn client_that_ends_by_itself_was_not_interrupted() {
        assert_eq!(run(&Command::new(["true"]), true).unwrap(), None);
        assert_eq!(run(&Command::new(["sh", "-c", "exit 3"]), true).unwrap(), None);
        run(&Command::new(["/nonexistent"]), true).unwrap_err();
    }
}
