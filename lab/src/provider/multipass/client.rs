//! The `multipass` command: each call with a limit of ours, each failure by its name.
//!
//! Observed: v1.16.3. Its exit codes are ambiguous (2 is nearly everything, 4 of a remote command makes it run again
//! for ever), launch's standard output is a spinner, and a hung guest or a blocked daemon makes any call hang: so
//! only standard error, `--format json` and our own clock are believed. Files go over standard input and output:
//! the snap sees neither `/tmp` nor directories that begin with a dot.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::command::{Command, Output, tail};
use crate::error::{Error, Kind, Result};
use crate::provider::remote::host::Host;

/// How long the client may take to say its version: nobody waits for a daemon to find out that there is none.
const VERSION: Duration = Duration::from_secs(3);

/// How long a question may take. One about a healthy instance took 2.3 s under software emulation; one about a
/// hung guest never ends.
const QUESTION: Duration = Duration::from_secs(30);

/// Whether there is Multipass here: its version, where its client names a daemon.
pub fn version() -> Option<String> {
    version_of(Path::new("multipass"))
}

/// The same of the client `program`.
pub fn version_of(program: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Versions {
        // Without a daemon the client's own version stands alone, and the exit code is 0 all the same.
        multipassd: Option<String>,
    }
    let output = Command::new([program]).args(["version", "--format", "json"]).output(VERSION).ok()?;
    serde_json::from_str::<Versions>(&output.stdout).ok()?.multipassd
}

/// What is known of an instance; the JSON has more, of mixed types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// As Multipass says it: "Running".
    pub state: State,
    /// Its addresses; the first is the one by which Multipass reaches it.
    pub addresses: Vec<IpAddr>,
    /// Its release, if it told one: "Ubuntu 24.04.3 LTS".
    pub release: String,
}

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum State {
    /// It can be used.
    Running,
    /// It is off.
    Stopped,
    /// It is gone until recovered; its name is taken.
    Deleted,
    /// It boots.
    Starting,
    /// It boots again.
    Restarting,
    /// It will stop.
    #[serde(rename = "Delayed Shutdown")]
    DelayedShutdown,
    /// It is being suspended.
    Suspending,
    /// It is saved.
    Suspended,
    /// It boots, or Multipass has given up waiting for it.
    #[serde(other)]
    Unknown,
}

/// Asks for an instance; `None` if there is none.
///
/// # Errors
///
/// The client fails, or no answer comes.
pub fn info(name: &str) -> Result<Option<Info>> {
    let output = call(&["info", name, "--format", "json"], QUESTION)?;
    if output.code == Some(0) {
        return parse_info(name, &output.stdout).map(Some).ok_or_else(|| {
            Error::setup(format!("`multipass info {name}` told nothing that can be read"))
                .detail(output.stdout)
        });
    }
    if output.stderr.contains(&format!("instance \"{name}\" does not exist")) {
        return Ok(None);
    }
    Err(explain(&format!("multipass info {name}"), &output))
}

/// Whether all of these instances run, which costs next to nothing: nothing is asked of their guests.
///
/// # Errors
///
/// No answer comes.
pub fn are_running(names: &[String]) -> Result<bool> {
    let mut arguments = vec!["info", "--format", "json", "--no-runtime-information"];
    arguments.extend(names.iter().map(String::as_str));
    let output = call(&arguments, QUESTION)?;
    // Where one is missing the client says no, and so does a version without that option; whoever needs to know
    // more asks for all.
    let runs =
        |name: &String| parse_info(name, &output.stdout).is_some_and(|info| info.state == State::Running);
    Ok(output.code == Some(0) && names.iter().all(runs))
}

fn parse_info(name: &str, json: &str) -> Option<Info> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    let instance = value.get("info")?.get(name)?;
    let state = serde_json::from_value(instance.get("state")?.clone()).ok()?;
    // May be empty, or hold "N/A".
    let addresses = instance.get("ipv4")?.as_array()?.iter().filter_map(|text| text.as_str()?.parse().ok());
    let release = instance.get("release").and_then(|text| text.as_str()).unwrap_or_default();
    Some(Info { state, addresses: addresses.collect(), release: release.to_owned() })
}

/// What runs the instances of this computer: "qemu", "virtualbox".
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
    Err(explain(&format!("multipass {}", arguments.join(" ")), &output))
}

/// Runs the client to its end, whatever its exit code.
///
/// # Errors
///
/// It is not there, or does not end within `limit`.
pub fn call(arguments: &[&str], limit: Duration) -> Result<Output> {
    run(&command(arguments), limit)
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
    run(&command(arguments).stdin(cloud_init), limit)
}

fn run(command: &Command, limit: Duration) -> Result<Output> {
    command.output(limit).map_err(|error| match error.kind() {
        Kind::Timeout => error.next(
            "a guest hangs or the daemon is blocked; look from another terminal: multipass list\n\
             a hung instance ends with: multipass stop --force NAME\n\
             a blocked daemon (Linux) with: sudo snap restart multipass",
        ),
        _ => error.next("install Multipass (https://canonical.com/multipass), or use --provider qemu"),
    })
}

/// What a failed call is, by what the client says.
pub fn explain(what: &str, output: &Output) -> Error {
    let said = tail(&output.stderr, 8);
    let has = |part: &str| said.contains(part);
    let (name, next) = if has("cannot connect to the multipass socket") {
        (
            "Multipass's daemon cannot be reached",
            "start it (Linux: sudo snap start multipass), then look: multipass version\n\
             if it runs, this user may not open its socket (Linux: join the group that `ls -l` says it has)\n\
             or use --provider qemu",
        )
    } else if has("multipass_root_cert.pem") {
        (
            "Multipass's daemon has never run on this computer",
            "start it (Linux: sudo snap start multipass), then look: multipass version\nor use --provider qemu",
        )
    } else if has("not authenticated") || has("multipass authenticate") || has("Permission denied") {
        (
            "Multipass's daemon does not let this user in",
            "run it as the user who installed Multipass, or: multipass authenticate\nnever mix with `sudo multipass`",
        )
    } else if has("KVM support is not enabled") || has("/dev/kvm") {
        (
            "this computer gives Multipass no KVM",
            "enable virtualization in the firmware, or nested virtualization in the machine this runs on\n\
             or use --provider qemu, which does without",
        )
    } else if has("Unable to find an image matching")
        || has("Unable to find image")
        || has("remote \"") && has("unknown")
    {
        ("Multipass has no such image", "list those it has: multipass find")
    } else if ["is unknown or unreachable", "failed to download"].iter().any(|part| has(part)) {
        ("Multipass could not download its image", "look at this computer's network, then run it again")
    } else if has("Timed out waiting for") || output.code == Some(5) {
        (
            "the instance did not come up in time",
            "run it again, which goes on from where this stopped; a slow computer needs more: --launch-limit SECONDS",
        )
    } else if has("below minimum") || has("not a valid memory size") || has("invalid CPU count") {
        ("Multipass refuses that size", "correct --cpus, --memory or --disk")
    } else if has("Cannot retrieve credentials in unknown state") {
        ("the instance's state is unknown to Multipass", "run it again: `lab up` mends that")
    } else if has("ssh connection failed") {
        ("the instance's guest does not answer", "end it: multipass stop --force NAME, then run this again")
    } else {
        ("multipass failed", "run the command by hand to see more: multipass -vv …")
    };
    let code = output.code.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
    Error::setup(format!("{name}: `{what}`: {code}")).detail(said).next(next)
}

/// One instance, as a carrier.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name.
    pub name: String,
}

impl Host for Instance {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn call(&self, line: &str, limit: Duration) -> Result<Output> {
        // Without -n the client looks for this computer's directory in the guest.
        call(&["exec", "-n", &self.name, "--", "sh", "-c", line], limit)
    }

    fn upload(&self, bytes: &[u8], path: &str, limit: Duration) -> Result<()> {
        let arguments = ["transfer", "-", &format!("{}:{path}", self.name)];
        let output = run(&command(&arguments).stdin(bytes), limit)?;
        self.succeeded(&arguments, &output)
    }

    fn download(&self, path: &str, to: &Path, limit: Duration) -> Result<()> {
        let arguments = ["transfer", &format!("{}:{path}", self.name), "-"];
        let output = run(&command(&arguments).stdout_file(to), limit)?;
        self.succeeded(&arguments, &output)
    }

    fn explain(&self, output: &Output) -> Error {
        explain(&format!("multipass exec -n {}", self.name), output)
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
            _ => Err(explain(&format!("multipass {}", arguments.join(" ")), output)),
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
    fn info_is_state_addresses_and_release_and_nothing_else() {
        let info = parse_info("rdma-server", RUNNING).unwrap();
        assert_eq!(info.state, State::Running);
        assert_eq!(
            info.addresses,
            ["10.151.127.196".parse::<IpAddr>().unwrap(), "172.17.0.1".parse().unwrap()]
        );
        assert_eq!(info.release, "Ubuntu 24.04.3 LTS");
        let stopped = RUNNING
            .replace("Running", "Delayed Shutdown")
            .replace(r#""10.151.127.196", "N/A", "172.17.0.1""#, "");
        let info = parse_info("rdma-server", &stopped).unwrap();
        assert_eq!((info.state, info.addresses.len()), (State::DelayedShutdown, 0));
        let other = parse_info("rdma-server", &RUNNING.replace("\"Running\"", "\"Levitating\"")).unwrap();
        assert_eq!(other.state, State::Unknown);
        assert_eq!(parse_info("rdma-client", RUNNING), None);
    }

    #[test]
    fn failures_are_named_each_with_what_to_do() {
        for (code, said, named) in [
            (2, "info failed: cannot connect to the multipass socket\n", "daemon cannot be reached"),
            (
                1,
                "[error] [client] Caught an unhandled exception: failed to open file '/usr/local/etc/multipassd/multipass_root_cert.pem': No such file or directory(2)\n",
                "never run on this computer",
            ),
            (
                2,
                "list failed: The client is not authenticated with the Multipass service.\nPlease use 'multipass authenticate' before proceeding.\n",
                "does not let this user in",
            ),
            (2, "launch failed: KVM support is not enabled on this machine.\n", "no KVM"),
            (
                2,
                "launch failed: Unable to find an image matching \"99.99\" in remote \"\".\n",
                "no such image",
            ),
            (
                2,
                "launch failed: Remote \"release\" is unknown or unreachable. If image mirror is enabled, please confirm it is valid.\n",
                "could not download",
            ),
            (5, "Timed out waiting for instance launch.\n", "did not come up in time"),
            (
                2,
                "launch failed: Requested disk (1073741824 bytes) below minimum for this image (2422210560 bytes)\n",
                "refuses that size",
            ),
            (2, "exec failed: Cannot retrieve credentials in unknown state\n", "state is unknown"),
            (2, "exec failed: ssh connection failed: 'Timeout connecting to 10.1.2.3'\n", "does not answer"),
            (255, "", "multipass failed"),
        ] {
            let output = Output { code: Some(code), stdout: String::new(), stderr: said.to_owned() };
            let text = explain("multipass x", &output).to_string();
            assert!(text.contains(named) && text.contains("next: "), "{text}");
        }
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
