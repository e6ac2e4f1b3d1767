//! The `multipass` command: each call with a limit of ours.
//!
//! Observed: v1.16.3. Its exit codes are ambiguous (2 is nearly everything, 4 of a remote command makes it run again
//! for ever), launch's standard output is a spinner, and a hung guest or a blocked daemon makes any call hang: so
//! only standard error, `--format json` and our own clock are believed. Files go over standard input and output:
//! the snap sees neither `/tmp` nor directories that begin with a dot.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::base::command::{Command, Output};
use crate::base::error::{Error, Kind, Result};
use crate::provider::multipass::failure::{self, explain};
use crate::provider::remote::host::RemoteHost;

/// How long a question may take that no guest is asked. Observed: 0.3 s under software emulation and load.
const QUESTION: Duration = Duration::from_secs(20);

/// How long a question may take that guests are asked, which Multipass itself gives up after nine times 5 s.
const FULL_QUESTION: Duration = Duration::from_secs(60);

/// How often a guest is asked that does not answer: Multipass gives up connecting to a busy one after 5 s.
const ASKED: usize = 3;

/// How long it is left alone meanwhile.
const AGAIN: Duration = Duration::from_secs(2);

/// Whether the client does not know `--no-runtime-information`.
static IS_OLD: AtomicBool = AtomicBool::new(false);

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum MultipassState {
    /// Can be used.
    Running,
    /// Off.
    Stopped,
    /// Gone until recovered; its name is taken.
    Deleted,
    /// Boots.
    Starting,
    /// Boots again.
    Restarting,
    /// Will stop.
    #[serde(rename = "Delayed Shutdown")]
    DelayedShutdown,
    /// Being suspended.
    Suspending,
    /// Saved.
    Suspended,
    /// Boots, or Multipass has given up waiting for it.
    #[serde(other)]
    Unknown,
}

/// Asks for an instance's state, and its guest for nothing; `None` if there is no such instance.
///
/// # Errors
///
/// The client fails, or no answer comes.
pub fn state(name: &str) -> Result<Option<MultipassState>> {
    let output = ask(&[name])?;
    if output.code == Some(0) {
        return parse_state(name, &output.stdout).map(Some).ok_or_else(|| {
            Error::setup(format!("`multipass info {name}` told nothing that can be read"))
                .detail(output.stdout)
        });
    }
    if output.stderr.contains(&format!("instance \"{name}\" does not exist")) {
        return Ok(None);
    }
    Err(explain(&["info", name], &output))
}

/// Whether all of these instances run; nothing is asked of their guests.
///
/// # Errors
///
/// No answer comes.
pub fn are_running(names: &[String]) -> Result<bool> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let output = ask(&names)?;
    // Where one is missing the client says no.
    let runs = |name: &&str| parse_state(name, &output.stdout) == Some(MultipassState::Running);
    Ok(output.code == Some(0) && names.iter().all(runs))
}

/// `info` as the client knows it: without the guests if it can be, which nothing keeps waiting.
fn ask(names: &[&str]) -> Result<Output> {
    let words = [&["info"], names, &["--format", "json"]].concat();
    if !IS_OLD.load(Ordering::Relaxed) {
        let output = call(&[&words[..], &["--no-runtime-information"]].concat(), QUESTION)?;
        if !output.stderr.contains("Unknown option 'no-runtime-information'") {
            return Ok(output);
        }
        IS_OLD.store(true, Ordering::Relaxed);
    }
    let mut output = call(&words, FULL_QUESTION)?;
    for _ in 1..ASKED {
        if !failure::is_silence(&output) {
            break;
        }
        output = call(&words, FULL_QUESTION)?;
    }
    Ok(output)
}

/// Reads a state; the JSON has more, of mixed types.
fn parse_state(name: &str, json: &str) -> Option<MultipassState> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    serde_json::from_value(value.get("info")?.get(name)?.get("state")?.clone()).ok()
}

/// Driver of this computer's instances: "qemu", "virtualbox".
///
/// # Errors
///
/// The client fails, or no answer comes.
pub fn driver() -> Result<String> {
    Ok(demand(&["get", "local.driver"], QUESTION)?.stdout.trim().to_owned())
}

/// Runs the client and demands exit code 0.
///
/// # Errors
///
/// It fails: by the failure's name. No answer comes within `limit`.
pub fn demand(arguments: &[&str], limit: Duration) -> Result<Output> {
    let output = call(arguments, limit)?;
    if output.code == Some(0) {
        return Ok(output);
    }
    Err(explain(arguments, &output))
}

/// Runs the client to its end, whatever its exit code.
///
/// # Errors
///
/// It is not there, or does not end within `limit`.
pub fn call(arguments: &[&str], limit: Duration) -> Result<Output> {
    run(arguments, command(arguments), limit)
}

fn command(arguments: &[&str]) -> Command {
    Command::new(["multipass"]).args(arguments.iter().copied())
}

/// Launches an instance, with `cloud_init` on the client's standard input.
///
/// # Errors
///
/// The client is not there, or does not end within `limit`; any exit code is told.
pub fn launch(arguments: &[&str], cloud_init: &str, limit: Duration) -> Result<Output> {
    run(arguments, command(arguments).stdin(cloud_init), limit)
}

fn run(arguments: &[&str], command: Command, limit: Duration) -> Result<Output> {
    command.output(limit).map_err(|error| match error.kind() {
        Kind::Timeout => {
            let instance = failure::instance(arguments).unwrap_or("rdma-server rdma-client");
            error.next(format!(
                "a guest that hangs, asked by anybody, blocks Multipass's daemon; end it: multipass stop --force {instance}\n\
                 if that hangs too (Linux): sudo snap restart multipass"
            ))
        }
        _ => error.next("install Multipass (https://canonical.com/multipass), or use --provider qemu"),
    })
}

/// One instance, as a carrier.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name.
    pub name: String,
}

impl RemoteHost for Instance {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn call(&self, line: &str, limit: Duration) -> Result<Output> {
        // Without -n the client looks for this computer's directory in the guest.
        let words = ["exec", "-n", &self.name, "--", "sh", "-c", line];
        let mut output = call(&words, limit)?;
        // Nothing was run there yet: a busy guest is asked again.
        for _ in 1..ASKED {
            if !failure::is_silence(&output) {
                break;
            }
            thread::sleep(AGAIN);
            output = call(&words, limit)?;
        }
        Ok(output)
    }

    fn upload(&self, bytes: &[u8], path: &str, limit: Duration) -> Result<()> {
        let arguments = ["transfer", "-", &format!("{}:{path}", self.name)];
        let output = run(&arguments, command(&arguments).stdin(bytes), limit)?;
        self.succeeded(&arguments, &output)
    }

    fn download(&self, path: &str, to: &Path, limit: Duration) -> Result<()> {
        let arguments = ["transfer", &format!("{}:{path}", self.name), "-"];
        let output = run(&arguments, command(&arguments).stdout_file(to), limit)?;
        self.succeeded(&arguments, &output)
    }

    fn explain(&self, output: &Output) -> Error {
        explain(&["exec", "-n", &self.name], output)
    }

    fn shell(&self, line: Option<&str>, _terminal: bool) -> Command {
        match line {
            None => command(&["shell", &self.name]),
            Some(line) => command(&["exec", "-n", &self.name, "--", "sh", "-c", line]),
        }
    }
}

impl Instance {
    fn succeeded(&self, arguments: &[&str], output: &Output) -> Result<()> {
        match output.code {
            Some(0) => Ok(()),
            _ => Err(explain(arguments, output)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = r#"{ "errors": [ ], "info": { "rdma-server": {
        "cpu_count": "1", "disks": { "sda1": { "total": "4149948416", "used": "836390912" } }, "image_release": "",
        "ipv4": [ "10.151.127.196", "N/A", "172.17.0.1" ], "load": [ 0.06 ], "memory": { "total": 741031936 },
        "release": "Ubuntu 24.04.3 LTS", "snapshot_count": "0", "state": "Running" } } }"#;

    #[test]
    fn state_is_read_and_nothing_else() {
        assert_eq!(parse_state("rdma-server", RUNNING), Some(MultipassState::Running));
        let other = |state: &str| parse_state("rdma-server", &RUNNING.replace("Running", state));
        assert_eq!(other("Delayed Shutdown"), Some(MultipassState::DelayedShutdown));
        assert_eq!(other("Levitating"), Some(MultipassState::Unknown));
        assert_eq!(parse_state("rdma-client", RUNNING), None);
        assert_eq!(parse_state("rdma-client", ""), None);
    }

    #[test]
    fn commands_never_need_a_terminal_a_directory_or_a_file_of_this_computer() {
        let instance = Instance { name: "rdma-client".to_owned() };
        assert_eq!(
            instance.shell(Some("true"), true).to_string(),
            "multipass exec -n rdma-client -- sh -c true"
        );
    }
}
