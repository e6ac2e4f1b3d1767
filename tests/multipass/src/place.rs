//! The directory that a client and its daemon meet in.
//!
//! - `socket`: where the daemon listens; without it the daemon cannot be reached
//! - `log.jsonl`: every command that any client was given, one a line, before it does anything
//! - `instances.json`: instances that exist when the daemon starts, without machines: other people's, mostly
//! - `switches/NAME`: a way to misbehave that was seen of Multipass; see [`Misbehaviour`]. What the file holds says
//!   whom or how much; `once` takes the switch back when it has acted

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

/// The variable that names it.
pub const VARIABLE: &str = "MULTIPASS_STAND_IN";

/// The directory.
#[derive(Debug, Clone)]
pub struct StandInDirectory(PathBuf);

/// A way to misbehave, by the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misbehaviour {
    /// `never-ran`: no daemon has ever run on this computer.
    NeverRan,
    /// `not-authenticated`: the daemon does not let this user in.
    NotAuthenticated,
    /// `no-kvm`: launch finds no KVM.
    NoKvm,
    /// `offline`: images cannot be looked up.
    Offline,
    /// `daemon-blocked`: no request is answered.
    DaemonBlocked,
    /// `hung-guest`: holds an instance's name; its guest answers no more. `exec` fails after 5 s; a full `info`, `list`
    /// or plain `stop` that meets it keeps the daemon from serving anybody for as long as it hangs.
    HungGuest,
    /// `busy-guest`: a full `info` or `list` of a running instance fails: its guest takes longer for the questions than
    /// Multipass waits.
    BusyGuest,
    /// `busy-ssh`: `exec` finds no connection within 5 s.
    BusySsh,
    /// `noise`: the daemon's own error lines are on standard error before a failure.
    Noise,
    /// `old-client`: `info` does not know `--no-runtime-information`.
    OldClient,
    /// `launch-times-out`: launch ends at its `--timeout`; holds `ssh` if SSH had not come up by then (the state
    /// stays Unknown), `cloud-init` if cloud-init was late.
    LaunchTimesOut,
    /// `cloud-init-fails`: cloud-init reports an error; launch succeeds.
    CloudInitFails,
    /// `launch-lost`: launch succeeds and leaves no instance, as when another deletes it meanwhile.
    LaunchLost,
    /// `slow-launch`: holds how many milliseconds each phase of a launch takes longer.
    SlowLaunch,
    /// `slow-boot`: holds how many milliseconds a first boot takes longer; the state is Unknown meanwhile.
    SlowBoot,
    /// `truncated-push`: a push drops the second half and succeeds.
    TruncatedPush,
    /// `truncated-pull`: a pull drops the second half and succeeds.
    TruncatedPull,
    /// `driver`: holds what `get local.driver` says.
    Driver,
    /// `equal-addresses`: every instance has the same address.
    EqualAddresses,
}

/// One command that a client was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// Its words, without the program.
    pub argv: Vec<String>,
}

impl StandInDirectory {
    /// The directory `path`, which exists.
    pub fn at(path: &Path) -> StandInDirectory {
        StandInDirectory(path.to_owned())
    }

    /// The directory that the environment names.
    pub fn from_env() -> Option<StandInDirectory> {
        std::env::var_os(VARIABLE).map(|path| StandInDirectory(path.into()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Socket on which the daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    /// The instances that exist from the start.
    pub fn instances(&self) -> PathBuf {
        self.0.join("instances.json")
    }

    fn file_of(&self, switch: Misbehaviour) -> PathBuf {
        let name = json!(switch);
        self.0.join("switches").join(name.as_str().unwrap_or_default())
    }

    /// Text that a switch holds, if it is on.
    pub fn switch(&self, switch: Misbehaviour) -> Option<String> {
        let path = self.file_of(switch);
        let text = fs::read_to_string(&path).ok()?.trim().to_owned();
        if let Some(rest) = text.strip_prefix("once") {
            fs::remove_file(&path).ok()?;
            return Some(rest.trim().to_owned());
        }
        Some(text)
    }

    /// Turns a switch on.
    ///
    /// # Errors
    ///
    /// Writing fails.
    pub fn turn_on(&self, switch: Misbehaviour, text: &str) -> std::io::Result<()> {
        fs::create_dir_all(self.0.join("switches"))?;
        fs::write(self.file_of(switch), text)
    }

    /// Turns a switch off.
    pub fn turn_off(&self, switch: Misbehaviour) {
        let _ = fs::remove_file(self.file_of(switch));
    }

    /// Keeps a command in the log.
    pub fn log(&self, logged: &Logged) {
        let Ok(line) = serde_json::to_string(logged) else { return };
        let file = fs::File::options().create(true).append(true).open(self.0.join("log.jsonl"));
        if let Ok(mut file) = file {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Every command so far.
    pub fn logged(&self) -> Vec<Logged> {
        let text = fs::read_to_string(self.0.join("log.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switch_that_acts_once_is_off_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let place = StandInDirectory::at(directory.path());
        place.turn_on(Misbehaviour::LaunchTimesOut, "once ssh").unwrap();
        assert_eq!(place.switch(Misbehaviour::LaunchTimesOut).as_deref(), Some("ssh"));
        assert_eq!(place.switch(Misbehaviour::LaunchTimesOut), None);
        place.turn_on(Misbehaviour::NoKvm, "").unwrap();
        assert!(directory.path().join("switches/no-kvm").is_file());
    }
}
